"""Every command on a machine without a network: a namespace that has the loopback device and nothing else.

That they pass there is what shows that none of them calls home: every other way out of the process is gone. What takes
minutes is tried in ``tests/training/test_no_network.py``.
"""

import pytest

BUILD = "--workers 1 --vocab-size 200 --size 64 --shard-size 4"


@pytest.mark.fault("P2.help", "P2.shards")
def test_shards_are_built_and_looked_at(alone, tmp_path):
    (tmp_path / "texts.txt").write_text("No acute process.\nSmall effusion.\n")
    assert (
        alone(
            *(
                f"0 {name} --help"
                for name in ("demo", "worth", "doctor", "shard", "tokenizer", "stop", "report", "import", "distill")
            ),
            "0 train --help",
            "0 bench --help",
            "0 --version",
            f"0 shard build --from phantom 12 set {BUILD} --dry-run",
            f"0 shard build --from phantom 12 set {BUILD} --json",
            f"0 shard build --from phantom 12 one {BUILD} --part 1/1",
            "0 shard verify set",
            "0 shard stats set",
            "0 shard show set set.png",
            "0 shard annotate --from phantom 12",
            "0 shard repair --from phantom 12 set",
            "0 tokenizer train texts.txt t.json --vocab-size 100",
            "3 import t.json w.safetensors",
            "2 stop nothing",
            "2 track nothing --to trackio",
            "2 report nothing",
            "8 shard verify pipe:x",
            "8 distill run set out --endpoint https://192.0.2.1/v1 --model m",
            "5 shard verify https://192.0.2.1/set",
        )
        == ""
    )


@pytest.mark.slow
@pytest.mark.fault("P2.doctor")
def test_the_doctor_looks_at_everything(alone):
    assert (
        alone(
            f"0 shard build --from phantom 12 set {BUILD}",
            "0 doctor --recipe demo --data set --out run --set 'batch={total: 4, micro: 4}'",
            "0 bench text --batch 8",
        )
        == ""
    )


@pytest.mark.complete
@pytest.mark.fault("P2.training")
def test_a_run_is_trained_and_reported(alone, tmp_path):
    small = ("image.high_size=64", "image.low_size=32", "text.max_tokens=24", "batch={total: 4, micro: 2}")
    small += ("model.vision={width: 16, depth: 2, heads: 2, patch: 8}", "model.decoder={width: 8, depth: 1, heads: 2}")
    small += ("model.text={width: 12, depth: 2, heads: 3, ffn: 20, dropout: 0.0}", "schedule.epochs=2")
    keys = " ".join(f"--set '{key}'" for key in (*small, "schedule.warmup_epochs=1"))
    assert (
        alone(
            f"0 shard build --from phantom 16 set {BUILD}",
            f"0 train --recipe demo --data set --out run --ranks 2 {keys}",
            "0 report run",
            "0 report run --no-pictures --json",
            "0 bench text --batch 8",
        )
        == ""
    )
    assert (tmp_path / "run" / "report.html").exists()
