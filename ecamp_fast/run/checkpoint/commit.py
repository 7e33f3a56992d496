"""A checkpoint written by all ranks together, or by none: what makes it complete is one rename.

Every rank writes its tensors into ``step-NNNNNNNN.tmp-NONCE/`` and syncs them; rank 0 seals them by MANIFEST.json and
renames the folder. Ranks agree at every meeting, so all succeed or all fail.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from torch import Tensor

from ecamp_fast.errors import NumericsError, StorageError
from ecamp_fast.fault_points import reach
from ecamp_fast.files import rename, sync
from ecamp_fast.run.checkpoint.agreement import Alone, RankFault, Ranks, together
from ecamp_fast.run.checkpoint.find import REPLACED
from ecamp_fast.run.checkpoint.manifest import ROOM, Position, name_of, read_manifest, write_manifest
from ecamp_fast.run.checkpoint.retention import clean
from ecamp_fast.run.checkpoint.tensor_file import Piece, pieces_of, write_pieces
from ecamp_fast.run.checkpoint.verify import damage
from ecamp_fast.weights.finite import first_not_finite

ATTEMPTS = 3
PAUSE = 1.0  # seconds before the second attempt, doubled before the third


def save(
    folder: Path,
    tensors: Mapping[str, Tensor | Piece],
    position: Position,
    ranks: Ranks | None = None,
    wait: Callable[[float], object] = time.sleep,
) -> Path:
    """Commit a checkpoint of ``position.step`` below ``folder``; every rank calls it at the same step.

    tensors  of this rank, by name: whole ones, which one rank alone gives, or pieces that make a whole over all ranks
    ranks    all of them; None: this process alone
    wait     sleeps between attempts

    returns its folder. Raises on every rank StorageError where the disk refused three times, NumericsError where a
    number is not finite; AgreementError where a rank is gone. Older checkpoints are untouched then.
    """
    ranks, pieces = ranks or Alone(), pieces_of(tensors)
    final = folder / name_of(position.step)
    _refuse_not_finite(pieces, position.step, ranks)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _attempt(final, pieces, position, ranks, f"{position.step}/{attempt}")
        except RankFault as fault:
            if not fault.storage:
                raise
            if attempt == ATTEMPTS:
                found = f"checkpoint of step {position.step} not written in {ATTEMPTS} attempts: {fault}"
                raise StorageError(found, "free space, or check permissions") from fault
            wait(PAUSE * 2 ** (attempt - 1))
    raise AssertionError  # the loop has left


def _refuse_not_finite(pieces: Mapping[str, Piece], step: int, ranks: Ranks) -> None:
    """What was ruined on one rank is saved by none."""
    values = {name: piece.values for name, piece in pieces.items()}
    ruined = [name for name in together(ranks, f"{step}/finite", lambda: first_not_finite(values)) if name]
    if ruined:
        raise NumericsError(
            f"step {step} is not saved: {ruined[0]} is not finite",
            "go on from an older checkpoint: --resume PATH",
        )


def _attempt(final: Path, pieces: Mapping[str, Piece], position: Position, ranks: Ranks, key: str) -> Path:
    size = sum(piece.values.nbytes for piece in pieces.values())
    needed = sum(together(ranks, f"{key}/sizes", lambda: size))
    begun = together(ranks, f"{key}/begin", lambda: _begin(final, position, needed) if ranks.rank == 0 else None)
    if begun[0] is None:  # it stands already
        return final
    temporary = final.parent / begun[0]
    try:
        shares = together(ranks, f"{key}/written", lambda: _write_share(temporary, pieces, ranks))
        together(ranks, f"{key}/sealed", lambda: _seal(temporary, final, position, shares) if ranks.rank == 0 else None)
    except RankFault:  # all have met, nobody writes: what a full disk holds of it is in the way
        if ranks.rank == 0:
            with contextlib.suppress(OSError):  # the next attempt cleans too, where all ranks hear of it
                clean(final.parent)
        raise
    return final


def _begin(final: Path, position: Position, needed: int) -> str | None:
    """Name of a new temporary folder; None where the same checkpoint is committed already."""
    reach("checkpoint.begin", step=position.step)
    folder = final.parent
    if not folder.is_dir():
        folder.mkdir(parents=True, mode=0o700)
        sync(folder.parent)
    clean(folder)
    if final.exists() and not damage(final) and read_manifest(final).position == position:
        sync(folder)
        return None
    if (free := shutil.disk_usage(folder).free) < ROOM * needed:
        raise OSError(f"{folder}: {free / 1e9:.1f} GB free, a checkpoint takes {needed / 1e9:.1f} GB")
    temporary = folder / f"{final.name}.tmp-{uuid4().hex[:8]}"
    temporary.mkdir(mode=0o700)
    return temporary.name


def _write_share(temporary: Path, pieces: Mapping[str, Piece], ranks: Ranks) -> list[Any]:
    """Entry of this rank's file, and of each tensor in it: shape, key, start, stop."""
    name = f"rank-{ranks.rank:05d}-of-{ranks.world:05d}.safetensors"
    reach("checkpoint.write", file=name)
    entry = write_pieces(temporary / name, pieces)
    reach("checkpoint.written", file=name)
    return [entry, {name: [piece.shape, piece.key(name), piece.start, piece.stop] for name, piece in pieces.items()}]


def _seal(temporary: Path, final: Path, position: Position, shares: list[Any]) -> None:
    tensors: dict[str, dict[str, Any]] = {}
    for number, (_, parts) in enumerate(shares):
        for name, (shape, key, start, stop) in parts.items():
            tensor = tensors.setdefault(name, {"shape": list(shape), "parts": []})
            tensor["parts"].append({"file": number, "key": key, "start": start, "stop": stop})
    reach("checkpoint.manifest", step=position.step)
    write_manifest(temporary, position, [entry for entry, _ in shares], tensors)
    sync(temporary)
    reach("checkpoint.sealed", step=position.step)
    if os.path.lexists(final):  # damaged, or of another past: it stays until the new one stands
        rename(final, final.with_name(f"{final.name}{REPLACED}"))
    rename(temporary, final)
    reach("checkpoint.committed", step=position.step)
    with contextlib.suppress(OSError):  # it is committed, whatever lies beside it
        clean(final.parent)
