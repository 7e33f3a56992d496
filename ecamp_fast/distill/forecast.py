"""What is still to be spent: tokens by what earlier answers took, or by four characters a token, time and cost."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ecamp_fast.distill.distiller import Distiller
from ecamp_fast.distill.journal import Finished
from ecamp_fast.distill.reports import guarded

CHARACTERS_PER_TOKEN = 4.0
_SAMPLE = 200  # reports that are looked at
_PER_MESSAGE = 4  # tokens that a chat template adds


@dataclass(frozen=True)
class Prices:
    """Of a million tokens, in whatever currency; None where it is not known."""

    tokens_in: float | None = None
    tokens_out: float | None = None


@dataclass(frozen=True)
class Forecast:
    """Of the reports that are not finished.

    reports     how many
    asked       of them those that the model is asked about, about
    tokens_in   re-asks included where earlier answers tell of them
    tokens_out  likewise
    seconds     None before the first answers
    cost        None without prices
    measured    whether earlier answers tell how many characters a token has
    """

    reports: int
    asked: int
    tokens_in: int
    tokens_out: int
    seconds: float | None
    cost: float | None
    measured: bool


def cost_of(tokens_in: int, tokens_out: int, prices: Prices) -> float | None:
    """None without any price."""
    if prices.tokens_in is None and prices.tokens_out is None:
        return None
    return (tokens_in * (prices.tokens_in or 0.0) + tokens_out * (prices.tokens_out or 0.0)) / 1e6


def characters_in(messages: Iterable[dict[str, str]]) -> int:
    """That a request sends."""
    return sum(len(message["content"]) for message in messages)


def forecast(
    pending: Sequence[str],
    distiller: Distiller,
    finished: Iterable[Finished],
    concurrency: int,
    prices: Prices,
) -> Forecast:
    """Looks at ``_SAMPLE`` of the reports that are not finished, evenly taken, and at all that are."""
    asked = [entry for entry in finished if entry.characters]
    sample = pending[:: max(1, -(-len(pending) // _SAMPLE))]
    messages = [(text, found) for text in sample if (found := guarded(distiller.messages, text))]
    scale = len(pending) / len(sample) if sample else 0.0
    characters = scale * sum(characters_in(found) for _, found in messages)
    number = round(scale * len(messages))
    if asked:
        tries = sum(1 + sum(entry.faults.values()) for entry in asked) / len(asked)
        ratio = sum(entry.tokens_in for entry in asked) / sum(entry.characters for entry in asked)
        tokens_in, tokens_out = characters * ratio * tries, number * sum(e.tokens_out for e in asked) / len(asked)
        seconds = number * sum(entry.seconds for entry in asked) / len(asked) / concurrency
    else:
        tokens_in = characters / CHARACTERS_PER_TOKEN + scale * _PER_MESSAGE * sum(len(found) for _, found in messages)
        tokens_out = scale * sum(len(guarded(distiller.fallback, text)) for text, _ in messages) / CHARACTERS_PER_TOKEN
        seconds = None
    whole_in, whole_out = round(tokens_in), round(tokens_out)
    cost = cost_of(whole_in, whole_out, prices)
    return Forecast(len(pending), number, whole_in, whole_out, seconds, cost, bool(asked))
