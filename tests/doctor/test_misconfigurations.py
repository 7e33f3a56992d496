"""What people get wrong: each setup must FAIL, leave with the right exit code, and name the hint."""

import json
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ecamp_fast.shards.format.manifest import MANIFEST, TOKENIZER, Manifest, read_manifest, write_manifest

SMALL = Path(__file__).resolve().parents[1] / "data" / "small.yaml"

Doctor = Callable[..., dict[str, Any]]


def failures(said: dict[str, Any]) -> list[dict[str, Any]]:
    return [finding for finding in said["findings"] if finding["status"] == "FAIL"]


def must_fail(said: dict[str, Any], code: int, *words: str) -> None:
    """It fails with ``code``, a failure of that class says every word, and every failure has its hint."""
    found = failures(said)
    assert said["exit_code"] == code, found
    assert all(finding["hint"] for finding in found)
    mine = [finding["found"] + " | " + finding["hint"] for finding in found if finding["exit_code"] == code]
    assert any(all(word in text for word in words) for text in mine), mine
    assert not any("stumbled" in text for text in mine), mine


RECIPES = {
    "unknown key": ("optim: {lrr: 1.0e-3}", "unknown key 'optim.lrr'", "did you mean 'optim.lr'"),
    "key in the wrong section": ("lr: 1.0e-3", "did you mean 'optim.lr'"),
    "wrong type": ("batch: {micro: many}", "batch.micro"),
    "a fraction for a whole": ("model: {vision: {depth: 1.5}}", "model.vision.depth"),
    "out of range": ("masking: {image_ratio: 1.5}", "masking.image_ratio"),
    "not one of the choices": ("precision: fp16", "precision", "bf16"),
    "key given twice": ("seed: 1\nseed: 2", "line 2", "twice"),
    "not YAML": ("seed: [1", "not YAML"),
    "no mapping": ("- seed", "no mapping"),
    "batch does not divide": ("batch: {total: 100, micro: 64}", "not a multiple of batch.micro"),
    "sizes contradict": ("image: {high_size: 448, low_size: 112}", "twice image.low_size"),
    "width and heads": ("model: {vision: {width: 100, heads: 3}}", "not a multiple of heads"),
    "warm-up past the horizon": ("schedule: {warmup_epochs: 300}", "warmup_epochs"),
    "every loss off": ("losses: {mim: false, sr: false, mlm: false}", "every term is off"),
    "weights that are not there": ("init_from: /nowhere/vit.safetensors", "init_from", "ecamp-fast import"),
}


@pytest.mark.parametrize("setup", RECIPES)
def test_recipes(setup: str, doctor: Doctor, tmp_path: Path) -> None:
    text, *words = RECIPES[setup]
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    must_fail(doctor("--recipe", path), 2, *words)


def test_a_recipe_that_is_not_utf_8(doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_bytes("name: größe".encode("cp1252"))
    must_fail(doctor("--recipe", tmp_path / "mine.yaml"), 2, "UTF-8")


def test_all_faults_of_a_recipe_are_named_at_once(doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("sed: 1\nbatch: {mikro: 2}\nprecision: fp16\n")
    must_fail(doctor("--recipe", tmp_path / "mine.yaml"), 2, "'seed'", "'batch.micro'", "precision")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--recipe", "papr"], ["did you mean 'paper'"]),
        (["--set", "optim.lr"], ["no '='", "--set"]),
        (["--set", "seed.x=1"], ["seed", "valid integer"]),
        (["--set", "batch.micro=3"], ["not a multiple of batch.micro"]),
        (["--ranks", "3"], ["not a multiple", "multiple of 3"]),
        (["--recipe", "paper", "--ranks", "64"], ["64 ranks", "--set batch.micro=128"]),
        (["--ds_config", "/nowhere/ds.json"], ["cannot read", "--ds_config"]),
    ],
)
def test_command_lines(arguments: list[str], words: list[str], doctor: Doctor) -> None:
    must_fail(doctor(*arguments), 2, *words)


