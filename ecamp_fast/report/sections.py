"""The parts of a report that are numbers: tiles, verdicts, tables, events."""

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

from ecamp_fast.printable import printable
from ecamp_fast.report.facts import Facts
from ecamp_fast.report.run_curves import TERMS, WORDS, is_on

STATUS = {"complete": "good", "failed": "bad"}  # class of the chip
MARKS = {True: ("good", "✓"), False: ("bad", "✗"), None: ("open", "–")}  # class and sign of a check
SAVED_SHOWN = 3  # of a long row of saved checkpoints, at its end


Verdict = tuple[bool | None, str, str]  # passed (None: open), name, what was found


def header(facts: Facts) -> str:
    """Title, status, and one line that says what was trained when."""
    status = str(facts.state.get("status", "unknown"))
    fault = f": {facts.state['fault']}" if status == "failed" and facts.state.get("fault") else ""
    span = facts.span
    when = f"{_moment(span[0])} to {_moment(span[1])}" if span else "no step logged yet"
    return (
        f"<header><h1>ECAMP pre-training: {escape(facts.name)}</h1>"
        f'<span class="chip {STATUS.get(status, "")}">{escape(status + fault)}</span>'
        f'<p class="under">recipe {escape(facts.recipe.name)}, {escape(when)}</p></header>'
    )


def tiles(facts: Facts) -> str:
    """The numbers a reader looks for first."""
    last: dict[str, Any] = facts.train[-1] if facts.train else {}
    total = facts.state.get("total_steps")
    step = last.get("step", facts.state.get("step", 0))
    entries = [(f"{step:,}", f"steps of {total:,}" if total and total != step else "steps, all of them")]
    if facts.train:
        entries += [
            (_count(last["samples"]), f"samples seen, {last['epoch']:.3g} epochs"),
            (f"{facts.rate:,.0f}" if facts.rate >= 10 else f"{facts.rate:.1f}", "images per second"),
            (duration(facts.seconds), "of training"),
        ]
    if change := _change(facts, "loss"):
        entries.insert(0, (change, "held-out loss, start to end"))
    if facts.resumes:
        again = f", {_steps(facts.redone)} redone" if facts.redone else ""
        entries.append((str(len(facts.resumes)), f"resume{'s' * (len(facts.resumes) > 1)}{again}"))
    cells = "".join(
        f'<div class="tile"><b>{escape(big)}</b><span>{escape(small)}</span></div>' for big, small in entries
    )
    return f'<div class="tiles">{cells}</div>'


def verdicts(facts: Facts) -> str:
    """What was measured on the trained model, each with a sentence that says what it means; empty without results."""
    found: list[Verdict] = []
    checks = list(facts.results.get("checks", ()))
    images = facts.results.get("images", {}).get("check")
    if images and images["name"] not in [check["name"] for check in checks]:
        checks.append(images)
    for check in checks:
        name, text = str(check["name"]), str(check["found"]).replace("->", "\N{RIGHTWARDS ARROW}")
        found.append((check["passed"], name[:1].upper() + name[1:], text))
    if facts.redone:
        name = "The resumed run goes on as if nothing had happened"
        says = "the same losses, bit for bit" if facts.redone_alike else "other losses than the first time"
        text = f"What was lost, {_steps(facts.redone)}, was trained again and gave {says}."
        found.append((facts.redone_alike, name if facts.redone_alike else "The resumed run took another way", text))
    return checklist(found)


def checklist(found: Sequence[Verdict]) -> str:
    """Claims, each with its sign and what was found; empty without any."""
    rows = "".join(
        f'<div class="verdict"><i class="{MARKS[passed][0]}">{MARKS[passed][1]}</i>'
        f"<p><b>{escape(name)}</b>{escape(text)}</p></div>"
        for passed, name, text in found
    )
    return f'<h2>Checks</h2><div class="card">{rows}</div>' if rows else ""


def held_out(facts: Facts) -> str:
    """Held-out losses at the start and at the end; empty where there are none."""
    if not facts.held:
        return ""
    first, last = facts.held[0], facts.held[-1]
    columns = [first] if first is last else [first, last]
    rows = []
    for name, title in (TERMS | WORDS).items():
        if (
            last.get(name) is None
            or first.get(name) is None
            or (name in TERMS and name != "loss" and not is_on(facts, name))
        ):
            continue
        cells = "".join(f'<td class="n">{record[name]:.4f}</td>' for record in columns)
        if len(columns) == 2 and first[name]:
            change = last[name] / first[name] - 1
            good = (change < 0) != (name == "accuracy")
            cells += f'<td class="n {"down" if good else "up"}">{_signed(change, ".1%")}</td>'
        rows.append(f"<tr><th>{title}</th>{cells}</tr>")
    head = "".join(f'<th class="n">step {record["step"]:,}</th>' for record in columns)
    head += '<th class="n">change</th>' if len(columns) == 2 else ""
    return (
        f'<h2>Held-out losses</h2><div class="card wide"><table><tr><th></th>{head}</tr>{"".join(rows)}</table>'
        f'<p class="under">{last["samples"]:,} samples of patients that are not trained on, whole images, '
        "the same masks each time.</p></div>"
    )


