"""What an encoder is by content, not by name: a result of other weights at the same path is no result of these."""

import hashlib
from pathlib import Path

from ecamp_fast.downstream.trunk import UNTRAINED
from ecamp_fast.files import sha256_of
from ecamp_fast.run.checkpoint.find import find
from ecamp_fast.run.export import WEIGHTS
from ecamp_fast.run.rundir import RunDir
from ecamp_fast.run.trained import read_recipe


def weights_digest(source: str) -> str:
    """Of the weights that ``open_trunk`` would read, or of what else a source says.

    Of a run that is still training, its newest checkpoint: what was scored of it before then counts no more.
    """
    if source.startswith(UNTRAINED):
        run = source.removeprefix(UNTRAINED)
        folder, _, seed = run.rpartition(":") if run.rpartition(":")[2].isdigit() else (run, "", "0")
        return f"{UNTRAINED[:-1]} {read_recipe(Path(folder)).digest} {seed}"
    path = Path(source)
    if path.is_file():
        return sha256_of(path)
    if (path / "recipe.yaml").is_file():
        return _run_digest(path)
    if path.is_dir():
        return _content(sorted(file for file in path.iterdir() if file.suffix in (".safetensors", ".bin", ".json")))
    return source  # plain pixels


def _run_digest(run: Path) -> str:
    complete = RunDir(run, writes=False).state().get("status", "complete") == "complete"  # an export has no state
    if complete and (run / WEIGHTS).is_file():
        return sha256_of(run / WEIGHTS)
    checkpoint = find(run / "checkpoints", "must", lambda name, reason: None)
    assert checkpoint is not None  # "must"
    return f"{checkpoint.name} {_content(sorted(checkpoint.glob('*.json')))}"


def _content(files: list[Path]) -> str:
    told = "".join(f"{file.name} {sha256_of(file)}\n" for file in files)
    return hashlib.sha256(told.encode()).hexdigest()
