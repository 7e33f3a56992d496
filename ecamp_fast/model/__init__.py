"""The ECAMP network: vision encoder, image decoder, context fusion, text decoder, super-resolution.

ecamp               the whole: a micro-batch in, three losses out
vision              ViT encoder over the kept patches, and image decoder over all of them
super_resolution    the weights of the head that doubles the side
text_decoder        embeddings, fusion, a BERT stack, the head that predicts words
fusion              multi-scale context fusion: text attends to the picture
text_layer          self-attention and feed-forward of BERT over packed rows
align               pictures and single sentences in one space, where ``losses.align`` is on

attention           softmax(q k^T) v over sequences that lie end to end, and which backend computes it
attention_backends  flash-attn, variable-length flash attention, xformers, SDPA, cuDNN, plain products
sequences           which rows of a batch form a sequence: cu_seqlens and what follows from them
flops               the counted work of a step, by part
lookup              embedding rows by number, with a gradient that repeats to the bit
positions           sine-cosine position tables

initialize          how a fresh model starts
ready               from weights to a model on its device, as the recipe runs it
compile             torch.compile and recomputation of the blocks
float8              products of the blocks in 8-bit floats
flops               counted work of a step, by component
components          their names, and ranges around them for profilers
groups              parameter groups of the optimizer
"""
