"""Weights of others and our own: released checkpoints in, safetensors in and out, nothing in a file ever executed.

file            released checkpoints to our format, and our format into a model
names           whose names a file's tensors have, and what of them is ours
released_names  which tensor of a released checkpoint is which parameter
finite          whether tensors hold numbers
torch_archive   PyTorch's pickled archives, read by a short list of names
vit_names       the encoder under the names of timm and of transformers, both ways
foreign         image encoders of others from local files, as timm's models
export/         the image encoder for timm, transformers, ONNX and this library, each with a model card
"""
