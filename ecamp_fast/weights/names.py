"""Whose names a file's tensors have, and what of them is ours: ECAMP's and MAE's, MRM's, transformers', our own."""

from collections.abc import Mapping

from torch import Tensor

from ecamp_fast.config import Recipe
from ecamp_fast.model.ecamp import current_name
from ecamp_fast.model.vision import CHANNELS
from ecamp_fast.weights.released_names import ImportReport, from_released, refuse_shape
from ecamp_fast.weights.vit_names import from_transformers, is_of_transformers

_MRM = 4  # times the pixels that a patch has here: MRM predicts patches at twice the resolution


def to_ours(
    tensors: Mapping[str, Tensor], recipe: Recipe, expected: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], ImportReport]:
    """A file's tensors as our state dict, as far as the file goes.

    expected: state dict of a model of this recipe, for its names and shapes (also on meta)
    Raises ConfigError where a shape differs, naming the tensor, or where the recipe ties what the file does not.
    """
    ours = {current_name(name): tensor for name, tensor in tensors.items()}
    if ours.keys() & expected.keys():
        return _direct(ours, expected)
    if is_of_transformers(tensors):
        return _direct(from_transformers(tensors, recipe.model.vision.depth), expected)
    misfits = _not_of_mrm(tensors, recipe)
    state, report = from_released({n: t for n, t in tensors.items() if n not in misfits}, recipe, expected)
    report.ignored = sorted([*report.ignored, *misfits])
    return state, report


def _direct(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], ImportReport]:
    """found: under our names"""
    state = {name: tensor for name, tensor in found.items() if name in expected}
    for name, tensor in state.items():
        refuse_shape(name, tensor.shape, expected[name].shape)
    missing, ignored = sorted(expected.keys() - state.keys()), sorted(found.keys() - state.keys())
    return state, ImportReport(sorted(state), missing, ignored)


def _not_of_mrm(tensors: Mapping[str, Tensor], recipe: Recipe) -> set[str]:
    """Of an MRM checkpoint the names for which there is no place here: its prediction and its text side; else none.

    It predicts patches at twice the resolution; its text side has 384 numbers a token and no fusion.
    """
    pixels = recipe.model.vision.patch**2 * CHANNELS
    plain = {name.removeprefix("module."): name for name in tensors}
    head = plain.get("decoder_pred.weight")
    if head is None or len(tensors[head]) != _MRM * pixels:
        return set()
    return {name for short, name in plain.items() if short.startswith(("decoder_pred.", "bert_"))}
