"""What a trained model looks at, as maps, as pictures and as numbers.

queries   which rows of a text speak of a word or an entity
look      the cross-attention of a text's rows over a whole image
overlays  a map as a picture
boxes     boxes of findings as the model's view has them
claims    whether maps point at findings, and whether they are sharper where there is one
measure   the claims on a shard set
"""
