"""Building: the same bytes for any number of workers, all faults at once, nothing half-written."""

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from ecamp_fast.cli import command
from ecamp_fast.errors import ConfigError, DataError, EnvironmentFault
from ecamp_fast.shards.builder import workers
from ecamp_fast.shards.builder.build import Options, build, build_phantoms
from ecamp_fast.shards.builder.manifest_counts import text_statistics
from ecamp_fast.shards.check.verify import verify
from ecamp_fast.shards.format.manifest import read_manifest
from ecamp_fast.shards.format.tokens import unpack_tokens
from ecamp_fast.shards.images.encode import read_pgm
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.shards.sources.csv_file import CsvSource
from ecamp_fast.text.codes import token_ids
from ecamp_fast.text.wordpiece import load_wordpiece, train_wordpiece

ONE = Options(workers=1, vocab_size=200)


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def samples(folder):
    shards = ShardSet(folder)
    return [shards.read(split, index) for split in shards.splits for index in range(shards.count(split))]


def metadata(folder):
    return {sample.key: json.loads(sample["json"]) for sample in samples(folder)}


def built(path, **options):
    out = path.parent.parent / "set"
    build(CsvSource(path), out, Options(**{"workers": 1, "vocab_size": 200} | options))
    return out


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_bytes(tmp_path):
    for processes in (1, 2, 3):
        options = Options(workers=processes, shard_size=4, vocab_size=200)
        build_phantoms(10, tmp_path / str(processes), size=64, options=options)
    assert digests(tmp_path / "1") == digests(tmp_path / "2") == digests(tmp_path / "3")


def test_building_twice_gives_the_same_bytes(tmp_path, phantom_set):
    build_phantoms(12, tmp_path / "again", size=64, options=Options(workers=1, shard_size=4, vocab_size=300))
    assert digests(tmp_path / "again") == digests(phantom_set)


def test_the_order_of_rows_changes_nothing_but_row_numbers(table):
    rows = [{"study_id": f"s{n}", "image_path": f"i{n}.jpg", "report": f"Effusion {n}."} for n in range(6)]
    first = {s.key: (s["jpg"], s["tokens"], s["txt"]) for s in samples(built(table(rows)))}
    path = table(rows[::-1])
    build(CsvSource(path), path.parent / "turned", ONE)
    assert {s.key: (s["jpg"], s["tokens"], s["txt"]) for s in samples(path.parent / "turned")} == first


def test_a_csv_becomes_a_whole_set(table):
    rows = [{"patient_id": f"p{n // 2}", "labels": "Edema;Effusion", "age": str(50 + n)} for n in range(12)]
    out = built(table([*rows, {"report": "___"}]))
    manifest = read_manifest(out)
    assert manifest.counts == {"samples": 12, "studies": 12, "patients": 6, "dropped_empty": 1, "without_text": 0}
    assert verify(out).samples == 12
    found = metadata(out)["s3_s3"]
    assert found["columns"] == {"age": "53"} and found["labels"] == {"Edema": 1, "Effusion": 1} and found["row"] == 5
    assert found["patient_id"] == "p1" and found["view"] == "PA" and found["image"] == "s3.jpg"
    splits = {m["patient_id"]: m["split"] for m in metadata(out).values()}
    assert set(splits.values()) == {"train", "val"} and len(splits) == 6


def test_tokens_are_the_reports_own(table):
    out = built(table([{"report": "Small left effusion.", "distilled": "There is small effusion."}, {}]))
    wordpiece = load_wordpiece(ShardSet(out).wordpiece_path)
    (sample,) = [s for s in samples(out) if s.key == "s0_s0"]
    report, distilled = unpack_tokens(sample["tokens"])
    assert token_ids(report).tolist() == [token[0] for token in wordpiece.encode("Small left effusion.")]
    assert token_ids(distilled).tolist() == [token[0] for token in wordpiece.encode("There is small effusion.")]
    assert sample["txt"] == b"Small left effusion." and sample["distilled.txt"] == b"There is small effusion."


def test_distilled_text_is_written_by_rule_where_there_is_none(table):
    out = built(table([{"report": "There is a small effusion. No edema."}, {"report": "Nothing to say."}]))
    texts = {s.key: s["distilled.txt"].decode() for s in samples(out)}
    assert "effusion" in texts["s0_s0"] and texts["s1_s1"] == ""


