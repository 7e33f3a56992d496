"""Where the batches of ``bench train`` come from: noise in memory, or a shard set, from memory and read anew."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any, Protocol

from ecamp_fast.batch import Batch
from ecamp_fast.bench.data.synthetic import one_shape, text_lengths
from ecamp_fast.bench.step.counting import sample_work
from ecamp_fast.config import Recipe
from ecamp_fast.model.ecamp import Ecamp

if TYPE_CHECKING:
    import torch

    from ecamp_fast.shards.load.read import ShardSet

HELD = 8  # micro-batches of shards that lie on the device
NOISE = 4  # and of noise: one of 1024 samples takes a second to make
WARM_UP = 2  # steps from memory before the clock runs, beside the parity step
Work = dict[str, dict[str, float]]  # by feed: see ``counting.sample_work``


class Feeds(Protocol):
    """names: of the feeds, ``memory`` first   gate: a micro-batch of the shape that is timed"""

    names: tuple[str, ...]
    gate: Batch

    def settle(self, accumulation: int) -> int:
        """Steps to take in every block before the clock runs."""

    def count_work(self, model: Ecamp, accumulation: int, steps: int) -> Work:
        """Work per sample of the batches to be timed, counted apart from the clock."""

    def open(self, name: str, steps: int) -> Any:
        """A context whose value gives the micro-batches of ``steps`` steps, settling included."""


class Noise:
    """Synthetic micro-batches from memory."""

    names: tuple[str, ...] = ("memory",)

    def __init__(self, recipe: Recipe, vocab_size: int, tokens: float, spread: float, device: "torch.device") -> None:
        lengths = text_lengths(recipe.micro, tokens, spread, recipe.text.max_tokens)
        self._held = [batch.to(device) for batch in one_shape(recipe, vocab_size, lengths, range(NOISE))]
        self.gate = self._held[0]

    def settle(self, accumulation: int) -> int:
        return WARM_UP

    def count_work(self, model: Ecamp, accumulation: int, steps: int) -> Work:
        return {"memory": _mean([sample_work(model, batch) for batch in self._held])}

    @contextmanager
    def open(self, name: str, steps: int) -> Iterator[Iterator[Batch]]:
        yield cycle(self._held)


class Shards:
    """Batches of a shard set: some held in memory, and all of them by the loader."""

    names: tuple[str, ...] = ("memory", "shards")

    def __init__(self, shards: "ShardSet", recipe: Recipe, device: "torch.device") -> None:
        from ecamp_fast.shards.load.loader import Loader

        self._loader = Loader(shards, "train", recipe, device=device)
        self._prefetch = recipe.loader.prefetch
        self._held: list[Batch] = []
        with closing(self._loader.batches(0, 1)) as batches:
            self.gate = next(batches)

    def settle(self, accumulation: int) -> int:
        """What was decoded before the clock runs must be used up by then: it would come at no cost."""
        from ecamp_fast.shards.load.decode import IN_FLIGHT

        return -(-(self._prefetch + IN_FLIGHT + 1) // accumulation)

    def count_work(self, model: Ecamp, accumulation: int, steps: int) -> Work:
        """The loader gives the same batches in every block."""
        settle = self.settle(accumulation)
        counts = []
        for batch in islice(self._loader.batches(0, settle + steps), settle * accumulation, None):
            if len(self._held) < HELD:
                self._held.append(batch)
            counts.append(sample_work(model, batch))
        return {"memory": _mean(counts[: len(self._held)]), "shards": _mean(counts)}

    @contextmanager
    def open(self, name: str, steps: int) -> Iterator[Iterator[Batch]]:
        if name == "memory":
            yield cycle(self._held)
            return
        with closing(self._loader.batches(0, steps)) as batches:  # its threads must not run in the other feed's time
            yield batches


def _mean(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
