"""The images of some views: chosen by name, counted, recorded, and built again by the command that is named."""

import json
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from ecamp_fast.cli import command
from ecamp_fast.commands.sources import _selection, open_source
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.shards.builder.build import Options, build
from ecamp_fast.shards.describe.rules import build_command
from ecamp_fast.shards.format.manifest import read_manifest
from ecamp_fast.shards.sources.base import Listing
from ecamp_fast.shards.sources.csv_file import CsvSource
from ecamp_fast.shards.sources.mimic_cxr import MimicCxrSource
from ecamp_fast.shards.sources.openi import OpeniSource
from ecamp_fast.shards.sources.selection.choice import Selection
from ecamp_fast.shards.sources.selection.views import ViewFilter

FOUND = ["PA", "PA", "AP", "Lateral", "LATERAL", "AP AXIAL", "", "LL"]


def chosen(*names, found=FOUND):
    """The views that are taken of FOUND, the notes, and what is recorded."""
    views, listing, description = ViewFilter(names), Listing([]), {}
    taken = [view for view in found if views.takes(view)]
    views.finish(listing, description)
    return taken, listing.notes, description.get("views")


@pytest.mark.parametrize(
    "names, taken, recorded",
    [
        ((), FOUND, None),
        (("PA",), ["PA", "PA"], ["PA"]),
        (("pa",), ["PA", "PA"], ["PA"]),
        (("PA", "AP"), ["PA", "PA", "AP"], ["AP", "PA"]),
        (("AP", "PA"), ["PA", "PA", "AP"], ["AP", "PA"]),
        (("pA", "Pa", "ap"), ["PA", "PA", "AP"], ["AP", "PA"]),
        (("lateral",), ["Lateral", "LATERAL"], ["Lateral"]),
        (("ap  axial",), ["AP AXIAL"], ["AP AXIAL"]),
        (("AP",), ["AP"], ["AP"]),
        (("L",), "no image has this view", None),
        (("PA", "RAO"), "--views RAO", None),
        (("Lateral ", "ll"), ["Lateral", "LATERAL", "LL"], ["LL", "Lateral"]),
    ],
)
def test_names_are_compared_whatever_their_case_and_whole(names, taken, recorded):
    if isinstance(taken, str):
        with pytest.raises(DataError, match=taken):
            chosen(*names)
        return
    found, _, written = chosen(*names)
    assert (found, written) == (taken, recorded)


@pytest.mark.parametrize(
    "names, note",
    [
        ((), ""),
        (
            ("PA",),
            "6 images are left out, of other views than PA: (not stated) (1), AP (1), AP AXIAL (1), LATERAL (1), ",
        ),
        (("pa", "ap"), "5 images are left out, of other views than AP, PA: (not stated) (1), AP AXIAL (1), "),
        (
            (*FOUND[:6], "LL"),
            "1 image is left out, of other views than AP, AP AXIAL, LL, Lateral, PA: (not stated) ",
        ),
    ],
)
def test_it_is_said_how_many_are_left_out(names, note):
    _, notes, _ = chosen(*names)
    assert len(notes) == bool(note) and "".join(notes).startswith(note)


@pytest.mark.parametrize("name, guess", [("P.A.", ""), ("LATERALL", "is it Lateral?"), ("AP-AXIAL", "is it AP AXIAL?")])
def test_a_name_that_is_none_is_told_what_there_is(name, guess):
    with pytest.raises(DataError) as caught:
        chosen(name)
    assert guess in caught.value.what and "PA (2)" in caught.value.hint and "(not stated) (1)" in caught.value.hint


def test_no_report_is_repeated_where_columns_are_shifted():
    with pytest.raises(DataError) as caught:
        chosen("PA", found=["No acute disease.", "Clear lungs", "AP"])
    message = f"{caught.value.what} {caught.value.hint}".lower()
    assert "disease" not in message and "lungs" not in message and "ap (1)" in message


def test_where_no_view_is_stated_that_is_said():
    with pytest.raises(DataError, match="no image here states its view"):
        chosen("PA", found=["", ""])


def sources(kind, table, mimic_tree, tmp_path, film):
    """A source of the kind whose images are PA and lateral, opened as the command line does."""
    if kind == "csv":
        return table([{"view": ("PA", "lateral")[n % 2]} for n in range(8)]), "PA", "lateral"
    if kind == "mimic-cxr":
        return mimic_tree(6).folder, "PA", "LATERAL"
    if kind == "openi":
        (tmp_path / "indiana_reports.csv").write_text("uid,findings,impression\n1,Clear.,\n2,Small effusion.,\n")
        rows = [f"{uid},{uid}_{n}.png,{view}" for uid in (1, 2) for n, view in enumerate(("Frontal", "Lateral"))]
        (tmp_path / "indiana_projections.csv").write_text("\n".join(["uid,filename,projection", *rows]))
        for row in rows:
            film(1).save(tmp_path / row.split(",")[1])
        return tmp_path, "Frontal", "Lateral"
    if kind == "webdataset":
        path, _, _ = sources("csv", table, mimic_tree, tmp_path, film)
        build(CsvSource(path), tmp_path / "tars", Options(workers=1, vocab_size=200, holdout=0))
        for file in ("MANIFEST.json", "INDEX.bin", "tokenizer.json"):
            (tmp_path / "tars" / file).unlink(missing_ok=True)
        return tmp_path / "tars", "PA", "lateral"
    return "12", "PA", "AP"


