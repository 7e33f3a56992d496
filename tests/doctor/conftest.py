"""A small shard set to look at and to damage, and the doctor as a person calls it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ecamp_fast.commands.doctor import command


@pytest.fixture(scope="session")
def _phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ecamp_fast.shards.builder.build import Options, build_phantoms

    out = tmp_path_factory.mktemp("doctor") / "phantoms"
    build_phantoms(24, out, size=256, options=Options(workers=1, shard_size=8, vocab_size=300))
    return out


@pytest.fixture
def shards(_phantoms: Path, tmp_path: Path) -> Path:
    """24 phantoms of 256 pixels in at least two splits; yours to damage."""
    return Path(shutil.copytree(_phantoms, tmp_path / "phantoms"))


@pytest.fixture
def doctor() -> Callable[..., dict[str, Any]]:
    """doctor(*arguments): the JSON it prints; its exit code is checked against the one it printed."""

    def call(*arguments: object) -> dict[str, Any]:
        result = CliRunner().invoke(command, ["--json", *map(str, arguments)])
        record: dict[str, Any] = json.loads(result.stdout)
        assert result.exit_code == record["exit_code"]
        assert result.stderr == ""
        return record

    return call
