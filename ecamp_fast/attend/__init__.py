"""GLoRIA: images against sentences, region by word, and what each word looks at (SPEC 6). Trained by ``run``.

model        the whole: a batch of the loader in, the losses out; and the maps
images       its image sides: ResNet-50, this project's ViT, a small network
texts        its text side: words and sentences of a BERT
losses       attention of words over regions, local similarity, contrasts
trained      the model of a run directory
prompts      findings by their names alone
questions    what is asked about an image: its own text's entities
maps         where the model looks for them, and their combination
apply        maps of a whole set into a folder
map_files    the maps of one shard, as a file
map_scores   whether maps lie in boxes, beside maps that know nothing of the image
stored_maps  the maps that ``attend apply`` wrote, with the boxes of a set
"""
