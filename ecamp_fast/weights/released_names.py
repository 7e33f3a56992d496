"""The names of the released checkpoints: which of their tensors is which part of ours, both ways.

Released names are those of the ECAMP checkpoints, which contain MAE's (``blocks.0.attn.qkv.weight``) and BERT's. Two
things lie differently here: query, key and value of the text layers are one matrix, and the pooler, which never takes
part in anything, does not exist.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from ecamp_fast.config import Recipe
from ecamp_fast.errors import ConfigError

ENCODER = "encoder."  # how our names of the image encoder begin
BERT = "bert_encoder.model.bert."
HEAD = "bert_encoder.model.cls.predictions."
FUSION = BERT + "context_fusion_layer."
LEGACY_FUSION = BERT + "cross_attn_layer."
POOLER = BERT + "pooler.dense."
WORDS = BERT + "embeddings.word_embeddings.weight"
OF_THE_VOCABULARY = (
    *(WORDS, HEAD + "decoder.weight", HEAD + "bias"),
    *("text.embeddings.word", "text.head.vocabulary", "text.head.bias"),
)


class Part(NamedTuple):
    """Block ``block`` of ``blocks`` equal blocks of rows of our tensor ``name``."""

    name: str
    block: int = 0
    blocks: int = 1


@dataclass
class ImportReport:
    """What became of a file's tensors.

    loaded   names in the file
    missing  names of ours that the file lacks
    ignored  names in the file that the model has no place for
    """

    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lacking, extra = _some(self.missing), _some(self.ignored)
        return f"{len(self.loaded)} tensors read; not in the file: {lacking}; ignored: {extra}"


def released_parts(recipe: Recipe) -> dict[str, Part]:
    """Every released name that a model of this recipe has a place for, in the released order of modules."""
    return dict([*_image_parts(recipe), *_text_parts(recipe)])


def to_released(state: Mapping[str, Tensor], recipe: Recipe) -> dict[str, Tensor]:
    """Our state dict under released names, complete for the released code: a zero pooler, the vocabulary bias twice.

    state: ``Ecamp.state_dict()``, of any device (also meta)   returns views of the same tensors.
    """
    out = {
        name: state[part.name].chunk(part.blocks)[part.block]
        for name, part in released_parts(recipe).items()
        if part.name in state
    }
    if HEAD + "bias" in out:
        width = out[WORDS].shape[1]
        out[HEAD + "decoder.bias"] = out[HEAD + "bias"]
        out[POOLER + "weight"] = out[WORDS].new_zeros(width, width)
        out[POOLER + "bias"] = out[WORDS].new_zeros(width)
    return out


def from_released(
    tensors: Mapping[str, Tensor], recipe: Recipe, expected: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], ImportReport]:
    """Released tensors (ECAMP, MAE encoder, whole MAE) as our state dict, as far as the file goes.

    Knows the older name of the fusion layer and prefixes ``module.``. Ignores what has no use (the pooler) and what the
    model has no place for (further blocks). A fused matrix is read when all of its parts are there.
    expected: state dict of a model of this recipe, for its shapes (also on meta)
    Raises ConfigError where a shape differs, naming the tensor, or where the recipe ties what the file does not.
    """
    found = {_current_name(name): tensor for name, tensor in tensors.items()}
    if HEAD + "decoder.bias" in found:
        found.setdefault(HEAD + "bias", found[HEAD + "decoder.bias"])
    if recipe.model.tie_embeddings:
        _refuse_untied(found)
    pieces: dict[str, list[tuple[str, Tensor]]] = {}
    for name, part in released_parts(recipe).items():
        if name in found and part.name in expected:
            refuse_shape(name, found[name].shape, _shape(expected[part.name], part.blocks))
            pieces.setdefault(part.name, []).append((name, found[name]))
    counts = {part.name: part.blocks for part in released_parts(recipe).values()}
    complete = {ours: parts for ours, parts in pieces.items() if len(parts) == counts[ours]}
    state = {
        ours: parts[0][1] if len(parts) == 1 else torch.cat([tensor for _, tensor in parts])
        for ours, parts in complete.items()
    }
    loaded = [name for parts in complete.values() for name, _ in parts]
    return state, ImportReport(loaded, sorted(set(expected) - set(state)), sorted(set(found) - set(loaded)))


def refuse_shape(name: str, found: torch.Size, expected: torch.Size) -> None:
    """Raises ConfigError, naming the tensor and both shapes, where they differ; for the vocabulary, both sizes."""
    if found == expected:
        return
    if name in OF_THE_VOCABULARY and found[1:] == expected[1:]:
        raise ConfigError(
            f"the file's vocabulary has {found[0]} entries, this model's {expected[0]}",
            "use shards that were built with the tokenizer of these weights",
        )
    raise ConfigError(
        f"{name} is {tuple(found)} in the file, {tuple(expected)} in the model",
        "choose the recipe, or --set the sizes, that the file was made with",
    )


def _shape(tensor: Tensor, blocks: int) -> torch.Size:
    return torch.Size((tensor.shape[0] // blocks, *tensor.shape[1:]))


def _refuse_untied(found: Mapping[str, Tensor]) -> None:
    words, vocabulary = found.get(WORDS), found.get(HEAD + "decoder.weight")
    if words is not None and vocabulary is not None and not torch.equal(words, vocabulary):
        raise ConfigError(
            "the file's vocabulary projection is not its word embedding, the recipe ties them",
            "set model.tie_embeddings: false",
        )


def _current_name(name: str) -> str:
    name = name.removeprefix("module.")
    return name.replace(LEGACY_FUSION, FUSION, 1) if name.startswith(LEGACY_FUSION) else name


def _image_parts(recipe: Recipe) -> Iterator[tuple[str, Part]]:
    model = recipe.model
    yield "cls_token", Part("encoder.class_token")
    yield "pos_embed", Part("encoder.positions")
    yield from _pair("patch_embed.proj", "encoder.patch")
    for i in range(model.vision.depth):
        yield from _block(f"blocks.{i}", f"encoder.blocks.{i}")
    yield from _pair("norm", "encoder.norm")
    yield "mask_token", Part("decoder.mask_token")
    yield "decoder_pos_embed", Part("decoder.positions")
    yield from _pair("decoder_embed", "decoder.embed")
    for i in range(model.decoder.depth):
        yield from _block(f"decoder_blocks.{i}", f"decoder.blocks.{i}")
    yield from _pair("decoder_norm", "decoder.norm")
    yield from _pair("decoder_pred", "decoder.predict")
    yield from _pair("super_res.conv1", "super_resolution.conv1")
    yield from _pair("super_res.conv2", "super_resolution.conv2")


def _text_parts(recipe: Recipe) -> Iterator[tuple[str, Part]]:
    yield from _pair("bert_mlp", "text.bridge")
    yield WORDS, Part("text.embeddings.word")
    yield BERT + "embeddings.position_embeddings.weight", Part("text.embeddings.position")
    yield BERT + "embeddings.token_type_embeddings.weight", Part("text.embeddings.token_type")
    yield from _pair(BERT + "embeddings.LayerNorm", "text.embeddings.norm")
    yield from _self_attention(FUSION + "attention", "text.fusion.attention")
    yield from _pair(FUSION + "cross_self_attention.query", "text.fusion.query")
    yield from _pair(FUSION + "cross_self_attention.key", "text.fusion.key_value", 0, 2)
    yield from _pair(FUSION + "cross_self_attention.value", "text.fusion.key_value", 1, 2)
    yield from _pair(FUSION + "gap_mlp", "text.fusion.global_proj")
    yield from _pair(FUSION + "out_layer.dense", "text.fusion.out")
    yield from _pair(FUSION + "out_layer.LayerNorm", "text.fusion.norm")
    yield from _feed_forward(FUSION.removesuffix("."), "text.fusion.ffn")
    for i in range(recipe.model.text.depth):
        layer = f"{BERT}encoder.layer.{i}"
        yield from _self_attention(f"{layer}.attention", f"text.layers.{i}.attention")
        yield from _feed_forward(layer, f"text.layers.{i}.ffn")
    yield from _pair(HEAD + "transform.dense", "text.head.dense")
    yield from _pair(HEAD + "transform.LayerNorm", "text.head.norm")
    yield HEAD + "decoder.weight", Part("text.head.vocabulary")
    yield HEAD + "bias", Part("text.head.bias")


def _pair(released: str, ours: str, block: int = 0, blocks: int = 1) -> Iterator[tuple[str, Part]]:
    for leaf in ("weight", "bias"):
        yield f"{released}.{leaf}", Part(f"{ours}.{leaf}", block, blocks)


def _block(released: str, ours: str) -> Iterator[tuple[str, Part]]:
    for theirs in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"):
        yield from _pair(f"{released}.{theirs}", f"{ours}.{theirs.rsplit('.', 1)[-1]}")


def _self_attention(released: str, ours: str) -> Iterator[tuple[str, Part]]:
    for block, name in enumerate(("query", "key", "value")):
        yield from _pair(f"{released}.self.{name}", f"{ours}.qkv", block, 3)
    yield from _pair(f"{released}.output.dense", f"{ours}.out")
    yield from _pair(f"{released}.output.LayerNorm", f"{ours}.norm")


def _feed_forward(released: str, ours: str) -> Iterator[tuple[str, Part]]:
    yield from _pair(f"{released}.intermediate.dense", f"{ours}.fc1")
    yield from _pair(f"{released}.output.dense", f"{ours}.fc2")
    yield from _pair(f"{released}.output.LayerNorm", f"{ours}.norm")


def _some(names: list[str]) -> str:
    if len(names) <= 4:
        return ", ".join(names) or "nothing"
    return f"{', '.join(names[:3])} and {len(names) - 3} more"
