"""DeepSpeed's own checkpoint files, for its tools (``zero_to_fp32``, ``ds_to_universal``); no run goes on from them.

They are pickles, which run code when they are read.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ecamp_fast.errors import StorageError
from ecamp_fast.files import write_atomically
from ecamp_fast.run.checkpoint.agreement import RankFault, Ranks, together
from ecamp_fast.run.checkpoint.manifest import name_of


def save_for_deepspeed(engine: Any, folder: Path, step: int, ranks: Ranks) -> None:
    """Write DeepSpeed's files of ``step`` into ``folder`` and name them in its ``latest``; earlier ones are removed.

    Every rank calls it.  Raises StorageError on every rank where one cannot write.
    """
    name = name_of(step)

    def begin() -> None:
        (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)

    def judge() -> None:
        if faults:
            raise OSError(str(faults[0]))

    def point() -> None:
        write_atomically(folder / "latest", name.encode())
        for other in folder.glob("step-*"):
            if other.name != name:
                shutil.rmtree(other, ignore_errors=True)

    try:
        together(ranks, f"deepspeed/{step}/begun", begin)
        with _faults_noted(engine) as faults:
            engine.save_checkpoint(str(folder), tag=name, save_latest=False)
        together(ranks, f"deepspeed/{step}/written", judge)
        together(ranks, f"deepspeed/{step}/named", point if ranks.rank == 0 else lambda: None)
    except RankFault as fault:
        raise StorageError(f"DeepSpeed's files of step {step} not written: {fault}", "free space") from fault


@contextmanager
def _faults_noted(engine: Any) -> Iterator[list[Exception]]:
    """Inside, a file that cannot be written raises nothing: DeepSpeed has barriers behind, where other ranks wait."""
    faults: list[Exception] = []
    writer = engine.checkpoint_engine
    save = writer.save

    def noted(*arguments: Any, **options: Any) -> None:
        try:
            save(*arguments, **options)
        except (OSError, RuntimeError) as error:  # torch.save says of a full disk that its archive failed
            faults.append(error)

    writer.save = noted
    try:
        yield faults
    finally:
        del writer.save
