from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ecamp_fast.config import load_recipe
from ecamp_fast.doctor import data
from ecamp_fast.doctor.finding import Finding, Status
from ecamp_fast.doctor.run_setup import RunSetup
from ecamp_fast.shards.builder.build import Options, build
from ecamp_fast.shards.format.manifest import ATTENTION, REPORT, read_manifest, write_manifest
from ecamp_fast.shards.sources.csv_file import CsvSource
from ecamp_fast.shards.sources.phantom import PhantomSource

SMALL = Path(__file__).resolve().parents[1] / "data" / "small.yaml"


def only(check: object, setup: RunSetup) -> Finding:
    (finding,) = check(setup)  # type: ignore[operator]
    return finding


def case_of(shards: Path, *overrides: str) -> RunSetup:
    setup = RunSetup(
        data=shards, recipe=load_recipe(SMALL, ["batch.total=16", "batch.micro=8", "text.max_tokens=256", *overrides])
    )
    assert [finding.status for finding in data.manifest(setup)] == [Status.OK] * 3
    assert setup.shards is not None
    return setup


def change(folder: Path, **fields: object) -> None:
    write_manifest(folder, replace(read_manifest(folder), **fields))  # type: ignore[arg-type]


def test_a_whole_set_is_well(shards: Path) -> None:
    setup = case_of(shards)
    checks = (data.splits, data.patients, data.annotation, data.text, data.attention_maps, data.pictures)
    checks += (data.sample, data.length)
    findings = {finding.name: finding for check in checks for finding in check(setup)}
    assert {finding.status for finding in findings.values()} == {Status.OK}, findings
    assert "224 x 224 pixels" in findings["sample"].found
    samples = read_manifest(shards).count("train")
    assert findings["steps"].found.startswith(f"{samples / 16:.2f} steps per epoch")
    assert f"{samples:,} train" in findings["splits"].found


def test_lost_shards_are_a_warning_where_others_may_stand_in(shards: Path) -> None:
    (shards / read_manifest(shards).of("train")[0].name).unlink()
    recipe = load_recipe(SMALL, ["loader.quarantine=1"])
    _, finding, _ = data.manifest(RunSetup(data=shards, recipe=recipe))
    assert finding.status is Status.WARN and "is missing" in finding.found and "lost" in finding.found
    _, finding, _ = data.manifest(RunSetup(data=shards, recipe=load_recipe(SMALL, ["loader.quarantine=0"])))
    assert finding.status is Status.FAIL


def test_no_held_out_split_is_a_warning(shards: Path) -> None:
    change(shards, shards=read_manifest(shards).of("train"))
    assert only(data.splits, case_of(shards)).status is Status.WARN


def without_patients(folder: Path, **fields: Any) -> RunSetup:
    change(folder, counts=read_manifest(folder).counts | {"patients": 0}, **fields)
    return case_of(folder)


def test_a_set_without_patients_is_a_warning(shards: Path) -> None:
    finding = only(data.patients, without_patients(shards))
    assert finding.status is Status.WARN and "both sides of the split" in finding.found
    assert "column patient_id" in finding.hint


def test_one_split_without_patients_is_well(shards: Path) -> None:
    assert only(data.patients, without_patients(shards, shards=read_manifest(shards).of("train"))).status is Status.OK


