"""``ecamp-fast doctor``: look before the run does, and say what is fine, what is doubtful, and what must be fixed."""

import json
import sys
import time
from pathlib import Path

import click

from ecamp_fast.doctor.finding import Finding, Status
from ecamp_fast.printable import message, takes_control_codes, without_secrets
from ecamp_fast.usage import options

COLOURS = {Status.OK: "green", Status.WARN: "yellow", Status.FAIL: "red"}
STATUS_WIDTH = 6  # columns
NAME_WIDTH = 32  # the longest name is DeepSpeed's train_micro_batch_size_per_gpu


@click.command()
@options.ds_config_option()
@options.recipe_option(None, "Default: paper; without --data demo.")
@options.sets_option("Shard set to look at, as of train.")
@options.out_option("Run directory to look at.", "RUN")
@options.set_option()
@options.ranks_option()
@click.option("--hostfile", type=click.Path(path_type=Path), metavar="FILE", help="Of a run on several machines.")
@options.json_option()
def command(
    recipe_name: str | None,
    overrides: tuple[str, ...],
    ds_config: str,
    ranks: int | None,
    data: tuple[str, ...],
    out: Path | None,
    hostfile: Path | None,
    as_json: bool,
) -> None:
    """Check machine, configuration and data before a run: OK, WARN or FAIL, each with its hint.

    Leaves with 0 without a FAIL; else with 2 for the configuration, 3 for data, 4 for the environment, 5 for the disk,
    the first of these that failed.

    \b
    Example:
      ecamp-fast doctor --data SHARDS --out runs/mine
    """
    from ecamp_fast.doctor.checks import exit_code, run_checks
    from ecamp_fast.doctor.run_setup import RunSetup
    from ecamp_fast.run.deepspeed_config import find

    began = time.perf_counter()
    setup = RunSetup(recipe_name, overrides, find(ds_config) if ds_config else None, ranks, data or None, out, hostfile)
    findings: list[Finding] = []
    rows, group = [], ""
    for name, finding in run_checks(setup):
        findings.append(finding)
        rows.append({"group": name, **_row(finding)})
        if not as_json:
            if name != group:
                click.secho(("\n" if group else "") + name, bold=True, color=_coloured())
            group = name
            _print(finding)
    code, seconds = exit_code(findings), round(time.perf_counter() - began, 2)
    if as_json:
        click.echo(json.dumps({"schema": 2, "exit_code": code, "seconds": seconds, "findings": rows}))
    else:
        counts = ", ".join(f"{sum(f.status is status for f in findings)} {status}" for status in Status)
        click.echo(f"\n{counts} in {seconds:.1f} s")
    sys.exit(code)


def _row(finding: Finding) -> dict[str, object]:
    return {
        "name": finding.name,
        "status": str(finding.status),
        "found": _plain(finding.found),
        "hint": _plain(finding.hint),
        "exit_code": finding.exit_code,
    }


def _print(finding: Finding) -> None:
    """``OK    name                 found``, the hint below."""
    status = click.style(f"{finding.status:<{STATUS_WIDTH}}", fg=COLOURS[finding.status])
    margin = " " * (STATUS_WIDTH + NAME_WIDTH)
    found = _plain(finding.found).replace("\n", "\n" + margin)
    click.echo(f"{status}{finding.name:<{NAME_WIDTH}}{found}", color=_coloured())
    if finding.hint:
        click.echo(f"{margin}hint: {_plain(finding.hint)}")


def _plain(text: str) -> str:
    """Names of files and keys come from elsewhere."""
    return message(without_secrets(text))


def _coloured() -> bool:
    return takes_control_codes(sys.stdout)
