"""Checkpoints that are complete or absent: DeepSpeed's files behind a commit protocol of our own.

Every rank writes into ``step-NNNNNNNN.tmp``; files are synced and digested; rank 0 writes MANIFEST.json and renames the
folder; only then do ``LATEST`` and DeepSpeed's ``latest`` name it. A folder without a manifest that verifies is no
checkpoint. DeepSpeed unpickles what it loads, so nothing is handed to it before its digest has been checked.
"""

import hashlib
import json
import math
import os
import shutil
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from ecamp_fast.errors import ConfigError, DataError, StorageError
from ecamp_fast.files import sync, write_atomically, write_json

FORMAT = 1
MANIFEST, BEST = "MANIFEST.json", "BEST"


@dataclass(frozen=True)
class Position:
    """Where a run stands, and what it must not be mixed with.

    step: optimizer steps done   world: ranks   data: digest of the shard set's manifest   recipe: digest of the recipe
    aligned: whether ZeRO padded its buffers (``deepspeed_config.aligned``); checkpoints from before did not
    """

    step: int
    world: int
    data: str
    recipe: str
    aligned: bool = False


def save(engine: Any, folder: Path, position: Position, keep: int, stay: Collection[int] = ()) -> Path:
    """Commit a checkpoint; every rank calls it at the same step. Returns its folder.

    keep: how many of the newest are kept   stay: steps whose checkpoints are kept beside them; so is the best
    Raises StorageError (on every rank) when a file cannot be written; older checkpoints are untouched then.
    """
    name = _name(position.step)
    temporary, final = folder / f"{name}.tmp", folder / name
    _on_rank_0(lambda: _make_room(folder, temporary))
    _on_every_rank(lambda: engine.save_checkpoint(str(folder), tag=temporary.name, save_latest=False))
    mine: list[dict[str, Any]] = []
    _on_every_rank(lambda: mine.extend(_seal_share(temporary)))
    sealed: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(sealed, mine)
    entries = sorted((entry for part in sealed for entry in part), key=lambda entry: entry["name"])
    _on_rank_0(lambda: _commit(temporary, final, position, entries))
    _on_rank_0(lambda: _purge(folder, keep, {_name(step) for step in (position.step, *stay)}))
    return final


def note_best(path: Path, loss: float) -> None:
    """Let ``path`` stay as the best so far.  loss: held out, of this checkpoint. Rank 0 calls it."""
    write_json(path.parent / BEST, {"checkpoint": path.name, "loss": loss})


def best_of(folder: Path) -> tuple[str, float]:
    """Name and held-out loss of the best checkpoint so far; '' and infinity where none is known."""
    try:
        found = json.loads((folder / BEST).read_text())
        return str(found["checkpoint"]), float(found["loss"])
    except (OSError, ValueError, KeyError, TypeError):
        return "", math.inf


def find(folder: Path, mode: str, note: Callable[[str, str], None]) -> Path | None:
    """The checkpoint to resume from, verified; None to start afresh.

    mode: ``auto`` (newest that verifies; none at all: afresh), ``must`` (none is an error), ``never``, or a path.
    note: called with (name, reason) for each rejected checkpoint.
    Raises DataError where a checkpoint was asked for, or some exist, and none verifies.
    """
    if mode == "never":
        return None
    if mode not in ("auto", "must"):
        path = Path(mode)
        if fault := damage(path):
            raise DataError(f"checkpoint {path}: {fault}", "name a complete checkpoint, or use --resume auto")
        return path
    candidates = sorted((p for p in folder.glob("step-*") if p.suffix != ".tmp"), reverse=True)
    for candidate in candidates:
        if not (fault := damage(candidate)):
            return candidate
        note(candidate.name, fault)
    if candidates or mode == "must":
        found = f"none of {len(candidates)} checkpoints verifies" if candidates else "there is no checkpoint"
        raise DataError(f"cannot resume: {found} in {folder}", "start afresh with --resume never, or restore the files")
    return None


def find_together(folder: Path, mode: str, note: Callable[[str, str], None]) -> Path | None:
    """``find`` on rank 0, whose answer or error every rank gets; every rank calls it."""
    found: list[Any] = [None, None]
    if dist.get_rank() == 0:
        try:
            found[0] = find(folder, mode, note)
        except Exception as error:
            found[1] = error
    dist.broadcast_object_list(found)
    path, fault = found
    if fault is not None:
        raise fault
    return path


def damage(path: Path) -> str:
    """Why ``path`` is not a complete checkpoint; an empty string when it is one."""
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        listed = {entry["name"]: entry for entry in manifest["files"]}
        if manifest["format"] != FORMAT:
            return f"format {manifest['format']}, this version reads {FORMAT}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"no readable {MANIFEST} ({type(error).__name__})"
    if path.stat().st_uid != os.geteuid() or path.stat().st_mode & stat.S_IWOTH:
        return "the folder is not yours alone: it belongs to another user or anybody may write to it"
    for name, entry in listed.items():
        file = path / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != entry["bytes"]:
            return f"{name} has {file.stat().st_size} bytes, not {entry['bytes']}"
    for name, entry in listed.items():
        if _sha256(path / name) != entry["sha256"]:
            return f"{name} is damaged (digest differs)"
    extra = {str(p.relative_to(path)) for p in path.rglob("*") if p.is_file()} - set(listed) - {MANIFEST}
    return f"{sorted(extra)[0]} does not belong to it" if extra else ""


