"""Words planted in every report, DICOM tag and name of a picture: they are in the data, and nowhere else.

The corpus goes through every command that reads it, and through the faults that are told of with the most words. What
the commands print, log and write is searched, shard sets and pictures (which are the data) excepted. One thing is told
on purpose: a picture that is at fault is called by its name, or nobody could find it; never by the folder it lies in.
"""

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ecamp_fast.cli import main
from ecamp_fast.run.rundir import RunDir
from ecamp_fast.shards.builder.notice import NOTICE
from ecamp_fast.shards.sources.mimic_cxr import MimicCxrSource

CANARY = re.compile(r"zq(?:folder|tag|text|cell|note)\w*", re.IGNORECASE)
NAMED = re.compile(CANARY.pattern + r"|zqname\w*", re.IGNORECASE)
STUDIES = 16
QUICK = ("--workers", "1", "--vocab-size", "200", "--short-side", "64", "--shard-size", "4")


def dicom(path: Path, number: int) -> None:
    pydicom = pytest.importorskip("pydicom", reason="needs pydicom")
    ds = pydicom.dataset.Dataset()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.1", "1"
    ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    for tag in ("PatientName", "InstitutionName", "ReferringPhysicianName", "PatientComments", "StudyDescription"):
        setattr(ds, tag, f"Zqtag{number}")
    ds.ViewPosition, ds.SeriesDescription, ds.BodyPartExamined = "PA", f"Zqtag{number}", f"ZQTAG{number}"
    ds.PhotometricInterpretation, ds.SamplesPerPixel, ds.PixelRepresentation = "MONOCHROME2", 1, 0
    ds.Rows, ds.Columns, ds.BitsAllocated, ds.BitsStored, ds.HighBit = 64, 64, 16, 12, 11
    ds.PixelData = np.random.default_rng(number).integers(0, 4096, (64, 64)).astype(np.uint16).tobytes()
    ds["PixelData"].VR = "OW"
    ds.save_as(path, enforce_file_format=True)


