"""One recipe's training step, counted for texts of any mean length and micro-batches of any size."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ecamp_fast.bench.roofline.bytes import KernelGroup, step_bytes
from ecamp_fast.bench.roofline.overheads import step_overheads
from ecamp_fast.bench.roofline.zero import Weights, Zero, weights_of

if TYPE_CHECKING:
    from ecamp_fast.config import Recipe


DRAWN = 64  # samples that tell the share of predicted words


@dataclass(frozen=True, slots=True)
class CountedStep:
    """What stays the same from one count to the next.

    vocab_size  words of the model
    spread      deviation of a text's length over its mean
    predicted   rows where a word is predicted, over all tokens
    weights     of the model, as ZeRO sees them
    """

    recipe: "Recipe"
    vocab_size: int
    spread: float
    predicted: float
    weights: Weights

    def groups(self, tokens: float, micro: int, zero: Zero) -> list[KernelGroup]:
        """Needed work and what goes beyond it.  tokens: mean length of a text   micro: samples of the micro-batch"""
        from ecamp_fast.bench.data.synthetic import text_lengths

        lengths = text_lengths(micro, tokens, self.spread, self.recipe.text.max_tokens)
        counted = self.recipe, self.vocab_size, lengths, round(self.predicted * sum(lengths))
        updated = self.weights.numbers // (zero.ranks if zero.stage else 1)
        return step_bytes(*counted, updated, zero.micro_steps) + step_overheads(*counted, self.weights, zero)


def count_step(recipe: "Recipe", vocab_size: int, tokens: float, spread: float) -> CountedStep:
    """Builds the model without memory for its weights.  tokens: mean length at which predicted words are drawn"""
    import torch

    from ecamp_fast.model.ecamp import Ecamp

    with torch.device("meta"):
        weights = weights_of(Ecamp(recipe, vocab_size), recipe.optim.weight_decay)
    return CountedStep(recipe, vocab_size, spread, _predicted_share(recipe, vocab_size, tokens, spread), weights)


def _predicted_share(recipe: "Recipe", vocab_size: int, tokens: float, spread: float) -> float:
    """Predicted rows over tokens, of a batch of noise."""
    from ecamp_fast.bench.data.synthetic import synthetic_batch, text_lengths
    from ecamp_fast.bench.step.counting import predicted_rows

    lengths = text_lengths(DRAWN, tokens, spread, recipe.text.max_tokens)
    return predicted_rows(synthetic_batch(recipe, vocab_size, lengths, recipe.seed)) / sum(lengths)
