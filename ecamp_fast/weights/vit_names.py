"""The encoder's tensors under the names of others: timm's ViT, which are MAE's and the release's, and transformers'.

Both hold the same numbers as ours, so what is written and read back is equal to the bit. transformers has two sets of
names: files have those of its first four versions, which all its versions read; ``ViTModel`` itself has others since
its fifth.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from ecamp_fast.config import Recipe
from ecamp_fast.weights.released_names import ENCODER, released_parts

_LAYER = "encoder.layer."
_TRANSFORMERS = {  # of a block: ours -> in a file of transformers
    "norm1": "layernorm_before",
    "proj": "attention.output.dense",
    "norm2": "layernorm_after",
    "fc1": "intermediate.dense",
    "fc2": "output.dense",
}
_OUTSIDE = {  # of blocks: ours -> in a file of transformers
    "encoder.class_token": "embeddings.cls_token",
    "encoder.positions": "embeddings.position_embeddings",
    "encoder.patch.weight": "embeddings.patch_embeddings.projection.weight",
    "encoder.patch.bias": "embeddings.patch_embeddings.projection.bias",
    "encoder.norm.weight": "layernorm.weight",
    "encoder.norm.bias": "layernorm.bias",
}

_TIMM_OUTSIDE = {"class_token": "cls_token", "positions": "pos_embed", "patch.": "patch_embed.proj."}
_TIMM_BLOCK = {".qkv.": ".attn.qkv.", ".proj.": ".attn.proj.", ".fc1.": ".mlp.fc1.", ".fc2.": ".mlp.fc2."}


def to_timm(state: Mapping[str, Tensor], recipe: Recipe) -> dict[str, Tensor]:
    """The encoder as timm's ``VisionTransformer`` names it.  state: of ``Ecamp``, under our names"""
    return {name: state[part.name] for name, part in released_parts(recipe).items() if part.name.startswith(ENCODER)}


def to_transformers(state: Mapping[str, Tensor], recipe: Recipe) -> dict[str, Tensor]:
    """The encoder as files of transformers' ``ViTModel`` name it.  state: of ``Ecamp``, under our names"""
    out = {theirs: state[ours] for ours, theirs in _OUTSIDE.items()}
    for ours, names in _parts_of_blocks(recipe.model.vision.depth):
        out |= dict(zip(names, state[ours].chunk(len(names)), strict=True))
    return out


def from_transformers(tensors: Mapping[str, Tensor], depth: int) -> dict[str, Tensor]:
    """Ours of a file of ``ViTModel``, as far as it goes; ``vit.`` in front, as larger models have it, is taken off.

    depth: blocks of the model
    What has no place in it, further blocks and a pooler among that, keeps its name.
    """
    rest = {name.removeprefix("vit."): tensor for name, tensor in tensors.items()}
    out = {ours: rest.pop(theirs) for ours, theirs in _OUTSIDE.items() if theirs in rest}
    for ours, names in _parts_of_blocks(depth):
        if all(name in rest for name in names):
            out[ours] = torch.cat([rest.pop(name) for name in names])
    return out | rest


def transformers_to_timm(tensors: Mapping[str, Tensor], depth: int) -> dict[str, Tensor]:
    """A file of ``ViTModel`` under timm's names, whatever its sizes.  depth: blocks of the model"""
    out = {}
    for name, tensor in from_transformers(tensors, depth).items():
        short = name.removeprefix("encoder.")
        rules = _TIMM_BLOCK if short.startswith("blocks.") else _TIMM_OUTSIDE
        for ours, theirs in rules.items():
            short = short.replace(ours, theirs)
        out[short] = tensor
    return out


def is_of_transformers(tensors: Mapping[str, Tensor]) -> bool:
    """Whether a file has a ``ViTModel`` in it."""
    return _OUTSIDE["encoder.positions"] in {name.removeprefix("vit.") for name in tensors}


def _parts_of_blocks(depth: int) -> Iterator[tuple[str, list[str]]]:
    """A tensor of ours, and those of transformers that are its rows, one after the other."""
    for block in range(depth):
        for leaf in ("weight", "bias"):
            ours, theirs = f"encoder.blocks.{block}", f"{_LAYER}{block}"
            names = ("query", "key", "value")
            yield f"{ours}.qkv.{leaf}", [f"{theirs}.attention.attention.{name}.{leaf}" for name in names]
            for mine, name in _TRANSFORMERS.items():
                yield f"{ours}.{mine}.{leaf}", [f"{theirs}.{name}.{leaf}"]
