"""Files, addresses and names made to harm: refused by name with their exit code, and nothing in them runs."""

import hashlib
import io
import json
import os
import pickle
import signal
import struct
import tarfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from ecamp_fast.cli import main
from ecamp_fast.errors import DataError, EcampError
from ecamp_fast.run.rundir import RunDir
from ecamp_fast.shards.format.metadata import read_metadata
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.strict_json import DEEPEST, LARGEST, parse_json

QUICK = ("--workers", "1", "--vocab-size", "200")
ESCAPES = ("\x1b[2J\x1b[31mgone", "a\nerror: forged", "\u202exslx", "\rforged")


@pytest.fixture
def leaves(capsys):
    """leaves(*arguments): exit code, what a person sees, and the object that --json prints."""

    def run(*arguments):
        said = []
        for extra in ((), ("--json",)):
            with pytest.raises(SystemExit) as caught:
                main([*map(str, arguments), *extra])
            said.append((caught.value.code, capsys.readouterr()))
        (code, seen), (again, printed) = said
        assert code == again and "Traceback" not in seen.err
        return code, seen.out + seen.err, json.loads(printed.out)

    return run


class Runs:
    """What is unpickled touches the canary."""

    def __init__(self, canary):
        self.command = f"touch {canary}"

    def __reduce__(self):
        return os.system, (self.command,)


# S1: files


def torch_archive(path, canary):
    torch.save({"model": {"a": torch.ones(2)}, "args": Runs(canary)}, path)


def torch_legacy(path, canary):
    torch.save({"model": Runs(canary)}, path, _use_new_zipfile_serialization=False)


def bare_pickle(path, canary):
    path.write_bytes(pickle.dumps({"model": Runs(canary)}))


def npy_of_objects(path, canary):
    with open(path, "wb") as file:
        np.save(file, np.array([Runs(canary)], dtype=object))


def eight_exabytes(path, canary):
    path.write_bytes(struct.pack("<Q", 2**63) + b"{}")


def no_room(path, canary):
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**60], "data_offsets": [0, 2**62]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)


def deep_header(path, canary):
    header = b'{"a":' * 10**5
    path.write_bytes(struct.pack("<Q", len(header)) + header)


@pytest.mark.fault("S1.torch", "S1.pickle", "S1.npy", "S1.safetensors", "S1.nothing-run", "S1.exit")
@pytest.mark.parametrize(
    "make", [torch_archive, torch_legacy, bare_pickle, npy_of_objects, eight_exabytes, no_room, deep_header]
)
def test_weights_that_are_none_are_refused_and_nothing_runs(make, tmp_path, leaves):
    canary, file = tmp_path / "canary", tmp_path / "w.safetensors"
    make(file, canary)
    code, message, printed = leaves("import", file, tmp_path / "out.safetensors")
    assert code == 3 == printed["error"]["exit_code"] and str(file) in message and "hint: " in message
    assert not canary.exists() and not (tmp_path / "out.safetensors").exists()


def test_the_canary_can_sing(tmp_path):
    bare_pickle(tmp_path / "x", tmp_path / "canary")
    pickle.loads((tmp_path / "x").read_bytes())
    assert (tmp_path / "canary").exists()


BOMB = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefghijklmno", "bcdefghijklmnop", strict=True)
)
RECIPES = {
    "!!python/object/apply:os.system ['touch CANARY']": "not YAML",
    "name: !!python/object/new:os.system ['touch CANARY']": "not YAML",
    "name: !!python/name:os.system": "not YAML",
    BOMB: "an anchor or an alias",
    "a: &a {b: *a}": "an anchor or an alias",
    "name: " + "[" * 10_000: "nested deeper",
    "name: " + "{a: " * 10_000: "nested deeper",
    "- " * 10_000: "nested deeper",
    "a: b\n" * 14_000: "the limit is",
    "\x1b[2J: 1": "not YAML",
}


@pytest.mark.fault("S1.yaml", "S1.aliases", "S1.nothing-run", "S1.exit")
@pytest.mark.parametrize("text", RECIPES, ids=range(len(RECIPES)))
def test_a_recipe_that_is_none_is_refused(text, tmp_path, leaves):
    canary, file = tmp_path / "canary", tmp_path / "r.yaml"
    file.write_text(text.replace("CANARY", str(canary)))
    code, message, _ = leaves("train", "--recipe", file, "--data", tmp_path, "--out", tmp_path / "run")
    assert code == 2 and str(file) in message + str(file) and RECIPES[text] in message and len(message) < 1000
    assert not canary.exists() and "\x1b" not in message


