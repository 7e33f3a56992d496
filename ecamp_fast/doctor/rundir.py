"""A run directory that is already there: whether the run asked about may go on in it."""

from collections.abc import Iterator

from ecamp_fast.doctor.check import Case
from ecamp_fast.doctor.finding import CONFIG, DATA, Finding, fail, ok, warn


def existing(case: Case) -> Iterator[Finding]:
    """Recipe, ranks and data of the run in --out against those asked about."""
    if case.out is None or case.recipe is None or not case.out.is_dir():
        return
    from ecamp_fast.run.rundir import RunDir

    state = RunDir(case.out, writes=False).state()
    if not state:
        return
    found = f"{case.out} holds a run, {state.get('status', 'of unknown status')} at step {state.get('step', '?')}"
    yield from _same_recipe(case, found)
    ranks = state.get("ranks", case.ranks)
    if ranks != case.ranks:
        yield fail(
            "run", f"{found}, on {ranks} rank(s), not {case.ranks}", f"--ranks {ranks}, or another --out", CONFIG
        )
    digest = state.get("manifest")
    if case.shards and digest and digest != case.shards.manifest.digest:
        yield fail("run", f"{found}, on other data", "pass the same --data, or choose another --out", DATA)


def _same_recipe(case: Case, found: str) -> Iterator[Finding]:
    from ecamp_fast.run.trainer import Job, refuse_other_recipe

    assert case.out is not None and case.recipe is not None
    refuse_other_recipe(Job(case.recipe, case.data or case.out, case.out))
    if "running" in found:
        yield warn("run", found, "if it still runs, do not start another; if it was killed, start it to resume")
    else:
        yield ok("run", found)
