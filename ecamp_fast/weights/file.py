"""Weights from files: released checkpoints into our format, and our format into a model.

Our format is safetensors under our own parameter names, possibly not all of them, with the sizes as JSON metadata.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ecamp_fast.config import Recipe
from ecamp_fast.errors import ConfigError, DataError, NumericsError
from ecamp_fast.files import sha256_of, write_atomically
from ecamp_fast.model.ecamp import Ecamp, current_name
from ecamp_fast.printable import one_line
from ecamp_fast.strict_json import parse_json
from ecamp_fast.weights.finite import first_not_finite
from ecamp_fast.weights.names import to_ours
from ecamp_fast.weights.released_names import WORDS, ImportReport, refuse_shape
from ecamp_fast.weights.torch_archive import read_torch_archive

METADATA = "ecamp_fast"  # key of the JSON in the safetensors header
FORMAT = 1
BEFORE_ZIP = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # how files of torch.save before 1.6 begin
WORD, VOCABULARY = "text.embeddings.word", "text.head.vocabulary"

log = logging.getLogger(__name__)


def import_weights(source: Path, out: Path, recipe: Recipe) -> ImportReport:
    """Convert a checkpoint (.pth, .safetensors; ``names.to_ours`` says whose) into a file for ``load_weights``.

    source: a file, or a folder that ``ecamp-fast export`` wrote. Runs nothing that is in it.
    recipe: gives the sizes that the checkpoint must have.
    Raises DataError for damaged or hostile files and for weights that are not finite, ConfigError where sizes differ,
    StorageError where ``out`` cannot be written; ``out`` is complete or absent.
    """
    source = _file_of(source)
    tensors = read_checkpoint(source)
    words = next((tensors[name] for name in (WORD, WORDS, "module." + WORDS) if name in tensors), None)
    vocab_size = 1 if words is None else words.shape[0]
    with torch.device("meta"):
        model = Ecamp(recipe, vocab_size)
    state, report = to_ours(tensors, recipe, model.state_dict())
    if not report.loaded:
        raise DataError(f"{source} holds no tensor of ECAMP, MAE, MRM or a ViT", "give a released checkpoint")
    _refuse_not_finite(state, source)
    about = {
        "format": FORMAT,
        "sizes": _sizes(recipe, None if words is None else vocab_size),
        "source_sha256": sha256_of(source),
        "missing": report.missing,
    }
    write_atomically(out, safetensors.torch.save(state, {METADATA: json.dumps(about)}))
    return report


def save_weights(model: Ecamp, out: Path, masters: Mapping[str, Tensor] | None = None) -> None:
    """Every weight of a model as a file for ``load_weights``, in the dtype it has.

    masters: tensors to write instead of the model's own, by name (the float32 copies that an optimizer keeps)
    Raises NumericsError, and writes nothing, where one is not finite.
    """
    state = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    state |= {name: tensor.contiguous() for name, tensor in (masters or {}).items()}
    if model.recipe.model.tie_embeddings and model.text:
        del state[VOCABULARY]  # one tensor under two names
    if name := first_not_finite(state):
        raise NumericsError(f"{name} is not finite: {out} is not written", "go on from an earlier checkpoint: --resume")
    about = {"format": FORMAT, "sizes": _sizes(model.recipe, model.vocab_size), "missing": []}
    write_atomically(out, safetensors.torch.save(state, {METADATA: json.dumps(about)}))


@torch.no_grad()
def load_weights(model: Ecamp, path: Path, parts: Literal["all", "image"] = "all") -> ImportReport:
    """Copy the tensors of a file made by ``import_weights`` or ``save_weights`` into a model.

    parts: ``image`` leaves out all that reads text, so the file may have another vocabulary, or none.
    What the file lacks keeps its value, what the model has no place for is ignored; both are reported and logged.
    Raises ConfigError where shapes, the vocabulary among them, differ; DataError for files that are something else, and
    for weights that are not finite, before the model is touched.
    """
    tensors = _our_tensors(path)
    if parts == "image":
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(("text.", "align."))}
    own = model.state_dict(keep_vars=True)
    taken = [name for name in tensors if name in own]
    for name in taken:
        refuse_shape(name, tensors[name].shape, own[name].shape)
    _refuse_not_finite({name: tensors[name] for name in taken}, path)
    if model.recipe.model.tie_embeddings and VOCABULARY in tensors:
        _refuse_untied(tensors, path)
    for name in taken:
        own[name].copy_(tensors[name])
    reached = {id(own[name]) for name in taken}
    missing = sorted(name for name, tensor in own.items() if id(tensor) not in reached)
    report = ImportReport(sorted(taken), missing, sorted(set(tensors) - set(taken)))
    log.info("%s", one_line(f"{path}: {report}"))
    return report


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Named tensors of a checkpoint of others: a zip archive of ``torch.save``, or safetensors; content decides.

    Raises DataError for anything else.
    """
    head = _head(path)
    if head.startswith(b"PK"):
        return read_torch_archive(path)
    if head.startswith(BEFORE_ZIP):
        again = "torch.save(torch.load('OLD.pth', weights_only=True), 'NEW.pth')"
        raise DataError(
            f"{path} has the file format of torch before 1.6", f'save it again: python -c "import torch; {again}"'
        )
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, ValueError) as error:
        raise DataError(
            f"{path} is neither a zip archive of torch.save nor safetensors ({type(error).__name__})", "check the path"
        ) from None


def _file_of(source: Path) -> Path:
    """The weights in a folder that an export wrote; any other path as it is."""
    names = ("weights.safetensors", "model.safetensors")
    return next((source / name for name in names if (source / name).is_file()), source)


def _our_tensors(path: Path) -> dict[str, Tensor]:
    _head(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            about = parse_json((file.metadata() or {}).get(METADATA, "null"))
            tensors = {current_name(name): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a mapping
    except (safetensors.SafetensorError, ValueError) as error:
        raise DataError(
            f"{path} is not a weights file of ecamp-fast ({type(error).__name__})", "make one: ecamp-fast import"
        ) from None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise DataError(f"{path} is not a weights file of ecamp-fast, format {FORMAT}", "make one: ecamp-fast import")
    return tensors


def _refuse_not_finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    if name := first_not_finite(tensors):
        raise DataError(f"{path}: {name} is not finite", "take a file from before the training went wrong")


def _refuse_untied(tensors: dict[str, Tensor], path: Path) -> None:
    if WORD not in tensors or not torch.equal(tensors[WORD], tensors[VOCABULARY]):
        raise ConfigError(
            f"{path}: the vocabulary projection is not the word embedding, the recipe ties them",
            "set model.tie_embeddings: false",
        )


def _sizes(recipe: Recipe, vocab_size: int | None) -> dict[str, Any]:
    return {
        "model": recipe.model.model_dump(mode="json"),
        "low_size": recipe.image.low_size,
        "max_tokens": recipe.text.max_tokens,
        "vocab_size": vocab_size,
    }


def _head(path: Path) -> bytes:
    if path.exists() and not path.is_file():  # opening a pipe would wait for ever
        raise DataError(f"{path} is not a regular file", "check the path")
    try:
        with open(path, "rb") as file:
            return file.read(16)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", "check the path") from None
