import json
import math
import stat
from pathlib import Path
from typing import Any

import pytest

from ecamp_fast.files import new_folder, write_json
from ecamp_fast.strict_json import dump_json, parse_record


def strict(text: str) -> Any:
    def refuse(word: str) -> None:
        raise AssertionError(word)

    return json.loads(text, parse_constant=refuse)


@pytest.mark.fault("N1.strict-json")
def test_what_is_not_finite_becomes_null_and_is_named() -> None:
    value = {"step": 3, "loss": math.nan, "deep": {"norms": [1.0, -math.inf, (math.inf,)]}}
    text = dump_json(value)
    assert strict(text) == {
        "step": 3,
        "loss": None,
        "deep": {"norms": [1.0, None, [None]]},
        "not_finite": ["loss", "deep.norms.1", "deep.norms.2.0"],
    }
    back = parse_record(text)
    assert back.keys() == value.keys() and math.isnan(back["loss"])
    assert math.isnan(back["deep"]["norms"][1]) and math.isnan(back["deep"]["norms"][2][0])
    assert dump_json(back) == text


@pytest.mark.parametrize(
    "line", ['{"not_finite": ["a.b"]}', '{"a": [1], "not_finite": ["a.x"]}', '{"not_finite": [3]}']
)
def test_a_line_that_names_what_it_has_not_is_damaged(line: str) -> None:
    with pytest.raises(ValueError):
        parse_record(line)


def test_what_is_finite_is_written_as_ever() -> None:
    value = {"a": [1, 2.5, None, True, "NaN"]}
    assert dump_json(value) == json.dumps(value) and parse_record(dump_json(value)) == value
    assert dump_json([1.0, math.nan]) == "[1.0, null]"


def test_files_are_strict(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"loss": math.inf})
    assert strict((tmp_path / "a.json").read_text()) == {"loss": None, "not_finite": ["loss"]}


def test_all_in_a_new_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    with new_folder(tmp_path / "out") as folder:
        (folder / "deep" / "deeper").mkdir(parents=True, mode=0o755)
        for place in (folder, folder / "deep", folder / "deep" / "deeper"):
            (place / "file").write_text("x")
            (place / "file").chmod(0o644)
    inside = [tmp_path / "out", *(tmp_path / "out").rglob("*")]
    assert len(inside) == 6
    assert {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in inside} == {(True, 0o700), (False, 0o600)}
