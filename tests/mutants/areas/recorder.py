"""The flight recorder: what a record is made of, its file, and where two runs part."""

from typing import Any

from mutant import mutants

TESTS = "tests/run/safety/test_"


def gathered() -> Any:
    """What the tally makes of two micro-batches, and the slots after an update of the weights, over and over."""
    import torch

    from ecamp_fast.batch import Batch, Text
    from ecamp_fast.config import load_recipe
    from ecamp_fast.objectives import Losses
    from ecamp_fast.run.safety.tally import SLOTS, StepTally

    torch.manual_seed(0)
    model, found = torch.nn.Linear(40, 40), []
    tally = StepTally(model, load_recipe("demo"), "cpu")
    nothing, slots = torch.zeros(0), torch.zeros(SLOTS, dtype=torch.float64)
    for step in range(2):
        for micro in range(2):
            text = Text(*[nothing] * 7, max_seqlen=0, digest=(1 << 45) + micro)
            keys = torch.tensor([(1 << 50) + step, 77 + micro])
            batch = Batch(nothing, nothing, nothing, text, nothing, keys, keys)
            keep = torch.tensor([[1, 2, 3], [4, 5, 6 + micro]])
            losses = Losses(*[nothing] * 4, keep=keep)
            tally.add(batch, losses)
        tally.put(slots)
        model.weight.data[0, 0] += 1
        tally.put_weights(slots)
        found.append((slots.tolist(), tally.read((slots * 3).tolist())))
    model.weight.data = model.weight.data.clone() + 1  # elsewhere in memory
    tally.put_weights(slots)
    return found, slots.tolist(), model(torch.ones(40)).sum().item()


def words() -> Any:
    """The digest of the masked words of a little text, in two orders."""
    import torch

    from ecamp_fast.config import load_recipe
    from ecamp_fast.text.packing.layout import masked_batch

    codes = torch.arange(20, 44, dtype=torch.int32)
    codes[[0, 12]] = 2
    starts, lengths = torch.tensor([0, 12, 24], dtype=torch.int32), torch.tensor([12, 12], dtype=torch.int32)
    keys = torch.tensor([5, 1 << 60])
    found = [masked_batch(codes, starts, lengths, keys, load_recipe("demo")).digest]
    return [*found, masked_batch(codes.roll(12), starts, lengths, keys.flip(0), load_recipe("demo")).digest]


def written() -> Any:
    """The bytes of a file that was torn, refused and gone on with, and what is read of it."""
    import os
    import tempfile
    from pathlib import Path

    from ecamp_fast.errors import DataError
    from ecamp_fast.run.rundir import RunDir, read_records
    from ecamp_fast.run.safety.flight import FILE, HEAD, pack, read_flight
    from ecamp_fast.run.safety.recorder import Recorder
    from ecamp_fast.run.safety.tally import Measured

    found: list[Any] = [pack(3, 1, 2, (4, 5, 6), (7.0, 8.0, 9.0, 1e300, float("nan")), 11)]
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        measured = Measured(1, 2, 3, 8)
        for leg in range(3):
            recorder = Recorder(RunDir(run), 2)
            for step in range(2 * leg + 1, 2 * leg + 5):
                os.environ["ECAMP_FAULT"] = f"write:file={FILE}:ENOSPC" if step in (2, 3, 6) else ""
                recorder.write(step, measured, (4.0, 5.0, 6.0, 7.0), step / 2, step % 3 > 0)
            recorder.close()
            with open(run / FILE, "ab") as file:
                file.write(b"torn" if leg else bytes(70))
        os.environ.pop("ECAMP_FAULT")
        flight = read_flight(run)
        events = [(event["event"], event["step"]) for event in read_records(run / "events.jsonl")]
        found += [(run / FILE).read_bytes(), flight.steps.tolist(), flight.earlier.tolist(), events]
        for damaged in (HEAD + bytes(63) + b"\1" * 65, HEAD[:20] + b"\1" + HEAD[21:], HEAD[:5]):
            (run / FILE).write_bytes(damaged)
            try:
                found.append(read_flight(run).steps.tolist())
            except DataError as error:
                found.append(error.what.replace(folder, ""))
    return str(found)


