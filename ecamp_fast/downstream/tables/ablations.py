"""The rows of Tables 4 and 5, and two baselines of Tables 1 and 2, as changes of one recipe.

CD   context distillation: text and attention maps from distilled reports, or both from raw ones
DM   descriptors are always masked, or like other words
RF   re-balanced factor (Eq. 3), or all words alike
SR   super-resolution guided by attention maps, or none
G L  the global and the local scale of context fusion
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ecamp_fast.config import Recipe, load_recipe
from ecamp_fast.config.recipe import flatten
from ecamp_fast.downstream.tables.published import PublishedCell, published


@dataclass(frozen=True)
class MethodPart:
    """A part of the method that Table 4 turns off.

    name  in the names of rows   key: of a recipe   off, on: its values, as YAML; ``on`` where a recipe has it off
    """

    name: str
    key: str
    off: str
    on: str


PARTS = {
    "CD": MethodPart("cd", "text.distilled_probability", "0.0", "0.8"),
    "DM": MethodPart("dm", "masking.descriptors", "random", "always"),
    "RF": MethodPart("rf", "rebalance", "off", "eq3"),
    "SR": MethodPart("sr", "losses.sr", "false", "true"),
    "G": MethodPart("global", "fusion.use_global", "false", "true"),
    "L": MethodPart("local", "fusion.use_local", "false", "true"),
}
FULL, MAE, GLORIA = "full", "mae", "gloria-vit"
LAMBDA, CHOSEN = "lambda_neg", "0.05"  # Eq. 3; Table 5's value that all other tables have
BASELINES = {"1", "2"}  # tables of ``MAE`` and ``GLORIA``
# As recipe ``mae`` has it
_IMAGES_ALONE = ("losses.mim=true", "losses.sr=false", "losses.mlm=false", "losses.mim_scale=1.0")


@dataclass(frozen=True)
class Ablation:
    """A pre-training that rows of the paper stand for.

    name     of the row, and of its run
    tables   table -> the row's name in it (``published``)
    off      parts that are off, the others being on; None: the recipe's parts stay as they are
    changes  of the recipe beside these, ``KEY=VALUE``
    trained  whether it is trained here; GLoRIA's encoder comes with the attention maps of a set
    """

    name: str
    tables: dict[str, str]
    off: tuple[str, ...] | None = ()
    changes: tuple[str, ...] = (f"{LAMBDA}={CHOSEN}",)
    trained: bool = True

    def overrides(self, base: Recipe) -> tuple[str, ...]:
        """What turns the base recipe into the row's, ``KEY=VALUE``."""
        keys = flatten(base.model_dump(mode="json"))
        found = []
        for label, part in PARTS.items() if self.off is not None else ():
            if label in (self.off or ()):
                found.append(f"{part.key}={part.off}")
            elif str(keys[part.key]).lower() == part.off:
                found.append(f"{part.key}={part.on}")
        return (*found, *self.changes)

    def recipe(self, base: str, overrides: Sequence[str] = ()) -> Recipe:
        """Resolved.  base: name or file   overrides: of the whole ablation.  Raises ConfigError."""
        return load_recipe(base, [*overrides, *self.overrides(load_recipe(base, overrides))])

    def differs(self, base: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
        """Resolved keys in which its recipe differs from the base, with their values."""
        whole = flatten(load_recipe(base, overrides).model_dump(mode="json"))
        own = flatten(self.recipe(base, overrides).model_dump(mode="json"))
        return {key: value for key, value in own.items() if value != whole[key]}

    def reads_raw_maps(self, base: str, overrides: Sequence[str] = ()) -> bool:
        """Whether it needs attention maps that were made from raw reports: without CD nothing distilled is seen."""
        return "CD" in (self.off or ()) and self.recipe(base, overrides).reads_maps


def ablations() -> list[Ablation]:
    """Every pre-training once, in the paper's order; the last row of Table 4 is the second of Table 5."""
    found = []
    for row in published("4").rows:
        off = tuple(part for part in PARTS if part not in row.method.split())
        name = "-".join(["no", *(PARTS[part].name for part in off)]) if off else FULL
        found.append(Ablation(name, {"4": row.method} if off else {"4": row.method, "5": CHOSEN}, off))
    values = [row.method for row in published("5").rows if row.method != CHOSEN]
    found += [Ablation(f"lambda-{value}", {"5": value}, (), (f"{LAMBDA}={value}",)) for value in values]
    found.append(Ablation(MAE, {"1": "MAE", "2": "MAE"}, None, _IMAGES_ALONE))
    found.append(Ablation(GLORIA, {"1": "GLoRIA", "2": "GLoRIA"}, None, (), trained=False))
    return found


def beside_row(table: str, kind: str, data: str, fraction: float) -> list[PublishedCell]:
    """What Table 4 or 5 says of a task, and Tables 1 and 2 of the baselines, each cell under the name of our row."""
    found = []
    for one in ablations():
        for name in (table,) if table in one.tables else BASELINES & one.tables.keys():
            for cell in published(name).cells():
                known = cell.row.method == one.tables[name] and cell.row.backbone in (None, "ViT")
                if known and (cell.kind, cell.data, cell.fraction) == (kind, data, fraction):
                    found.append(replace(cell, row=cell.row.model_copy(update={"method": one.name, "backbone": None})))
    return found