JSONS = {
    "contradicting batch": ('{"train_batch_size": 512}', "train_batch_size is 512", "the recipe on 1 rank(s) gives 64"),
    "contradicting micro-batch": ('{"train_micro_batch_size_per_gpu": 8}', "train_micro_batch_size_per_gpu is 8"),
    "contradicting accumulation": ('{"gradient_accumulation_steps": 7}', "gradient_accumulation_steps is 7"),
    "fp16": ('{"fp16": {"enabled": true}}', "fp16 is enabled"),
    "bf16 off": ('{"bf16": {"enabled": false}}', "precision is bf16"),
    "ZeRO-3": ('{"zero_optimization": {"stage": 3}}', "stage 3"),
    "optimizer": ('{"optimizer": {"type": "Lamb"}}', "optim"),
    "scheduler": ('{"scheduler": {"type": "WarmupLR"}}', "schedule"),
    "unknown key": ('{"zero_optimisation": {}}', "did you mean 'zero_optimization'"),
    "unknown nested key": ('{"zero_optimization": {"stage": 2, "reduce_bucket_sise": 1}}', "reduce_bucket_sise"),
    "nested type": ('{"zero_optimization": {"stage": "two"}}', "stage"),
    "a flag that is a word": ('{"wall_clock_breakdown": "yes"}', "wall_clock_breakdown is 'yes'"),
    "timers": ('{"flops_profiler": {"enabled": true}}', "flops_profiler.enabled is True"),
    "nested range": ('{"zero_optimization": {"stage": 2, "reduce_bucket_size": -1}}', "reduce_bucket_size"),
    "a value for a section": ('{"zero_optimization": 2}', "zero_optimization must be an object"),
    "communication type": ('{"communication_data_type": "fp17"}', "communication_data_type"),
    "key given twice": ('{"bf16": {"enabled": true}, "bf16": {"enabled": true}}', "twice"),
    "not JSON": ('{"bf16": {"enabled": True}}', "line 1", "not JSON"),
    "no object": ("[]", "no JSON object"),
}


@pytest.mark.parametrize("setup", JSONS)
def test_deepspeed_jsons(setup: str, doctor: Doctor, tmp_path: Path) -> None:
    text, *words = JSONS[setup]
    path = tmp_path / "ds.json"
    path.write_text(text)
    must_fail(doctor("--recipe", SMALL, "--ranks", 1, "--ds_config", path), 2, *words)


def damage_nothing_there(shards: Path) -> None:
    (shards / MANIFEST).unlink()


