"""``ecamp-fast export``: the trained image encoder in the forms that other libraries read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ecamp_fast.commands.terminal import tell
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.usage.options import json_option, run_argument

if TYPE_CHECKING:
    from ecamp_fast.model.ecamp import Ecamp
    from ecamp_fast.weights.export.card import Origin

FORMS = {
    "timm": "ecamp_fast.weights.export.to_timm",
    "transformers": "ecamp_fast.weights.export.to_transformers",
    "onnx": "ecamp_fast.weights.export.to_onnx",
    "ours": "ecamp_fast.weights.export.to_ours",
}
DEFAULT = "timm,transformers,ours"


@click.command()
@run_argument()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--to", "forms", default=DEFAULT, show_default=True, metavar="NAMES", help=f"Of {', '.join(FORMS)}.")
@json_option()
def command(run: Path, out: Path, forms: str, as_json: bool) -> None:
    """Write the image encoder of RUN into OUT/timm, OUT/transformers and OUT/ours, each with a model card.

    \b
    timm.create_model("local-dir:OUT/timm", pretrained=True)
    transformers.AutoModel.from_pretrained("OUT/transformers", add_pooling_layer=False)
    ecamp_fast.load("OUT/ours")    the whole model, text side too

    A run that is not complete is exported as its newest checkpoint is. Nothing is uploaded anywhere.

    \b
    Example:
      ecamp-fast export runs/mine exported --to timm,ours
    """
    from ecamp_fast.files import require_folder

    chosen = _chosen(forms)
    if taken := [name for name in chosen if (out / name).exists()]:
        raise ConfigError(f"{out / taken[0]} exists", "choose another OUT, or remove it")
    require_folder(out, "OUT")  # before anything heavy is loaded
    if "onnx" in chosen:
        from ecamp_fast.weights.export.to_onnx import require

        require()  # before other forms are written
    from ecamp_fast.run.trained import load_trained

    model = load_trained(run)
    origin = _origin(run)
    written = []
    for name in chosen:
        digest = _write(name, model, origin, out / name)
        written.append({"form": name, "folder": str(out / name), "sha256": digest})
        if not as_json:
            tell(f"{out / name}: written")
    if as_json:
        click.echo(json.dumps({"schema": 1, "written": written}))


def _chosen(forms: str) -> list[str]:
    names = [name.strip() for name in forms.split(",") if name.strip()]
    if wrong := [name for name in names if name not in FORMS]:
        raise ConfigError(f"--to {wrong[0]} is no form of weights", f"choose of {', '.join(FORMS)}")
    if not names:
        raise ConfigError("--to names nothing", f"choose of {', '.join(FORMS)}")
    return list(dict.fromkeys(names))


def _write(form: str, model: "Ecamp", origin: "Origin", out: Path) -> str:
    """One form, whole or not at all: it is made beside and renamed.  returns the sha256 of its weights"""
    from ecamp_fast.files import new_folder, sha256_of
    from ecamp_fast.weights.export.card import card

    with new_folder(out) as folder:
        _writer(form)(model, folder)
        digest = sha256_of(max(folder.iterdir(), key=lambda file: file.stat().st_size))
        (folder / "README.md").write_text(card(form, model.recipe, origin, digest), encoding="utf-8")
    return digest


def _writer(form: str) -> "Callable[[Ecamp, Path], None]":
    from importlib import import_module

    write: Callable[[Ecamp, Path], None] = import_module(FORMS[form]).write
    return write


def _origin(run: Path) -> "Origin":
    from ecamp_fast.run.rundir import RunDir
    from ecamp_fast.shards.format.manifest import read_manifest
    from ecamp_fast.shards.load.mix import digest_of
    from ecamp_fast.shards.storage.weighted import as_recorded, parse_data
    from ecamp_fast.weights.export.card import Origin

    state = RunDir(run, writes=False).state()
    data: dict[str, object] = {"manifest": state["manifest"]} if state.get("manifest") else {}
    try:
        sources = parse_data(as_recorded(state["data"])) if state.get("data") else ()
        held = [read_manifest(Path(source.place)) for source in sources]
    except (DataError, ConfigError):
        held = []  # a set is elsewhere by now; the digest of all is known
    weights = [source.weight for source in sources] if held else []
    if held and digest_of([one.digest for one in held], weights) == state.get("manifest"):
        kinds = sorted({str(one.source["kind"]) for one in held})
        data |= {"source": " and ".join(kinds), "samples": sum(one.counts["samples"] for one in held)}
    return Origin(f"ECAMP image encoder {run.resolve().name}", state.get("step"), data)
