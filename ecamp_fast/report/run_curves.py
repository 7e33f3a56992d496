"""The curves of a run: losses by steps and by the clock, what the update did, what the machine did."""

from collections.abc import Sequence
from html import escape
from typing import Any

from ecamp_fast.report.curves import Line, chart
from ecamp_fast.report.facts import Facts

TERMS = {
    "loss": "Total loss",
    "mim": "Image reconstruction (MIM)",
    "sr": "Super-resolution (SR)",
    "mlm": "Masked language (MLM)",
    "align": "Images against sentences (align)",
}
UNITS = {
    "loss": "weighted sum",
    "mim": "squared error",
    "sr": "squared error",
    "mlm": "nats, weighted",
    "align": "nats",
    "mlm_per_token": "nats per token",
    "nats_per_token": "nats per token",
    "accuracy": "share of tokens",
}
# In people's units: what a predicted token costs, and how many are right. Unlike MLM, no matter how many there are.
WORDS = {
    "mlm_per_token": "Nats per predicted token, by weight",
    "nats_per_token": "Nats per predicted token",
    "accuracy": "Tokens predicted rightly",
}


def curves(facts: Facts) -> str:
    """Losses, what drives them and what the machine does, over the steps; resumes as dashed lines."""
    marks = [float(event["step"]) for event in facts.resumes]
    losses = [
        chart(
            title,
            [_line("training", "train", facts.train, name), _line("held out", "held", facts.held, name)],
            marks,
            y=UNITS[name],
        )
        for name, title in (TERMS | WORDS).items()
        if name not in TERMS or name == "loss" or is_on(facts, name)
    ]
    resumed = f'<p class="soft">By optimizer step.{" Dashed: the run was resumed there." if marks else ""}</p>'
    return (
        f'<h2>Losses</h2>{resumed}<div class="pair">{"".join(losses)}{_by_the_clock(facts)}</div>'
        + _group("Learning rate and gradient", _of_the_update(facts, marks))
        + _group("Speed and machine", _of_the_machine(facts, marks), _not_told(facts))
    )


def is_on(facts: Facts, name: str) -> bool:
    """Whether the recipe has the loss ``name``."""
    return bool(getattr(facts.recipe.losses, name))


def _of_the_update(facts: Facts, marks: Sequence[float]) -> list[str]:
    return [
        chart("Learning rate", [_line("rate", "train", facts.train, "lr")], marks, y="learning rate", zero=True),
        chart("Gradient norm", [_line("norm", "train", facts.train, "grad_norm")], marks, y="L2 norm before clipping"),
    ]


def _of_the_machine(facts: Facts, marks: Sequence[float]) -> list[str]:
    on_cpu = facts.state.get("device") == "CPU"
    memory = "GiB, resident, rank 0" if on_cpu else "GiB of the GPU, at most, rank 0"
    shown = (
        ("images_per_second", "Images per second", "images/s", 1.0),
        ("tokens_per_second", "Text tokens per second", "tokens/s", 1.0),
        ("data_wait", "Wait for data", "% of the time, mean of ranks", 100.0),
        ("memory_bytes", "Memory", memory, 2.0**-30),
        ("mfu", "Model FLOP utilisation (MFU)", "% of the bfloat16 peak", 100.0),
    )
    return [
        chart(title, [_line("training", "train", facts.train, name, factor)], marks, y=unit, zero=True)
        for name, title, unit, factor in shown
        if any(record.get(name) for record in facts.train) or name == "data_wait"
    ]


def _not_told(facts: Facts) -> str:
    """What the run does not say of the machine, and why."""
    missing = [name for name in ("tokens_per_second", "data_wait", "memory_bytes") if not _has(facts, name)]
    told = (
        "Tokens, wait for data and memory were not recorded by the version that trained this run. " if missing else ""
    )
    if not _has(facts, "mfu") and len(missing) < 3:
        device = str(facts.state.get("device", "unknown"))
        why = "a CPU has no peak to hold it against" if device == "CPU" else f"the peak of {device} is not known here"
        told += f"No model FLOP utilisation: {why}."
    return told.strip() if facts.train else ""


def _by_the_clock(facts: Facts) -> str:
    """The held-out loss over the time that passed, pauses included."""
    span, held = facts.span, [record for record in facts.held if "time" in record]
    if not span or len(held) < 2:
        return ""
    longest = held[-1]["time"] - span[0]
    unit, seconds = next(
        (u, s) for u, s in (("hours", 3600.0), ("minutes", 60.0), ("seconds", 0.0)) if longest >= 2 * s
    )
    hours = [(record["time"] - span[0]) / (seconds or 1.0) for record in held]
    pairs = sorted((hour, record["loss"]) for hour, record in zip(hours, held, strict=True) if record.get("loss"))
    line = Line("held out", "held", [hour for hour, _ in pairs], [loss for _, loss in pairs])
    return chart("Held-out loss by the clock", [line], y=UNITS["loss"], x=f"{unit} since the first line")


def _group(title: str, charts: Sequence[str], note: str = "") -> str:
    """Charts under a heading, and a remark; empty without any chart."""
    under = f'<p class="soft">{escape(note)}</p>' if note else ""
    return f'<h2>{title}</h2>{under}<div class="pair">{"".join(charts)}</div>' if any(charts) else ""


def _has(facts: Facts, name: str) -> bool:
    return any(isinstance(record.get(name), int | float) for record in facts.train)


def _line(label: str, kind: str, records: Sequence[dict[str, Any]], name: str, factor: float = 1.0) -> Line:
    known = [r for r in records if isinstance(r.get(name), int | float)]
    noisy = name in TERMS | WORDS or name == "grad_norm"
    return Line(label, kind, [r["step"] for r in known], [r[name] * factor for r in known], noisy=noisy)
