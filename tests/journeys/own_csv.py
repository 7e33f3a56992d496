"""Journey: a CSV table of one's own becomes shards, is looked at, checked, and trained on."""

import csv
import re
import sys
from pathlib import Path

from journeys.harness import Broken, Typed, Walk, check, check_complete, check_file, digest, program, tiny
from PIL import Image

from ecamp_fast.phantom import describe, phantom


def write_table(folder: Path, images: int, size: int = 160) -> Path:
    """``reports.csv`` and its pictures, as somebody has them who never heard of shards.  returns the table"""
    (folder / "images").mkdir(exist_ok=True)
    with open(folder / "reports.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["study_id", "image_path", "report"])
        for number in range(images):
            Image.fromarray(phantom(1, number, size).image).save(folder / "images" / f"{number:03}.png")
            table.writerow([f"study{number}", f"images/{number:03}.png", describe(1, number).report])
    return folder / "reports.csv"


def journey(walk: Walk) -> None:
    images = 8 if walk.short else 20
    table = write_table(walk.here, images)
    forecast = walk.type("ecamp-fast shard build --from csv reports.csv SHARDS --dry-run --workers 1")
    check(re.search(rf"^ +samples +{images}\b", forecast.out, re.MULTILINE), f"it forecasts {images} samples")
    check(not (walk.here / "SHARDS").exists(), "a dry run writes nothing")
    command = "ecamp-fast shard build --from csv reports.csv SHARDS --workers 1 --reject-budget 0.2"
    check_built(walk.type(command), images)
    before = digest(walk.here / "SHARDS" / "MANIFEST.json")
    walk.type(command, says=["complete, nothing to do"])
    check(digest(walk.here / "SHARDS" / "MANIFEST.json") == before, "a finished build is left as it is")
    check_verified(walk.type("ecamp-fast shard verify SHARDS"), images)
    walk.type("ecamp-fast shard stats SHARDS", says=["train"])
    walk.type("ecamp-fast shard show SHARDS samples.png")
    check_picture(walk.here / "samples.png")
    misspell(table)
    walk.type("ecamp-fast shard build --from csv reports.csv OTHER --workers 1", code=3, says=["report"])
    check(not (walk.here / "OTHER" / "MANIFEST.json").exists(), "no set of a table without reports")
    if not walk.short:
        walk.type(f"ecamp-fast train --data SHARDS --out runs/first --recipe demo {tiny()}")
        check_complete(walk.state("runs/first"))
        check_file(walk.here / "runs" / "first" / "report.html", 10_000)
    damage(walk.here / "SHARDS")
    walk.type("ecamp-fast shard verify SHARDS", code=3, says=["train-"])


def check_built(typed: Typed, images: int) -> None:
    """The last line tells the set, and all images are in it."""
    check(f"{images} samples" in typed.last and "SHARDS" in typed.last, f"{images} samples are told last: {typed.last}")


def check_verified(typed: Typed, images: int) -> None:
    check(f"{images} samples" in typed.out, f"verify has read {images} samples")


def check_picture(path: Path) -> None:
    """A picture with something on it."""
    check_file(path, 1000)
    low, high = Image.open(path).convert("L").getextrema()
    check(high - low > 50, "the samples can be seen")


def damage(shards: Path) -> None:
    """Flip one bit in the middle of a shard."""
    tar = sorted(shards.glob("**/*.tar"))
    if not tar:
        raise Broken(f"no shard in {shards}")
    content = bytearray(tar[0].read_bytes())
    content[len(content) // 2] ^= 1
    tar[0].write_bytes(content)


def misspell(table: Path) -> None:
    table.write_text(table.read_text().replace("image_path,report", "image_path,rapport", 1))


def main() -> int:
    return program(journey)


if __name__ == "__main__":
    sys.exit(main())
