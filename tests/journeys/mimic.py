"""Journey: MIMIC-CXR as PhysioNet gives it, made of phantoms, becomes shards in one command."""

import json
import sys
from pathlib import Path
from types import ModuleType

from journeys.harness import ROOT, Typed, Walk, check, check_complete, load_beside, program, tiny


def trees() -> ModuleType:
    """What the tests of this source make their trees with."""
    return load_beside(ROOT / "tests" / "shards" / "sources" / "conftest.py")


def journey(walk: Walk) -> None:
    studies = 16 if walk.short else 40
    tree = trees().write_tree(walk.here / "mimic-cxr-jpg", studies)
    (tree.folder / "mimic-cxr-reports.zip").rename(walk.here / "mimic-cxr-reports.zip")  # a download of its own
    expected = {dicom: study for dicom, study in tree.images.items() if tree.texts[study]}
    built = walk.type(
        "ecamp-fast shard build --from mimic-cxr mimic-cxr-jpg SHARDS --reports mimic-cxr-reports.zip --workers 1"
        " --json"
    )
    check_counts(built, len(tree.images), len(expected))
    walk.type("ecamp-fast shard verify SHARDS", says=[f"{len(expected)} samples"])
    check_texts(texts_of(walk.here / "SHARDS"), {dicom: tree.texts[study] for dicom, study in expected.items()})
    frontal = walk.type(
        "ecamp-fast shard build --from mimic-cxr mimic-cxr-jpg PA --reports mimic-cxr-reports.zip --views PA --json"
        " --workers 1"
    )
    check_counts(frontal, sum("-pa-" in name for name in tree.images), sum("-pa-" in name for name in expected))
    walk.type("ecamp-fast shard build --from mimic-cxr mimic-cxr-jpg NONE --workers 1", code=3, says=["--reports"])
    if not walk.short:
        walk.type(f"ecamp-fast train --data SHARDS --out runs/mimic --recipe paper --no-report {tiny()}")
        check_complete(walk.state("runs/mimic"))


def check_counts(typed: Typed, images: int, samples: int) -> None:
    """Every image is a sample, or left out with a reason."""
    result = json.loads(typed.out)
    told = {name: result.get(name) for name in ("samples", "dropped_empty")}
    check(result["samples"] == samples, f"{samples} samples of reports that say something: {told}")
    check(result["samples"] + result["dropped_empty"] == images, f"the counts add up to {images} images: {told}")


def texts_of(folder: Path) -> dict[str, str]:
    """By image, of a set."""
    from ecamp_fast.shards.load.read import ShardSet

    shards, found = ShardSet(folder), {}
    for split in shards.splits:
        for index in range(shards.count(split)):
            sample = shards.read(split, index)
            found[json.loads(sample["json"])["image"].rsplit("/", 1)[-1][:-4]] = sample["txt"].decode()
    return found


def check_texts(found: dict[str, str], texts: dict[str, str]) -> None:
    """Each image has the text of its own study."""
    wrong = [name for name in texts.keys() | found.keys() if texts.get(name) != found.get(name)]
    check(not wrong, f"{len(texts)} images have the findings and the impression of their own study: {wrong[:3]}")


def main() -> int:
    return program(journey)


if __name__ == "__main__":
    sys.exit(main())
