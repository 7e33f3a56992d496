"""A step of a run once more, in one process: newest checkpoint before it, then the same samples, keys and seeds.

A run of several ranks is gone through in turn: the micro-batches of all, each with the dropout of its rank. Sums are
then added in another order, so losses agree to rounding.
"""

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ecamp_fast.config import Recipe
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.replay.recorded import Recorded, find_record
from ecamp_fast.replay.search import Culprit, Search, SearchedStep
from ecamp_fast.run import deepspeed_config
from ecamp_fast.run.checkpoint.engine_state import load_engine_state, named_states
from ecamp_fast.run.checkpoint.read import Checkpoint
from ecamp_fast.run.checkpoint.verify import damage
from ecamp_fast.run.distributed import DistContext
from ecamp_fast.run.metrics import NAMES
from ecamp_fast.run.rundir import RunDir, read_metrics, read_records
from ecamp_fast.run.safety.numbers import LEAVE_OUT, NO_LIMITS
from ecamp_fast.run.safety.watch import before
from ecamp_fast.run.schedule import learning_rate
from ecamp_fast.run.setup import build
from ecamp_fast.run.trained import read_recipe
from ecamp_fast.shards.load.loader import Loader
from ecamp_fast.shards.load.mix import open_data
from ecamp_fast.shards.storage.weighted import as_recorded

BATCH = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")


@dataclass(frozen=True)
class Replayed:
    """What the step gave.

    start     name of the checkpoint it was rebuilt from, '' for the first weights; its step
    ranks     of the run
    applied   whether the weights moved
    losses    by ``metrics.NAMES``, means over the step
    first     what was not finite first; None where everything is finite
    bad_since the step after which the states were not finite already, and what was; None where they were before it
    recorded  what the run recorded of the step; None where it recorded nothing
    """

    step: int
    start: str
    start_step: int
    ranks: int
    applied: bool
    losses: dict[str, float]
    grad_norm: float
    first: Culprit | None
    keys: tuple[str, ...]
    bad_since: tuple[int, Culprit] | None = None
    recorded: Recorded | None = None

    @property
    def agrees(self) -> bool | None:
        """Whether the run recorded what came now; None where there is nothing to compare."""
        return self.recorded.agrees if self.recorded else None

    def as_dict(self) -> dict[str, Any]:
        """Without report text and pixels: samples are named by their keys."""
        found = asdict(self) | {"finite": self.first is None, "agrees": self.agrees}
        found |= self.recorded.as_dict() if self.recorded else {"recorded": {}}
        if self.bad_since:
            found["bad_since"] = {"step": self.bad_since[0]} | asdict(self.bad_since[1])
        return found