def damage_manifest(shards: Path) -> None:
    content = bytearray((shards / MANIFEST).read_bytes())
    content[len(content) // 2] ^= 1
    (shards / MANIFEST).write_bytes(content)


def damage_manifest_cut(shards: Path) -> None:
    content = (shards / MANIFEST).read_bytes()
    (shards / MANIFEST).write_bytes(content[: len(content) // 2])


def damage_missing_shards(shards: Path) -> None:
    for path in sorted(shards.glob("*.tar"))[:2]:
        path.unlink()


def damage_short_shard(shards: Path) -> None:
    path = min(shards.glob("*.tar"))
    os.truncate(path, path.stat().st_size - 512)


def damage_tokenizer(shards: Path) -> None:
    path = shards / TOKENIZER
    path.write_text(path.read_text().replace('"[MASK]"', '"[MESK]"'))


def damage_no_tokenizer(shards: Path) -> None:
    (shards / TOKENIZER).unlink()


def damage_every_sample(shards: Path) -> None:
    """The right sizes, wrong bytes: as after a copy that went wrong."""
    for path in shards.glob("*.tar"):
        path.write_bytes(b"\xff" * path.stat().st_size)


def zero_every_shard(shards: Path) -> None:
    """The right sizes, no content: as after a copy onto a full disk."""
    for path in shards.glob("*.tar"):
        path.write_bytes(bytes(path.stat().st_size))


def without_training(manifest: Manifest) -> dict[str, Any]:
    return {"shards": tuple(shard for shard in manifest.shards if shard.split != "train")}


def damage_no_train_split(shards: Path) -> None:
    from dataclasses import replace

    manifest = read_manifest(shards)
    write_manifest(shards, replace(manifest, **without_training(manifest)))


SETS = {
    damage_nothing_there: ("no shard set", "shard build"),
    damage_manifest: ("digest does not match", "restore"),
    damage_manifest_cut: ("damaged", "restore"),
    damage_missing_shards: ("2 of", "is missing; ", "restore"),
    damage_short_shard: ("bytes, the manifest says", "restore"),
    damage_tokenizer: ("tokenizer does not match", "restore"),
    damage_no_tokenizer: ("tokenizer.json is missing", "restore"),
    zero_every_shard: ("4 of 4", "holds zeros", "restore"),
    damage_every_sample: ("CRC32 differs", "at byte", "shard verify"),
    damage_no_train_split: ("none to train on", "build"),
}


@pytest.mark.parametrize("damage", SETS, ids=lambda damage: damage.__name__)
def test_shard_sets(damage: Callable[[Path], None], shards: Path, doctor: Doctor) -> None:
    damage(shards)
    must_fail(doctor("--recipe", SMALL, "--data", shards), 3, *SETS[damage])


def test_data_that_is_a_file(doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "reports.csv").touch()
    must_fail(doctor("--data", tmp_path / "reports.csv"), 3, "reports.csv")


def test_an_out_that_cannot_be_written(doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    must_fail(doctor("--out", tmp_path / "file" / "run"), 5, "is a file", "choose another --out")


def test_a_full_disk(doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from shutil import _ntuple_diskusage as usage

    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10**9, 10**9 - 10**6, 10**6))
    must_fail(doctor("--recipe", SMALL, "--out", tmp_path / "run"), 5, "0.0 GB free", "choose another --out")


def test_few_open_files(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (20, 4096))
    must_fail(doctor(), 4, "limit 20", "ulimit -n 4096")


def test_a_missing_library(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "webdataset", None)
    must_fail(doctor(), 4, "not installed", 'pip install "webdataset>=1.0"')


def test_no_deepspeed_at_all(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "deepspeed"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "deepspeed", None)
    must_fail(doctor(), 4, "not installed", 'pip install "deepspeed>=')


def test_no_pydantic_at_all(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.partition(".")[0] == "pydantic" or n.startswith("ecamp_fast.config")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pydantic", None)
    must_fail(doctor(), 4, "not installed", 'pip install "pydantic>=')


def a_run(out: Path, **state: object) -> Path:
    from ecamp_fast.config import dump_recipe, load_recipe

    out.mkdir()
    (out / "recipe.yaml").write_text(dump_recipe(load_recipe(SMALL)))
    (out / "run_state.json").write_text(json.dumps({"status": "stopped", "step": 7, "ranks": 1} | state))
    return out


def test_a_run_of_another_recipe(doctor: Doctor, tmp_path: Path) -> None:
    out = a_run(tmp_path / "run")
    must_fail(doctor("--recipe", SMALL, "--set", "seed=7", "--ranks", 1, "--out", out), 2, "seed was 42, is 7", "--out")


def test_a_run_on_other_ranks(doctor: Doctor, tmp_path: Path) -> None:
    out = a_run(tmp_path / "run", ranks=2)
    said = doctor("--recipe", SMALL, "--ranks", 1, "--out", out)
    (told,) = [one["found"] for one in said["findings"] if "rank(s)" in one["found"] and one["name"] == "run"]
    assert "on 2 rank(s); on 1 samples, order, crops and masks stay" in told


def test_a_run_on_other_data(doctor: Doctor, tmp_path: Path, shards: Path) -> None:
    out = a_run(tmp_path / "run", manifest="0" * 64)
    said = doctor("--recipe", SMALL, "--ranks", 1, "--out", out, "--data", shards)
    must_fail(said, 3, "on other data", "pass the same --data")


def test_a_run_state_that_cannot_be_read(doctor: Doctor, tmp_path: Path) -> None:
    out = a_run(tmp_path / "run")
    (out / "run_state.json").write_text("{")
    must_fail(doctor("--recipe", SMALL, "--out", out), 3, "run_state.json", "delete it")


def test_the_first_failing_class_decides(doctor: Doctor, tmp_path: Path, shards: Path) -> None:
    damage_manifest(shards)
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "run"
    assert doctor("--data", shards, "--out", out)["exit_code"] == 3
    said = doctor("--data", shards, "--out", out, "--set", "sed=1")
    assert said["exit_code"] == 2
    assert {2, 3, 5} <= {finding["exit_code"] for finding in failures(said)}
