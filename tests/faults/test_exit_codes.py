"""Where the tables name an exit code: the command itself leaves with it, says where the fault is and how to fix it."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from ecamp_fast.cli import main
from ecamp_fast.shards.format.manifest import read_manifest

QUICK = ("--workers", "1", "--vocab-size", "200")


@pytest.fixture
def leaves(capsys):
    """leaves(*arguments): exit code and all that the command says; with --json it leaves with the same code."""

    def run(*arguments):
        codes, outputs = [], []
        for extra in ((), ("--json",)):
            with pytest.raises(SystemExit) as caught:
                main([*map(str, arguments), *extra])
            codes.append(caught.value.code)
            outputs.append(capsys.readouterr())
        tree = json.loads(outputs[1].out)
        assert codes[0] == codes[1] and (tree.get("ok") is False or tree["error"]["exit_code"] == codes[0])
        assert "Traceback" not in outputs[0].err
        return codes[0], outputs[0].out + outputs[0].err

    return run


@pytest.fixture
def table(tmp_path):
    """table(rows): study, patient, split, report of each; with an image for each."""

    def write(rows):
        with open(tmp_path / "t.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["study_id", "image_path", "view", "report", "patient_id", "split"])
            for number, (study, patient, split, report) in enumerate(rows):
                writer.writerow([study, f"{number}.png", "PA", report, patient, split])
                Image.linear_gradient("L").rotate(90 * number).save(tmp_path / f"{number}.png")
        return tmp_path / "t.csv"

    return write


def truncate(folder, shard):
    os.truncate(folder / shard.name, int(shard.members["jpg"].offset[1]) + 7)
    return [shard.name, *shard.keys[1:], f"at byte {int(shard.members['jpg'].offset[1])}"]


def lose_two(folder, shard):
    names = [one.name for one in read_manifest(folder).shards[:2]]
    for name in names:
        (folder / name).unlink()
    return names


def flip_the_manifest(folder, shard):
    path = folder / "MANIFEST.json"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return ["MANIFEST.json"]


def stale_index(folder, shard):
    rows = [f"jpg {int(at) + 512} {int(size)} {key}.jpg" for key, at, size in _jpegs(shard)]
    (folder / shard.name).with_suffix(".idx").write_text("\n".join([f"v1.2 {len(rows)}", *rows]) + "\n")
    return [shard.name.replace(".tar", ".idx"), "stale"]


def link(folder, shard):
    entry = tarfile.TarInfo(f"{shard.keys[0]}.jpg")
    entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with open(folder / shard.name, "r+b") as file:
        file.write(entry.tobuf(tarfile.USTAR_FORMAT)[:512])
    return [shard.name, shard.keys[0], "a symbolic link"]


def swap_the_tokenizer(folder, shard):
    path = folder / "tokenizer.json"
    path.write_bytes(path.read_bytes().replace(b"effusion", b"edematic"))
    return ["tokenizer.json"]


def _jpegs(shard):
    columns = shard.members["jpg"]
    return zip(shard.keys, columns.offset, columns.size, strict=True)


@pytest.mark.fault("D1.exit", "D2.exit", "D3.manifest", "D7.exit", "D8.exit", "T5.exit")
@pytest.mark.parametrize("damage", [truncate, lose_two, flip_the_manifest, stale_index, link, swap_the_tokenizer])
def test_verify_leaves_with_3_and_names_the_place(damage, damaged, leaves):
    named = damage(damaged, read_manifest(damaged).shards[0])
    code, message = leaves("shard", "verify", damaged)
    assert code == 3 and "hint: " in message and all(name in message for name in named)


@pytest.mark.fault("D6.verify")
def test_verify_refuses_a_tar_of_another_writer(damaged, foreign, leaves):
    shard = foreign(damaged, "interleaved")
    code, message = leaves("shard", "verify", damaged)
    assert code == 3 and f"{shard.name}: {shard.keys[0]}:" in message and "header is that of member" in message


@pytest.mark.fault("D5.patient")
def test_a_patient_in_two_splits_is_not_built(table, tmp_path, leaves):
    path = table([("a", "p", "train", "Edema."), ("b", "p", "test", "Clear.")])
    code, message = leaves("shard", "build", "--from", "csv", path, tmp_path / "set", *QUICK)
    assert code == 3 and "keep every patient in one split" in message and not (tmp_path / "set").exists()


@pytest.mark.fault("D8.exit", "D8.dot-dot", "D8.nothing-extracted")
def test_an_archive_that_leads_out_is_not_built(tmp_path, leaves):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("../../x.jpg"))
    code, message = leaves("shard", "build", "--from", "webdataset", tmp_path / "x.tar", tmp_path / "set", *QUICK)
    assert code == 3 and "leads out of the archive" in message and os.listdir(tmp_path) == ["x.tar"]


@pytest.mark.fault("T4.exit", "T4.shifted")
def test_a_shifted_row_is_not_built(table, tmp_path, leaves):
    path = table([("a", "p", "train", "Edema."), ("b", "q", "test", "Clear.")])
    head, first, second = path.read_text().splitlines()
    path.write_text("\n".join([head, f"extra,{first}", second]) + "\n")
    code, message = leaves("shard", "build", "--from", "csv", path, tmp_path / "set", *QUICK)
    assert code == 3 and "t.csv row 2: 7 fields" in message and not (tmp_path / "set").exists()
    assert "Edema" not in message


@pytest.mark.fault("T4.exit", "T4.shifted")
@pytest.mark.parametrize(
    "header",
    [
        "study_id,report,view,image_path,patient_id,split",
        "study_id,image_path,view,split,patient_id,report",
        "report,image_path,view,study_id,patient_id,split",
        None,
    ],
)
def test_no_output_repeats_a_report_of_columns_mixed_up(header, table, tmp_path, leaves):
    path = table([("a", "p", "train", "Mr CANARY: edema."), ("b", "q", "test", "Mr CANARY: edema.")])
    rows = path.read_text().splitlines()[1:]
    path.write_text("\n".join([header, *rows] if header else rows) + "\n")
    code, message = leaves("shard", "build", "--from", "csv", path, tmp_path / "set", *QUICK)
    assert code == 3 and "t.csv row" in message and "CANARY" not in message and "Mr" not in message


@pytest.mark.fault("D5.across-splits")
def test_archives_that_name_a_split_and_others_that_do_not_are_not_built(tmp_path, leaves):
    for name in ("train-0.tar", "val-0.tar", "extra-0.tar"):
        with tarfile.open(tmp_path / name, "w") as archive:
            for ending, data in (("bmp", b"BM"), ("txt", b"Edema.")):
                entry = tarfile.TarInfo(f"{name[0]}.{ending}")
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
    code, message = leaves("shard", "build", "--from", "webdataset", tmp_path, tmp_path / "set", *QUICK)
    assert code == 3 and "extra-0.tar: its name states no split" in message and not (tmp_path / "set").exists()


@pytest.mark.fault("D1.before-step-1", "T5.exit")
@pytest.mark.slow  # starts the trainer
@pytest.mark.parametrize("damage", [truncate, swap_the_tokenizer])
def test_training_leaves_with_3_before_its_first_step(damage, pristine, tmp_path):
    folder = shutil.copytree(pristine, tmp_path / "set")
    named = damage(folder, read_manifest(folder).shards[0])[0]
    train = [sys.executable, Path(__file__).parents[2] / "ecamp_fast" / "train.py"]
    options = [f"--data={folder}", f"--out={tmp_path / 'run'}", "--recipe=demo", "--set=loader.quarantine=0"]
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [*train, *options, "--no-report"],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 3, done.stderr
    assert named in done.stderr and "hint: " in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