def restore(engine: Any, path: Path, expected: Position, former_recipe: str = "") -> int:
    """Load a verified checkpoint into the engine; every rank calls it. Returns the step to go on from.

    former_recipe: the digest that versions up to 0.1 wrote for the same recipe
    Raises ConfigError where the run is another one than ``expected`` (ranks, recipe, layout), DataError for other data.
    """
    found = Position(**json.loads((path / MANIFEST).read_text())["position"])
    if found.data != expected.data:
        raise DataError(f"{path} was trained on another shard set", "pass the same --data, or start a new --out")
    if found.recipe not in (expected.recipe, former_recipe):
        raise ConfigError(f"{path} was trained with another recipe", "compare RUN/recipe.yaml, or start a new --out")
    if found.world != expected.world:
        raise ConfigError(
            f"{path} was written by {found.world} rank(s), this run has {expected.world}",
            f"launch {found.world} rank(s)",
        )
    if found.aligned and not expected.aligned:
        raise ConfigError(
            f"{path} was written with zero_optimization.parameter_alignment, this run's DeepSpeed JSON has it off"
            " or another stage, which lays the weights end to end",
            "resume with the --ds_config the run was started with",
        )
    with _laid_out_anew(engine) if expected.aligned and not found.aligned else nullcontext():
        loaded, _ = engine.load_checkpoint(str(path.parent), tag=path.name)
    if loaded is None:
        raise DataError(f"DeepSpeed found nothing to load in {path}", "use an older checkpoint")
    return found.step


@contextmanager
def _laid_out_anew(engine: Any) -> Iterator[None]:
    """Inside, states whose tensors lie end to end are read into padded buffers, to the bit.

    DeepSpeed 0.19.8 does so with what its older versions wrote, which note no paddings, but refuses the empty note of
    its own: that is taken away.
    """
    optimizer = engine.optimizer
    load = optimizer.load_state_dict

    def without_the_note(state_dict_list: list[dict[str, Any] | None], *rest: Any, **options: Any) -> Any:
        for states in state_dict_list:
            if states:
                states.pop("param_alignment_paddings", None)
        return load(state_dict_list, *rest, **options)

    optimizer.load_state_dict = without_the_note
    try:
        yield
    finally:
        del optimizer.load_state_dict


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _make_room(folder: Path, temporary: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for left_over in folder.glob("*.tmp"):
        shutil.rmtree(left_over)
    last = max((sum(f.stat().st_size for f in p.rglob("*")) for p in folder.glob("step-*")), default=0)
    if (free := shutil.disk_usage(folder).free) < 1.2 * last:
        raise StorageError(f"{folder}: {free / 1e9:.1f} GB free, a checkpoint takes {last / 1e9:.1f} GB", "free space")
    temporary.mkdir(mode=0o700)


def _seal_share(temporary: Path) -> list[dict[str, Any]]:
    """Sync and digest this rank's share of all files, whoever wrote them."""
    files = sorted(p for p in temporary.rglob("*") if p.is_file())
    return [_seal(p, temporary) for p in files[dist.get_rank() :: dist.get_world_size()]]


def _seal(file: Path, root: Path) -> dict[str, Any]:
    sync(file)
    return {"name": str(file.relative_to(root)), "bytes": file.stat().st_size, "sha256": _sha256(file)}


def _commit(temporary: Path, final: Path, position: Position, files: list[dict[str, Any]]) -> None:
    versions = {"torch": torch.__version__}
    write_json(
        temporary / MANIFEST, {"format": FORMAT, "position": asdict(position), "versions": versions, "files": files}
    )
    if final.exists():  # a step saved twice after a resume: the content is the same
        shutil.rmtree(final)
    os.replace(temporary, final)
    sync(final.parent)
    for pointer in ("LATEST", "latest"):  # ours, and the one DeepSpeed's own tools look for
        write_atomically(final.parent / pointer, final.name.encode())


def _purge(folder: Path, keep: int, stay: set[str]) -> None:
    """Delete all but the newest, those that ``stay`` names, and the best."""
    stay = stay | {best_of(folder)[0]}
    passing = sorted(p for p in folder.glob("step-*") if p.suffix != ".tmp" and p.name not in stay)
    newest = sorted(p for p in folder.glob("step-*") if p.suffix != ".tmp")[-keep:]
    for old in passing:
        if old not in newest:
            shutil.rmtree(old, ignore_errors=True)  # a copy too many is no reason to stop


def _sha256(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _on_rank_0(action: Callable[[], None]) -> None:
    _on_every_rank(action if dist.get_rank() == 0 else lambda: None)


def _on_every_rank(action: Callable[[], Any]) -> None:
    """Run and meet: if one rank fails, all raise, so none waits for it in the next collective."""
    fault = ""
    try:
        action()
    except Exception as error:  # a full disk is an OSError here, a RuntimeError in torch.save
        fault = f"{type(error).__name__}: {error}"
    faults: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(faults, fault)
    if any(faults):
        raise StorageError(f"checkpoint not written: {max(faults)}", "free space, or check permissions")
