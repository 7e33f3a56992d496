"""The commands `shard` and `tokenizer`: results on stdout, progress on stderr, exit codes, nothing half-written."""

import csv
import json
import os
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from ecamp_fast.commands import shard, tokenizer
from ecamp_fast.errors import ConfigError, DataError, PolicyError

QUICK = ["--workers", "1", "--vocab-size", "200"]


def run(*arguments, command=shard.command):
    return CliRunner().invoke(command, [str(a) for a in arguments])


def result(*arguments, command=shard.command):
    done = run(*arguments, "--json", command=command)
    assert done.exit_code == 0, done.output
    assert done.stdout.count("\n") == 1
    tree = json.loads(done.stdout)
    assert tree.pop("schema") == 1
    return tree


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    out = tmp_path_factory.mktemp("commands") / "set"
    built = result("build", "--from", "phantom", "8", out, "--size", "64", *QUICK)
    return out, built


@pytest.fixture
def table(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    with open(data / "reports.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["study_id", "image_path", "view", "report"])
        for number in range(3):
            writer.writerow(
                [f"s{number}", f"s{number}.png", "PA", f"Small effusion {number}." if number < 2 else "___"]
            )
            picture = np.arange(64 * 80, dtype=np.uint16).reshape(64, 80) % (200 + number)
            Image.fromarray(picture.astype(np.uint8)).save(data / f"s{number}.png")
    return data / "reports.csv"


def test_build_says_what_it_built(phantoms):
    out, built = phantoms
    assert built["samples"] == 8 and sum(built["splits"].values()) == 8 and built["out"] == str(out)
    assert len(built["manifest"]) == 64 and built["seconds"] > 0


def test_shard_alone_means_build(table, tmp_path):
    done = run("--from", "csv", table, tmp_path / "set", *QUICK)
    assert done.exit_code == 0 and (tmp_path / "set" / "MANIFEST.json").exists()
    assert "2 samples (1 train, 1 val; 1 empty reports dropped) in 2 shards" in done.stdout
    assert "training the tokenizer" in done.stderr and "training" not in done.stdout


def test_what_exists_is_a_usage_error(phantoms, table):
    done = run("--from", "csv", table, phantoms[0])
    assert isinstance(done.exception, ConfigError) and done.exception.exit_code == 2


@pytest.mark.parametrize("studies", ["x", "0", "-3", "1.5"])
def test_phantoms_need_a_number(studies, tmp_path):
    done = run("build", "--from", "phantom", "--", studies, tmp_path / "set")
    assert isinstance(done.exception, ConfigError) and not (tmp_path / "set").exists()


def test_bad_images_are_a_data_error_that_leaves_no_set(table, tmp_path):
    (table.parent / "s0.png").write_bytes(b"no picture")
    done = run("--from", "csv", table, tmp_path / "set", *QUICK)
    assert isinstance(done.exception, DataError) and done.exception.exit_code == 3
    assert "reports.csv row 2 (s0.png)" in str(done.exception) and not (tmp_path / "set").exists()


def test_a_dry_run_writes_nothing(table, tmp_path):
    planned = result("build", "--from", "csv", table, tmp_path / "set", "--dry-run")
    assert planned["samples"] == 2 and planned["splits"] == {"train": 1, "val": 1} and planned["dropped_empty"] == 1
    assert os.listdir(tmp_path) == ["data"]


def test_a_dry_run_forecasts_bytes_and_minutes(table, tmp_path):
    planned = result("build", "--from", "csv", table, tmp_path / "set", "--dry-run", "--vocab-size", "200")
    assert planned["forecast"]["bytes"] > 1000 and planned["forecast"]["measured_on"] == 2
    told = run("build", "--from", "csv", table, tmp_path / "set", "--dry-run").stdout
    for head in ("THE SET\n  samples ", "\nSPLITS\n  train, ", "\nFORECAST, from ", "\nNothing was written"):
        assert head in told
    assert "minutes with " in told and "_" not in told.partition("\nNOTES")[0]
    assert max(map(len, told.splitlines())) <= 80


@pytest.mark.parametrize("part", [[], ["--part", "1/2"]])
def test_a_finished_build_says_so_also_under_a_dry_run(table, tmp_path, part):
    words = ["build", "--from", "csv", table, tmp_path / "set", *QUICK, *part]
    assert result(*words)["finished"] is False
    for dry in ([], ["--dry-run"]):
        assert result(*words, *dry)["finished"] is True
        told = run(*words, *dry).stdout
        assert "complete, nothing to do: " in told and told.endswith(" were not read again\n") and "; pictures" in told
        other = run(*words, *dry, "--holdout", "0.2")
        assert isinstance(other.exception, ConfigError) and "differs in holdout" in str(other.exception)


def test_a_part_is_not_merged_into_itself(table, tmp_path):
    parts = [tmp_path / "part1", tmp_path / "part2"]
    for number, part in enumerate(parts, 1):
        run("build", "--from", "csv", table, part, *QUICK, "--part", f"{number}/2")
    done = run("merge", *parts, parts[1] / "set")
    assert isinstance(done.exception, ConfigError) and not (parts[1] / "set").exists()


def test_parts_are_merged_into_what_one_build_makes(phantoms, tmp_path):
    options = ["--from", "phantom", "8", "--size", "64", *QUICK]
    for number in (1, 2):
        built = result("build", *options[:3], tmp_path / f"p{number}", *options[3:], "--part", f"{number}/2")
        assert built["out"] == str(tmp_path / f"p{number}")
    merged = result("merge", tmp_path / "p2", tmp_path / "p1", tmp_path / "set")
    assert merged["manifest"] == phantoms[1]["manifest"] and merged["samples"] == 8
    missing = run("merge", tmp_path / "p2", tmp_path / "other")
    assert isinstance(missing.exception, ConfigError) and "part 1/2 is missing" in str(missing.exception)


@pytest.mark.parametrize("part", ["0/2", "3/2", "2", "a/b", "1/0", "-1/2"])
def test_a_part_is_i_of_n(tmp_path, part):
    done = run("build", "--from", "phantom", "8", tmp_path / "set", f"--part={part}")
    assert done.exit_code == 2 and "is not I/N" in done.stderr and os.listdir(tmp_path) == []


def test_repair_fixes_or_says_what_is_left(phantoms, tmp_path):
    broken = shutil.copytree(phantoms[0], tmp_path / "broken")
    victim = next(broken.glob("train-*.tar"))
    whole = victim.read_bytes()
    victim.write_bytes(whole[:5000])
    assert "shard repair" in run("verify", broken).stderr
    fixed = result("repair", "--from", "phantom", "8", broken, "--workers", "1")
    assert fixed["repaired"] == [victim.name] and fixed["ok"] and victim.read_bytes() == whole
    assert "nothing repaired" in run("repair", "--from", "phantom", "8", broken).stdout
    victim.write_bytes(whole[:5000])
    other = run("repair", "--from", "phantom", "9", broken)
    assert isinstance(other.exception, DataError) and "studies is 9, was 8" in str(other.exception)
    shutil.copy(victim, broken / "val-000009.tar")
    left = run("repair", "--from", "phantom", "8", broken, "--json")
    assert left.exit_code == 3 and json.loads(left.stdout)["damage"][0]["file"] == "val-000009.tar"


def test_bad_images_are_reported_by_class(table, tmp_path):
    (table.parent / "s0.png").write_bytes(b"no picture")
    options = [*QUICK, "--reject-budget", "0.5"]
    built = result("build", "--from", "csv", table, tmp_path / "set", *options)
    assert built["quarantined"] == 1 and sum(built["rejected"].values()) == 1
    assert "1 bad images left out" in run("build", "--from", "csv", table, tmp_path / "again", *options).stdout


def test_verify_passes_and_fails(phantoms, tmp_path):
    out, _ = phantoms
    assert result("verify", out)["ok"] is True
    assert run("verify", out).stdout.startswith(f"{out}: whole: 8 samples")
    broken = shutil.copytree(out, tmp_path / "broken")
    victim = next(broken.glob("train-*.tar"))
    victim.write_bytes(victim.read_bytes()[:5000])
    done = run("verify", broken, "--json")
    tree = json.loads(done.stdout)
    assert done.exit_code == 3 and tree["ok"] is False and {d["file"] for d in tree["damage"]} == {victim.name}
    assert any(d["key"] and d["byte"] for d in tree["damage"])
    done = run("verify", broken)
    assert done.exit_code == 3 and victim.name in done.stdout and "hint" in done.stderr
    assert isinstance(run("verify", tmp_path / "nowhere").exception, DataError)


def test_stats_and_show(phantoms, tmp_path):
    out, built = phantoms
    assert result("stats", out)["splits"] == built["splits"]
    assert "samples: 8" in run("stats", out).stdout
    found = result("stats", out, "--max-tokens", "9", "--threshold", "1", "--plot", tmp_path / "terms.png")
    assert found["truncated"]["texts"] == 8 and found["descriptors"]
    assert Image.open(tmp_path / "terms.png").format == "PNG"
    drawn = result("show", out, tmp_path / "x.png", "--count", "3")
    assert len(drawn["keys"]) == 3 and Image.open(tmp_path / "x.png").format == "PNG"
    again = result("show", out, tmp_path / "y.png", "--key", drawn["keys"][0])
    assert again["keys"] == drawn["keys"][:1]


def test_images_without_a_report_are_kept_on_request(table, tmp_path):
    keep = ["--from", "csv", table, tmp_path / "set", "--empty-reports", "keep"]
    assert result("build", *keep, "--dry-run")["without_text"] == 1
    built = result("build", *keep, *QUICK)
    assert (built["samples"], built["without_text"], built["dropped_empty"]) == (3, 1, 0)
    victim = next((tmp_path / "set").glob("train-*.tar"))
    victim.unlink()
    fixed = result("repair", "--from", "csv", table, tmp_path / "set")  # the manifest knows what was kept
    assert fixed["ok"] and fixed["repaired"] == [victim.name]
    assert result("annotate", "--from", "csv", table, "--empty-reports", "keep")["reports"] == 2


def test_train_a_tokenizer_and_build_with_it(table, tmp_path):
    file = tmp_path / "tokenizer.json"
    trained = result("train", table, file, "--vocab-size", "200", command=tokenizer.command)
    assert trained["texts"] == 2 and trained["vocab_size"] <= 200
    built = result("build", "--from", "csv", table, tmp_path / "set", "--tokenizer", file, "--workers", "1")
    assert built["tokenizer"] == trained["sha256"]
    again = run("train", table, file, command=tokenizer.command)
    assert isinstance(again.exception, ConfigError)


def test_train_a_tokenizer_on_plain_text(tmp_path):
    (tmp_path / "corpus.txt").write_text("small effusion\n\nno edema\nno edema\n")
    assert result("train", tmp_path / "corpus.txt", tmp_path / "t.json", command=tokenizer.command)["texts"] == 2
    (tmp_path / "empty.txt").write_text("\n___\n")
    done = run("train", tmp_path / "empty.txt", tmp_path / "u.json", command=tokenizer.command)
    assert isinstance(done.exception, DataError) and not (tmp_path / "u.json").exists()


def test_a_column_that_is_not_there(table, tmp_path):
    done = run("train", table, tmp_path / "t.json", "--column", "findings", command=tokenizer.command)
    assert isinstance(done.exception, DataError) and "'findings'" in str(done.exception)


def test_no_report_text_reaches_the_logs(table, tmp_path):
    table.write_text(table.read_text().replace("Small effusion", "CANARY effusion"))
    outputs = [
        run("--from", "csv", table, tmp_path / "set", *QUICK),
        run("verify", tmp_path / "set"),
        run("stats", tmp_path / "set", "--json"),
    ]
    assert all(done.exit_code == 0 and "canary" not in done.output.lower() for done in outputs)


@pytest.mark.parametrize("verb", ["verify", "stats"])
def test_addresses_that_are_not_allowed_leave_with_8(verb):
    refused = run(verb, "pipe:cat /etc/passwd").exception
    assert isinstance(refused, PolicyError) and refused.exit_code == 8


@pytest.mark.parametrize("arguments", [("build", "--from", "phantom", "4"), ("merge", "part")])
def test_what_is_written_goes_into_a_folder(arguments):
    refused = run(*arguments, "s3://bucket/set").exception
    assert isinstance(refused, PolicyError) and "copy it there" in refused.hint
