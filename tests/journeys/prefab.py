"""Small real things that stand for the words in a command line: SHARDS, RUN, BASE; each made once, when first asked for.

What makes each is in `fixtures.yaml`, under ``things``: a command as a user types it, or a function of this module.
"""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from tests.journeys.harness import Walk

TABLE = Path(__file__).with_name("fixtures.yaml")


def read_table() -> dict[str, Any]:
    return dict(yaml.safe_load(TABLE.read_text(encoding="utf-8")))


class Prefab:
    """Things by name, in a folder of a walk of their own."""

    def __init__(self, walk: "Walk") -> None:
        self.walk = walk
        self._things: dict[str, Any] = read_table()["things"]

    def place(self, name: str, target: Path) -> None:
        """Copy a thing; it is made where it is not there yet."""
        source = self._find(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy2(source, target)

    def _find(self, name: str) -> Path:
        path = self.walk.here / name
        if not path.exists():
            thing = self._things[name]
            for needed in thing.get("needs", ()):
                self._find(needed)
            if "run" in thing:
                from tests.journeys.harness import tiny

                self.walk.type(thing["run"].replace("TINY", tiny()))
            else:
                makers[thing["make"]](path)
        return path


def csv_table(path: Path) -> None:
    from tests.journeys.own_csv import write_table

    write_table(path.parent, 20)


def csv_images(path: Path) -> None:
    csv_table(path)


def image(path: Path) -> None:
    from PIL import Image

    from ecamp_fast.phantom import phantom

    Image.fromarray(phantom(3, 1, 96).image).save(path)


def image_folder(path: Path) -> None:
    path.mkdir()
    for number in range(3):
        image(path / f"{number}.png")


def mimic_tree(path: Path) -> None:
    """With its reports in an archive of its own beside it."""
    from tests.journeys.mimic import trees

    tree = trees().write_tree(path, 40)
    (tree.folder / "mimic-cxr-reports.zip").rename(path.with_name("mimic-cxr-reports.zip"))


def grid(path: Path) -> None:
    """Of one encoder and one task, as docs/downstream.md has a larger one."""
    task = {"task": "probe", "data": "SET"}
    path.write_text(yaml.safe_dump({"encoders": {"ours": "runs/demo"}, "tasks": {"phantoms": task}}))


def masks_table(path: Path) -> None:
    """`images.csv`, and beside it masks and boxes of the same pictures."""
    from PIL import Image

    from ecamp_fast.phantom import phantom

    (path.parent / "pictures").mkdir()
    rows: dict[str, list[list[Any]]] = {"images": [["study_id", "image_path", "report"]]}
    rows |= {
        "masks": [["image_path", "mask_path", "name"]],
        "boxes": [["image_path", "finding", "x", "y", "width", "height"]],
    }
    for number in range(12):
        drawn = phantom(5, number, 96)
        name = f"pictures/{number}.png"
        Image.fromarray(drawn.image).save(path.parent / name)
        rows["images"].append([f"s{number}", name, ""])
        rows["boxes"].append([name, "mass", 10, 10, 20, 20])
    for table, lines in rows.items():
        with open(path.with_name(f"{table}.csv"), "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(lines)


makers: dict[str, Callable[[Path], None]] = {
    one.__name__: one for one in (csv_table, csv_images, image, image_folder, mimic_tree, grid, masks_table)
}
