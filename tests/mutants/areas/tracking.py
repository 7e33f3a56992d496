"""What is sent to a tracker, and what is kept from it."""

from typing import Any

from mutant import mutants

PROGRAM = "tests/run/tracking/test_program.py"


def lines() -> Any:
    """What of some lines is sent."""
    from ecamp_fast.run.tracking.lines import numbers, position

    record = {"loss": 1, "lr": 0.5, "mim": float("inf"), "sr": "Zqtext", "accuracy": True, "key": 7}
    places = [{"step": 3}, {"step": 0, "split": "val"}, {"step": 3, "split": "Mr Zqtext"}, {"step": True}, {"step": -1}]
    return numbers(record, "val", ["loss", "lr", "mim", "sr", "accuracy"]), [position(one) for one in places]


def steps() -> Any:
    """Which steps are new."""
    from ecamp_fast.run.tracking.sent import SentSteps

    sent = SentSteps(steps={"train": 4})
    return [sent.is_new(split, step) for split in ("train", "val") for step in (0, 3, 4, 5)]


def told() -> Any:
    """What a tracker is told of a recipe with a name."""
    from ecamp_fast.config import load_recipe
    from ecamp_fast.run.tracking.settings import recipe_settings

    recipe = load_recipe("demo", ["init_from=/home/zqfolder/x.safetensors"])
    return sorted(recipe_settings(recipe.model_copy(update={"name": "zqname"})).items())


MUTANTS = [
    *mutants(
        "ecamp_fast/run/tracking/lines.py",
        PROGRAM,
        lines,
        {
            "switches are numbers": ("type(value) in (int, float)", "isinstance(value, int | float)"),
            "what is not finite is sent": (" and math.isfinite(value)", ""),
            "a split is any word": ("split in SPLITS and ", ""),
            "steps before the first": (" and step >= 0", ""),
        },
    ),
    *mutants(
        "ecamp_fast/run/tracking/sent.py",
        PROGRAM,
        steps,
        {
            "a step is sent twice": ("return step > self", "return step >= self"),
            "the first evaluation is not sent": ("self.steps.get(split, -1)", "self.steps.get(split, 0)"),
        },
    ),
    *mutants(
        "ecamp_fast/run/tracking/settings.py",
        PROGRAM,
        told,
        {
            "words that somebody chose are told": (" and value in _listed(kind.annotation)", ""),
            "sections are left out": ("found |= _of_section(value, ", "_of_section(value, "),
        },
    ),
]
