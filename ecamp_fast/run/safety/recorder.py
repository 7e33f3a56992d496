"""The flight recorder: what every optimizer step was made of and what came of it, so that runs can be compared.

``flight`` is its file, ``tally`` gathers what goes into it, ``compare`` finds the first step at which two runs part.
"""

from collections.abc import Sequence

from ecamp_fast.errors import DataError
from ecamp_fast.run.rundir import RunDir
from ecamp_fast.run.safety.flight import FILE, FIRST, LEFT_OUT, FlightFile, pack
from ecamp_fast.run.safety.tally import Measured


class Recorder:
    """Writes a record per step into ``run``; on ranks that do not write nothing is written.

    A disk that refuses does not end the run: one event says so, records wait for room, another event says when they
    have found it.
    ranks: of the run
    """

    def __init__(self, run: RunDir, ranks: int) -> None:
        self._run, self._ranks = run, ranks
        self._file = FlightFile(run.path)
        self._first, self._given_up, self._refused = True, False, False

    def write(self, step: int, measured: Measured, losses: Sequence[float], norm: float, applied: bool) -> None:
        """Arguments from ``losses`` on as of ``UpdateResult``.  step: steps done, this one included"""
        if not self._run.writes or self._given_up:
            return
        flags = (0 if applied else LEFT_OUT) | (FIRST if self._first else 0)
        self._first = False
        digests = (measured.samples, measured.patches, measured.words)
        record = pack(step, flags, self._ranks, digests, (*losses, norm), measured.weights)
        try:
            self._file.append(record)
        except DataError as error:  # a file of another version, or a stranger's: it stays as it is
            self._given_up = True
            self._run.event("unrecorded", step=step, reason=error.what)
        except OSError as error:
            self._refuse(step, error)
        else:
            if self._refused:
                self._run.event("recorded", step=step)
            self._refused = False

    def sync(self, step: int) -> None:
        """Let the disk have all records, before a checkpoint is named.  step: steps done"""
        try:
            self._file.sync()
        except OSError as error:
            self._refuse(step, error)

    def close(self) -> None:
        """The end of a leg; another may follow."""
        self._file.close()
        self._first = True

    def _refuse(self, step: int, error: OSError) -> None:
        if not self._refused:
            self._run.event("unrecorded", step=step, reason=f"{FILE}: {error.strerror}")
        self._refused = True
