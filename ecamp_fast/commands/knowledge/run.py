"""``ecamp-fast distill run``: every report to a journal of answers."""

import json
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ecamp_fast.commands.knowledge.entities import entities_option, read_list
from ecamp_fast.commands.progress import BuildProgress
from ecamp_fast.commands.terminal import tell
from ecamp_fast.errors import STOPPED, ConfigError
from ecamp_fast.usage import complete
from ecamp_fast.usage import options as shared

if TYPE_CHECKING:
    from ecamp_fast.distill.distiller import Distiller
    from ecamp_fast.distill.endpoint import Target
    from ecamp_fast.distill.forecast import Prices
    from ecamp_fast.distill.journal import Finished
    from ecamp_fast.distill.reports import ReportSource
    from ecamp_fast.distill.runner import RunOutcome
    from ecamp_fast.text.reading.entities import EntityList

# What --rules leaves without a meaning
_OF_A_SERVER = {
    "--endpoint": "endpoint",
    "--model": "model",
    "--attestation": "attestation",
    "--key-env": "key_env",
    "--plain": "plain_text",
    "--price-in": "price_in",
    "--price-out": "price_out",
}
_FORECAST_AT = 50  # answers of a run, after which it says what is still to come


@dataclass(frozen=True)
class _Plan:
    """What a run is about to do.  identity: what its journal is named by   texts: report by digest"""

    source: "ReportSource"
    texts: dict[str, str]
    distiller: "Distiller"
    plain: "Distiller | None"
    identity: dict[str, Any]
    prices: "Prices"
    concurrency: int


@click.command()
@click.argument("source", shell_complete=complete.files)
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--endpoint", metavar="URL", help="OpenAI-compatible API, as http://127.0.0.1:8000/v1.")
@click.option("--model", metavar="NAME", help="The model's name there.")
@click.option("--rules", is_flag=True, help="By the rules alone: no endpoint is asked.")
@click.option(
    "--attestation",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="YAML: host, zero_retention, no_training, no_human_review: true. Allows that host outside private networks.",
)
@click.option("--key-env", metavar="VARIABLE", help="Variable that holds the API key.")
@click.option("--plain", "plain_text", is_flag=True, help="Ask for plain text, also where the server has JSON schemas.")
@shared.columns_option()
@entities_option
@click.option("--max-tokens", default=512, show_default=True, type=click.IntRange(16, 2**16), help="Of an answer.")
@click.option("--concurrency", default=32, show_default=True, type=click.IntRange(1, 1024), help="Requests at once.")
@click.option(
    "--timeout", default=180.0, show_default=True, type=shared.FiniteRange(1, 3600), help="Seconds for a request."
)
@click.option(
    "--patience",
    default=300.0,
    show_default=True,
    type=shared.FiniteRange(0),
    help="Seconds without any answer until giving up with 7.",
)
@click.option("--price-in", type=shared.FiniteRange(0), help="Of a million tokens that are sent.")
@click.option("--price-out", type=shared.FiniteRange(0), help="Of a million tokens that come back.")
@click.option("--dry-run", is_flag=True, help="Say where reports would go and what it would take; send nothing.")
@shared.json_option()
def command(source: str, out: Path, rules: bool, dry_run: bool, as_json: bool, **options: Any) -> None:
    """Distill the reports of SOURCE, a shard set or a CSV table, into the journal OUT.

    Reports go to this machine or to private addresses, and nowhere else without --attestation: the address is judged
    before anything is opened. Every report is asked for once; an answer that is not faithful is asked for twice more,
    then the rules write it, flagged. The same command goes on where it was cut off (exit code 75).

    \b
    Example:
      ecamp-fast distill run SHARDS journal --rules
    """
    from ecamp_fast.files import require_folder

    if rules:
        _check_unasked(options)
    target = None if rules else _judged(options)
    if not dry_run:
        require_folder(out, "OUT")  # before the reports are read
    key = _key(options["key_env"])
    plan = _plan(source, rules, target, options)
    for note in plan.source.notes:
        tell(f"note: {note}", err=True)
    if dry_run:
        result = _preview(plan, out, target)
        tell(*([json.dumps(result)] if as_json else _previewed(result)))
        return
    outcome, finished = _run(plan, out, target, key, options)
    result = _result(plan, out, target, outcome, finished)
    tell(*([json.dumps(result)] if as_json else _told(result)))
    if outcome.stopped:
        sys.exit(STOPPED)


