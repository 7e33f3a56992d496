"""What a run makes of bad numbers: updates left out, their budget, spikes, and from where to go on.

A pure function of what each step gave, the same on every rank, so all ranks choose alike; without an engine, without
files. ``watch`` gives it the steps of a run and writes down what it says.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ecamp_fast.config.sections import SafetyConfig
from ecamp_fast.run.safety.spikes import Spikes

IN_A_ROW = 16  # updates left out, before the run gives up
ALWAYS = 8  # updates that may be left out however short the run is
RUINED = 10.0  # times the first loss: a model that knows nothing is better
ROLL_BACKS = 3  # that did not help, before the run gives up
LEAVE_OUT = (-1.0, math.inf)  # limits that no gradient keeps
NO_LIMITS = (math.inf, math.inf)
EVENTS = ("skipped", "spike", "left_out", "rolled_back", "calm")  # of events.jsonl, all that ``rebuild`` reads


@dataclass(frozen=True)
class Judgement:
    """Of one step.

    event      kind and facts of the line for events.jsonl; '' where nothing happened
    fault      why the run must not go on like this; '' where it may
    goes_back  whether to go back to a checkpoint instead
    """

    event: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    fault: str = ""
    goes_back: bool = False


class Numbers:
    """Judges the steps of a run, one after the other.

    safety  of the recipe
    start   steps done before

    left_out       steps whose updates are left out when they come: a roll back blamed them
    healthy_until  steps done when the weights last proved healthy before the trouble that is on; None without trouble.
                   Weights prove healthy by the loss and the gradient that they give, so those that step N made are
                   judged by step N + 1.
    """

    def __init__(self, safety: SafetyConfig, start: int = 0) -> None:
        self._safety = safety
        self._norms, self._losses = (Spikes(safety.window, safety.z) for _ in range(2))
        self._proved, self._bad = (
            max(start - 1, 0),
            0,
        )  # steps done when the weights last proved healthy; the last bad step
        self._first_loss = math.inf
        self._backs: list[int] = []  # steps from which the run went back in this trouble
        self.skips, self.in_a_row = 0, 0  # updates left out for what their own step gave
        self.left_out: tuple[int, ...] = ()
        self.healthy_until: int | None = None

    @property
    def last_healthy(self) -> int:
        """Steps done when the weights last proved healthy: before the trouble, or where there is none, last of all."""
        return self._proved if self.healthy_until is None else self.healthy_until

    def limits(self, step: int) -> tuple[float, float]:
        """The largest norm of the gradient and the largest loss with which update ``step`` (from 1) is applied."""
        if step in self.left_out:
            return LEAVE_OUT
        return NO_LIMITS if self._safety.spikes == "log" else (self._norms.limit, self._losses.limit)

    def judge(self, step: int, norm: float, loss: float, applied: bool) -> Judgement:
        """What step ``step`` (from 1) gave.

        norm: of the gradient, inf where it is not finite   loss: total   applied: whether the weights moved
        """
        if step in self.left_out:
            return Judgement("left_out")
        verdict = self._verdict(step, norm, loss, applied)
        self._add(norm, loss)
        if verdict.event:
            return verdict
        self._proved, self.in_a_row = step - 1, 0
        last = max(self._bad, *self._backs, 0)
        if (self.healthy_until is not None or self._backs) and step - last >= self._safety.window:
            self.healthy_until, self._backs = None, []
            return Judgement("calm")
        return verdict

    def fault_of_end(self, loss: float) -> str:
        """Why the held-out loss of a run's end is that of a ruined model; an empty string where it is not.

        Spikes that are only logged become the rule in the end, so the first step is what it is compared with.
        """
        if not math.isfinite(loss):
            return "not finite"
        if loss > RUINED * self._first_loss:
            return f"{loss:.3g}, and the first step had {self._first_loss:.3g}: the weights are ruined"
        return ""

    def _add(self, norm: float, loss: float) -> None:
        if math.isinf(self._first_loss) and math.isfinite(loss):
            self._first_loss = loss
        self._norms.add(norm)
        self._losses.add(loss)

    def go_back(self, step: int) -> str:
        """Blame the updates since the weights last proved healthy, up to ``step``, where the run goes back.

        returns why it must not, or an empty string
        """
        assert self.healthy_until is not None
        self._backs.append(step)
        self.left_out = tuple(sorted({*self.left_out, *range(self.healthy_until + 1, step + 1)}))
        if len(self._backs) > ROLL_BACKS:
            return f"numbers went bad again after {ROLL_BACKS} roll backs, at step {step}"
        return ""

    def _verdict(self, step: int, norm: float, loss: float, applied: bool) -> Judgement:
        if math.isfinite(norm) and math.isfinite(loss):
            return self._spike(step, norm, loss, applied)
        self._trouble(step, applied)
        fault = self._over_budget(step)
        facts = {"in_a_row": self.in_a_row, "in_total": self.skips, "healthy_until": self.healthy_until}
        return Judgement("skipped", facts, fault, bool(fault) and self._rolls_back)

    def _spike(self, step: int, norm: float, loss: float, applied: bool) -> Judgement:
        for name, value, past in (("loss", loss, self._losses), ("grad_norm", norm, self._norms)):
            if past.is_spike(value):
                self._trouble(step, applied)
                facts = {"quantity": name, "value": value, "z": round(past.z(value), 1), "applied": applied}
                facts |= {"healthy_until": self.healthy_until}
                fault = "" if applied else self._over_budget(step)
                return Judgement("spike", facts, fault, self._rolls_back)
        return Judgement()

    @property
    def _rolls_back(self) -> bool:
        return self._safety.spikes == "roll_back"

    def _trouble(self, step: int, applied: bool) -> None:
        if self.healthy_until is None:
            self.healthy_until = self._proved
        self._bad = step
        if not applied:
            self.skips, self.in_a_row = self.skips + 1, self.in_a_row + 1

    def _read(self, step: int, events: Mapping[int, Mapping[str, Any]]) -> None:
        """Where events up to ``step`` left the trouble and its counts.  events: by step, ``left_out`` not among them"""
        unapplied = {n for n, event in events.items() if event["event"] != "calm" and not event.get("applied", False)}
        self.skips, number = len(unapplied), step
        while number in unapplied or number in self.left_out:
            self.in_a_row += number in unapplied
            number -= 1
        for number, event in sorted(events.items()):
            if event["event"] == "calm":
                self.healthy_until = None
            else:
                self.healthy_until, self._bad = event.get("healthy_until"), number  # versions up to 0.1 knew none

    def _over_budget(self, step: int) -> str:
        if self.in_a_row >= IN_A_ROW:
            return f"updates were left out {self.in_a_row} steps in a row, up to step {step}: numbers were not sound"
        if self.skips > max(ALWAYS, self._safety.skips * step):
            return f"{self.skips} of {step} updates were left out: their numbers were not sound"
        return ""


def rebuild(
    safety: SafetyConfig, step: int, events: Iterable[Mapping[str, Any]], past: Iterable[tuple[int, float, float]]
) -> Numbers:
    """``Numbers`` as they were after ``step`` steps, from what the run wrote down.

    events  lines of events.jsonl, in the order they were written
    past    (step, norm, loss) of steps gone through, in order
    """
    found, told = Numbers(safety, step), [event for event in events if event.get("event") in EVENTS and "step" in event]
    for event in told:
        if event["event"] == "rolled_back":
            found._backs.append(event["step"])
            found.left_out = tuple(sorted({*found.left_out, *event.get("left_out", ())}))
        elif event["event"] == "calm":
            found._backs = []
    for number, norm, loss in past:
        if number <= step and number not in found.left_out:
            found._add(norm, loss)
    # A step that was gone through again counts as it went the last time.
    last = {event["step"]: event for event in told if event["event"] != "rolled_back" and event["step"] <= step}
    found._read(step, {number: event for number, event in last.items() if number not in found.left_out})
    return found