def about(facts: Facts) -> str:
    """Everything about the run that is not a curve."""
    recipe, state, span = facts.recipe, facts.state, facts.span
    model, ranks = recipe.model, state.get("ranks", 1)
    versions = ", ".join(f"{name} {version}" for name, version in state.get("versions", {}).items())
    rows = {
        "Recipe": f"{recipe.name}, seed {recipe.seed}, digest {recipe.digest[:12]}",
        "Encoder": f"{model.vision.depth} blocks, width {model.vision.width}, {recipe.patches} patches of "
        f"{model.vision.patch} px, {recipe.patches - recipe.kept_patches} of them hidden",
        "Images": f"{recipe.image.low_size} px in, {recipe.image.high_size} px super-resolution target",
        "Batch": f"{recipe.batch.total} samples: {recipe.micro} x {ranks} ranks x "
        f"{max(1, recipe.batch.total // (recipe.micro * ranks))} micro-steps",
        "Precision": recipe.precision,
        "Device": f"{ranks} x {state.get('device', 'unknown')}",
        "Versions": versions or "unknown",
        "Shard set": f"manifest {str(state.get('manifest', 'unknown'))[:12]}, "
        f"tokenizer {str(state.get('tokenizer', 'unknown'))[:12]}",
        "Time": f"{duration(facts.seconds)} of training"
        + (f"; {duration(span[1] - span[0])} from first to last line, pauses included" if span else ""),
    }
    cells = "".join(f"<tr><th>{name}</th><td>{escape(value)}</td></tr>" for name, value in rows.items())
    full = f"<details><summary>The whole recipe</summary><pre>{escape(facts.recipe_text)}</pre></details>"
    return f'<h2>About this run</h2><div class="card"><table class="facts">{cells}</table>{full}</div>'


def events(facts: Facts) -> str:
    """What happened: resumes, rejected checkpoints, skipped steps; of the saved checkpoints only the last few."""
    saved = [event for event in facts.events if event.get("event") == "saved"]
    hidden = {id(event) for event in saved[:-SAVED_SHOWN]}  # by identity: a long run has thousands
    rows = "".join(_event(event) for event in facts.events if id(event) not in hidden)
    if not rows:
        return ""
    more = f'<p class="under">{len(hidden)} earlier checkpoints were saved too.</p>' if hidden else ""
    return f'<h2>Events</h2><div class="card wide"><table>{rows}</table>{more}</div>'


def duration(seconds: float) -> str:
    """1.5 s, 48 s, 3 min 5 s, 2 h 10 min, 3 d 4 h."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    units = [("d", 86400), ("h", 3600), ("min", 60), ("s", 1)]
    left = round(seconds)
    parts: list[str] = []
    for name, size in units:
        if left >= size or (parts and name != "s"):
            parts.append(f"{left // size} {name}")
            left %= size
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if not part.startswith("0 "))


def _event(event: dict[str, Any]) -> str:
    rest = {key: value for key, value in event.items() if key not in ("event", "time")}
    told = printable(", ".join(f"{key} {value}" for key, value in rest.items()))
    when = _moment(event["time"]) if "time" in event else ""
    name = escape(printable(str(event.get("event", ""))))
    return f'<tr><th>{escape(when)}</th><td>{name}</td><td class="soft">{escape(told)}</td></tr>'


def _change(facts: Facts, name: str) -> str:
    if len(facts.held) < 2 or not facts.held[0].get(name) or facts.held[-1].get(name) is None:
        return ""
    return _signed(facts.held[-1][name] / facts.held[0][name] - 1, ".0%")


def _steps(count: int) -> str:
    return f"{count:,} step{'s' * (count != 1)}"


def _signed(value: float, form: str) -> str:
    """With its sign, and a minus as wide as the plus."""
    return f"{value:+{form}}".replace("-", "\N{MINUS SIGN}")


def _count(number: float) -> str:
    return f"{number:,.0f}" if number < 1e6 else f"{number / 1e6:.1f} M"


def _moment(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
