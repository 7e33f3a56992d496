"""Writers that are killed anywhere: what is found afterwards is whole, and nobody has to clean up."""

import random
import time
from pathlib import Path

import pytest

from ecamp_fast.run.checkpoint.saver import Request, Saver

POINTS = {  # by rank
    "0": [
        *("checkpoint.begin", "checkpoint.write", "checkpoint.written", "checkpoint.manifest", "checkpoint.sealed"),
        *("checkpoint.committed", "checkpoint.purge", "write:file=rank-*", "fsync:file=rank-*"),
        *("write:file=MANIFEST.json", "fsync:file=MANIFEST.json", "fsync:file=step-*.tmp-*", "rename:file=step-*"),
        *("fsync:file=checkpoints", "rename:file=step-*.tmp-gone", "write:file=BEST", "rename:file=BEST"),
        "rename:file=step-*.tmp-old",
    ],
    "1": ["checkpoint.write", "checkpoint.written", "write:file=rank-*", "fsync:file=rank-*"],
}
AT_POINTS = [f"{point}:rank={rank}" for rank, points in POINTS.items() for point in points]
STEPS = 12  # that a writer saves before it leaves by itself


def writer(folder: Path, lab, first: int, background: bool):
    """A job: a checkpoint of every step from ``first`` on; tells of each that is committed."""

    def job(ranks, tell):
        saver = Saver(folder, ranks, 2, background)
        for step in range(first, first + STEPS):
            saver.save(lab.share(step, ranks.rank, ranks.world), Request(lab.at(step), best=1 / step))
            for outcome in saver.finished():
                tell(outcome.request.position.step if outcome.fault is None else str(outcome.fault))
        saver.wait()
        tell("end")

    return job


class Drill:
    """Kills writers in one folder, one after the other, and looks at what each left."""

    def __init__(self, folder: Path, lab, crew) -> None:
        self._folder, self._lab, self._crew = folder, lab, crew
        self._step = 0  # of the newest checkpoint
        self.kills = 0

    def kill_at(self, point: str, background: bool, nth: int) -> None:
        """The rank kills itself there the n-th time; its launcher kills the others."""
        if "tmp-old" in point and self._step:  # a checkpoint is replaced where a damaged one is in the way
            (self._folder / f"step-{self._step + 2:08d}").mkdir()
        team = self._crew.start(
            writer(self._folder, self._lab, self._step + 1, background), fault=f"{point}:nth={nth}:kill"
        )
        rank = int(point[-1])
        team.wait_for(rank)
        self._judge(team, [rank], point)

    def kill_after(self, seconds: float, ranks: list[int], background: bool) -> None:
        team = self._crew.start(writer(self._folder, self._lab, self._step + 1, background))
        team.listen(seconds)
        team.kill(*ranks)
        self._judge(team, ranks, f"{seconds:.4f} s, {ranks}")

    def _judge(self, team, killed: list[int], where: str) -> None:
        team.kill()
        statuses = team.reap()
        self.kills += all(statuses[rank] == -9 for rank in killed)
        team.listen(5)
        committed = [step for told in team.told() for step in told if isinstance(step, int)]
        faults = [told for rank in team.told() for told in rank if isinstance(told, str) and told != "end"]
        assert faults == [], (where, faults)
        path, notes = self._lab.found_in(self._folder)
        junk = [name for name, reason in notes if "no readable MANIFEST" not in reason]
        assert junk == [], (where, notes)
        if path is None:
            assert self._step == 0 and not committed, where
            return
        assert self._lab.is_as_saved(path), where
        step = int(path.name[5:])
        assert step >= max([self._step, *committed]), (where, step, committed)
        self._step = step

    def ends_clean(self) -> None:
        """The next save works, and nothing is left of the kills."""
        step = self._step + 1
        told = self._crew.start(writer(self._folder, self._lab, step, True)).answers()
        assert told[0][-1] == told[1][-1] == "end"
        path, notes = self._lab.found_in(self._folder)
        assert path.name == f"step-{step + STEPS - 1:08d}" and notes == []
        assert self._lab.left_overs(self._folder) == [] and not list(self._folder.glob(".*"))


@pytest.fixture
def drill(folder: Path, lab, crew) -> Drill:
    return Drill(folder, lab, crew)


@pytest.mark.fault("C1.each-point", "C1.each-rank", "C1.background", "C1.nothing-to-clean", "C1.none-corrupt")
@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("nth", [1, pytest.param(3, marks=pytest.mark.complete)])
def test_killed_at_every_point(drill: Drill, background: bool, nth: int) -> None:
    points = AT_POINTS if nth > 1 else AT_POINTS[background::2]
    for point in points:
        drill.kill_at(point, background, 1 if "tmp-old" in point else nth)
    drill.ends_clean()
    assert drill.kills == len(points)


@pytest.mark.fault("C1.random", "C1.each-rank", "C1.background", "C1.nothing-to-clean", "C1.none-corrupt")
@pytest.mark.parametrize("kills", [10, pytest.param(234, marks=pytest.mark.complete)])
def test_killed_at_random(drill: Drill, kills: int) -> None:
    chance = random.Random(kills)
    began = time.monotonic()
    tries = 0
    while drill.kills < kills and time.monotonic() - began < 300:
        drill.kill_after(chance.uniform(0, 0.12), chance.choice([[0], [1], [0, 1]]), chance.random() < 0.5)
        tries += 1
    drill.ends_clean()
    assert drill.kills == kills <= tries