def test_a_distilled_text_that_is_given_is_that_rows_alone(table, tmp_path):
    rows = [{"report": "Small effusion.", "distilled": "mine"}, {"report": "Small effusion."}]
    path = table([row | {"split": "train"} for row in rows])
    texts = [s["distilled.txt"].decode() for s in samples(built(path))]
    build(CsvSource(path), tmp_path / "other", Options(workers=1, tokenizer=tmp_path / "set" / "tokenizer.json"))
    assert texts[0] == "mine" != texts[1] and texts == [
        s["distilled.txt"].decode() for s in samples(tmp_path / "other")
    ]


def test_token_statistics_count_cls_report_and_distilled(table):
    out = built(table([{"report": "one"}, {"report": "one two"}, {"report": "one two three"}]))
    lengths = sorted(1 + sum(map(len, unpack_tokens(s["tokens"]))) for s in samples(out))
    text = read_manifest(out).text
    assert text["tokens_max"] == lengths[-1] and text["tokens_p50"] == lengths[1]
    assert text["tokens_mean"] == pytest.approx(np.mean(lengths), abs=1e-3)


def test_token_statistics_of_a_hundred_reports():
    """Of 1 to 100 tokens, and 3 of distilled text each. 95 of 100 are no longer than the 95th percentile."""
    text = text_statistics(range(1, 101), [3] * 100)
    assert text == {
        **{"tokens_mean": 54.5, "tokens_p50": 55, "tokens_p95": 100, "tokens_max": 104},
        **{"report_mean": 50.5, "report_p50": 51, "report_p95": 96, "report_max": 100},
    }


def test_a_map_is_emptied_where_all_that_is_mentioned_is_denied(table, film):
    """There is nothing to look at, and a map of zeros weighs all pixels alike. Without a report nothing is denied."""
    reports = {"s0": "No edema. Small effusion.", "s1": "No edema. No effusion.", "s2": "Nothing to say.", "s3": ""}
    path = table([{"report": text, "attention_map": f"{s}.png", "split": "train"} for s, text in reports.items()])
    for number, study in enumerate(reports):
        film(number, 20, 15).save(path.parent / f"{study}.png")
    build(CsvSource(path, keep_empty=True), path.parent / "set", ONE)
    stored = {sample.key[:2]: read_pgm(sample["attn.pgm"]) for sample in samples(path.parent / "set")}
    drawn = {study: np.asarray(film(number, 20, 15)) for number, study in enumerate(reports)}
    kept = {"s0": True, "s1": False, "s2": False, "s3": True}
    assert all(np.array_equal(stored[study], keep * drawn[study]) for study, keep in kept.items())


def test_the_tokenizer_is_made_from_the_training_split_alone(table):
    rows = [{"report": "alpha beta", "split": "train"}, {"report": "zzyzx zzyzx", "split": "val"}]
    wordpiece = load_wordpiece(built(table(rows)) / "tokenizer.json")
    tokens = wordpiece.decode([token[0] for token in wordpiece.encode("zzyzx")])
    assert tokens != ["zzyzx"]


def test_a_given_tokenizer_is_stored_with_the_set(table, tmp_path):
    given = train_wordpiece(["small effusion case in the left lung 0 1 2"] * 2, 100)
    given.save(tmp_path / "mine.json")
    out = built(table([{}, {}]), tokenizer=tmp_path / "mine.json")
    manifest = read_manifest(out)
    assert (
        manifest.tokenizer_digest == given.digest == hashlib.sha256((out / "tokenizer.json").read_bytes()).hexdigest()
    )
    assert manifest.vocab_size == given.vocab_size


def test_a_bad_tokenizer_leaves_nothing(table, tmp_path):
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(ConfigError):
        built(table([{}, {}]), tokenizer=tmp_path / "bad.json")
    assert not (tmp_path / "set").exists() and not (tmp_path / "set.building").exists()


