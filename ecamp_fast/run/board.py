"""The lines of metrics.jsonl for TensorBoard, where it is installed (``pip install ecamp-fast[tensorboard]``)."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

SCALARS = ("loss", "mim", "sr", "mlm", "lr", "grad_norm", "images_per_second")


class Board:
    """Writes scalars into ``folder``; does nothing without TensorBoard, or on a rank that does not write.

    start: step the run goes on from; what an earlier leg wrote beyond it is hidden
    """

    def __init__(self, folder: Path, writes: bool, start: int) -> None:
        self._writer: Any = None
        if writes and find_spec("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder), purge_step=start + 1)

    def add(self, record: dict[str, Any]) -> None:
        """record: a line of metrics.jsonl."""
        if self._writer is None:
            return
        for name in SCALARS:
            if name in record:
                self._writer.add_scalar(f"{record.get('split', 'train')}/{name}", record[name], record["step"])
        self._writer.flush()
