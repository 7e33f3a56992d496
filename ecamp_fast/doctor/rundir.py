"""A run directory that is already there: whether the run asked about may go on in it."""

from collections.abc import Iterator

from ecamp_fast.doctor.finding import DATA, Finding, fail, ok, warn
from ecamp_fast.doctor.run_setup import RunSetup


def existing(setup: RunSetup) -> Iterator[Finding]:
    """Recipe, ranks and data of the run in --out against those asked about."""
    if setup.out is None or setup.recipe is None or not setup.out.is_dir():
        return
    from ecamp_fast.run.rundir import RunDir

    state = RunDir(setup.out, writes=False).state()
    if not state:
        return
    found = f"{setup.out} holds a run, {state.get('status', 'of unknown status')} at step {state.get('step', '?')}"
    yield from _same_recipe(setup, found)
    ranks = state.get("ranks", setup.ranks)
    if ranks != setup.ranks:
        moved = "samples, order, crops and masks stay, dropout and the order of sums do not"
        yield ok("run", f"{found}, on {ranks} rank(s); on {setup.ranks} {moved}")
    digest = state.get("manifest")
    if setup.shards and digest and digest != setup.shards.manifest.digest:
        yield fail("run", f"{found}, on other data", "pass the same --data, or choose another --out", DATA)


def _same_recipe(setup: RunSetup, found: str) -> Iterator[Finding]:
    from ecamp_fast.run.deepspeed_config import resolve
    from ecamp_fast.run.setup import judge_run

    assert setup.out is not None and setup.recipe is not None
    if setup.recipe.batch.micro != "auto":
        judge_run(setup.out, setup.recipe, resolve(setup.ds_config, setup.recipe, setup.ranks), ())
    if "running" in found:
        yield warn("run", found, "if it still runs, do not start another; if it was killed, start it to resume")
    else:
        yield ok("run", found)