def test_images_are_reduced_and_their_boxes_and_masks_with_them(tmp_path):
    build_phantoms(6, tmp_path / "full", size=96, options=Options(workers=1, vocab_size=200))
    build_phantoms(6, tmp_path / "half", size=96, options=Options(workers=1, vocab_size=200, short_side=48))
    full, half = metadata(tmp_path / "full"), metadata(tmp_path / "half")
    boxed = [key for key in full if full[key].get("boxes")]
    assert boxed
    for key in boxed:
        assert (half[key]["width"], half[key]["source_width"]) == (48, 96)
        for a, b in zip(full[key]["boxes"], half[key]["boxes"], strict=True):
            assert b["x"] == pytest.approx(a["x"] / 2, abs=0.01) and b["width"] == pytest.approx(
                a["width"] / 2, abs=0.01
            )
    masks = [[np.asarray(_png(s["masks.png"])) for s in samples(tmp_path / name)] for name in ("full", "half")]
    assert all(np.array_equal(small, large[1::2, 1::2]) for large, small in zip(*masks, strict=True))


def _png(data):
    import io

    return Image.open(io.BytesIO(data))


def test_all_faults_are_listed_together_and_nothing_is_written(table, tmp_path):
    path = table(
        [{}, {}, {"image_path": "cut.jpg"}, {"image_path": "page.jpg"}, {"image_path": "s0.jpg"}, {"study_id": ""}]
    )
    folder = path.parent
    (folder / "s1.jpg").unlink()
    (folder / "cut.jpg").write_bytes((folder / "cut.jpg").read_bytes()[:-40])
    (folder / "page.jpg").write_text("<html>")
    lines = []
    with pytest.raises(DataError) as caught:
        build(CsvSource(path), tmp_path / "set", ONE, lines.append)
    message = str(caught.value)
    for part in (
        "5 faults",
        "row 3 (s1.jpg): s1.jpg: no such file",
        "row 4 (cut.jpg): truncated",
        "row 5 (page.jpg): not a JPEG",
        "row 6 (s0.jpg): the same image as in reports.csv row 2",
        "row 7 (s5.jpg): empty study_id",
    ):
        assert part in message
    assert caught.value.exit_code == 3 and os.listdir(tmp_path) == ["data"]
    assert lines[0].startswith("reports.csv: 3 rows are at fault; looking at all images") and len(lines) == 1


def test_the_faults_are_listed_once(table, tmp_path):
    path = table([{}, {"study_id": ""}, {"image_path": "s0.jpg"}])
    done = CliRunner().invoke(command, ["shard", "build", "--from", "csv", str(path), str(tmp_path / "set")])
    said = done.output + str(done.exception)
    assert [said.count(part) for part in ("empty study_id", "the same image as")] == [1, 1]