DEEP = {"list": b"[" * 10**5, "object": b'{"a":' * 10**5, "just": b"[" * 100 + b"]" * 100, "spread": b'["",{"a":[' * 40}


@pytest.mark.fault("S1.json", "S1.exit")
@pytest.mark.parametrize("kind", DEEP)
def test_a_deepspeed_json_that_is_too_deep_is_refused(kind, tmp_path, leaves):
    (tmp_path / "ds.json").write_bytes(b'{"x": %s}' % DEEP[kind])
    code, message, _ = leaves("train", "--ds_config", tmp_path / "ds.json", "--out", tmp_path / "run")
    assert code == 2 and "ds.json: not JSON: nested deeper than 64 brackets" in message


def sealed(body):
    return b'{"sha256":"' + hashlib.sha256(body).hexdigest().encode() + b'",' + body


def manifest_body(folder):
    raw = (folder / "MANIFEST.json").read_bytes()
    return raw[raw.index(b",") + 1 :]


@pytest.mark.fault("S1.manifest", "S1.exit")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"notes":', b'"x":' + DEEP["list"] + b',"notes":'),
        (b'"vocab_size":200', b'"vocab_size":9000000000'),
        (b'"vocab_size":200', b'"vocab_size":-1'),
        (b'"samples":4', b'"samples":-1'),
        (b'"samples":4', b'"samples":1e300'),
        (b'"samples":4', b'"samples":Infinity'),
        (b'"counts":{', b'"counts":[],"x":{'),
        (b'"notes":[]', b'"notes":[{}]'),
        (b'{"sha256"', b'[{"sha256"'),
    ],
)
def test_a_manifest_with_a_true_digest_and_a_false_content_is_refused(old, new, damaged, leaves):
    body = manifest_body(damaged)
    assert old in body or old.startswith(b"{")
    (damaged / "MANIFEST.json").write_bytes(sealed(body.replace(old, new)))
    if new.startswith(b"["):
        (damaged / "MANIFEST.json").write_bytes(new + b":1}]")
    code, message, _ = leaves("shard", "verify", damaged)
    assert code == 3 and "MANIFEST.json" in message and len(message) < 2000
    code, message, _ = leaves("shard", "stats", damaged)
    assert code == 3 and "hint: " in message


@pytest.mark.fault("S1.run-state", "S1.exit")
@pytest.mark.parametrize("content", [DEEP["object"], b"[]", b"7", b"\xff", b"[[1]]"], ids=range(5))
def test_a_run_state_that_is_none_is_refused(content, tmp_path, leaves):
    (tmp_path / "run_state.json").write_bytes(content)
    code, message, _ = leaves("stop", tmp_path, "--timeout", "1")
    assert code == 3 and "run_state.json cannot be read" in message


@pytest.mark.fault("S1.json")
def test_metadata_of_another_kind_is_refused_by_whoever_reads_it(pristine, damaged, resealed, leaves):
    resealed(
        damaged,
        lambda samples: [(key, members | {"json": b'{"split":"train","labels":3}'}) for key, members in samples],
    )
    for command in (("stats",), ("show",)):
        extra = [damaged.parent / "x.png"] if command == ("show",) else []
        code, message, _ = leaves("shard", *command, damaged, *extra)
        assert code == 3 and "its checksum is right, its .json is not: " in message
    with pytest.raises(EcampError, match="is no text"):
        ShardSet(damaged).metadata("train", 0)
    assert ShardSet(pristine).metadata("train", 0)["width"] == 64