@pytest.fixture
def corpus(tmp_path):
    """A table of reports with pictures, each with canaries in it; the folder that all outputs go to."""
    pictures = tmp_path / "private" / "zqfolder"
    pictures.mkdir(parents=True)
    rows = ["study_id,image_path,view,report,distilled,patient_id,split,clinician"]
    for number in range(STUDIES):
        dicom(pictures / f"zqname{number}.dcm", number)
        report = f"FINDINGS: Mr Zqtext{number} has a small zqtext{number} effusion. IMPRESSION: Zqtext{number} edema."
        split = "val" if number % 4 == 3 else "train"
        picture, others = (
            f"{pictures}/zqname{number}.dcm",
            f"Zqnote{number} effusion.,p{number},{split},Dr Zqcell{number}",
        )
        rows.append(f"{number},{picture},PA,{report},{others}")
    (tmp_path / "t.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "t.csv"


@pytest.fixture
def says(capfd, caplog):
    """says(*arguments): exit code and all that a command prints and logs, as text and with --json."""

    def run(*arguments, json_too=True):
        said, codes = "", set()
        for extra in ((), ("--json",)) if json_too else ((),):
            with pytest.raises(SystemExit) as caught:
                main([*map(str, arguments), *extra])
            codes.add(caught.value.code)
            seen = capfd.readouterr()
            said += seen.out + seen.err
        return codes, said + caplog.text

    return run


def found(text, canary=NAMED):
    return sorted(set(canary.findall(text)))


def leaks(folder: Path, canary=NAMED) -> dict[str, list[str]]:
    """Canaries in names and contents of files below a folder, shard sets and their remains excepted."""
    hits = {}
    for path in folder.rglob("*"):
        inside = path.relative_to(folder)
        if path.is_file() and not {"set", "again", "private", "t.csv", "worse"} & {
            *inside.parts,
            inside.parts[0].split(".")[0],
        }:
            hit = found(str(inside) + path.read_bytes().decode("latin-1"), canary)
            if hit:
                hits[str(inside)] = hit
    return hits


@pytest.mark.fault("P1.reports", "P1.dicom-tags", "P1.file-names", "P1.output", "P1.json")
def test_no_command_repeats_a_word_of_the_data(corpus, tmp_path, says):
    shards = tmp_path / "set"
    for arguments in (
        ("shard", "build", "--from", "csv", corpus, shards, "--dry-run", *QUICK),
        ("shard", "annotate", "--from", "csv", corpus),
    ):
        codes, text = says(*arguments)
        assert codes == {0} and found(text) == []
    codes, text = says("shard", "build", "--from", "csv", corpus, shards, *QUICK, json_too=False)
    assert codes == {0} and found(text) == [] and str(STUDIES) in text
    codes, text = says("shard", "build", "--from", "csv", corpus, tmp_path / "again", *QUICK, "--json", json_too=False)
    assert codes == {0} and found(text) == [] and f'"samples": {STUDIES}' in text
    (shards / sorted(path.name for path in shards.glob("*.tar"))[0]).write_bytes(b"")
    for arguments, code in (
        (("shard", "verify", shards), 3),
        (("shard", "repair", "--from", "csv", corpus, shards), 0),
        (("shard", "verify", shards), 0),
        (("shard", "stats", shards), 0),
        (("shard", "show", shards, tmp_path / "set.png"), 0),
    ):
        codes, text = says(*arguments)
        assert codes == {code} and found(text, CANARY if code or "show" in arguments else NAMED) == []
    codes, text = says("tokenizer", "train", corpus, tmp_path / "set.json", "--vocab-size", "100", json_too=False)
    assert codes == {0} and found(text) == []
    assert leaks(tmp_path) == {}
    assert found((shards / sorted(path.name for path in shards.glob("*.tar"))[0]).read_bytes().decode("latin-1"))


FAULTS = {
    "a row is cut": lambda lines: [*lines[:3], lines[3].rsplit(",", 2)[0], *lines[4:]],
    "columns are swapped": lambda lines: [
        lines[0].replace("study_id", "x").replace("report", "study_id").replace("x,", "report,"),
        *lines[1:],
    ],
    "no header": lambda lines: lines[1:],
    "a quote is open": lambda lines: [*lines[:3], lines[3].replace("FINDINGS", '"FINDINGS'), *lines[4:]],
    "the report is the split": lambda lines: [
        lines[0].replace("split", "y").replace("report", "split").replace("y,", "report,"),
        *lines[1:],
    ],
    "a picture is missing": lambda lines: [*lines[:3], lines[3].replace(".dcm", "x.dcm"), *lines[4:]],
    "a patient twice": lambda lines: [
        *lines[:3],
        lines[3].replace("train", "test").replace(",p2,", ",p1,"),
        *lines[4:],
    ],
    "a study twice": lambda lines: [*lines, lines[3].replace("effusion", "edema")],
}


@pytest.mark.fault("P1.failures")
@pytest.mark.parametrize("fault", FAULTS)
def test_no_fault_is_told_in_words_of_the_data(fault, corpus, tmp_path, says):
    table = tmp_path / "worse.csv"
    table.write_text("\n".join(FAULTS[fault](corpus.read_text().splitlines())) + "\n")
    for budget in ("0", "1"):
        codes, text = says(
            "shard", "build", "--from", "csv", table, tmp_path / "set", *QUICK, "--reject-budget", budget
        )
        assert found(text, CANARY) == [] and codes
    assert leaks(tmp_path) == {}


@pytest.mark.fault("P1.dicom-tags", "P1.failures")
def test_no_damaged_picture_is_told_of_by_its_tags(corpus, tmp_path, says):
    for number, path in enumerate(sorted((tmp_path / "private").rglob("*.dcm"))):
        data = bytearray(path.read_bytes())
        at = (200, 400, len(data) - 100, 132)[number % 4]
        data[at : at + 20] = b"\xff" * 20
        path.write_bytes(data[: len(data) - (3000 if number % 2 else 0)])
    codes, text = says("shard", "build", "--from", "csv", corpus, tmp_path / "set", *QUICK)
    assert codes == {3} and found(text, CANARY) == []


@pytest.mark.complete
@pytest.mark.fault("P1.run-folder", "P1.failures")
def test_no_file_of_a_run_holds_a_word_of_the_data(corpus, tmp_path, says):
    shards, run = tmp_path / "set", tmp_path / "run"
    says("shard", "build", "--from", "csv", corpus, shards, *QUICK, json_too=False)
    victim = sorted(shards.glob("train*.tar"))[0]
    small = ("image.high_size=64", "image.low_size=32", "text.max_tokens=24", "batch={total: 4, micro: 2}")
    small += ("model.vision={width: 16, depth: 2, heads: 2, patch: 8}", "model.decoder={width: 8, depth: 1, heads: 2}")
    small += ("model.text={width: 12, depth: 2, heads: 3, ffn: 20, dropout: 0.0}", "loader.quarantine=0.5")
    data = bytearray(victim.read_bytes())
    data[700:720] = bytes(20)
    victim.write_bytes(data)  # a sample is damaged, so there is a quarantine
    train = [sys.executable, Path(__file__).parents[2] / "ecamp_fast" / "train.py", f"--data={shards}", f"--out={run}"]
    options = [f"--set={key}" for key in (*small, "schedule.epochs=3", "schedule.warmup_epochs=1", "log_every=1")]
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [*train, "--recipe=demo", *options, "--no-report"],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert found(done.stdout + done.stderr, CANARY) == [] and (run / "quarantine.jsonl").exists()
    codes, text = says("report", run, "--no-pictures")
    assert codes == {0} and found(text) == []
    codes, text = says("doctor", "--data", shards, "--recipe", "demo", "--out", run)
    assert found(text) == []
    assert leaks(tmp_path, CANARY) == {} and leaks(tmp_path).keys() <= {"run/quarantine.jsonl"}  # which names samples
    assert found((shards / "MANIFEST.json").read_text()) == []
    modes = {
        name: stat.S_IMODE((run / name).stat().st_mode)
        for name in ("", "quarantine.jsonl", "metrics.jsonl", "recipe.yaml")
    }
    assert modes == {"": 0o700, "quarantine.jsonl": 0o600, "metrics.jsonl": 0o600, "recipe.yaml": 0o600}


@pytest.fixture
def people(corpus):
    """The corpus with patients who are canaries, and a class."""
    head, *rows = corpus.read_text().splitlines()
    rows = [re.sub(r",p(\d+),", r",zqcellp\1,", row) + f",{number % 2}" for number, row in enumerate(rows)]
    assert all("zqcellp" in row for row in rows)
    corpus.write_text("\n".join([f"{head},effusion", *rows]) + "\n")
    return corpus


@pytest.mark.complete
def test_no_step_from_reports_to_maps_repeats_a_word_of_the_data(people, tmp_path, says):
    """Distilled, put, GLoRIA, prompts, maps. What holds text or keys on purpose is named here."""
    answers, run, maps = tmp_path / "answers", tmp_path / "run", tmp_path / "maps"
    first, shards, whole = tmp_path / "set.first", tmp_path / "set", tmp_path / "set.whole"
    codes, text = says("shard", "build", "--from", "csv", people, first, *QUICK, "--labels", "effusion", json_too=False)
    assert codes == {0} and found(text) == []
    tiny = ("image.high_size=64", "image.low_size=32", "gloria.image_size=64", "batch={total: 4, micro: 4}")
    tiny += ("model.text={width: 16, depth: 1, heads: 2, ffn: 24, dropout: 0.0}", "schedule.epochs=2", "log_every=1")
    tiny += ("model.vision={width: 16, depth: 1, heads: 2, patch: 8}", "gloria.text=raw", "loader.quarantine=0.5")
    tiny += ("checkpoint.every_steps=2", "evaluation.every_steps=2")
    train = ("attend", "train", shards, run, "--recipe", "phantom", "--ranks", "1", *(f"--set={one}" for one in tiny))
    steps = [
        (("distill", "run", first, answers, "--rules"), {0}),
        (("distill", "run", first, answers, "--rules", "--entities", people), {2}),  # no list of entities
        (("distill", "audit", first, answers, "--out", tmp_path / "again"), {0}),  # a page of reports
        (("distill", "export-sft", first, answers, tmp_path / "sft"), {3}),  # no model's answers
        (("shard", "put", first, shards, "--distilled", people), {3}),
        (("shard", "put", first, shards, "--distilled", answers, "--workers", "1"), {0, 2}),  # 2: it is there by now
        (train, {0}),
        (("zero-shot", run, shards), {0}),
        (("attend", "apply", run, shards, maps), {3}),  # of the damaged sample there is no map
        (("attend", "apply", run, whole, maps), {0}),
    ]
    for arguments, allowed in steps:
        if arguments == train:
            shutil.copytree(shards, whole)
            damage(shards)
        codes, text = says(*arguments, json_too=arguments[0] != "attend")
        assert codes <= allowed and found(text, CANARY) == [], (arguments, text)
    assert (run / "metrics.jsonl").exists() and (run / "quarantine.jsonl").exists()
    hits = leaks(tmp_path, CANARY)
    distilled = {name for name in hits if name.startswith("answers/answers-")}  # texts, and no patient
    assert set(hits) == distilled and not any("zqcell" in hit.lower() for one in hits.values() for hit in one)
    named = [name for name in leaks(tmp_path) if not name.startswith(("answers/", "maps/"))]  # keys of samples
    assert named == ["run/quarantine.jsonl"]
    page = (tmp_path / "again" / "audit.html").read_text()
    assert "zqcell" not in page and found(page[: page.index("</head>")]) == []


def damage(shards: Path) -> None:
    """A sample of the first shard of training can no longer be read."""
    victim = sorted(shards.glob("train*.tar"))[0]
    data = bytearray(victim.read_bytes())
    data[700:720] = bytes(20)
    victim.write_bytes(data)


# For their owner alone


@pytest.mark.fault("P1.owner-alone")
def test_a_set_is_for_its_owner_alone(corpus, tmp_path, says):
    before = os.umask(0)
    try:
        says("shard", "build", "--from", "csv", corpus, tmp_path / "set", *QUICK, json_too=False)
        for part in ("1/2", "2/2"):
            says("shard", "build", "--from", "csv", corpus, tmp_path / part[0], *QUICK, "--part", part, json_too=False)
        says("shard", "merge", tmp_path / "1", tmp_path / "2", tmp_path / "again", json_too=False)
    finally:
        os.umask(before)
    for name in ("set", "1", "2", "again"):
        folder = tmp_path / name
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert len(files) > 3 and {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


@pytest.mark.fault("P1.owner-alone")
def test_a_run_is_for_its_owner_alone_and_what_he_opened_stays_open(tmp_path):
    before = os.umask(0)
    try:
        run = RunDir(tmp_path / "run")
        run.set_state(step=1)
        run.quarantined({"sample": 3})
        run.metric({"step": 1})
        files = sorted(path.name for path in run.path.iterdir())
        assert files == ["metrics.jsonl", "quarantine.jsonl", "run_state.json"]
        assert {stat.S_IMODE((run.path / name).stat().st_mode) for name in files} == {0o600}
        assert stat.S_IMODE(run.path.stat().st_mode) == 0o700
        (run.path / "run_state.json").chmod(0o644)
        run.set_state(step=2)
        assert stat.S_IMODE((run.path / "run_state.json").stat().st_mode) == 0o644
    finally:
        os.umask(before)


@pytest.mark.fault("P1.notice")
def test_a_set_of_mimic_says_what_it_is_under(tmp_path, monkeypatch, pristine):
    from ecamp_fast.shards.builder.build import Options, build_phantoms
    from ecamp_fast.shards.check.verify import inspect
    from ecamp_fast.shards.sources.phantom import PhantomSource

    monkeypatch.setattr(PhantomSource, "kind", MimicCxrSource.kind)
    monkeypatch.setattr(
        PhantomSource,
        "description",
        property(
            lambda self: self._told | {"kind": MimicCxrSource.kind}, lambda self, told: setattr(self, "_told", told)
        ),
        raising=False,
    )
    build_phantoms(4, tmp_path / "set", size=64, options=Options(workers=1, shard_size=4, vocab_size=200))
    notice = (tmp_path / "set" / NOTICE).read_text()
    assert "Data Use Agreement" in notice and "Do not share it" in notice
    assert inspect(tmp_path / "set").damage == [] and not (pristine / NOTICE).exists()


# The whole suite


PLANTED = """
import pytest
from ecamp_fast.phantom.phrases import HEART_NORMAL

@pytest.mark.parametrize("place", ["out", "err", "log", "state", "data", "nowhere"])
def test_it(place, tmp_path):
    if place in ("out", "err"):
        import sys
        print("loss 3,", HEART_NORMAL[0], file=sys.stdout if place == "out" else sys.stderr)
    elif place != "nowhere":
        (tmp_path / {"log": "train.log", "state": "run_state.json", "data": "a.txt"}[place]).write_text(HEART_NORMAL[0])
"""


@pytest.mark.fault("P1.whole-suite")
def test_a_sentence_of_a_report_anywhere_in_the_suite_fails_it(tmp_path):
    shutil.copy(Path(__file__).parents[1] / "conftest.py", tmp_path)
    (tmp_path / "test_it.py").write_text(PLANTED)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "--basetemp", tmp_path / "x"]
    path = os.pathsep.join(entry for entry in sys.path if entry)
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run([*command, "test_it.py"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    shutil.rmtree(tmp_path / "x")  # or it would fail this suite too
    places = sorted(re.findall(r"report text in .*?(out|err|log|state|data|nowhere)\b", done.stdout))
    assert done.returncode == 1 and places == ["err", "log", "out", "state"], done.stdout + done.stderr
    assert "6 passed" in done.stdout and "silhouette" not in done.stdout