@pytest.mark.parametrize(
    ("column", "hint"),
    [
        ("PatientID", "--columns patient_id=PatientID"),
        ("Patient ID", "--columns 'patient_id=Patient ID'"),
        ("subject_id", "--columns patient_id=subject_id"),
        ("PatientAge", "with a column patient_id"),
    ],
)
def test_the_column_that_looks_like_patients_is_named(column: str, hint: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        Image.linear_gradient("L").resize((64, 64)).save(tmp_path / f"{name}.png")
    rows = "s1,a.png,Edema.,7\ns2,b.png,Effusion.,7\n"
    (tmp_path / "x.csv").write_text(f"study_id,image_path,report,{column}\n{rows}")
    build(CsvSource(tmp_path / "x.csv"), tmp_path / "set", Options(workers=1, vocab_size=200))
    finding = only(data.patients, case_of(tmp_path / "set"))
    assert finding.status is Status.WARN and hint in finding.hint


def test_rows_left_out_are_counted(shards: Path) -> None:
    change(shards, quarantined=({"origin": "reports.csv row 3", "fault": "truncated"},))
    *_, finding = data.splits(case_of(shards))
    assert (finding.name, finding.status) == ("quarantined", Status.WARN)
    assert finding.found.startswith("1 row")


@pytest.mark.parametrize("digest", ["", "0" * 64])
def test_reports_read_by_other_rules_are_a_warning(shards: Path, digest: str) -> None:
    change(shards, rules_digest=digest)
    finding = only(data.annotation, case_of(shards))
    assert finding.status is Status.WARN and "ecamp-fast shard build --from phantom" in finding.hint


def test_texts_that_are_often_cut_are_a_warning(shards: Path) -> None:
    finding = only(data.text, case_of(shards, "text.max_tokens=8"))
    assert finding.status is Status.WARN and "--set text.max_tokens=" in finding.hint


def test_no_attention_map_at_all_is_a_warning_where_one_is_looked_for(shards: Path) -> None:
    bare = [
        replace(shard, members={name: members for name, members in shard.members.items() if name != ATTENTION})
        for shard in read_manifest(shards).shards
    ]
    change(shards, shards=tuple(bare))
    assert only(data.attention_maps, case_of(shards)).status is Status.WARN
    assert only(data.attention_maps, case_of(shards, "sr.maps=centre")).status is Status.OK


def test_small_pictures_are_a_warning(shards: Path) -> None:
    assert "short sides of 22 samples: 256 to 256" in only(data.pictures, case_of(shards)).found
    finding = only(data.pictures, case_of(shards, "image.high_size=448", "image.low_size=224"))
    assert finding.status is Status.WARN and "--short-side 448" in finding.hint


@pytest.mark.parametrize(
    ("ranks", "hint"),
    [(1, "--set batch.total=16 --set batch.micro=16"), (3, "--set batch.total=12 --set batch.micro=4")],
)
def test_a_batch_larger_than_the_data_is_a_warning(ranks: int, hint: str, shards: Path) -> None:
    setup = case_of(shards, "batch.total=8192", "batch.micro=256")
    setup.asked_ranks = ranks
    finding = only(data.length, setup)
    assert (finding.status, finding.hint) == (Status.WARN, hint)
    overrides = hint.replace("--set ", "").split()
    assert load_recipe(SMALL, overrides).accumulation(ranks) == 1


def test_tokens_beyond_the_vocabulary_fail(shards: Path) -> None:
    change(shards, vocab_size=10)
    assert only(data.sample, case_of(shards)).status is Status.FAIL


@pytest.mark.parametrize("check", [data.splits, data.text, data.sample, data.length])
def test_without_data_nothing_is_said(check: object) -> None:
    assert list(check(RunSetup(recipe=load_recipe(SMALL)))) == []  # type: ignore[operator]


def test_no_report_text_is_told(shards: Path, doctor: Callable[..., dict[str, Any]]) -> None:
    reports = [case_of(shards).shards.read("train", row, (REPORT,))[REPORT].decode() for row in range(4)]  # type: ignore[union-attr]
    sentences = {sentence.strip() for report in reports for sentence in report.split(".") if sentence.strip()}
    whole = str(doctor("--data", shards))
    for path in shards.glob("*.tar"):
        content = bytearray(path.read_bytes())
        content[1536:4096] = bytes(2560)
        path.write_bytes(content)
    damaged = str(doctor("--data", shards))
    assert sentences and not any(sentence in whole + damaged for sentence in sentences)


def test_several_sets_are_looked_at_as_one(two_sets: tuple[Path, Path], tmp_path: Path) -> None:
    named = (str(two_sets[0]), f"{two_sets[1]}:0.3")
    recipe = load_recipe(SMALL, ["batch.total=16", "batch.micro=8", "text.max_tokens=300"])
    setup = RunSetup(data=named, recipe=recipe)
    assert [finding.status for finding in data.manifest(setup)] == [Status.OK] * 3
    shares = sorted(finding.found for finding in data.sets(setup))
    assert [found.partition(": ")[2] for found in shares] == [
        "20 samples an epoch, of 20 (weight 1)",
        "4 samples an epoch, of 12 (weight 0.3)",
    ]
    assert only(data.patients_of_sets, setup).status is Status.OK
    assert "1.50 steps per epoch" in only(data.length, setup).found
    assert only(data.splits, setup).found == "samples: 32 train, 7 val"
    options = Options(workers=1, seed=5, short_side=48, tokenizer=two_sets[0] / "tokenizer.json")
    build(PhantomSource(24, 1, 64), tmp_path / "again", options)  # the same patients, split otherwise
    setup = RunSetup(data=(str(two_sets[0]), str(tmp_path / "again")), recipe=recipe)
    assert len(list(data.manifest(setup))) == 3
    finding = only(data.patients_of_sets, setup)
    assert finding.status is Status.WARN and "in train of one set and held out in another" in finding.found


def test_of_one_set_nothing_is_said_of_several(shards: Path) -> None:
    setup = case_of(shards)
    assert [*data.sets(setup), *data.patients_of_sets(setup)] == []
