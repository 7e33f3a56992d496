"""metrics.jsonl as it grows, and what of a line may be sent: numbers under names of a list, nothing else."""

import math
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from ecamp_fast.strict_json import parse_record

SPLITS = ("train", "val")


class GrowingLines:
    """The objects of a .jsonl file that others append to; a torn line is left out, one without an end waits."""

    def __init__(self, file: Path) -> None:
        self._file, self._read, self._rest = file, 0, b""

    def new(self) -> Iterator[dict[str, Any]]:
        """Those that have come since the last call.  Raises OSError, but for a file that is not there yet."""
        try:
            with open(self._file, "rb") as file:
                file.seek(self._read)
                data = file.read()
        except FileNotFoundError:
            return
        self._read += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            try:
                record = parse_record(line)
            except ValueError:
                continue
            if isinstance(record, dict):
                yield record


def position(record: dict[str, Any]) -> tuple[str, int] | None:
    """Split and step of a line of metrics.jsonl; None where it is of neither."""
    split, step = record.get("split", "train"), record.get("step")
    return (split, step) if split in SPLITS and type(step) is int and step >= 0 else None


def numbers(record: dict[str, Any], split: str, names: Collection[str]) -> dict[str, float]:
    """What is sent of a line: finite numbers under ``names``, each with its split before it."""
    sent = {}
    for name in names:
        value: Any = record.get(name)
        if type(value) in (int, float) and math.isfinite(value):  # a switch is no number
            sent[f"{split}/{name}"] = float(value)
    return sent
