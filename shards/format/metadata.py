"""The member ``KEY.json`` of a sample, as whoever reads a set gets it: every field there, and of its kind."""

from collections.abc import Mapping
from typing import Any

from ecamp_fast.errors import DataError
from ecamp_fast.shards.format.labels import read_labels
from ecamp_fast.strict_json import parse_object

_BOX = ("x", "y", "width", "height")
_LARGEST = 65_535  # pixels of a JPEG's side
_HINT = "build the set again: these are not the words of a builder"


def read_metadata(data: bytes, where: str) -> dict[str, Any]:
    """The metadata of a sample.  where: names it in errors

    study_id, patient_id, view, split: str   width, height: int, of the stored image
    labels: dict of 1, 0 or -1 (``format.labels``), also where a set of format 2 has a list of what is present
    columns, boxes, masks: where the sample has them, a dict of str, a list of dicts with numbers x, y, width, height,
    the names of the planes of its masks
    Raises DataError for any other content, without repeating it.
    """
    try:
        tree = parse_object(data)
        labels = read_labels(tree.get("labels"))
        fault = _fault(tree) or ("labels are no 1, 0 and -1 by name" if labels is None else "")
    except ValueError:
        fault = "no JSON object"
    if fault:
        raise DataError(f"{where}: its checksum is right, its .json is not: {fault}", _HINT)
    return tree | {"labels": labels}


def _fault(tree: Mapping[str, Any]) -> str:
    texts = [name for name in ("study_id", "patient_id", "view", "split") if not isinstance(tree.get(name), str)]
    if texts:
        return f"{texts[0]} is no text"
    for name in ("width", "height"):
        if type(tree.get(name)) is not int or not 0 < tree[name] <= _LARGEST:
            return f"{name} is no number of pixels"
    columns = tree.get("columns", {})
    if not isinstance(columns, dict) or not _are_texts(list(columns.values())):
        return "columns are no texts by name"
    boxes = tree.get("boxes", [])
    if not isinstance(boxes, list) or not all(isinstance(box, dict) and _is_box(box) for box in boxes):
        return "boxes are none"
    return "" if _are_texts(tree.get("masks", [])) else "masks are no list of texts"


def _are_texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _is_box(box: Mapping[str, Any]) -> bool:
    return all(isinstance(box.get(name), int | float) and abs(box[name]) <= _LARGEST for name in _BOX)
