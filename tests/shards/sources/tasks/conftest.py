"""Folders as owners and lists lay them out, with pictures that are drawn."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ecamp_fast.shards.builder.build import Options, build
from ecamp_fast.shards.load.read import ShardSet


@pytest.fixture
def pictures(tmp_path: Path, film: Callable[..., Any]) -> Callable[..., Path]:
    """pictures(*places, size=(90, 70)): draws a picture at each place below a folder; returns the folder."""
    folder = tmp_path / "data"
    folder.mkdir(exist_ok=True)

    def draw(*places: str, size: tuple[int, int] = (90, 70)) -> Path:
        for number, place in enumerate(places):
            path = folder / place
            path.parent.mkdir(parents=True, exist_ok=True)
            film(number, *size).save(path)
        return folder

    return draw


@pytest.fixture
def built(tmp_path: Path) -> Callable[..., dict[str, dict[str, Any]]]:
    """built(source): builds a set; returns the metadata of its samples by study."""

    def run(source: Any, **options: Any) -> dict[str, dict[str, Any]]:
        build(source, tmp_path / "set", Options(workers=1, **options))
        shards = ShardSet(tmp_path / "set")
        about = (shards.metadata(split, row) for split in shards.splits for row in range(shards.count(split)))
        return {one["study_id"]: one for one in about}

    return run
