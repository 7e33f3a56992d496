"""Recipes: every knob of the method and of a run, typed, with its default and its place in paper or code.

A recipe is a YAML file (``ecamp_fast/recipes/``) read into frozen, strict pydantic models. The defaults are the recipe
``paper``: column D of the discrepancy table, with the paper's optimisation settings. Unknown keys, wrong types and
contradictions are errors that name the key and the nearest legal one, all of them at once.

sections   every key with its meaning
keys       a key's meaning and place in the paper, and the table of all keys
recipe     the whole, what must agree between its parts, and what follows from them
tables     the recipes that come along: one line of each, all keys with their values, docs/recipes.md
load       from a name or a file to a recipe, and back
changes    what a run may change when it goes on
overrides  ``--set KEY=VALUE``
yaml       the scalars people write
nearest    the key that a mistyped one stands for

Beside it stands DeepSpeed's own JSON, which is compared with the recipe:

deepspeed_json       the file, by name or path
deepspeed_values     its values: what is filled, what is off, what contradicts
deepspeed_kinds      flags, numbers and words, and the keys within sections
deepspeed_limits     values that do not go together here
deepspeed_optimizer  its optimizer and scheduler
deepspeed_fault      what is wrong with a value, and what to do about it
"""

from ecamp_fast.config.load import RECIPES, dump_recipe, load_recipe, parse_recipe, parse_section, recipe_names
from ecamp_fast.config.recipe import Recipe
from ecamp_fast.config.sections import (
    AlignConfig,
    BatchConfig,
    CheckpointConfig,
    DecoderConfig,
    EvaluationConfig,
    FusionConfig,
    GloriaConfig,
    ImageConfig,
    LoaderConfig,
    LossesConfig,
    MaskingConfig,
    ModelConfig,
    OptimConfig,
    SafetyConfig,
    ScheduleConfig,
    SuperResolutionConfig,
    TextConfig,
    TextDecoderConfig,
    VisionConfig,
)
from ecamp_fast.config.yaml import parse_yaml

__all__ = [
    "RECIPES",
    "AlignConfig",
    "BatchConfig",
    "CheckpointConfig",
    "DecoderConfig",
    "EvaluationConfig",
    "FusionConfig",
    "GloriaConfig",
    "ImageConfig",
    "LoaderConfig",
    "LossesConfig",
    "MaskingConfig",
    "ModelConfig",
    "OptimConfig",
    "Recipe",
    "SafetyConfig",
    "ScheduleConfig",
    "SuperResolutionConfig",
    "TextConfig",
    "TextDecoderConfig",
    "VisionConfig",
    "dump_recipe",
    "load_recipe",
    "parse_recipe",
    "parse_section",
    "parse_yaml",
    "recipe_names",
]
