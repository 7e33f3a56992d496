"""The model card: what lies in a folder of weights, what it was trained on, and the duties that come with that."""

from collections.abc import Mapping
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
    lines = [
        "---",
        f"library_name: {library}",
        "tags: [radiology, chest-x-ray, vit, ecamp]",
        "---",
        "",
        f"# {one_line(origin.title)}",
        "",
        *(f"- {one_line(fact)}" for fact in facts),
        "",
        "```python",
        use,
        "```",
        "",
        "## Data and licence",
        "",
        next((duty for name, duty in _DUTIES.items() if name in source), _OTHERS),
        "",
        "## Limits",
        "",
        "For research. Not a medical device: nothing here may decide on care. What it "
        "learned holds for pictures like those it saw: other devices, ages and countries have to be measured first.",
        "",
    ]
    return "\n".join(lines)


def _data(data: Mapping[str, Any]) -> str:
    if not data:
        return "not known"
    words = {"source": "{}", "samples": "{} samples", "manifest": "manifest {}"}
    return ", ".join(text.format(data[name]) for name, text in words.items() if name in data)