def test_an_interrupt_gives_the_faults_that_are_known(table, tmp_path, monkeypatch):
    path = table([{}, {"study_id": ""}])
    monkeypatch.setattr(CsvSource, "load", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    lines = []
    with pytest.raises(DataError, match=r"reports\.csv row 3 \(s1\.jpg\): empty study_id"):
        build(CsvSource(path), tmp_path / "set", ONE, lines.append)
    assert lines[0].startswith("reports.csv: 1 row is at fault; looking at all images")


def test_a_hint_that_many_rows_have_in_common_is_said_once(table):
    with pytest.raises(DataError) as caught:
        built(table([{"study_id": ""}, {"study_id": ""}, {"image_path": ""}]))
    lines = str(caught.value).splitlines()
    assert lines[1:] == [
        "  - reports.csv row 2 (s0.jpg): empty study_id",
        "  - reports.csv row 3 (s1.jpg): empty study_id",
        "    these 2: write the row's study_id",
        "  - reports.csv row 4: empty image_path; write the row's image_path",
    ]


def test_long_lists_of_faults_are_cut(table, tmp_path):
    with pytest.raises(DataError) as caught:
        built(table([{"study_id": ""} for _ in range(25)]))
    assert str(caught.value).count("empty study_id") == 20 and "and 5 more" in str(caught.value)


@pytest.mark.parametrize("allow, passes", [(0.0, False), (0.3, False), (0.5, True)])
def test_a_budget_leaves_bad_images_out_and_lists_them(table, tmp_path, allow, passes):
    path = table([{}, {}, {}, {}])
    (path.parent / "s1.jpg").unlink()
    (path.parent / "s2.jpg").write_bytes((path.parent / "s2.jpg").read_bytes()[:200])
    if not passes:
        what = f"2 of 4 rows left out, {int(4 * allow)} may be: --reject-budget"
        with pytest.raises(DataError, match=what) as caught:
            built(path, reject_budget=allow)
        assert "pass a larger --reject-budget" in caught.value.hint and not (tmp_path / "set").exists()
        return
    manifest = read_manifest(built(path, reject_budget=allow))
    assert manifest.counts["samples"] == 2
    assert [bad["origin"] for bad in manifest.quarantined] == [
        "reports.csv row 3 (s1.jpg)",
        "reports.csv row 4 (s2.jpg)",
    ]


def test_a_patient_in_two_splits_is_refused(table):
    rows = [{"patient_id": "p", "split": "train"}, {"patient_id": "p", "split": "val"}]
    with pytest.raises(DataError, match=r"patient p is in split val and, by reports\.csv row 2"):
        built(table(rows))


def test_a_table_without_reports_is_refused(table, tmp_path):
    with pytest.raises(DataError, match=r"no row has a report \(2 empty ones\)"):
        built(table([{"report": ""}, {"report": " "}]))
    assert os.listdir(tmp_path) == ["data"]


def test_a_set_without_training_split_needs_a_tokenizer(table):
    with pytest.raises(DataError, match="no sample in the split train"):
        built(table([{"split": "test"}]))


@pytest.mark.slow
def test_a_worker_that_dies_is_an_environment_fault(table, tmp_path):
    source = CsvSource(table([{} for _ in range(12)]))
    records = source.list_records().records
    records[5].place = None  # not a path: the worker raises what is no BadImage, as a defect would
    with pytest.raises(TypeError):
        list(workers.pack_all(source, records, 64, None, 2))
    records[5].place = Deadly()
    with pytest.raises(EnvironmentFault):
        list(workers.pack_all(source, records, 64, None, 2))


class Deadly:
    """Ends the process that it is sent to."""

    def __reduce__(self):
        return os._exit, (1,)


@pytest.mark.slow
def test_killed_builders_leave_no_workers_and_no_set(tmp_path):
    program = (
        "import sys\nfrom ecamp_fast.shards.builder.build import build_phantoms, Options\n"
        "build_phantoms(800, sys.argv[1], size=256, options=Options(workers=2, vocab_size=200))\n"
    )
    path = os.pathsep.join(entry for entry in sys.path if entry)
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "set")], env=os.environ | {"PYTHONPATH": path}
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("set.building/set/.train*")) and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    processes = _descendants(child.pid)
    child.kill()
    child.wait()
    deadline = time.monotonic() + 10
    while any(map(_runs, processes)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(processes) >= 2 and not any(map(_runs, processes))
    assert not (tmp_path / "set").exists()
    build_phantoms(3, tmp_path / "set", size=64, options=ONE)
    assert os.listdir(tmp_path) == ["set"]


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def _descendants(pid):
    found, todo = [], [pid]
    while todo:
        parent = todo.pop()
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        found += children
        todo += children
    return found


def test_no_torch_is_imported_to_build(tmp_path):
    program = (
        "import sys\nfrom ecamp_fast.shards.builder.build import build_phantoms, Options\n"
        "from ecamp_fast.shards.check import verify\n"
        "from ecamp_fast.shards.describe import show, stats\n"
        "build_phantoms(3, sys.argv[1], size=64, options=Options(workers=1, vocab_size=200))\n"
        "sys.exit('torch' in sys.modules or 'pandas' in sys.modules)\n"
    )
    path = os.pathsep.join(entry for entry in sys.path if entry)
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "s")], env=os.environ | {"PYTHONPATH": path}, check=True
    )


@pytest.mark.skipif("ECAMP_REAL_DATA" not in os.environ, reason="ECAMP_REAL_DATA does not name the real data")
def test_real_radiographs(tmp_path):
    path = Path(os.environ["ECAMP_REAL_DATA"]) / "cxr-mini" / "reports.csv"
    report = build(CsvSource(path), tmp_path / "set")
    assert report.manifest.counts["samples"] == 140 and report.manifest.counts["studies"] == 126
    assert verify(tmp_path / "set").samples == 140
