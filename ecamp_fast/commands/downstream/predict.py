"""``ecamp-fast predict``: probabilities of a fitted classifier for image files."""

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ecamp_fast.commands.terminal import tell
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.usage import options

if TYPE_CHECKING:
    import torch

AT_ONCE = 64
ENDINGS = (".jpg", ".jpeg", ".png", ".dcm", ".dicom", ".tif", ".tiff", ".bmp")


@click.command()
@options.run_argument()
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@options.device_option()
@options.overwrite_option()
@options.json_option()
def command(run: Path, images: tuple[Path, ...], out: Path, device: str | None, overwrite: bool, as_json: bool) -> None:
    """Write the class probabilities that RUN gives IMAGES into OUT.csv.

    RUN is the OUT of `ecamp-fast finetune classify` or of `probe --sgd`; IMAGES are files, or folders of JPEG, PNG,
    TIFF and DICOM files. One row an image: its path and a probability per class. No medical device: research only.

    \b
    Example:
      ecamp-fast predict fits/nih images predictions.csv
    """
    if out.suffix != ".csv":
        raise ConfigError(f"{out} must end in .csv", f"write {out.with_suffix('.csv')}")
    if out.exists() and not overwrite:
        raise ConfigError(f"{out} exists", "choose another name, or --overwrite")
    from ecamp_fast.files import require_file, write_atomically

    require_file(out)
    files, fitted = _files(images), _fitted(run)
    from ecamp_fast.commands.downstream.task_options import open_device
    from ecamp_fast.downstream.tasks.timm_model import FittedClassifier

    model = FittedClassifier(fitted, open_device(device))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["image", *model.classes])
    for start in range(0, len(files), AT_ONCE):
        some = files[start : start + AT_ONCE]
        found = model.probabilities(_read(some, model.size)).tolist()
        table.writerows([str(file), *(f"{value:.6f}" for value in row)] for file, row in zip(some, found, strict=True))
    write_atomically(out, text.getvalue().encode())
    if as_json:
        click.echo(json.dumps({"schema": 1, "out": str(out), "images": len(files), "classes": model.classes}))
    else:
        tell(f"{out}: {len(files)} images, {len(model.classes)} classes")


def _fitted(run: Path) -> Path:
    """The folder of its classifier.  Raises ConfigError where it keeps none."""
    folder = run / "timm" if (run / "timm").exists() else run
    if (folder / "config.json").exists():
        return folder
    from ecamp_fast.downstream.result import read_result

    result = read_result(run)
    if result is None:
        raise ConfigError(f"{run} is no fitted classifier", "name the OUT of `ecamp-fast finetune classify`")
    what = f"{run} is a result of {result.task}, which keeps no classifier"
    raise ConfigError(what, "`ecamp-fast finetune classify` and `ecamp-fast probe --sgd` keep one")


def _files(places: tuple[Path, ...]) -> list[Path]:
    """Files, and those below folders in the order of their names.  Raises ConfigError."""
    found = []
    for place in places:
        if place.is_dir():
            below = sorted(path for path in place.rglob("*") if _is_image(path.relative_to(place)) and path.is_file())
            if not below:
                raise ConfigError(f"{place} holds no image", f"endings that count: {', '.join(ENDINGS)}")
            found += below
        elif place.exists():
            found.append(place)
        else:
            raise ConfigError(f"{place} does not exist", "name files or folders of images")
    return found


def _is_image(path: Path) -> bool:
    """By its name below the folder: no other half of a file that macOS left, no small picture of a NAS."""
    from ecamp_fast.shards.sources.leftovers import in_leftover

    return path.suffix.lower() in ENDINGS and not in_leftover(path.as_posix())


def _read(files: list[Path], size: int) -> "torch.Tensor":
    """(B, 1, size, size) uint8.  Raises DataError that names the file."""
    import torch

    from ecamp_fast.downstream.encoder import read_pictures

    found = []
    for file in files:
        try:
            found.append(read_pictures([file], size))
        except DataError as error:
            raise DataError(f"{file}{error.what.removeprefix('picture 0')}", error.hint) from None
    return torch.cat(found)
