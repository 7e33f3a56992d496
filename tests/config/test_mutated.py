"""Configurations with something wrong in them: none is accepted, a slip of the pen gets its right answer.

Two hundred are drawn from ``SEED``, of recipes (keys, kinds and ranges are read off the models) and of DeepSpeed's
JSON; a hundred more are written down: contradictions, and traps of both notations.
"""

import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import pytest
import yaml
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ecamp_fast.config import Recipe, load_recipe
from ecamp_fast.config.deepspeed_kinds import NAMES
from ecamp_fast.config.deepspeed_values import KNOWN
from ecamp_fast.config.nearest import nearest, slips
from ecamp_fast.errors import ConfigError
from ecamp_fast.run.deepspeed_config import check

SEED = 15
RECIPES, JSONS = 120, 80
LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Mutated(NamedTuple):
    """A file with faults.

    text   what is in it
    says   what must be in the message: the keys at fault, or the kind of fault
    right  what must be suggested, where there is one right answer
    """

    text: str
    says: tuple[str, ...]
    right: str = ""


def fields(section: type[BaseModel] = Recipe, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """(dotted key, field) of all keys of a recipe that hold a value."""
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from fields(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field


FIELDS = dict(fields())
CHOICES = [key for key, field in FIELDS.items() if {type(word) for word in get_args(field.annotation)} == {str}]
SECTIONS = sorted({key.rpartition(".")[0] for key in FIELDS} - {""})


def nested(values: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in values.items():
        *parents, leaf = key.split(".")
        section = tree
        for parent in parents:
            section = section.setdefault(parent, {})
        section[leaf] = value
    return tree


def written(values: dict[str, Any]) -> str:
    return yaml.safe_dump(nested(values), sort_keys=False)


def slip(word: str, chance: random.Random) -> str:
    """The word with a letter left out, put in, changed or swapped, or written in another way."""
    at = chance.randrange(len(word))
    two = max(at, 1)
    return chance.choice(
        (
            lambda: word[:at] + word[at + 1 :],
            lambda: word[:at] + word[at] + word[at:],
            lambda: word[:at] + chance.choice(LETTERS) + word[at + 1 :],
            lambda: word[: two - 1] + word[two] + word[two - 1] + word[two + 1 :],
            lambda: re.sub(r"_(.)", lambda found: found[1].upper(), word),
            lambda: word.replace("_", "-"),
            lambda: word.upper(),
        )
    )()


def one_right_answer(wrong: str, right: str, known: list[str]) -> bool:
    """Whether no other key of the section is as near."""
    return all(slips(wrong, right) < slips(wrong, other) for other in known if other != right)


def a_typo(keys: list[str], chance: random.Random) -> tuple[str, str]:
    """(wrong key, right key), dotted."""
    while True:
        right = chance.choice(keys)
        section, _, leaf = right.rpartition(".")
        wrong = slip(leaf, chance)
        beside = [key.rpartition(".")[2] for key in keys if key.rpartition(".")[0] == section]
        if wrong and wrong not in beside and (wrong.upper() == wrong or one_right_answer(wrong, leaf, beside)):
            return f"{section}.{wrong}".lstrip("."), right


# Recipes


def typo_of_a_key(chance: random.Random) -> Mutated:
    wrong, right = a_typo(list(FIELDS), chance)
    return Mutated(
        written({"seed": 1, wrong: 1}), (f"unknown key '{wrong}'", "line 2" if "." not in wrong else "line"), right
    )


def typo_of_a_section(chance: random.Random) -> Mutated:
    wrong, right = a_typo(SECTIONS, chance)
    return Mutated(written({f"{wrong}.x": 1}), (f"unknown key '{wrong}'",), right)


def key_in_a_wrong_section(chance: random.Random) -> Mutated:
    leaves = [key.rpartition(".")[2] for key in FIELDS]
    right = chance.choice([key for key in FIELDS if leaves.count(key.rpartition(".")[2]) == 1 and "." in key])
    leaf = right.rpartition(".")[2]
    places = [
        f"{section}.{leaf}".lstrip(".") for section in ("", *SECTIONS) if not right.startswith(f"{section}.{leaf}")
    ]
    wrong = chance.choice([place for place in places if place not in SECTIONS])
    return Mutated(written({wrong: 1}), (f"unknown key '{wrong}'",), right)


def wrong_kind(chance: random.Random) -> Mutated:
    key = chance.choice([key for key, field in FIELDS.items() if field.annotation in (int, float, bool)])
    kind = FIELDS[key].annotation
    wrong: list[Any] = ["many", [1], {"a": 1}, None, "75%", "0,5", "16 GB", "2020-01-01"]
    wrong += {int: [1.5, True, "08"], float: [True, "1:30"], bool: [1, 0, "maybe"]}[kind]  # type: ignore[index]
    return Mutated(written({key: chance.choice(wrong)}), (key, "line"))


def number_in_quotes(chance: random.Random) -> Mutated:
    key = chance.choice([key for key, field in FIELDS.items() if field.annotation is float])
    word = chance.choice(("1e-4", "0.5", "3"))
    return Mutated(written({key: "@"}).replace("'@'", f"'{word}'"), (key,), f"{word} without quotes")


def word_for_a_flag(chance: random.Random) -> Mutated:
    key = chance.choice([key for key, field in FIELDS.items() if field.annotation is bool])
    word, right = chance.choice([("on", "true"), ("off", "false"), ("yes", "true"), ("No", "false"), ("True", "true")])
    return Mutated(written({key: "@"}).replace("'@'", word), (key,), right)


def near_a_choice(chance: random.Random) -> Mutated:
    key = chance.choice(CHOICES)
    choices = [word for word in get_args(FIELDS[key].annotation) if isinstance(word, str)]
    while True:
        right = chance.choice(choices)
        wrong = slip(right, chance)
        if wrong and wrong not in choices and (wrong.upper() == wrong or one_right_answer(wrong, right, choices)):
            return Mutated(written({key: wrong}), (key,), right)


def out_of_range(chance: random.Random) -> Mutated:
    bounds = [(key, bound) for key, field in FIELDS.items() for bound in field.metadata]
    key, bound = chance.choice(bounds)
    beyond = {Ge: lambda: bound.ge - 1, Gt: lambda: bound.gt - chance.choice((0, 1)), Le: lambda: bound.le + 1}
    beyond[Lt] = lambda: bound.lt + chance.choice((0, 1))
    value = beyond[type(bound)]()
    return Mutated(written({key: float(value) if FIELDS[key].annotation is float else value}), (key,))


def no_section(chance: random.Random) -> Mutated:
    section = chance.choice(SECTIONS)
    return Mutated(written({section: chance.choice((None, 3, "default", [1], True))}), (section,))


CONTRADICTIONS = (
    ("batch: {total: 100, micro: 64}", "not a multiple of batch.micro"),
    ("batch: {total: 0, micro: auto}", "batch.total"),
    ("batch: {micro: 0}", "batch.micro"),
    ("batch: {micro: auot}", "batch.micro"),
    ("image: {high_size: 448, low_size: 112}", "twice image.low_size"),
    ("image: {high_size: 450, low_size: 225}", "not a multiple of model.vision.patch"),
    ("model: {vision: {width: 100, heads: 3}, text: {width: 7e2, heads: 9}}", "model.text.width"),
    ("model: {vision: {width: 100, heads: 3}, text: {width: 700, heads: 9}}", "text: width 700"),
    ("schedule: {warmup_epochs: 300}", "below horizon_epochs"),
    ("schedule: {epochs: 300}", "beyond horizon_epochs"),
    ("losses: {mim: false, sr: false, mlm: false}", "every term is off"),
    ("losses: {norm_pix: true}", "norm_pix needs sr"),
    ("fusion: {use_global: false, use_local: false}", "cannot both be false"),
    ("masking: {image_ratio: 0.999}", "no patch kept"),
    ("optim: {betas: [0.9]}", "optim.betas"),
    ("optim: {betas: [0.9, 1.5]}", "from 0 to below 1"),
    ("optim: {betas: 0.9}", "optim.betas"),
    ("image: {crop_area: [0.9, 0.2]}", "crop_area"),
    ("image: {crop_aspect: [-1, 2]}", "crop_aspect"),
    ("checkpoint: {milestones: [5, -1]}", "checkpoint.milestones"),
    ("loader: {shuffle: 0}", "loader.shuffle"),
    ("loader: {shuffle: everything}", "loader.shuffle"),
    ("optim: {lr: .inf}", "optim.lr"),
    ("optim: {lr: .nan}", "optim.lr"),
    ("batch: {total: 99999999999999999999}", "batch.total"),
    ("model: {vision: {depth: 1000000000}}", "model.vision.depth"),
)
DEEP = "a: " + "[" * 1200
BOMB = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(25)
)
TRAPS = (
    ("optim:\n\tlr: 1e-4\n", "not YAML"),
    ("seed:1\n", "holds no mapping"),
    ("seed: 010\n", "seed"),
    ("seed: 1:30\n", "seed"),
    ("seed: 0x10\n", "seed"),
    ("log_every: 1,000\n", "log_every"),
    ("log_every: 2001-01-01\n", "log_every"),
    ("seed: 1\nseed: 1\n", "line 2", "twice"),
    ("optim:\n  lr: 1e-3\n  eps: 1e-8\n  lr: 1e-4\n", "line 4", "twice"),
    ("optim: {lr: 1e-3}\nbatch: {micro: 8}\noptim: {eps: 1}\n", "line 3", "twice"),
    ("seed: 1\nseed: 2\nsed: 3\n", "line 2", "twice", "line 3: unknown key 'sed'"),
    (BOMB, "an anchor or an alias"),
    ("a: &a {b: *a}\n", "an anchor or an alias"),
    ("base: &b {lr: 1}\noptim:\n  <<: *b\n", "an anchor or an alias"),
    (DEEP, "nested"),
    ("{a: " * 600, "nested"),
    ("seed: 1\n---\nseed: 2\n", "not YAML"),
    ("seed: !!python/object/apply:os.getpid []\n", "not YAML"),
    ("seed: !int 5\n", "not YAML"),
    ("? [a, b]\n: 1\n", "no word"),
    ("1: 2\n", "no word"),
    ("- seed: 1\n", "holds no mapping"),
    ("0\n", "holds no mapping"),
    ("false\n", "holds no mapping"),
    ("optim: {lr: 1e-4\n", "not YAML"),
    ("seed: 1\n  precision: fp32\n", "not YAML"),
    ("name: [a\n", "not YAML"),
    ("seed: 4\x00\n", "not YAML"),
    ("optim: lr: 1e-4\n", "not YAML"),
    ("name: 5\n", "name"),
    ("precision: [bf16]\n", "precision"),
)


def several(chance: random.Random) -> Mutated:
    """Three faults in one file: all three are told."""
    wrong, right = a_typo(list(FIELDS), chance)
    numbers = [
        key
        for key, field in FIELDS.items()
        if field.annotation is int and key.partition(".")[0] != wrong.partition(".")[0]
    ]
    number, choice = chance.choice(numbers), chance.choice(CHOICES)
    values = {wrong: 1, number: "many", choice: "nonsense"}
    return Mutated(written(values), (f"unknown key '{wrong}'", number, choice), right)


# DeepSpeed's JSON

TOP = sorted(KNOWN)


def json_key(chance: random.Random) -> Mutated:
    wrong, right = a_typo(TOP, chance)
    return Mutated(json.dumps({wrong: {}}), (f"unknown key '{wrong}'",), right)


def json_nested_key(chance: random.Random) -> Mutated:
    wrong, right = a_typo([name for name in NAMES if not name.startswith("zero_optimization.stage3")], chance)
    return Mutated(
        json.dumps(nested({wrong: 1}), indent=1), (f"unknown key '{wrong}'", "line"), right.rpartition(".")[2]
    )


def json_wrong_section(chance: random.Random) -> Mutated:
    leaves = [name.rpartition(".")[2] for name in NAMES]
    right = chance.choice([name for name in NAMES if leaves.count(name.rpartition(".")[2]) == 1])
    leaf = right.rpartition(".")[2]
    if leaf in KNOWN or leaf == "throughput":
        return json_wrong_section(chance)
    return Mutated(json.dumps({leaf: 1}), (f"unknown key '{leaf}'",), right)


def json_several(chance: random.Random) -> Mutated:
    wrong, right = a_typo(TOP, chance)
    values = {wrong: {}, "train_batch_size": 7, "zero_optimization": {"stage": 9, "overlap_comm": "sometimes"}}
    says = (f"unknown key '{wrong}'", "train_batch_size is 7", "stage is 9", "overlap_comm is 'sometimes'")
    return Mutated(json.dumps(values), says, right)


JSON_VALUES = (
    ({"train_batch_size": 512, "train_micro_batch_size_per_gpu": 8, "gradient_accumulation_steps": 7},
     "train_batch_size is 512", "train_micro_batch_size_per_gpu is 8", "gradient_accumulation_steps is 7"),
    ({"train_batch_size": "64"}, "train_batch_size is '64'"),
    ({"train_batch_size": "Auto"}, 'set train_batch_size to "auto"'),
    ({"train_batch_size": -1}, "train_batch_size is -1"),
    ({"train_micro_batch_size_per_gpu": 0}, "train_micro_batch_size_per_gpu is 0"),
    ({"gradient_accumulation_steps": True}, "gradient_accumulation_steps is True"),
    ({"gradient_clipping": "1.0"}, "gradient_clipping is '1.0'"),
    ({"zero_optimization": {"stage": "2"}}, "stage is '2'"),
    ({"zero_optimization": {"stage": 4}}, "stage is 4"),
    ({"zero_optimization": {"stage": 2, "reduce_bucket_size": "5e8"}}, "reduce_bucket_size is '5e8'"),
    ({"zero_optimization": {"stage": 2, "reduce_bucket_size": 0}}, "reduce_bucket_size is 0"),
    ({"zero_optimization": {"stage": 2, "overlap_comm": "on"}}, "overlap_comm is 'on'"),
    ({"zero_optimization": [2]}, "zero_optimization must be an object"),
    ({"zero_optimization": {"zero_optimization": {"stage": 2}}}, "unknown key 'zero_optimization.zero_optimization'"),
    ({"bf16": True}, "bf16 must be an object"),
    ({"bf16": {"enabled": "yes"}}, "bf16.enabled is 'yes'"),
    ({"bf16": {"enabled": False}}, "precision is bf16"),
    ({"fp16": {"enabled": True}, "bf16": {"enabled": True}}, "fp16 is enabled"),
    ({"communication_data_type": "fp23"}, "communication_data_type is 'fp23'"),
    ({"data_types": {"grad_accum_dtype": "float23"}}, "grad_accum_dtype is 'float23'"),
    ({"steps_per_print": 0}, "steps_per_print is 0"),
    ({"wall_clock_breakdown": "false"}, "wall_clock_breakdown is 'false'"),
    ({"optimizer": {"type": "AdmW", "params": {}}}, "the recipe's optimizer is 'AdamW'"),
    ({"optimizer": {"params": {"lr": 1e-3}}}, "optimizer has no type"),
    ({"scheduler": {"type": "WarmupCosineLR", "params": {"warmup_num_steps": 500}}}, "warmup_num_steps is 500"),
    ({"tensorboard": {"enabled": 1}}, "tensorboard.enabled is 1"),
    ({"comms_logger": {"prof_ops": "all_reduce"}}, "prof_ops is 'all_reduce'"),
    ({"activation_checkpointing": {"number_checkpoints": "four"}}, "number_checkpoints is 'four'"),
    ({"aio": {"block_size": 0}}, "aio.block_size is 0"),
    ({"elasticity": {"enabled": True}}, "elasticity is switched on"),
)  # fmt: skip
JSON_TRAPS = (
    ('{"bf16": {"enabled": True}}', "small letters"),
    ("{'bf16': {}}", "double quotes"),
    ('{"bf16": {},}', "comma"),
    ('{"bf16": {}} // on', "no comments"),
    ('{"gradient_clipping": NaN}', "NaN"),
    ('{"gradient_clipping": 9e999}', "too large"),
    ('{"bf16": {}, "bf16": {}, "fp16": {"enabled": false, "enabled": false}}', "'bf16' appears twice", "'enabled' app"),
    ('{"bf16": {}', "not JSON"),
    ('{"a": ' * 5000, "not JSON"),
    ("[[" * 5000, "not JSON"),
    ("stage: 2\n", "not JSON"),
    ("", "empty"),
    ('{"train_batch_size"\t=\t64}', "not JSON"),
    ('{"train_batch_size": 064}', "not JSON"),
    ('{"train_batch_size": 1_024}', "not JSON"),
)
WORDS = {"log_level": ("debug", "info", "warning", "error", "critical"), "checkpoint.tag_validation": ("warn", "fail")}


def json_word(chance: random.Random) -> Mutated:
    key = chance.choice(list(WORDS))
    right = chance.choice(WORDS[key])
    wrong = right
    while wrong.lower() in WORDS[key] or not one_right_answer(wrong, right, list(WORDS[key])):
        wrong = slip(right, chance) or right
    return Mutated(json.dumps(nested({key: wrong})), (f"{key} is '{wrong}'",), right)


Draw = Callable[[random.Random], Mutated]
OF_RECIPES: tuple[Draw, ...] = (
    *(typo_of_a_key, typo_of_a_key, typo_of_a_key, typo_of_a_section, key_in_a_wrong_section, wrong_kind),
    *(number_in_quotes, word_for_a_flag, near_a_choice, out_of_range, no_section, several),
)
OF_JSONS: tuple[Draw, ...] = (
    *(json_key, json_key, json_nested_key, json_nested_key, json_wrong_section, json_several, json_word),
)


def drawn(kinds: tuple[Draw, ...], number: int) -> list[tuple[str, Mutated]]:
    """``number`` different mutations, of all kinds in turn."""
    chance, found = random.Random(SEED), dict[str, tuple[str, Mutated]]()
    for turn in range(10 * number):
        kind = kinds[turn % len(kinds)]
        mutated = kind(chance)
        found.setdefault(mutated.text, (kind.__name__, mutated))
        if len(found) == number:
            break
    return list(found.values())


def listed(rows: Sequence[tuple[str, ...]]) -> list[tuple[str, Mutated]]:
    """What is written down: (text, what must be said ...)."""
    return [("listed", Mutated(text, tuple(says))) for text, *says in rows]


def of_a_recipe(path: Path) -> None:
    load_recipe(path)


def of_a_json(path: Path) -> None:
    check(path, PAPER, 1)


PAPER = load_recipe("paper")


@pytest.mark.fault("E1.unknown-key", "E1.typo", "E1.duplicate-key", "E1.wrong-type", "E1.contradictory-batch")
@pytest.mark.fault("E1.deepspeed-key", "E1.line", "E1.suggestion", "E1.all-at-once")
def test_of_200_mutated_configurations_none_is_accepted_and_the_suggestion_is_right(tmp_path: Path) -> None:
    accepted, untold, asked, right = [], [], 0, []
    cases = [(of_a_recipe, *one) for one in (*drawn(OF_RECIPES, RECIPES), *listed(CONTRADICTIONS), *listed(TRAPS))]
    values = [(json.dumps(value), *says) for value, *says in JSON_VALUES]
    cases += [(of_a_json, *one) for one in (*drawn(OF_JSONS, JSONS), *listed(values), *listed(JSON_TRAPS))]
    assert len(cases) == RECIPES + JSONS + sum(map(len, (CONTRADICTIONS, TRAPS, JSON_VALUES, JSON_TRAPS)))
    for number, (read, kind, mutated) in enumerate(cases):
        path = tmp_path / f"{number}.txt"
        path.write_text(mutated.text)
        try:
            read(path)
        except ConfigError as error:
            told = str(error)
            if not (
                error.hint and error.exit_code == 2 and len(told) < 4000 and all(says in told for says in mutated.says)
            ):
                untold.append((kind, mutated, told))
            asked += bool(mutated.right)
            if mutated.right and not re.search(rf"did you mean '?{re.escape(mutated.right)}(?:'|\?)", told):
                right.append((kind, mutated, told))
        else:
            accepted.append((kind, mutated))
    assert accepted == []
    assert untold == []
    assert asked >= 100 and len(right) <= 0.05 * asked, right


@pytest.mark.parametrize(("word", "meant"), [("on", "true"), ("No", "false"), ("True", "true")])
def test_a_word_for_a_flag_is_answered_with_the_flag(word: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"did you mean {meant}"):
        load_recipe("paper", [f"loader.region='{word}'"])


def test_the_same_seed_draws_the_same() -> None:
    assert drawn(OF_RECIPES, 20) == drawn(OF_RECIPES, 20) != drawn(OF_RECIPES[1:], 20)


@pytest.mark.parametrize(
    ("word", "right"),
    [("optim.lrr", ["optim.lr"]), ("lr", ["optim.lr"]), ("text.depth", ["model.text.depth"]), ("qqqqqqqq", []),
     ("steps", ["schedule.epochs"]), ("schedule.max_steps", ["schedule.epochs"]), ("num_workers", ["loader.threads"]),
     ("batch_size", ["batch.total"]), ("learning_rate", ["optim.lr"]), ("eval-every", ["evaluation.every_steps"]),
     ("everySteps", ["checkpoint.every_steps", "evaluation.every_steps"])],
)  # fmt: skip
def test_the_nearest_key(word: str, right: list[str]) -> None:
    assert nearest(word, [*FIELDS, *SECTIONS]) == right


def test_slips_are_counted() -> None:
    assert [slips("abcd", other) for other in ("abcd", "abd", "abccd", "abxd", "acbd", "wxyz", "")] == [
        0,
        1,
        1,
        1,
        1,
        4,
        4,
    ]
