"""The image encoder in the forms that others read: each a folder with weights, a config and a model card.

to_timm          a folder for ``timm.create_model("local-dir:FOLDER", pretrained=True)``
to_transformers  a folder for ``transformers.AutoModel.from_pretrained``
to_onnx          one file for ONNX runtimes, of any batch
to_ours          the whole model for ``ecamp_fast.load``
card             the README.md beside the weights: what they are, what they saw, what must not be done with them
"""