def compared() -> Any:
    """Comparisons of records that differ in this and that."""
    import numpy as np

    from ecamp_fast.run.safety.compare import compare, compare_redone
    from ecamp_fast.run.safety.flight import RECORD, Flight

    rows = [(n, 0, 2, n, n, n, 9.5, 4.0, 3.0, 2.5, 1.25, n, 0) for n in (1, 2, 3, 4)]
    one, found = np.array(rows, RECORD), []
    for field, value in (("samples", 9), ("mim", 4.001), ("norm", np.nan), ("flags", 1), ("flags", 2), ("weights", 9)):
        other = one.copy()
        other[field][2] = value
        other["words"][2], other["weights"][3] = 77, 5
        for tolerance in (None, 1e-2):
            found.append(compare(one, other[1:], tolerance))
            found.append(compare_redone(Flight(one, other[::-1]), tolerance))
    return str(found)


MUTANTS = [
    *mutants(
        "ecamp_fast/run/safety/tally.py",
        f"{TESTS}tally.py",
        gathered,
        {
            "masks are not bound to their sample": ("masks = keys * self._patches", "masks = self._patches"),
            "a step counts in the next": ("        self._clear()\n\n    def put_weights", "\n    def put_weights"),
            "the slice stays where the weights were": ("if where != self._where:", "if not self._slices:"),
            "the sums of ranks are cut": ("int(value) & _DIGEST for", "int(value) & 2**24 - 1 for"),
        },
    ),
    *mutants(
        "ecamp_fast/text/packing/layout.py",
        f"{TESTS}tally.py",
        words,
        {
            "every word counts as masked": ("masked.key * (masked.ids == MASK_ID)", "masked.key"),
            "masks of words are not bound to their sample": ("keys = masked.key * (", "keys = masked.key.sign() * ("),
        },
    ),
    *mutants(
        "ecamp_fast/run/safety/flight.py",
        f"{TESTS}flight.py {TESTS}recorder.py",
        written,
        {
            "the first record of a step counts": (
                "np.append(steps[1:] != steps[:-1], True)",
                "np.append(True, steps[1:] != steps[:-1])",
            ),
            "damage is read": ("np.flatnonzero(sums != records", "np.flatnonzero(sums * 0 != 0 * records"),
            "what was torn stays": ("os.ftruncate(file, len(HEAD) + SIZE", "(len(HEAD) + SIZE"),
            "what the disk refused is lost": (
                '        reach("write", file=FILE)\n        if self._file',
                "        pending, self._pending = self._pending, bytearray()\n"
                '        reach("write", file=FILE)\n        self._pending = pending\n        if self._file',
            ),
        },
    ),
    *mutants(
        "ecamp_fast/run/safety/recorder.py",
        f"{TESTS}recorder.py",
        written,
        {
            "a disk that refuses is told at every step": ("        if not self._refused:\n", "        if True:\n"),
            "an update left out is not marked": ("(0 if applied else LEFT_OUT)", "0"),
        },
    ),
    *mutants(
        "ecamp_fast/run/safety/compare.py",
        f"{TESTS}compare.py",
        compared,
        {
            "the last step is named": ('one["step"][places].argmin()', 'one["step"][places].argmax()'),
            "consequences are named before causes": ("for name in QUANTITIES if", "for name in QUANTITIES[::-1] if"),
            "no number is like any": ("apart[~np.isfinite(apart)] = np.inf", "apart[~np.isfinite(apart)] = 0.0"),
            "marks of legs are differences": ("& LEFT_OUT != 0", "!= 0"),
        },
    ),
]