def _check_unasked(options: dict[str, Any]) -> None:
    """Raises ConfigError where --rules stands beside what is for a server."""
    given = [name for name, key in _OF_A_SERVER.items() if options[key]]
    if given:
        what = f"--rules beside {', '.join(given)}: the rules ask no server"
        raise ConfigError(what, "leave out --rules to ask the model, or leave out the others")


def _judged(options: dict[str, Any]) -> "Target":
    """Raises PolicyError where no report may go there, ConfigError where it is not said where or to what."""
    from ecamp_fast.distill.endpoint import judge_address

    if not options["endpoint"]:
        raise ConfigError("neither --endpoint nor --rules", "name a server and its --model, or take the rules")
    target = judge_address(options["endpoint"], options["attestation"])
    if not options["model"]:
        raise ConfigError("--endpoint without --model", "name the model as the server calls it")
    return target


def _key(variable: str | None) -> str:
    from ecamp_fast.distill.endpoint import read_key

    return read_key(variable) if variable else ""


def open_distiller(structured: bool, entities: "EntityList") -> "Distiller":
    """What asks with the prompt of Table S2.  structured: for JSON, else for plain text"""
    from ecamp_fast.distill.table_s2 import TableS2Distiller

    distiller: Distiller = TableS2Distiller(structured, entities)
    return distiller


def open_rules(entities: "EntityList") -> "Distiller":
    """What asks nobody."""
    from ecamp_fast.distill.by_rules import RulesDistiller

    distiller: Distiller = RulesDistiller(entities)
    return distiller


def _plan(source: str, rules: bool, target: "Target | None", options: dict[str, Any]) -> _Plan:
    from ecamp_fast.distill.forecast import Prices
    from ecamp_fast.distill.reports import read_reports
    from ecamp_fast.distill.runner import identity_of

    found = read_reports(source, options["columns"], read_list(options["entities"]))
    structured = not rules and not options["plain_text"]
    distiller = open_rules(found.entities) if rules else open_distiller(structured, found.entities)
    plain = open_distiller(False, found.entities) if structured else None
    parameters = {} if rules else {"temperature": 0, "max_tokens": options["max_tokens"]}
    identity = identity_of("rules" if rules else options["model"], parameters, distiller, plain)
    prices = Prices(options["price_in"], options["price_out"])
    return _Plan(found, found.texts(), distiller, plain, identity, prices, options["concurrency"])


def _run(
    plan: _Plan, out: Path, target: "Target | None", key: str, options: dict[str, Any]
) -> "tuple[RunOutcome, list[Finished]]":
    """The outcome, and all answers that the journal now holds of these reports."""
    from ecamp_fast.distill.endpoint import Endpoint
    from ecamp_fast.distill.journal import AnswerJournal, other_files
    from ecamp_fast.distill.pacing import Pace
    from ecamp_fast.distill.runner import run_model, run_rules

    with AnswerJournal(out, plan.identity) as journal, BuildProgress("reports") as progress:
        before = len(journal.content.finished)
        if others := other_files(out, plan.identity):
            progress.say(
                f"note: {out} also holds answers of another model, prompt, rules or list: {', '.join(others)};"
                f" these go to {journal.path.name}"
            )
        if journal.content.damaged:
            progress.say(f"{journal.content.damaged} damaged lines of the journal are passed over")

        def tick(done: int, total: int) -> None:
            progress.tick(done, total)
            new = len(journal.content.finished) - before
            if target and new >= _FORECAST_AT and not told:
                told.append(True)
                progress.say(_sentence(_forecast(plan, journal.content.finished)))

        told: list[bool] = []
        if target is None:
            outcome = run_rules(plan.texts, plan.distiller, journal, tick)
        else:
            place = {"event": "endpoint", "origin": target.origin, "attestation": target.attestation}
            if place not in journal.content.events:
                journal.note(place)
            progress.say(_sentence(_forecast(plan, journal.content.finished)))
            client = Endpoint(target, options["model"], options["max_tokens"], options["timeout"], key)
            pace = Pace(concurrency=plan.concurrency, patience=options["patience"])
            outcome = run_model(
                plan.texts, plan.distiller, journal, client, pace, plain=plan.plain, tick=tick, say=progress.say
            )
        finished = journal.content.finished
        return outcome, [finished[digest] for digest in plan.texts if digest in finished]