@pytest.mark.fault("S1.json")
@pytest.mark.parametrize(
    "change",
    [
        *({"study_id": 7}, {"patient_id": None}, {"view": []}, {"split": {}}, {"labels": "a"}, {"labels": [1]}),
        *({"labels": {"a": 2}}, {"labels": {"a": True}}, {"labels": {"a": None}}, {"masks": "a"}, {"masks": [1]}),
        *({"width": 0}, {"width": 1.5}, {"height": 70_000}, {"height": True}, {"columns": []}, {"columns": {"a": 1}}),
        *({"boxes": {}}, {"boxes": [1]}, {"boxes": [{"x": 1, "y": 1, "width": 1}]}),
        {"boxes": [{"x": 1e300, "y": 1, "width": 1, "height": 1}]},
    ],
    ids=str,
)
def test_every_field_of_metadata_is_of_its_kind(change):
    sound = dict.fromkeys(("study_id", "patient_id", "view", "split"), "") | {
        "labels": {"a": 1, "b": 0, "c": -1},
        "width": 9,
        "height": 9,
    }
    sound |= {"columns": {"a": "b"}, "boxes": [{"finding": "edema", "x": 1, "y": 2.5, "width": 3, "height": 4}]}
    sound |= {"masks": ["lung"]}
    assert read_metadata(json.dumps(sound).encode(), "x") == sound
    former = read_metadata(json.dumps(sound | {"labels": ["a", "b"]}).encode(), "x")  # a set of format 2
    assert former == sound | {"labels": {"a": 1, "b": 1}}
    with pytest.raises(DataError, match="x: its checksum is right"):
        read_metadata(json.dumps(sound | change).encode(), "x")


def test_json_is_bounded_where_brackets_count_and_nowhere_else():
    deepest = "[" * DEEPEST + "]" * DEEPEST
    assert parse_json(deepest) == json.loads(deepest)
    with pytest.raises(ValueError, match="deeper"):
        parse_json(f"[{deepest}]")
    assert parse_json(json.dumps(["[" * 1000, '\\"[' * 1000])) == ["[" * 1000, '\\"[' * 1000]
    assert parse_json("[" + "[]," * 1000 + "{}]")[-1] == {}
    assert parse_json(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}
    with pytest.raises(ValueError, match="the limit is"):
        parse_json(b" " * (LARGEST + 1))


def test_a_table_that_inflates_beyond_reason_is_refused(tmp_path, leaves):
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = bytes(2**20)
    (tmp_path / "t.csv.gz").write_bytes(b"".join(squeeze.compress(zeros) for _ in range(80)) + squeeze.flush())
    code, message, _ = leaves("shard", "build", "--from", "csv", tmp_path / "t.csv.gz", tmp_path / "set", *QUICK)
    assert code == 3 and "t.csv.gz: larger than" in message


# S2: addresses

ADDRESSES = {
    "pipe": ["pipe:touch CANARY", "pipe:cat /etc/passwd", "PIPE:touch CANARY"],
    "http": ["http://example.org/set", "ftp://example.org/set"],
    "file": ["file:///etc/passwd", "file:x", "local://x"],
    "shell": ["s3://bucket/$(touch CANARY)", "https://host/`touch CANARY`", "s3://bucket/a;touch CANARY"],
    "glob": ["s3://bucket/{000000..999999999}.tar", "https://host/*", "gs://b/[a-z]?"],
    "secrets": [
        "https://user:hunter2@host/set",
        "https://user:hunter2?x@host/set",
        "s3://bucket/set?X-Amz-Signature=hunter2",
        "https://host/set#hunter2",
    ],
}
COMMANDS = {
    "verify": ("shard", "verify", "NAMED"),
    "stats": ("shard", "stats", "NAMED"),
    "show": ("shard", "show", "NAMED", "FOLDER/x.png"),
    "build": ("shard", "build", "--from", "phantom", "8", "NAMED"),
    "train": ("train", "--recipe", "demo", "--out", "FOLDER/run", "--data", "NAMED"),
}


@pytest.mark.fault("S2.pipe", "S2.http", "S2.file", "S2.shell", "S2.glob", "S2.secrets", "S2.exit", "S2.nothing-run")
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", ADDRESSES)
def test_an_address_that_is_none_is_refused_by_every_command(kind, command, tmp_path, leaves, monkeypatch):
    monkeypatch.setattr(os, "system", lambda line: pytest.fail(line))
    monkeypatch.setattr("subprocess.Popen.__init__", lambda *_, **__: pytest.fail("a process"))
    monkeypatch.setattr("ecamp_fast.shards.storage.fsspec_driver.open_filesystem", lambda address: pytest.fail(address))
    for address in ADDRESSES[kind]:
        named = address.replace("CANARY", str(tmp_path / "canary"))
        words = (word.replace("FOLDER", str(tmp_path)) for word in COMMANDS[command])
        code, message, printed = leaves(*(named if word == "NAMED" else word for word in words))
        assert code == 8 == printed["error"]["exit_code"] and "hint: " in message
        assert "hunter2" not in message + json.dumps(printed) and not os.listdir(tmp_path)


