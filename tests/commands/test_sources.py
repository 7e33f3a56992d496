"""Which sources the command line names, and what each is given."""

import pytest
from click.testing import CliRunner

from ecamp_fast.commands import shard
from ecamp_fast.commands.sources import KINDS, open_source
from ecamp_fast.errors import ConfigError


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_opens_and_says_which_it_is(kind):
    source = open_source(kind, "7")
    assert source.kind == kind == source.description["kind"]


TAKERS = (
    ({"reports": "r.zip"}, ("mimic-cxr", "csv")),
    ({"use_last": True}, ("mimic-cxr",)),
    ({"columns": ("report=caption",)}, ("csv",)),
    ({"empty_reports": "keep"}, ("csv", "folder", "mimic-cxr", "openi", "webdataset")),
    ({"views": "PA,AP"}, ("csv", "mimic-cxr", "openi", "webdataset", "phantom")),
    ({"distilled": "d.csv"}, ("csv", "folder", "mimic-cxr", "openi", "webdataset")),
)


@pytest.mark.parametrize(("option", "takers"), TAKERS)
@pytest.mark.parametrize("kind", KINDS)
def test_options_of_some_kinds_are_refused_by_the_others(option, takers, kind):
    if kind in takers:
        assert open_source(kind, "7", **option).kind == kind
        return
    with pytest.raises(ConfigError, match=f"not for --from {kind}"):
        open_source(kind, "7", **option)


def test_the_help_names_every_kind():
    for verb in ("build", "annotate"):
        help_text = CliRunner().invoke(shard.command, [verb, "--help"]).output
        assert all(kind in help_text for kind in KINDS)


def test_annotate_for_a_person(tmp_path):
    (tmp_path / "reports.txt").write_text("There is a small effusion. No edema.")
    (tmp_path / "reports.jpg").write_bytes(b"never opened")
    done = CliRunner().invoke(shard.command, ["annotate", "--from", "folder", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "reports: 1" in done.stdout and "effusion: 1 mentions, 0 denied" in done.stdout
    assert "small" not in done.output
