"""A DeepSpeed JSON as a file: names that there are, and faults that say what is wrong in which line."""

from pathlib import Path

import pytest

from ecamp_fast.config.deepspeed_json import DEFAULT, find, read_json
from ecamp_fast.errors import ConfigError


@pytest.mark.parametrize(
    ("source", "near"),
    [("zero3", "zero"), ("zero", "zero"), ("ZeRO2", "zero2"), ("zero_2", "zero2"), ("zero2.json", "zero2"),
     ("stage2", ""), ("ds.json", ""), ("zero-1", "zero1"), ("deepspeed", ""), ("zeor0", "zero")],
)  # fmt: skip
def test_a_name_that_is_none_is_answered_with_those_there_are(
    source: str, near: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=f"no DeepSpeed JSON '{source}'") as caught:
        read_json(find(source))
    assert "zero0, zero1, zero2, or a JSON file" in caught.value.hint and caught.value.exit_code == 2
    assert f"did you mean '{near}" in caught.value.what if near else "did you mean" not in caught.value.what


def test_a_path_that_is_not_there_or_a_folder(tmp_path: Path) -> None:
    for path, says in ((tmp_path / "none.json", "No such file"), (tmp_path, "directory")):
        with pytest.raises(ConfigError, match=f"cannot read the DeepSpeed JSON .*{says}") as caught:
            read_json(path)
        assert "--ds_config takes zero0, zero1, zero2" in caught.value.hint


def test_names_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine").write_text('{"gradient_clipping": 1}')
    Path("zero1").write_text("{}")
    assert read_json(find("mine")) == {"gradient_clipping": 1}
    assert read_json(find("zero1"))["zero_optimization"]["stage"] == 1  # a name of ours goes before a file
    assert read_json(find("./zero1")) == {} and find("") == DEFAULT


WRONG = {
    "a comment": ('{\n  // stage\n  "bf16": {}}', "line 2: not JSON: JSON has no comments"),
    "a comment behind a value": ('{"bf16": {} // on\n}', "JSON has no comments"),
    "a block comment": ('{/* mine */ "bf16": {}}', "JSON has no comments"),
    "a hash": ('# mine\n{"bf16": {}}', "line 1: not JSON: JSON has no comments"),
    "a last comma": ('{"bf16": {"enabled": true,}}', "a comma stands before the closing bracket"),
    "a last comma, next line": ('{"bf16": {},\n}', "a comma stands before the closing bracket"),
    "True": ('{"bf16": {"enabled": True}}', "small letters"),
    "None": ('{"train_batch_size": None}', "small letters"),
    "single quotes": ("{'bf16': {}}", "double quotes"),
    "NaN": ('{"gradient_clipping": NaN}', "NaN is no JSON number"),
    "Infinity": ('{"steps_per_print": Infinity}', "Infinity is no JSON number"),
    "beyond a float": ('{"gradient_clipping": 9e999}', "9e999 is too large a number"),
    "below a float": ('{"gradient_clipping": -1E+400}', "-1E+400 is too large a number"),
    "beyond 64 bits": ('{"aio": {"block_size": 18446744073709551616}}', "18446744073709551616 is too large a number"),
    "beyond any bits": (f'{{"steps_per_print": {"9" * 5000}}}', "99999999999999999... is too large a number"),
    "nothing": ("", "the file is empty"),
    "blanks": ("  \n\n", "the file is empty"),
    "cut": ('{"bf16": {"enabled": true}', "not JSON"),
    "two objects": ("{}{}", "not JSON: Extra data"),
    "a list": ("[]", "holds no JSON object"),
    "a word": ('"zero2"', "holds no JSON object"),
    "a number": ("2", "holds no JSON object"),
    "null": ("null", "holds no JSON object"),
    "a key twice": ('{"bf16": {}, "bf16": {}}', "key 'bf16' appears twice"),
    "a key twice, inside": ('{"zero_optimization": {"stage": 1, "stage": 2}}', "key 'stage' appears twice"),
    "a flag for a section": ('{"fp16": false}', "fp16 must be an object"),
    "a number for a section": ('{"zero_optimization": 2}', "zero_optimization must be an object"),
    "a name for a section": ('{"optimizer": "AdamW"}', "optimizer must be an object"),
    "a flag for the profiler": ('{"flops_profiler": true}', "flops_profiler must be an object"),
    "a number for the logger": ('{"comms_logger": 5}', "comms_logger must be an object"),
    "a flag for checkpointing": ('{"activation_checkpointing": true}', "activation_checkpointing must be an object"),
    "a word for checkpoints": ('{"checkpoint": "warn"}', "checkpoint must be an object"),
    "a list for aio": ('{"aio": []}', "aio must be an object"),
    "a flag for the compiler": ('{"compile": false}', "compile must be an object"),
    "too deep": ("[" * 100_000, "not JSON"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_a_file_is_said(name: str, tmp_path: Path) -> None:
    text, says = WRONG[name]
    path = tmp_path / "ds.json"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_json(path)
    assert says in caught.value.what and caught.value.hint


def test_null_says_nothing_and_a_byte_order_mark_neither(tmp_path: Path) -> None:
    path = tmp_path / "ds.json"
    path.write_text(
        '{"fp16": null, "zero_optimization": {"stage": 2, "offload_optimizer": null}}', encoding="utf-8-sig"
    )
    assert read_json(path) == {"zero_optimization": {"stage": 2}}
    path.write_bytes('{"bf16": {}, "ä": 1}'.encode("cp1252"))
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_json(path)