@pytest.mark.fault("S2.glob")
@pytest.mark.parametrize("named", ["{000000..999999999}.tar", "*", "$(touch canary)", "`touch canary`", "@list"])
def test_a_pattern_or_a_command_without_a_scheme_is_the_name_of_a_folder(named, tmp_path, leaves, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, message, _ = leaves("shard", "verify", named)
    assert code == 3 and "no such folder" in message and not os.listdir(tmp_path)


@pytest.mark.fault("S2.secrets")
@pytest.mark.parametrize(
    "arguments",
    [
        ("shard", "build", "--from", "csv", "https://u:hunter2@host/t.csv?sig=hunter2", "FOLDER/set"),
        ("train", "--recipe", "https://host/r.yaml?sig=hunter2"),
        ("train", "--ds_config", "https://host/ds.json?sig=hunter2"),
        ("import", "https://host/w.pth?sig=hunter2", "FOLDER/o.safetensors"),
        ("report", "https://host/run?sig=hunter2"),
        ("stop", "https://host/run?sig=hunter2"),
        ("tokenizer", "train", "https://host/t.csv?sig=hunter2", "FOLDER/t.json"),
        ("shard", "https://host/t.csv?sig=hunter2"),
        ("https://host/t.csv?sig=hunter2",),
    ],
)
def test_no_command_repeats_the_secret_of_an_address(arguments, tmp_path, leaves):
    code, message, printed = leaves(*(word.replace("FOLDER", str(tmp_path)) for word in arguments))
    assert code in (2, 3, 8) and "hunter2" not in message + json.dumps(printed)


@pytest.mark.fault("S2.secrets")
def test_a_run_keeps_no_secret(tmp_path):
    run = RunDir(tmp_path)
    error = EcampError("https://host/a.tar?sig=hunter2 is missing", "see s3://u:hunter2@b/c")
    run.set_state(status="failed", fault=error.what)
    run.event("failed", fault=error.what, hint=error.hint)
    run.quarantined({"fault": error.what})
    assert all("hunter2" not in path.read_text() and "a.tar" in path.read_text() for path in tmp_path.iterdir())


# S3: names


def plain(text):
    """Nothing in it is more than a character, and no name begins a line."""
    return text.replace("\n", "").isprintable() and not any(
        line.startswith(("error: forged", "forged")) for line in text.split("\n")
    )


@pytest.mark.fault("S3.keys")
@pytest.mark.parametrize("name", ESCAPES)
def test_keys_of_an_archive(name, tmp_path, leaves):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for ending, data in (("png", b"no picture"), ("txt", b"Clear."), ("txt", b"Clear.")):
            entry = tarfile.TarInfo(f"{name}.{ending}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    code, message, _ = leaves("shard", "build", "--from", "webdataset", tmp_path / "a.tar", tmp_path / "set", *QUICK)
    assert code == 3 and plain(message)


@pytest.mark.fault("S3.files", "S3.json-untouched")
@pytest.mark.parametrize("name", ESCAPES)
def test_names_of_files_and_folders(name, tmp_path, leaves):
    hostile = tmp_path / name
    hostile.mkdir()
    for arguments in (("shard", "verify"), ("stop",), ("report",), ("train", "--recipe"), ("train", "--ds_config")):
        code, message, printed = leaves(*arguments, hostile)
        assert code in (2, 3) and plain(message) and name.encode("unicode_escape").decode() in message
        said = printed["error"]["what"] if "error" in printed else printed["damage"][0]["what"]
        assert name in said


@pytest.mark.fault("S3.files")
def test_names_of_files_of_a_set(damaged, leaves):
    for name in ESCAPES:
        (damaged / f"{name}.tar").touch()
    code, message, printed = leaves("shard", "verify", damaged)
    assert code == 3 and plain(message) and message.count("not in the manifest") == len(ESCAPES)
    assert {f"{name}.tar" for name in ESCAPES} == {item["file"] for item in printed["damage"]}


@pytest.mark.fault("S3.headers")
@pytest.mark.parametrize("name", ESCAPES)
def test_headers_and_cells_of_a_table(name, tmp_path, leaves):
    Image.linear_gradient("L").save(tmp_path / "0.png")
    for text in (
        f'study_id,image_path,"{name}"\n1,0.png,x\n',
        f'study_id,image_path,view,report\n"{name}","{name}.png",PA,Clear.\n',
    ):
        (tmp_path / "t.csv").write_text(text, newline="")
        code, message, _ = leaves("shard", "build", "--from", "csv", tmp_path / "t.csv", tmp_path / "set", *QUICK)
        assert code == 3 and plain(message)


@pytest.mark.fault("S3.yaml")
@pytest.mark.parametrize("name", ESCAPES)
def test_keys_and_values_of_a_recipe(name, tmp_path, leaves):
    for text in (
        f"{json.dumps(name)}: 1\n",
        f"image: {{high_size: {json.dumps(name)}}}\n",
        f"name: {json.dumps(name)}\nx: 1\n",
    ):
        (tmp_path / "r.yaml").write_text(text)
        code, message, _ = leaves("train", "--recipe", tmp_path / "r.yaml", "--data", tmp_path)
        assert code == 2 and plain(message)
    code, message, _ = leaves("train", "--recipe", "demo", "--set", f"{name}=1")
    assert code == 2 and plain(message)


@pytest.mark.fault("S3.progress")
@pytest.mark.parametrize("name", ESCAPES)
def test_lines_of_progress(name, capsys):
    from ecamp_fast.commands.progress import BuildProgress
    from ecamp_fast.run.progress import TrainProgress

    with BuildProgress("images") as progress:
        progress.say(f"note: {name}")
    TrainProgress(10, 0, visible=True).say(f"{name} is damaged")
    seen = capsys.readouterr().err
    assert plain(seen) and len(seen.splitlines()) == 2


@pytest.mark.fault("S3.progress")
def test_a_bar_takes_no_name_for_markup(monkeypatch):
    from ecamp_fast.run import progress

    said = []
    shown = progress.TrainProgress(10, 0, visible=False)
    shown._visible, shown._bar = (
        True,
        type("Bar", (), {"console": type("C", (), {"print": lambda self, *a, **k: said.append((a, k))})()}),
    )
    shown.say("[red]a[/red]\x1b")
    assert said == [(("[red]a[/red]\\x1b",), {"markup": False, "highlight": False})]


@pytest.mark.fault("S1.exit")
def test_nothing_waits_for_a_pipe_in_the_place_of_weights(tmp_path, leaves):
    os.mkfifo(tmp_path / "w.pth")
    signal.alarm(20)
    code, message, _ = leaves("import", tmp_path / "w.pth", tmp_path / "o.safetensors")
    signal.alarm(0)
    assert code == 3 and "not a regular file" in message


# Places and sizes


@pytest.mark.fault("S1.exit")
@pytest.mark.parametrize("place", ["file", "link", "circle", "below a file"])
def test_a_run_that_cannot_be_where_it_is_to_be(place, tmp_path, leaves):
    out = tmp_path / "run"
    if place in ("file", "below a file"):
        out.write_text("x")
    else:
        out.symlink_to(out if place == "circle" else tmp_path / "nowhere")
    named = out / "run" if place == "below a file" else out
    code, message, _ = leaves("train", "--recipe", "demo", "--out", named)
    assert code == 5 and str(out) in message and "hint: choose another" in message
    code, message, _ = leaves("demo", "--out", named)
    assert code in (2, 5) and str(named) in message


@pytest.mark.fault("S1.yaml", "S1.exit")
def test_the_name_of_a_recipe_leads_nowhere_else(tmp_path, leaves):
    (tmp_path / "r.yaml").write_text("name: ../../elsewhere\n")
    code, message, _ = leaves("train", "--recipe", tmp_path / "r.yaml", "--data", tmp_path)
    assert code == 2 and "'../../elsewhere' is no name of a folder" in message


@pytest.mark.fault("S1.json", "S1.exit")
@pytest.mark.parametrize("number", [4_000_000_000, 2**20, 300])
def test_a_tokenizer_whose_ids_would_fill_the_memory_is_refused(number, pristine, tmp_path, leaves):
    tree = json.loads((pristine / "tokenizer.json").read_bytes())
    last = max(tree["model"]["vocab"], key=tree["model"]["vocab"].get)
    tree["model"]["vocab"][last] = number
    (tmp_path / "t.json").write_text(json.dumps(tree))
    arguments = ("--from", "phantom", "8", tmp_path / "set", "--tokenizer", tmp_path / "t.json", "--workers", "1")
    code, message, _ = leaves("shard", "build", *arguments)
    assert code == 2 and f"with ids up to {number:,}" in message and not (tmp_path / "set").exists()