class Rebuild:
    """The steps of a run, in one process.

    run   its directory   data: its shard sets, where they are not where the run names them

    Raises ConfigError where ``run`` is none, DataError where the shard set is another one.
    """

    def __init__(self, run: Path, context: DistContext, data: Sequence[str] = ()) -> None:
        recipe, state = read_recipe(run), RunDir(run, writes=False).state()
        if recipe.losses.gloria:
            raise ConfigError(
                f"{run} trained a GLoRIA: replay rebuilds steps of pre-training alone",
                "name a run of `ecamp-fast train`",
            )
        if "ranks" not in state:
            raise ConfigError(f"{run} has not trained yet", "name the folder given as --out")
        self.run, self.ranks, self.done = run, int(state["ranks"]), int(state.get("step", 0))
        self.recipe = Recipe.model_validate(recipe.model_copy(update={"compile": "off"}).model_dump())
        self.shards = open_data(data or as_recorded(state["data"]), recipe.loader.quarantine, recipe.loader.cache_gb)
        if self.shards.manifest.digest != state["manifest"]:
            raise DataError(f"{self.shards.path} is not the shard set of {run}", "name the run's: --data")
        self._context, self._samples = context, self.shards.epoch("train")
        self._ds_config = _on_one_rank(run / "ds_config.json", self.recipe)

    def replay(self, step: int, say: Callable[[str], None] = lambda line: None) -> Replayed:
        """Step ``step`` (from 1, as events.jsonl and metrics.jsonl count).  say: receives what it is about to do

        Where the newest checkpoint is not the one right before the step, the steps between are trained again.
        Raises ConfigError where the run has no such step, DataError where a checkpoint cannot be read.
        """
        last = max(
            (record["step"] for record in read_records(self.run / "events.jsonl") if "step" in record), default=0
        )
        if not 0 < step <= max(self.done, last):
            raise ConfigError(f"{self.run} has no step {step}", f"choose one from 1 to {max(self.done, last)}")
        path = next((path for path in before(self.run / "checkpoints", step - 1) if not damage(path)), None)
        engine = build(self.recipe, self.shards.manifest.vocab_size, self._context, self._ds_config)
        begun = self._restore(engine, path) if path else 0
        say(self._plan(path, begun, step))
        search = Search(engine.module)
        clipping = self._ds_config.get("gradient_clipping", 0.0)
        steps = SearchedStep(search, engine, self.recipe, self._context, clipping, ranks=self.ranks)
        return self._go(engine, steps, search, path, begun, step, say)

    def _restore(self, engine: Any, path: Path) -> int:
        """Put a checkpoint into the engine. Returns its steps."""
        checkpoint = Checkpoint(path)
        if checkpoint.position.data != self.shards.manifest.digest:
            raise DataError(f"{path} was trained on another shard set", "name the run's: --data")
        load_engine_state(engine, checkpoint)
        return checkpoint.position.step

    def _go(
        self,
        engine: Any,
        steps: SearchedStep,
        search: Search,
        path: Path | None,
        begun: int,
        step: int,
        say: Callable[[str], None],
    ) -> Replayed:
        """All steps after ``begun`` up to ``step``."""
        left_out, given, bad_since = self._left_out(), {}, None
        loader = Loader(self.shards, "train", self.recipe, device=self._context.device)
        batches = loader.batches(begun, step)
        with search.looking():
            for number in range(begun + 1, step + 1):
                search.clear()
                search.tensors("", named_states(engine))
                if search.first and not bad_since:
                    bad_since = number - 1, search.first
                steps.backward(number - 1, learning_rate(self.recipe, number - 1, self._samples), batches)
                result = steps.update(limits=LEAVE_OUT if number in left_out else NO_LIMITS)
                search.tensors("", named_states(engine))
                given[number] = dict(zip(NAMES, result.losses, strict=True))
        batches.close()
        first = search.first
        return Replayed(
            step=step,
            start=path.name if path else "",
            start_step=begun,
            ranks=self.ranks,
            applied=result.applied,
            losses=given[step],
            grad_norm=result.norm,
            first=first,
            keys=tuple(self.shards.key("train", sample) for sample in first.samples) if first else (),
            bad_since=bad_since,
            recorded=find_record(self.run, step, given, result.norm, say),
        )

    def _plan(self, path: Path | None, begun: int, step: int) -> str:
        """What it takes, in words."""
        start = f"checkpoint {path.name}" if path else "the first weights (no checkpoint from before is left)"
        again = f", then {step - begun - 1} steps trained again" if step - begun > 1 else ""
        rates = [record["images_per_second"] for record in read_metrics(self.run) if record["images_per_second"] > 0]
        cost = (step - begun) * self.recipe.batch.total / rates[-1] if rates else 0.0
        return f"step {step} from {start}{again}; the run took {cost:.0f} s for that, looking takes longer"

    def _left_out(self) -> set[int]:
        """Steps whose updates the run left out though their numbers were finite."""
        events = read_records(self.run / "events.jsonl")
        kinds = {event["step"]: event for event in events if event.get("event") in ("spike", "left_out", "skipped")}
        return {
            step
            for step, event in kinds.items()
            if event["event"] == "left_out" or (event["event"] == "spike" and not event["applied"])
        }


def _on_one_rank(file: Path, recipe: Recipe) -> dict[str, Any]:
    """The DeepSpeed JSON of a run as one process has it, which goes through the micro-batches of all."""
    try:
        kept = {key: value for key, value in json.loads(file.read_text()).items() if key not in BATCH}
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"{file} cannot be read ({type(error).__name__})", "restore it") from None
    with tempfile.NamedTemporaryFile("w", suffix=".json") as alone:
        json.dump(kept, alone)
        alone.flush()
        return deepspeed_config.resolve(Path(alone.name), recipe, 1)