@pytest.mark.parametrize("kind", ["csv", "mimic-cxr", "openi", "webdataset", "phantom"])
def test_every_source_that_states_views_takes_some(kind, table, mimic_tree, tmp_path, film):
    path, one, other = sources(kind, table, mimic_tree, tmp_path, film)
    every = open_source(kind, str(path)).list_records()
    source = open_source(kind, str(path), views=f" {one.lower()} ")
    listing = source.list_records()
    expected = [record for record in every.records if record.view == one]
    assert [record.place for record in listing.records] == [record.place for record in expected] != []
    assert source.description["views"] == [one]
    assert sum("left out, of other views" in note for note in listing.notes) == 1
    both = open_source(kind, str(path), views=f"{other},{one}").list_records()
    assert len(both.records) == sum(record.view in (one, other) for record in every.records)
    with pytest.raises(DataError, match="--views oblique"):
        open_source(kind, str(path), views=f"{one},oblique").list_records()


def test_a_folder_states_no_views(tmp_path):
    with pytest.raises(ConfigError, match="not for --from folder"):
        open_source("folder", str(tmp_path), views="PA")


def test_a_view_named_twice_is_one(tmp_path):
    assert _selection("PA, AP,pa", None).views == ("PA", "AP")


@pytest.mark.parametrize("views", ["", ",", "PA,", " , ", ",AP", "PA,,AP"])
def test_empty_names_are_refused(views):
    with pytest.raises(ConfigError, match="empty name"):
        open_source("csv", "x.csv", views=views)


def test_images_of_other_views_need_not_be_there(mimic_tree):
    """Frontal images are often all that is copied."""
    tree = mimic_tree(6)
    for path in tree.folder.rglob("*-lateral-*.jpg"):
        path.unlink()
    assert MimicCxrSource(tree.folder).list_records().absent
    listing = MimicCxrSource(tree.folder, selection=Selection(("PA",))).list_records()
    assert not listing.absent and listing.records


def test_reports_of_other_views_need_not_be_there(mimic_tree, tmp_path):
    tree = mimic_tree(6, archive=False)
    rows = tree.rows("mimic-cxr-2.0.0-metadata.csv.gz")
    for row in rows[1:]:
        row[4] = "AP" if row[2] == "50000001" else row[4]
    tree.rewrite("mimic-cxr-2.0.0-metadata.csv.gz", rows)
    next(tree.folder.rglob("s50000001.txt")).unlink()
    assert MimicCxrSource(tree.folder).list_records().absent
    assert not MimicCxrSource(tree.folder, selection=Selection(("PA", "LATERAL"))).list_records().absent


def test_empty_reports_of_other_views_are_not_counted(table):
    path = table([{"view": "PA"}, {"view": "AP", "report": ""}])
    assert CsvSource(path, selection=Selection(("PA",))).list_records().dropped_empty == 0


def invoke(*arguments):
    return CliRunner().invoke(command, ["shard", *map(str, arguments)])


def test_the_command_that_is_named_builds_the_same_and_repair_needs_no_view(table, tmp_path):
    path = table([{"view": ("PA", "AP", "LL")[n % 3]} for n in range(9)])
    done = invoke("build", "--from", "csv", path, tmp_path / "set", "--views", "ll,pa", "--vocab-size", "200", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["samples"] == 6
    manifest = read_manifest(tmp_path / "set")
    words = shlex.split(build_command(manifest))
    assert words[words.index("--views") + 1] == "LL,PA"
    again = [{"reports.csv": path, "NEW_SET": tmp_path / "again"}.get(word, word) for word in words[2:]]
    assert invoke(*again).exit_code == 0 and read_manifest(tmp_path / "again").digest == manifest.digest
    shard = next(Path(tmp_path / "set").glob("train-*.tar"))
    shard.write_bytes(shard.read_bytes()[:-2048])
    repaired = invoke("repair", "--from", "csv", path, tmp_path / "set")
    assert repaired.exit_code == 0 and "1 of" not in repaired.stdout, repaired.output


def test_a_build_of_other_views_is_not_gone_on_with(table, tmp_path, interrupted):
    path = table([{"view": ("PA", "AP")[n % 2]} for n in range(8)])
    options, lines = Options(workers=1, vocab_size=200, shard_size=1), []
    interrupted(2, lambda: build(CsvSource(path, selection=Selection(("PA",))), tmp_path / "set", options))
    build(CsvSource(path, selection=Selection(("AP",))), tmp_path / "set", options, lines.append)
    assert any("but it had other" in line and "views" in line for line in lines)


def test_openi_of_xml_states_no_views(tmp_path, film):
    (tmp_path / "1.xml").write_text(
        '<eCitation><uId id="CXR1"/><AbstractText Label="FINDINGS">Clear.</AbstractText>'
        '<parentImage id="1_1"/></eCitation>'
    )
    film(1).save(tmp_path / "1_1.png")
    with pytest.raises(DataError, match="no image here states its view"):
        OpeniSource(tmp_path, selection=Selection(("Frontal",))).list_records()
