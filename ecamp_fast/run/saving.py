"""The checkpoints of a run: when one is begun, how it went, and from which the run goes on."""

import math
import shutil
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch.distributed as dist

from ecamp_fast.config import Recipe
from ecamp_fast.config.changes import judge_changes, settings_of
from ecamp_fast.errors import DataError, StorageError
from ecamp_fast.run.checkpoint.agreement import RankFault, ranks_of_this_run, together
from ecamp_fast.run.checkpoint.deepspeed_files import save_for_deepspeed
from ecamp_fast.run.checkpoint.engine_state import engine_state, load_engine_state
from ecamp_fast.run.checkpoint.find import find_together
from ecamp_fast.run.checkpoint.manifest import ROOM, STATE_BYTES, Position
from ecamp_fast.run.checkpoint.read import Checkpoint
from ecamp_fast.run.checkpoint.retention import best_of, set_aside
from ecamp_fast.run.checkpoint.saver import Outcome, Request, Saver
from ecamp_fast.run.rundir import RunDir, read_metrics, read_records
from ecamp_fast.run.setup import Job
from ecamp_fast.shards.load.mix import describe_change


class RunCheckpoints:
    """Saves the checkpoints of one run, and resumes from them; every rank has one and calls it at the same steps.

    run         its directory
    engine      whose state it is
    ds_config   resolved
    data        digest of what it is trained on
    milestones  steps whose checkpoints stay
    sets        that it is trained on, where they are several, as ``weights_of`` gives them
    """

    def __init__(
        self,
        job: Job,
        run: RunDir,
        engine: Any,
        recipe: Recipe,
        ds_config: dict[str, Any],
        data: str,
        milestones: Collection[int],
        sets: dict[str, Any] | None = None,
    ) -> None:
        self._job, self._run, self._engine = job, run, engine
        self._settings = settings_of(recipe, ds_config) | {"layout": layout(engine, recipe)}
        if sets:
            self._settings["data"] = sets
        self._data, self._milestones, self._config = data, milestones, recipe.checkpoint
        self._ranks = ranks_of_this_run()
        self._saver = Saver(run.checkpoints, self._ranks, self._config.keep, self._config.background)
        self._main = self._ranks.rank == 0
        self._saved_at = time.monotonic()
        self._best = math.inf
        self._last: Outcome | None = None
        self._saved = 0  # step of the last checkpoint that stands
        self.opening: list[str] = []  # what resuming has to say
        self.left_out: list[int] = []  # steps whose updates the checkpoint gone on from says are to be left out

    @property
    def is_due(self) -> bool:
        """Whether the clock says so, which ranks must agree on."""
        minutes = self._config.every_minutes
        return minutes is not None and time.monotonic() - self._saved_at >= minutes * 60

    def is_best(self, loss: float) -> bool:
        """Whether a checkpoint with this held-out loss is to stay."""
        return self._config.keep_best and loss < self._best

    def save(
        self, step: int, loss: float = math.inf, before: Collection[int] = (), left_out: Collection[int] = ()
    ) -> None:
        """Begin a checkpoint; waits for the one before.

        step      steps done
        loss      held out; where none before was lower, the checkpoint stays
        before    steps: of each, the newest checkpoint at or before it stays
        left_out  steps whose updates are to be left out when they come
        """
        self._saved_at = time.monotonic()
        best = loss if self.is_best(loss) else None
        self._best = min(loss, self._best)
        position = Position(step=step, data=self._data, settings=self._settings, left_out=sorted(left_out))
        self._saver.save(engine_state(self._engine), Request(position, best, self._milestones, before))
        self.look()
        if self._config.deepspeed:
            self._save_for_deepspeed(step)

    def _save_for_deepspeed(self, step: int) -> None:
        """The other checkpoint is read by nobody here, so that its failure is told and no more."""
        self.wait()
        try:
            save_for_deepspeed(self._engine, self._run.path / "deepspeed", step, self._ranks)
        except StorageError as error:
            self._run.event("not_saved", step=step, fault=str(error))

    def require_room(self) -> None:
        """Raises StorageError on every rank where the disk has no room for one checkpoint."""
        parameters = sum(parameter.numel() for parameter in self._engine.module.parameters())
        try:
            together(self._ranks, "room", lambda: self._judge_room(STATE_BYTES * parameters) if self._main else None)
        except RankFault as fault:
            raise StorageError(str(fault), "free space, or choose another --out") from fault

    def _judge_room(self, needed: float) -> None:
        free = shutil.disk_usage(self._run.path).free
        if free < ROOM * needed:
            raise OSError(f"{self._run.path}: {free / 1e9:.2f} GB free, a checkpoint takes {needed / 1e9:.2f} GB")

    def look(self) -> int:
        """Tell how the saves went that have ended since. One that failed is no end: the one before it stands.

        returns the step of the last that did not fail, or of the checkpoint that the run went on from
        """
        if ended := self._saver.finished():
            self._last = ended[-1]
            self._tell(ended)
        return self._saved

    def finish(self) -> None:
        """Wait for the last save.  Raises what kept it from the disk: StorageError, NumericsError, AgreementError."""
        self.wait()
        if self._last and self._last.fault:
            raise self._last.fault

    def wait(self) -> int:
        """Until no save is under way. Returns what ``look`` does."""
        self._saver.wait()
        return self.look()

    def go_back(self, path: Path) -> int:
        """Load a checkpoint of this run, verified, in the middle of it; later ones are set aside.

        Returns its steps done.
        """
        step = self._load(path)
        self._set_aside(step, self._main)
        return step

    def resume(self) -> int:
        """Load the checkpoint that the job means. Returns the steps done, 0 where a run begins.

        Raises DataError where none verifies or it is of other data, ConfigError where it is of another run.
        """
        folder, mode = self._run.checkpoints, self._job.resume
        path = find_together(folder, mode, self._note_rejected, self._known, self._healthy_until)
        if path is not None:
            step = self._load(path)
            later = self._main and (mode not in ("auto", "must") or self._healthy_until() is not None)
            self._set_aside(step, later)
            return step
        self._read_best()
        if lost := steps_lost(self._run):
            self._run.event("restarted", steps=lost)
            self.opening.append(f"no checkpoint was committed before: {lost} steps are trained again")
        return 0

    def _load(self, path: Path) -> int:
        checkpoint = Checkpoint(path)
        position = checkpoint.position
        if position.data != self._data:
            raise other_data(path, position, self._data, self._settings.get("data", {}))
        changes = judge_changes(position.settings, self._settings, self._job.allow, str(path))
        load_engine_state(self._engine, checkpoint)
        self._engine.global_steps = self._saved = position.step
        self.left_out = position.left_out
        self._run.event("resumed", step=position.step, checkpoint=path.name, changes=changes)
        self.opening += [f"changed: {change}" for change in changes]
        if moved := other_layout(position.settings.get("layout", {}), self._settings["layout"]):
            self.opening.append(
                f"laid out anew: {moved}; samples, order, crops and masks stay, dropout and the order of sums do not"
            )
        return position.step

    def _set_aside(self, step: int, does: bool) -> None:
        """Later checkpoints must neither be what the next start finds nor push out what this run saves.

        does: whether to do it, on rank 0; every rank calls it
        """
        try:
            left = together(self._ranks, "aside", lambda: set_aside(self._run.checkpoints, step) if does else [])
        except RankFault as fault:
            raise StorageError(f"later checkpoints cannot be set aside: {fault}", "check permissions") from fault
        self._read_best()
        if left[0]:
            self._run.event("set_aside", step=step, checkpoints=left[0])
            self.opening.append(f"set aside, since they are later: {', '.join(left[0])}")

    def _read_best(self) -> None:
        """As rank 0 sees it; every rank calls it."""
        self._best = together(self._ranks, "best", lambda: best_of(self._run.checkpoints)[1])[0]

    def _known(self) -> int | None:
        return last_saved(self._run)

    def _healthy_until(self) -> int | None:
        return healthy_until(self._run)

    def _note_rejected(self, name: str, reason: str) -> None:
        self._run.event("rejected", checkpoint=name, reason=reason)

    def _tell(self, ended: list[Outcome]) -> None:
        for one in ended:
            step = one.request.position.step
            if one.fault:
                self._run.event("not_saved", step=step, fault=str(one.fault))
                self._run.set_state(alarm=f"step {step} was not saved: {one.fault}")
            else:
                self._saved = step
                times = {"seconds": round(one.seconds, 3), "stall": round(one.stall, 3)}
                self._run.event("saved", step=step, checkpoint=one.path.name, **times)
                self._run.set_state(step=step, saved=step, alarm=None)
            if one.untidy:
                self._run.event("untidy", step=step, fault=one.untidy)


