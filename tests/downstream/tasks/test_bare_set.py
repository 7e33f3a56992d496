"""A set that has nothing but images: every task says what is missing, with one code."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from ecamp_fast import cli
from ecamp_fast.errors import DataError

TASKS = {
    "finetune classify": ((), "no image of the split train has a label"),
    "finetune segment": ((), "has no masks"),
    "finetune segment, of boxes": (("--boxes", "--mask", "mass"), "has mass"),
    "finetune segment, balanced": (("--balance", "--mask", "mass"), "has masks"),
    "finetune detect": ((), "has boxes"),
    "probe": ((), "no image of the split train has a label"),
    "probe, by gradient descent": (("--sgd",), "no image of the split train has a label"),
    "probe, of patches": (("--patches",), "has no masks"),
}


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng, rows = tmp_path_factory.mktemp("bare"), np.random.default_rng(5), []
    for number in range(12):
        Image.fromarray(rng.integers(20, 230, (48, 48)).astype(np.uint8)).save(folder / f"{number}.png")
        rows.append(f"{number}.png,{'train' if number < 8 else 'val'},p{number}")
    (folder / "images.csv").write_text("image_path,split,patient_id\n" + "\n".join(rows) + "\n")
    words = ["shard", "build", "--from", "csv", str(folder / "images.csv"), str(folder / "set")]
    done = CliRunner().invoke(cli.command, [*words, "--empty-reports", "keep"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return folder / "set"


@pytest.mark.parametrize("task", TASKS)
def test_what_the_data_lacks_is_a_fault_of_the_data(task: str, bare: Path, tiny_run: Path, tmp_path: Path) -> None:
    options, told = TASKS[task]
    words = [*task.partition(",")[0].split(), str(tiny_run), str(bare), str(tmp_path / "out"), "--device", "cpu"]
    error = CliRunner().invoke(cli.command, [*words, *options]).exception
    assert isinstance(error, DataError) and told in error.what, error
    assert not (tmp_path / "out" / "result.json").exists()
