"""Small tables and small shard sets for the tests of shards/."""

import csv
import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ecamp_fast.shards.builder import build as build_module
from ecamp_fast.shards.builder.build import Options, build_phantoms


def _film(seed: int, width: int = 90, height: int = 70) -> Image.Image:
    rows, columns = np.mgrid[:height, :width]
    noise = np.random.default_rng(seed).integers(0, 40, (height, width))
    return Image.fromarray(((rows * 2 + columns + noise + 7 * seed) % 256).astype(np.uint8))


@pytest.fixture(scope="session")
def film() -> Callable[..., Image.Image]:
    """film(seed, width=90, height=70): a grey picture."""
    return _film


@pytest.fixture(scope="session")
def film_bytes() -> Callable[..., bytes]:
    """film_bytes(image, format="JPEG", **options): the file."""

    def encode(image: Image.Image, format: str = "JPEG", **options: Any) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, format, **options)
        return buffer.getvalue()

    return encode


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    """table(rows, columns=None): writes a CSV and a JPEG for every image_path that does not exist; returns the CSV.

    Rows are dicts; study_id, image_path, view and report have defaults made from the row's number.
    """
    folder = tmp_path / "data"
    folder.mkdir()

    def write(rows: list[dict[str, str]], columns: list[str] | None = None, encoding: str = "utf-8") -> Path:
        full = [
            {"study_id": f"s{n}", "image_path": f"s{n}.jpg", "view": "PA", "report": f"Small effusion, case {n}."} | row
            for n, row in enumerate(rows)
        ]
        for number, row in enumerate(full):
            path = folder / row["image_path"]
            if row["image_path"] and not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                _film(number).save(path, "JPEG")
        names = columns or list(dict.fromkeys(name for row in full for name in row))
        with open(folder / "reports.csv", "w", newline="", encoding=encoding) as file:
            writer = csv.DictWriter(file, names, extrasaction="ignore", restval="")
            writer.writeheader()
            writer.writerows(full)
        return folder / "reports.csv"

    return write


@pytest.fixture(scope="session")
def phantom_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of 12 phantoms of 64 pixels in four shards; do not change it, copy it (``copied``)."""
    out = tmp_path_factory.mktemp("shards") / "phantoms"
    build_phantoms(12, out, size=64, options=Options(workers=1, shard_size=4, vocab_size=300))
    return out


@pytest.fixture
def copied(phantom_set: Path, tmp_path: Path) -> Path:
    """A copy of ``phantom_set`` to damage."""
    return Path(shutil.copytree(phantom_set, tmp_path / "copied"))


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], object]], None]:
    """interrupted(number, work): ``work`` builds, and is interrupted when sample ``number`` has been packed."""

    def run(number: int, work: Callable[[], object]) -> None:
        pack_all = build_module.pack_all

        def failing(*arguments: Any) -> Iterator[Any]:
            for packed, item in enumerate(pack_all(*arguments), 1):
                if packed == number:
                    raise KeyboardInterrupt
                yield item

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(build_module, "pack_all", failing)
            work()

    return run
