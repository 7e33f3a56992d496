"""Recipes that cannot be meant: which are refused, with which lines and suggestions."""

from typing import Any

from mutant import mutants


def refusals() -> Any:
    from ecamp_fast.config import Recipe, parse_yaml
    from ecamp_fast.config.load import parse_recipe
    from ecamp_fast.config.nearest import nearest, slips
    from ecamp_fast.config.yaml import read_document
    from ecamp_fast.errors import ConfigError

    texts = (
        "seed: 010",
        "seed: 1:30",
        "optim: {lrr: 1}\nlr: 2",
        "seed: 1\nseed: 2\nsed: 3",
        "a: &a [1]\nb: *a",
        "optim: {betas: [0.9, 1.5]}",
        "image: {crop_area: [0.9, 0.2]}",
        "sr: {guidance: sotf}\nlosses: {sr: on}",
        "optim:\n  lr: '1e-4'",
        "schedule: {epochs: 201}",
    )
    found: list[Any] = []
    for text in texts:
        try:
            tree, lines, twins = read_document(text, "x")
            found.append(parse_recipe(tree, "x", lines, twins).model_dump())
        except ConfigError as error:
            found.append(str(error))
        try:
            found.append(parse_yaml(text, "x"))
        except ConfigError as error:
            found.append(str(error))
    sections = [f"optim.{name}" for name in type(Recipe().optim).model_fields]
    found += [nearest(word, sections) for word in ("optim.rl", "epss", "batch.lr", "weightDecay", "optim.betsa")]
    return [*found, [slips("abcd", other) for other in ("abdc", "abd", "abxd", "abcde")]]


MUTATED = "tests/config/test_mutated.py"

MUTANTS = (
    mutants(
        "ecamp_fast/config/nearest.py",
        MUTATED,
        refusals,
        {
            "a swap is two slips": ("last[j - 2] + 1)", "last[j - 2] + 2)"),
            "a key of another section is spelt wrongly": ("    if same:\n", "    if False:\n"),
        },
    )
    + mutants(
        "ecamp_fast/config/yaml.py",
        MUTATED,
        refusals,
        {
            "010 is eight": ("(?:0|[1-9][0-9_]*)$", "[0-9][0-9_]*$"),
            "aliases stand for what is elsewhere": (
                'if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):',
                "if False:",
            ),
            "one of twins is enough": ("loader.twins.append(", "str("),
        },
    )
    + mutants(
        "ecamp_fast/config/load.py",
        MUTATED,
        refusals,
        {
            "no line is told": (
                'return f"line {place}: " if isinstance(place, int)',
                'return "" if isinstance(place, int)',
            ),
            "twins hide the other faults": (
                "[*faults, *_explain(error, lines or {}, section)]",
                "list(faults) or [*_explain(error, lines or {}, section)]",
            ),
            "a word for a flag is only refused": ('fault["type"] == "bool_type"', 'fault["type"] == "flag"'),
        },
    )
    + mutants(
        "ecamp_fast/config/sections.py",
        MUTATED,
        refusals,
        {
            "betas may be anything": ("0 <= beta < 1", "0 <= beta"),
            "epochs go on beyond the horizon": ("if self.epochs > self.horizon_epochs:", "if self.epochs > 1e9:"),
            "a crop may shrink": ("if not 0 < smallest <= largest <= 1:", "if not 0 < smallest <= 1:"),
        },
    )
)