def _forecast(plan: _Plan, finished: "dict[str, Finished]") -> dict[str, Any]:
    from ecamp_fast.distill.forecast import forecast

    pending = [text for digest, text in plan.texts.items() if digest not in finished]
    return asdict(forecast(pending, plan.distiller, finished.values(), plan.concurrency, plan.prices))


def _preview(plan: _Plan, out: Path, target: "Target | None") -> dict[str, Any]:
    from ecamp_fast.distill.journal import peek

    content = peek(out, plan.identity)
    place = None
    if target:
        place = {name: getattr(target, name) for name in ("origin", "url", "attestation")}
        place["addresses"] = list(target.addresses)
    return {
        **_head(plan, out),
        "dry_run": True,
        "endpoint": place,
        "finished": sum(digest in content.finished for digest in plan.texts),
        "forecast": _forecast(plan, content.finished) if target else None,
    }


def _head(plan: _Plan, out: Path) -> dict[str, Any]:
    from ecamp_fast.distill.journal import journal_name

    return {
        "schema": 1,
        "out": str(out),
        "journal": journal_name(plan.identity),
        "model": plan.identity["model"],
        "reports": len(plan.source.reports),
        "texts": len(plan.texts),
    }


def _result(
    plan: _Plan, out: Path, target: "Target | None", outcome: "RunOutcome", finished: "list[Finished]"
) -> dict[str, Any]:
    from ecamp_fast.distill.forecast import cost_of
    from ecamp_fast.distill.journal import HOW

    how = Counter(entry.how for entry in finished)
    tokens_in, tokens_out = (sum(getattr(entry, name) for entry in finished) for name in ("tokens_in", "tokens_out"))
    return {
        **_head(plan, out),
        "dry_run": False,
        "origin": target.origin if target else None,
        "attestation": target.attestation if target else "",
        "finished": len(finished),
        "stopped": outcome.stopped,
        "how": {name: how[name] for name in HOW},
        "faults": _faults(finished),
        "failures": outcome.failures,
        "requests": outcome.requests,
        "plain": outcome.plain,
        "tokens_in": tokens_in,
        "tokens_out": tokens_out,
        "cost": cost_of(tokens_in, tokens_out, plan.prices),
        "seconds": outcome.seconds,
    }


def _faults(finished: "Iterable[Finished]") -> dict[str, int]:
    faults: Counter[str] = Counter()
    for entry in finished:
        faults.update(entry.faults)
    return dict(sorted(faults.items()))


def _previewed(result: dict[str, Any]) -> list[str]:
    lines = [f"{result['reports']:,} reports, {result['texts']:,} that differ, {result['finished']:,} finished"]
    place = result["endpoint"]
    if place is None:
        return [*lines, "by the rules: nothing would be sent"]
    allowed = f"attested {place['attestation'][:12]}" if place["attestation"] else "private"
    lines.append(f"reports would go to {place['url']} at {', '.join(place['addresses'])} ({allowed})")
    return [*lines, _sentence(result["forecast"]), "nothing was sent"]


def _sentence(forecast: dict[str, Any]) -> str:
    by = "measured" if forecast["measured"] else "by 4 characters a token"
    told = f"to come: {forecast['asked']:,} reports, {forecast['tokens_in']:,} tokens in, "
    told += f"{forecast['tokens_out']:,} out ({by})"
    if forecast["seconds"] is not None:
        told += f", {forecast['seconds'] / 60:.0f} minutes"
    return told + (f", cost {forecast['cost']:.2f}" if forecast["cost"] is not None else "")


def _told(result: dict[str, Any]) -> list[str]:
    how = ", ".join(f"{count:,} {name}" for name, count in result["how"].items() if count)
    lines = [f"{result['out']}: {result['finished']:,} of {result['texts']:,} reports finished ({how})"]
    if result["faults"]:
        lines.append("rejected: " + ", ".join(f"{count:,} {name}" for name, count in result["faults"].items()))
    if result["requests"]:
        cost = f", cost {result['cost']:.2f}" if result["cost"] is not None else ""
        lines.append(f"{result['tokens_in']:,} tokens in, {result['tokens_out']:,} out{cost}")
    return [*lines, *(["stopped; the same command goes on"] if result["stopped"] else [])]
