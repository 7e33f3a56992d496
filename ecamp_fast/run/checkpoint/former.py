"""Checkpoints of versions up to 0.1 into those of today: DeepSpeed's pickles behind a manifest that nothing sealed.

What is written lies in ``converted/`` until it is complete; then the former folder becomes ``former-step-NNNNNNNN`` and
the other takes its place. A kill between leaves both, and the next call ends what was begun. Nothing is deleted.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from ecamp_fast.config import Recipe
from ecamp_fast.config.changes import Settings
from ecamp_fast.errors import DataError, NumericsError
from ecamp_fast.fault_points import reach
from ecamp_fast.files import rename
from ecamp_fast.run.checkpoint.commit import save
from ecamp_fast.run.checkpoint.find import CONVERTED, FORMER, committed
from ecamp_fast.run.checkpoint.former_files import MODEL, read_former_files
from ecamp_fast.run.checkpoint.manifest import (
    LARGEST,
    MANIFEST,
    FileEntry,
    Position,
    StrictModel,
    Unreadable,
    is_former,
)
from ecamp_fast.run.checkpoint.verify import damage, fault_of


class FormerPosition(StrictModel):
    """step: optimizer steps done   world: ranks   data: digest of the shard set's manifest   recipe: of the recipe"""

    step: int = Field(ge=0)
    world: int = Field(ge=1)
    data: str
    recipe: str
    aligned: bool = False


class FormerManifest(StrictModel):
    """MANIFEST.json as versions up to 0.1 wrote it."""

    format: Literal[1]
    position: FormerPosition
    versions: dict[str, str] = Field(default_factory=dict)
    files: list[FileEntry]


@dataclass(frozen=True)
class Conversion:
    """What was done with the checkpoints of a run.

    converted  the new folder -> where the former one lies now
    refused    folder -> why it was left as it is
    """

    converted: dict[Path, Path]
    refused: dict[Path, str]


def convert(folder: Path, recipe: Recipe, settings: Settings, done: Callable[[Path, Path], None]) -> Conversion:
    """Convert every checkpoint of the former format, newest first; what is damaged or no state of the model stays.

    folder    of a run's checkpoints
    recipe    of the run
    settings  of the run, see ``settings_of``
    done      called with (new folder, former folder) after each

    Raises DataError where there is no checkpoint, or none could be converted; StorageError, OSError where the disk
    refuses: what stood before stands then.
    """
    conversion = Conversion(_finish(folder), {})
    for new, former in conversion.converted.items():
        done(new, former)
    every = committed(folder)
    if not every:
        raise DataError(f"there is no checkpoint in {folder}", "name the folder given as --out")
    for path in every:
        if not is_former(path) and not (path / MODEL).is_file():  # its manifest may be torn
            continue
        try:
            former = _convert(path, recipe, settings)
        except (DataError, NumericsError) as fault:
            conversion.refused[path] = fault.what
        else:
            conversion.converted[path] = former
            done(path, former)
    if conversion.refused and not conversion.converted:
        found = f"no checkpoint in {folder} was converted: {'; '.join(conversion.refused.values())}"
        raise DataError(found, "restore the files, or start afresh with --resume never")
    return conversion


def read_former_manifest(path: Path) -> FormerManifest:
    """The manifest of a former checkpoint, which nothing proves.  Raises Unreadable, OSError."""
    with open(path / MANIFEST, "rb") as file:
        data = file.read(LARGEST)
    try:
        return FormerManifest.model_validate(json.loads(data))
    except (ValueError, RecursionError, ValidationError) as error:
        raise Unreadable(f"{MANIFEST} is damaged ({type(error).__name__})") from None


def _listed(path: Path) -> tuple[int, Sequence[FileEntry]]:
    manifest = read_former_manifest(path)
    return manifest.position.step, manifest.files


def _convert(path: Path, recipe: Recipe, settings: Settings) -> Path:
    """Write the new one, then let it take the place of the former, which is returned where it lies now."""
    if fault := fault_of(path, _listed):
        raise DataError(f"{path}: {fault}", "restore the files")
    position = read_former_manifest(path).position
    tensors = read_former_files(path, recipe, position.world)
    zero = settings["deepspeed"].get("zero_optimization.stage", 0)
    layout = {"ranks": position.world, "batch.micro": recipe.batch.micro, "ZeRO": zero}
    where = Position(step=position.step, data=position.data, settings=settings | {"layout": layout})
    written = save(path.parent / CONVERTED, tensors, where)
    aside = _free_name(path.with_name(FORMER + path.name))
    reach("former.aside", step=position.step)
    rename(path, aside)
    reach("former.replace", step=position.step)
    _put_in_place(written)
    return aside


def _finish(folder: Path) -> dict[Path, Path]:
    """Let those take their place that a kill left between: the former one is aside, its place is empty."""
    finished: dict[Path, Path] = {}
    for written in committed(folder / CONVERTED):
        final, aside = folder / written.name, folder / f"{FORMER}{written.name}"
        if final.exists() or not aside.is_dir():
            continue
        if damage(written):
            rename(aside, final)  # to be converted again
        else:
            finished[_put_in_place(written)] = aside
    return finished


def _put_in_place(written: Path) -> Path:
    final = written.parent.parent / written.name
    rename(written, final)
    shutil.rmtree(written.parent, ignore_errors=True)  # what earlier kills left there
    return final


def _free_name(path: Path) -> Path:
    """Another name where it is taken: the same checkpoint was restored and converted before."""
    number, found = 2, path
    while found.exists():
        found, number = path.with_name(f"{path.name}-{number}"), number + 1
    return found
