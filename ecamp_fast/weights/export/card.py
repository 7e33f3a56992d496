"""The model card: what lies in a folder of weights, what it was trained on, and the duties that come with that."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ecamp_fast.config import Recipe
from ecamp_fast.printable import one_line

# Of what others own. Weights carry the duties of what they were trained on.
_DUTIES = {
    "mimic-cxr": "MIMIC-CXR is credentialed (PhysioNet Credentialed Health Data License 1.5.0). Its owners count "
    "what is trained on it as derived: share it with credentialed users alone, through PhysioNet.",
    "phantom": "The pictures and reports are drawn by the program; no patient is in them. The weights know nothing of "
    "real radiographs.",
    "openi": "The Indiana collection (Open-i) is CC BY-NC-ND 4.0: name it; not for commerce.",
}
_OTHERS = "Look up the terms of the data before the weights leave the machine: they were learned from it."
_NOT_MEASURED = "Nothing yet: an export does not measure. `ecamp-fast probe` and `ecamp-fast evaluate` do."
PAPER = (
    "Wang, Yao, Jiang, Lai, He, Tao, Zhou: ECAMP: Entity-centered Context-aware Medical Vision Language Pre-training. "
    "Medical Image Analysis 105, 103690 (2025). doi:10.1016/j.media.2025.103690"
)


@dataclass(frozen=True)
class Origin:
    """Where weights come from.

    title   of the model
    steps   optimizer steps; None where not known
    data    what the run saw: source, samples and the digest of its manifest, as far as known
    """

    title: str
    steps: int | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


_USES = {
    "timm": (
        "timm",
        """import timm
model = timm.create_model("local-dir:FOLDER", pretrained=True).eval()
pixels = timm.data.create_transform(**timm.data.resolve_model_data_config(model))(image.convert("RGB"))
features = model(pixels[None])  # the mean of the patch tokens""",
    ),
    "transformers": (
        "transformers",
        """from transformers import AutoImageProcessor, AutoModel
model = AutoModel.from_pretrained("FOLDER", add_pooling_layer=False).eval()
pixels = AutoImageProcessor.from_pretrained("FOLDER")(image.convert("RGB"), return_tensors="pt")
features = model(**pixels).last_hidden_state[:, 1:].mean(1)""",
    ),
    "onnx": (
        "onnxruntime",
        """import onnxruntime
session = onnxruntime.InferenceSession("FOLDER/model.onnx")
tokens, features = session.run(None, {"pixels": pixels})  # (B, 3, S, S) float32, normalised""",
    ),
    "ours": (
        "ecamp-fast",
        """import ecamp_fast
encoder = ecamp_fast.load("FOLDER")
features = encoder(encoder.preprocess(["image.png"]))""",
    ),
}


def card(form: str, recipe: Recipe, origin: Origin, sha256: str) -> str:
    """The README.md of a folder.

    form    ``timm``, ``transformers``, ``onnx`` or ``ours``
    sha256  of the file of weights beside it
    """
    library, use = _USES[form]
    vision, pixels = recipe.model.vision, recipe.image
    source = str(origin.data.get("source", ""))
    facts = [
        f"ViT, {vision.depth} blocks of width {vision.width}, {vision.heads} heads, patches of {vision.patch} pixels",
        f"input: {pixels.low_size} x {pixels.low_size}, one grey channel taken three times, values in [0, 1] less "
        f"{pixels.mean:g}, over {pixels.std:g}; the centred square of the picture",
        f"trained by ECAMP (masked images and reports; recipe {recipe.name})"
        + (f", {origin.steps} optimizer steps" if origin.steps is not None else ""),
        f"data: {_data(origin.data)}",
        f"sha256 of the weights: {sha256}",
    ]
    duty = next((duty for name, duty in _DUTIES.items() if name in source), _OTHERS)
    return _render(library, origin.title, facts, use, duty, _NOT_MEASURED)


def template() -> str:
    """A card with blanks, of weights that reach others in another way than by an export: docs/cards/model-card.md."""
    facts = [
        "ViT, DEPTH blocks of width WIDTH, HEADS heads, patches of PATCH pixels",
        "input: SIDE x SIDE, one grey channel taken three times, values in [0, 1] less MEAN, over STD",
        "trained by ECAMP (recipe RECIPE, changes of it CHANGES), STEPS optimizer steps from WEIGHTS IT BEGAN WITH",
        "data: SOURCE, SAMPLES samples of PATIENTS patients, manifest DIGEST; its own card: DATA CARD",
        "sha256 of the weights: SHA256",
    ]
    duty = f"{_DUTIES['mimic-cxr']} Of other data: {_OTHERS[0].lower()}{_OTHERS[1:]}"
    measured = (
        "TASK on SET, test split of PATIENTS patients: METRIC with its interval; beside it the same of untrained "
        "weights (`ecamp-fast probe`) and of the encoder in use so far (`ecamp-fast evaluate`)."
    )
    return _render("LIBRARY", "TITLE", facts, "LINES OF PYTHON THAT LOAD IT", duty, measured, language="text")


def _render(
    library: str, title: str, facts: Iterable[str], use: str, duty: str, measured: str, language: str = "python"
) -> str:
    """The sections that every card has.  use: lines of ``language``"""
    lines = [
        "---",
        f"library_name: {library}",
        "tags: [radiology, chest-x-ray, vit, ecamp]",
        "---",
        "",
        f"# {one_line(title)}",
        "",
        *(f"- {one_line(fact)}" for fact in facts),
        "",
        *(f"```{language}", use, "```", ""),
        *("## Data and licence", "", duty, ""),
        *("## Measured", "", measured, ""),
        "## Limits",
        "",
        "For research. Not a medical device: nothing here may decide on care. What it "
        "learned holds for pictures like those it saw: other devices, ages and countries have to be measured first.",
        "",
        *("## To cite", "", PAPER, ""),
    ]
    return "\n".join(lines)


def _data(data: Mapping[str, Any]) -> str:
    if not data:
        return "not known"
    words = {"source": "{}", "samples": "{} samples", "manifest": "manifest {}"}
    return ", ".join(text.format(data[name]) for name, text in words.items() if name in data)
