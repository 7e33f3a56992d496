"""Distilled texts of somebody else: read from any table, attached to every source by study, recorded."""

import gzip
import json
import shlex

import pytest
from click.testing import CliRunner

from ecamp_fast.cli import command
from ecamp_fast.commands.sources import open_source
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.shards.builder.build import Options, build
from ecamp_fast.shards.describe.rules import build_command
from ecamp_fast.shards.format.manifest import read_manifest
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.shards.sources.csv_file import CsvSource
from ecamp_fast.shards.sources.selection.choice import Selection
from ecamp_fast.shards.sources.selection.distilled import read_distilled, study_key

TEXTS = {"1": "There is small effusion, left.", "2": 'There is "patchy" edema; mild.'}


@pytest.fixture
def write(tmp_path):
    """write(content, name="d.csv"): the file."""

    def file(content, name="d.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return file


def table(separator, head=("study_id", "text"), texts=TEXTS):
    quoted = [(study, '"' + text.replace('"', '""') + '"') for study, text in texts.items()]
    return "\n".join(separator.join(row) for row in [head, *quoted]) + "\n"


LINES = "".join(json.dumps({"study_id": study, "text": text}) + "\n" for study, text in TEXTS.items())
NUMBERS = "".join(json.dumps({"study_id": float(study), "text": text}) + "\n" for study, text in TEXTS.items())


@pytest.mark.parametrize(
    "content, name",
    [
        (table(","), "d.csv"),
        (table("\t"), "d.tsv"),
        (table("\t"), "d.csv"),
        (table(";"), "d.csv"),
        (table(";", ("study_id", "text, as given")), "d.csv"),
        (table(",", ('"study_id"', '"text"')), "d.csv"),
        (table("|"), "d.txt"),
        (table(",", ("study_id", "distilled")), "d.csv"),
        (table(",", ("Study_ID", "Distilled_Report")), "d.csv"),
        (table(",", ("study", "caption")), "d.csv"),
        (table("\t", ("uid", "text")), "d.tsv"),
        (table(",", texts={f"{study}.0": text for study, text in TEXTS.items()}), "d.csv"),
        (table(",", texts={f" {study} ": text for study, text in TEXTS.items()}), "d.csv"),
        (table(",").replace("\n", "\r\n"), "d.csv"),
        (table(",").encode("utf-8-sig"), "d.csv"),
        (table("\t").encode("utf-16"), "d.tsv"),
        (gzip.compress(table(",").encode()), "d.csv.gz"),
        (LINES, "d.jsonl"),
        (LINES.replace("\n", "\n\n"), "d.json"),
        (NUMBERS, "d.jsonl"),
        (LINES.replace('"study', '"Study').replace('"text"', '"key": "k", "text"'), "d.jsonl"),
        (gzip.compress(LINES.encode()), "d.jsonl.gz"),
        (table(",") + '1,"There is small effusion, left."\n', "d.csv"),
    ],
)
def test_a_table_is_read_however_it_is_written(content, name, write):
    found = read_distilled(write(content, name))
    assert found.texts == TEXTS and not found.faults and len(found.digest) == 64


@pytest.mark.parametrize("separator, name", [(",", ""), ("\t", "tabs"), (";", "semicolons"), ("|", "bars")])
def test_the_separator_that_was_guessed_is_said(separator, name, write):
    notes = read_distilled(write(table(separator))).notes
    assert notes == ([f"d.csv: columns are parted by {name}"] if name else [])


@pytest.mark.parametrize(
    "content, what",
    [
        ("", "empty"),
        ("study_id,text\n", "no distilled text"),
        ("study_id,a,b\n1,x,y\n", "no column 'text'"),
        ("image,text\n1,x\n", "no column 'study_id'"),
        ("study_id\n1\n", "no column 'text'"),
        ('study_id,text\n1,"x\n', "not CSV"),
        ('{"study_id": 1, "text": "x"}\nnothing\n', "row 2: no JSON object"),
        ('{"study_id": 1, "text": "x"', "row 1: no JSON object"),
        ('[{"study_id": 1, "text": "x"}]', "row 1: no JSON object"),
        ('{"study_id": 1, "text": 5}', "'text' is no text"),
        ('{"study_id": [1], "text": "x"}', "'study_id' is neither"),
        ('{"study_id": true, "text": "x"}', "'study_id' is neither"),
        ('{"study": 1}', "no column 'text'"),
        ("study_id,report,view\n1,x,PA\n", "no column 'text'"),
        ("study_id;Report;patient_id\n1;x;2\n", "no column 'text'"),
        ('{"study_id": 1, "report": "x", "split": "val"}', "no column 'text'"),
        (None, "no such file"),
    ],
)
def test_what_is_no_table_of_texts_is_refused(content, what, write, tmp_path):
    path = tmp_path / "none.csv" if content is None else write(content)
    with pytest.raises(DataError, match=what) as caught:
        read_distilled(path)
    assert caught.value.hint


@pytest.mark.parametrize(
    "rows, what",
    [
        ("1,CANARY one\n1,CANARY two\n", "row 3: another text for 1 than in row 2"),
        ("1,CANARY one\n1,\n", "row 3: another text for 1 than in row 2"),
        ("1,CANARY one\n1.0,CANARY two\n", "row 3: another text for 1.0 than in row 2"),
        (",CANARY one\n2,x\n", "row 2: its study_id is empty"),
        ("  ,CANARY one\n2,x\n", "row 2: its study_id is empty"),
        ("1,CANARY,one\n", "row 2: 3 fields, the header has 2"),
        ("1\n", "row 2: 1 fields, the header has 2"),
    ],
)
def test_rows_that_contradict_are_faults_and_are_not_repeated(rows, what, write):
    faults = read_distilled(write("study_id,text\n" + rows)).faults
    assert len(faults) == 1 and what in str(faults[0]) and "CANARY" not in str(faults[0])


@pytest.mark.parametrize(
    "study, kind, key",
    [
        ("s50414267", "mimic-cxr", "50414267"),
        ("50414267", "mimic-cxr", "50414267"),
        ("S50414267", "mimic-cxr", "50414267"),
        ("50414267.0", "mimic-cxr", "50414267"),
        ("CXR12", "openi", "12"),
        ("12", "openi", "12"),
        ("s12", "csv", "s12"),
        ("012", "csv", "012"),
        ("12.50", "csv", "12.50"),
        (" a/b ", "folder", "a/b"),
        ("secret", "mimic-cxr", "secret"),
    ],
)
def test_studies_are_compared_in_one_form(study, kind, key):
    assert study_key(study, kind) == key


def rows(count=6):
    return [{"study_id": f"s{n}"} for n in range(count)]


def listing(path, distilled, **options):
    return CsvSource(path, selection=Selection(distilled=distilled), **options).list_records()


def test_texts_are_attached_by_study_and_the_rest_is_counted(table, write):
    path = table([*rows(), {"study_id": "s0", "image_path": "second.jpg"}])
    distilled = write("study_id,text\ns0,There is given.\ns2,\ns3,There is another.\ns8,x\ns9,y\n")
    found = listing(path, distilled)
    given = {record.place: record.distilled for record in found.records}
    assert given == {
        "s0.jpg": "There is given.",
        "second.jpg": "There is given.",
        "s3.jpg": "There is another.",
        **dict.fromkeys(("s1.jpg", "s2.jpg", "s4.jpg", "s5.jpg")),
    }
    assert found.notes == [
        "d.csv has the distilled texts of 2 of 6 studies with a report",
        "those of the other 4 studies are written by the rules",
        "d.csv: 2 studies are not among the samples with a report: passed over",
    ]


def test_differing_duplicates_end_the_build(table, write, tmp_path):
    distilled = write("study_id,text\ns0,One.\ns0,Two.\n")
    with pytest.raises(DataError, match="another text for s0"):
        build(CsvSource(table(rows()), selection=Selection(distilled=distilled)), tmp_path / "set", QUICK)


def test_a_file_of_another_corpus_is_refused(table, write):
    with pytest.raises(DataError, match="of its 2 studies none is here") as caught:
        listing(table(rows()), write("study_id,text\n7,One.\n8,Two.\n"))
    assert "s0" in caught.value.hint


def test_texts_that_the_source_has_already_are_not_overwritten(table, write):
    path = table([{"distilled": "There is mine."}, {}], ["study_id", "image_path", "view", "report", "distilled"])
    with pytest.raises(DataError, match="1 sample has a distilled text already"):
        listing(path, write("study_id,text\ns0,x\n"))


def test_images_alone_get_no_text(table, write):
    path = table([{}, {"report": ""}])
    found = listing(path, write("study_id,text\ns0,One.\ns1,Two.\n"), keep_empty=True)
    assert [record.distilled for record in found.records] == ["One.", None]


QUICK = Options(workers=1, vocab_size=200)


@pytest.mark.parametrize("kind", ["csv", "folder", "mimic-cxr", "openi", "webdataset"])
def test_every_source_takes_them_by_its_own_studies(kind, table, write, mimic_tree, tmp_path, film):
    source, studies = made(kind, table, mimic_tree, tmp_path, film)
    distilled = write("study_id\ttext\n" + "".join(f"{study}\tThere is {n}.\n" for n, study in enumerate(studies)))
    opened = open_source(kind, str(source), distilled=str(distilled))
    found = opened.list_records()
    assert not found.faults and len(found.records) >= 2
    assert {record.distilled for record in found.records} == {f"There is {n}." for n in range(len(studies))}
    assert opened.description["distilled"] == "d.csv" and len(opened.description["distilled_digest"]) == 64


def made(kind, table, mimic_tree, tmp_path, film):
    """A small source of the kind, and what a table may call its studies."""
    if kind == "csv":
        return table(rows(2)), ["s0", "s1"]
    if kind == "mimic-cxr":
        tree = mimic_tree(6)
        return tree.folder, [study[1:] for study, text in tree.texts.items() if text]
    folder = tmp_path / "data"
    folder.mkdir(exist_ok=True)
    if kind == "folder":
        (folder / "deep").mkdir()
        for name in ("a", "deep/b"):
            film(1).save(folder / f"{name}.jpg")
            (folder / f"{name}.txt").write_text("Clear.")
        return folder, ["a", "deep/b"]
    if kind == "openi":
        (folder / "indiana_reports.csv").write_text("uid,findings,impression\n1,Clear.,\n2,Edema.,\n")
        (folder / "indiana_projections.csv").write_text("uid,filename,projection\n1,1.png,Frontal\n2,2.png,Frontal\n")
        for uid in (1, 2):
            film(uid).save(folder / f"{uid}.png")
        return folder, ["CXR1", "2.0"]
    import io
    import tarfile

    with tarfile.open(folder / "x.tar", "w") as archive:
        for name in ("a", "b"):
            buffer = io.BytesIO()
            film(1).save(buffer, "JPEG")
            metadata = json.dumps({"study_id": f"study-{name}"}).encode()
            for ending, data in (("jpg", buffer.getvalue()), ("txt", b"Clear."), ("json", metadata)):
                entry = tarfile.TarInfo(f"{name}.{ending}")
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
    return folder, ["study-a", "study-b"]


def test_phantoms_have_none():
    with pytest.raises(ConfigError, match="not for --from phantom"):
        open_source("phantom", "3", distilled="d.csv")


def invoke(*arguments):
    return CliRunner().invoke(command, ["shard", *map(str, arguments)])


def test_the_set_holds_them_and_is_repaired_and_built_again_with_them_alone(table, write, tmp_path):
    path, out = table(rows()), tmp_path / "set"
    distilled = write("study_id,text\n" + "".join(f"s{n},There is given {n}.\n" for n in range(3)))
    options = ["--vocab-size", "200", "--workers", "1"]
    done = invoke("build", "--from", "csv", path, out, "--distilled", distilled, *options)
    assert done.exit_code == 0, done.output
    manifest, shards = read_manifest(out), ShardSet(out)
    texts = {}
    for split in shards.splits:
        for index in range(shards.count(split)):
            sample = shards.read(split, index)
            texts[json.loads(sample["json"])["study_id"]] = sample["distilled.txt"].decode()
    assert [texts[f"s{n}"] for n in range(3)] == [f"There is given {n}." for n in range(3)]
    assert all(texts[f"s{n}"] and "given" not in texts[f"s{n}"] for n in range(3, 6))
    assert manifest.source["distilled"] == "d.csv" and str(tmp_path) not in json.dumps(manifest.source)
    words = shlex.split(build_command(manifest))
    assert words[words.index("--distilled") + 1] == "d.csv"
    shard = next(out.glob("train-*.tar"))
    shard.write_bytes(shard.read_bytes()[:-2048])
    without = invoke("repair", "--from", "csv", path, out)
    assert "not the source the set was built from" in str(without.exception) and "distilled" in str(without.exception)
    renamed = distilled.rename(distilled.with_name("e.csv"))
    repaired = invoke("repair", "--from", "csv", path, out, "--distilled", renamed)
    assert repaired.exit_code == 0, repaired.output


def test_a_build_with_other_texts_is_not_gone_on_with(table, write, tmp_path, interrupted):
    path, lines = table(rows()), []
    options = Options(workers=1, vocab_size=200, shard_size=1)
    distilled = write("study_id,text\ns0,One.\n")
    source = CsvSource(path, selection=Selection(distilled=distilled))
    interrupted(2, lambda: build(source, tmp_path / "set", options))
    write("study_id,text\ns0,Two.\n")
    build(CsvSource(path, selection=Selection(distilled=distilled)), tmp_path / "set", options, lines.append)
    assert any("but it had other" in line and "distilled_digest" in line for line in lines)


def test_the_same_texts_by_another_name_are_gone_on_with(table, write, tmp_path, interrupted):
    path, lines = table(rows()), []
    options = Options(workers=1, vocab_size=200, shard_size=1)
    distilled = write("study_id,text\ns0,One.\n")
    source = CsvSource(path, selection=Selection(distilled=distilled))
    interrupted(2, lambda: build(source, tmp_path / "set", options))
    renamed = distilled.rename(distilled.with_name("e.csv"))
    source = CsvSource(path, selection=Selection(distilled=renamed))
    manifest = build(source, tmp_path / "set", options, lines.append).manifest
    assert manifest.source["distilled"] == "e.csv" and not any("starting over" in line for line in lines)
    assert any("going on" in line for line in lines)


def test_one_study_is_one(table, write):
    path = table([{}, {}])
    notes = listing(path, write("study_id,text\ns0,One.\ns8,x\n")).notes
    assert notes[1:] == [
        "those of the other 1 study are written by the rules",
        "d.csv: 1 study is not among the samples with a report: passed over",
    ]
    with pytest.raises(DataError, match="of its 1 study none is here"):
        listing(path, write("study_id,text\nz,One.\n"))