def last_saved(run: RunDir) -> int | None:
    """Step of the last checkpoint that a run itself knows of.  Raises DataError where it cannot be known."""
    try:
        events = read_records(run.path / "events.jsonl")
    except (OSError, ValueError) as error:
        found = f"{run.path / 'events.jsonl'} cannot be read ({type(error).__name__})"
        raise DataError(found, "restore it, or start afresh with --resume never") from None
    saved = [event.get("step") for event in events if isinstance(event, dict) and event.get("event") == "saved"]
    steps = [step for step in (*saved, run.state().get("saved")) if isinstance(step, int)]
    return max(steps, default=None)


def healthy_until(run: RunDir) -> int | None:
    """Where the last leg ended since numbers went bad, the step until which they were sound."""
    try:
        state = run.state()
    except DataError:  # it says nothing then; the checkpoints are judged by themselves
        return None
    limit = state.get("resume_before")
    return limit if isinstance(limit, int) else None


def layout(engine: Any, recipe: Recipe) -> dict[str, Any]:
    """What may differ between the legs of a run, and moves dropout and the order of sums alone."""
    return {"ranks": dist.get_world_size(), "batch.micro": recipe.micro, "ZeRO": engine.zero_optimization_stage()}


def other_layout(before: dict[str, Any], now: dict[str, Any]) -> str:
    """What differs between two layouts, in words."""
    return ", ".join(
        f"{name} {before[name]} -> {value}" for name, value in now.items() if before.get(name, value) != value
    )


def other_data(path: Path, position: Position, digest: str, sets: dict[str, Any]) -> DataError:
    """Why a checkpoint is not gone on from.  digest, sets: of the data there is now, see ``weights_of``"""
    before = position.settings.get("data", {})
    change = ""
    if before or sets:
        alone = (["", 1.0] for _ in range(2))
        change = f": {describe_change(before or {position.data: next(alone)}, sets or {digest: next(alone)})}"
    return DataError(f"{path} was trained on another shard set{change}", "pass the same --data, or start a new --out")


def steps_lost(run: RunDir) -> int:
    """Steps that a run without a checkpoint had done, and does again."""
    return max((record["step"] for record in read_metrics(run.path)), default=0)
