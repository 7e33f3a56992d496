"""Recipes: every knob of the method and of a run, typed, with its default and its place in paper or code.

A recipe is a YAML file (``ecamp_fast/recipes/``) read into frozen, strict pydantic models. The defaults below
are the recipe ``paper``: column D of the discrepancy table, with the paper's optimisation settings. Unknown keys,
wrong types and contradictions are errors that name the key and the nearest legal one, all of them at once.
"""

import difflib
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_serializer, field_validator, model_validator

from ecamp_fast.errors import ConfigError

RECIPES = Path(__file__).resolve().parent / "recipes"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class VisionConfig(_Section):
    """ViT encoder (paper 4.1). Patches are square; positions are a fixed sine-cosine table."""

    width: int = Field(768, ge=8)
    depth: int = Field(12, ge=1)
    heads: int = Field(12, ge=1)
    mlp_ratio: float = Field(4.0, gt=0)
    patch: int = Field(16, ge=1)  # pixels of the low-resolution image


class DecoderConfig(_Section):
    """Image decoder: a narrow ViT over all patches."""

    width: int = Field(512, ge=8)
    depth: int = Field(4, ge=1)
    heads: int = Field(16, ge=1)
    mlp_ratio: float = Field(4.0, gt=0)


class TextDecoderConfig(_Section):
    """BERT decoder behind one context-fusion layer. Dropout rates apply to hidden states and to attention."""

    width: int = Field(768, ge=8)
    depth: int = Field(6, ge=0)
    heads: int = Field(6, ge=1)
    ffn: int = Field(1536, ge=8)
    dropout: float = Field(0.1, ge=0, lt=1)


class ModelConfig(_Section):
    vision: VisionConfig = VisionConfig()
    decoder: DecoderConfig = DecoderConfig()
    text: TextDecoderConfig = TextDecoderConfig()
    position_table: Literal["standard", "official"] = "standard"  # official: the released code's wrong frequencies
    tie_embeddings: bool = False  # vocabulary projection shares the word embedding

    @model_validator(mode="after")
    def _heads_divide(self) -> "ModelConfig":
        for name, part in (("vision", self.vision), ("decoder", self.decoder), ("text", self.text)):
            if part.width % part.heads:
                raise ValueError(f"{name}: width {part.width} is not a multiple of heads {part.heads}")
        for name, part in (("vision", self.vision), ("decoder", self.decoder)):
            if part.width % 4:
                raise ValueError(f"{name}: width {part.width} is not a multiple of 4 (sine-cosine positions)")
        return self


class ImageConfig(_Section):
    """Pictures: the high-resolution target, the low-resolution input, augmentation (keyed by seed, epoch, sample)."""

    high_size: int = Field(448, ge=16)  # pixels per side: super-resolution target
    low_size: int = Field(224, ge=8)  # pixels per side: encoder input and reconstruction target
    low_res: Literal["antialiased", "plain"] = "antialiased"  # how 448 becomes 224
    crop_area: tuple[float, float] = (0.2, 1.0)  # RandomResizedCrop, share of the image
    crop_aspect: tuple[float, float] = (0.75, 4 / 3)
    flip: float = Field(0.5, ge=0, le=1)  # probability of a horizontal flip
    mean: float = 0.4721  # of grey values in [0, 1]
    std: float = Field(0.3037, gt=0)


class TextConfig(_Section):
    max_tokens: int = Field(256, ge=8)
    distilled_probability: float = Field(0.8, ge=0, le=1)  # 0: context distillation off (Table 4, CD)
    distilled_position: Literal["random", "append"] = "random"  # a random sentence slot, or behind the report
    capacity: Literal["auto", "fixed", "exact"] = "auto"  # fixed: one shape for all batches; auto: fixed on a GPU


class MaskingConfig(_Section):
    """Ratios are probabilities per word (``unit: word``) or per wordpiece."""

    image_ratio: float = Field(0.75, gt=0, lt=1)
    descriptors: Literal["always", "random"] = "always"  # random: Table 4, DM off
    word_ratio: float = Field(0.75, ge=0, le=1)
    entity_ratio: float = Field(0.75, ge=0, le=1)
    ratio_with_entity: float = Field(0.75, ge=0, le=1)  # replaces word_ratio in a sample that has an entity
    unit: Literal["word", "wordpiece"] = "word"


class FusionConfig(_Section):
    """Multi-scale context fusion (paper 3.4). One of the two scales must stay on."""

    projection: Literal["shared", "separate"] = "shared"
    use_global: bool = True
    use_local: bool = True

    @model_validator(mode="after")
    def _one_scale(self) -> "FusionConfig":
        if not (self.use_global or self.use_local):
            raise ValueError("use_global and use_local cannot both be false")
        return self


class SuperResolutionConfig(_Section):
    guidance: Literal["soft", "window_aligned", "window_fixed", "none"] = "soft"
    final_relu: bool = False
    maps: Literal["shards", "centre"] = "shards"  # centre: ignore stored maps, weigh the centre window


class LossesConfig(_Section):
    """The total is the plain sum of the terms that are on (Eq. 6)."""

    mim: bool = True
    sr: bool = True  # false: Table 4, SR off
    mlm: bool = True  # false: image part only
    mim_scale: float = Field(0.75, gt=0)
    norm_pix: bool = False
    mlm_positions: Literal["masked", "all"] = "masked"
    mlm_normaliser: Literal["budget", "weighted_mean", "sum"] = "budget"  # budget: batch x max_tokens

    @model_validator(mode="after")
    def _norm_pix_without_sr(self) -> "LossesConfig":
        if self.norm_pix and self.sr:
            raise ValueError("norm_pix needs sr: false (the same prediction feeds super-resolution)")
        if not (self.mim or self.sr or self.mlm):
            raise ValueError("every term is off")
        return self


class ScheduleConfig(_Section):
    """Linear warm-up, then a cosine to ``horizon_epochs``; training ends at ``epochs``."""

    epochs: float = Field(115, gt=0)
    warmup_epochs: float = Field(40, ge=0)
    horizon_epochs: float = Field(200, gt=0)

    @model_validator(mode="after")
    def _ordered(self) -> "ScheduleConfig":
        if self.warmup_epochs >= self.horizon_epochs:
            raise ValueError("warmup_epochs must be below horizon_epochs")
        return self


class OptimConfig(_Section):
    """AdamW. ``lr`` is absolute, not scaled by the batch (paper 4.1)."""

    lr: float = Field(1.5e-4, gt=0)
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(0.05, ge=0)  # not on vectors and biases


AUTO = 0  # batch.micro as long as it is to be chosen


class BatchConfig(_Section):
    """In samples. Accumulation follows: total = micro x ranks x accumulation.

    ``micro: auto`` is the largest that fits the device's memory; a run resolves it before anything reads it
    (``run.auto_batch``). Until then its value is ``AUTO``.
    """

    total: int = Field(8192, ge=1)
    micro: int = Field(256, ge=AUTO)  # per rank and micro-step, or auto
    balance: bool = True  # samples of a step share micro-batches so that all have about as many tokens

    @field_validator("micro", mode="before")
    @classmethod
    def _number_or_auto(cls, value: Any) -> Any:
        if value == "auto":
            return AUTO
        if value == AUTO and type(value) is int:
            raise ValueError("must be a positive number, or auto")
        return value

    @field_serializer("micro")
    def _as_written(self, micro: int) -> int | str:
        return micro or "auto"


class CheckpointConfig(_Section):
    every_steps: int = Field(46, ge=1)  # optimizer steps; the paper's epoch is 46
    keep: int = Field(2, ge=2)  # complete checkpoints kept


class EvaluationConfig(_Section):
    """Losses on the held-out split, without dropout and augmentation: at the start, at the end, and in between."""

    every_steps: int | None = Field(None, ge=1)  # optimizer steps; null: only at the start and the end
    samples: int = Field(1024, ge=1)  # at most


class LoaderConfig(_Section):
    threads: int = Field(4, ge=1)  # decoding threads per rank
    prefetch: int = Field(2, ge=1)  # micro-batches ready ahead
    region: bool = True  # decode only the crop; false: the whole image, of which the GPU's JPEG engine may take more
    hardware: float = Field(0.65, ge=0, le=1)  # share of images for the GPU's JPEG engine; the rest goes to its cores
    quarantine: float = Field(1e-4, ge=0, le=1)  # share of an epoch's samples that may be damaged; others stand in
    # A set read over a network: room on the local disk for what was read, GiB. Folder: ECAMP_FAST_CACHE.
    cache_gb: float = Field(100.0, gt=0)
    # set: every epoch a permutation of the split; N: of the shards, and of each window of N samples, which keeps the
    # reads of a while in few shards; the wider, the better mixed.
    shuffle: Literal["set"] | Annotated[int, Field(ge=1)] = "set"


class Recipe(_Section):
    """A whole run. Top-level keys follow the paper's own terms (Eq. 3)."""

    name: str = "paper"
    seed: int = Field(42, ge=0, lt=2**63)
    precision: Literal["bf16", "fp32"] = "bf16"
    activations: Literal["keep", "recompute"] = "keep"  # recompute: blocks keep their input alone, a third more work
    float8: bool = False  # products of the blocks in 8-bit floats: Hopper and later, extra `float8`
    compile: Literal["auto", "off", "default", "reduce-overhead", "max-autotune"] = "auto"  # auto: default on a GPU
    share_projections: bool = True  # masked patches enter the image decoder alike: project them once for all samples
    init_from: str | None = None  # weights to start from: a file made by `ecamp-fast import`
    model: ModelConfig = ModelConfig()
    image: ImageConfig = ImageConfig()
    text: TextConfig = TextConfig()
    masking: MaskingConfig = MaskingConfig()
    rebalance: Literal["eq3", "official", "off"] = "eq3"  # off: Table 4, RF off
    lambda_neg: float = Field(0.05, ge=0, le=1)
    rebalance_cap: float | None = Field(10.0, gt=0)  # largest weight of a non-negative descriptor; null: none
    negation: Literal["lexicon", "phrases"] = "lexicon"
    fusion: FusionConfig = FusionConfig()
    sr: SuperResolutionConfig = SuperResolutionConfig()
    losses: LossesConfig = LossesConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    optim: OptimConfig = OptimConfig()
    batch: BatchConfig = BatchConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    loader: LoaderConfig = LoaderConfig()
    log_every: int = Field(10, ge=1)  # optimizer steps between lines of metrics.jsonl

    @model_validator(mode="after")
    def _sizes_agree(self) -> "Recipe":
        image, patch = self.image, self.model.vision.patch
        if image.low_size % patch:
            raise ValueError(f"image.low_size {image.low_size} is not a multiple of model.vision.patch {patch}")
        if image.high_size != 2 * image.low_size:
            raise ValueError("image.high_size must be twice image.low_size (super-resolution doubles)")
        if not 0 < self.kept_patches < self.patches:
            raise ValueError("masking.image_ratio leaves no patch kept or none masked")
        if self.batch.micro and self.batch.total % self.batch.micro:
            raise ValueError(f"batch.total {self.batch.total} is not a multiple of batch.micro {self.batch.micro}")
        return self

    @property
    def grid(self) -> int:
        """Patches per side of the low-resolution image."""
        return self.image.low_size // self.model.vision.patch

    @property
    def patches(self) -> int:
        return self.grid**2

    @property
    def kept_patches(self) -> int:
        """Visible patches per image, rounded down as in MAE."""
        return int(self.patches * (1 - self.masking.image_ratio))

    def fixed_text(self, cuda: bool) -> bool:
        """Whether the text of all micro-batches has one shape.  cuda: whether they lie on a GPU"""
        return self.padded_text or self.text.capacity == "fixed" or (self.text.capacity == "auto" and cuda)

    def with_micro(self, micro: int) -> "Recipe":
        """The same recipe with a number of samples per micro-step."""
        return self.model_copy(update={"batch": self.batch.model_copy(update={"micro": micro})})

    def identity(self) -> dict[str, Any]:
        """The keys, dotted, that a resumed run must not change: all that decide which numbers it computes."""
        flat = _flatten(self.model_dump(mode="json"))
        watching = ("name", "init_from", "log_every", "checkpoint.", "evaluation.", "schedule.epochs")
        loader = tuple(f"loader.{name}" for name in LoaderConfig.model_fields if name != "shuffle")
        free = (*watching, *loader, "compile", "activations", "share_projections")
        return {key: value for key, value in flat.items() if not key.startswith(free)}

    @property
    def digest(self) -> str:
        """sha256 of ``identity``."""
        return hashlib.sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()

    @property
    def padded_text(self) -> bool:
        """Whether padding is embedded and scored, as the released code does; otherwise text is packed."""
        return self.losses.mlm_positions == "all"


class _Yaml(yaml.SafeLoader):
    """YAML with the scalars people write: 1e-4 is a number here, a string in YAML 1.1."""

    # add_implicit_resolver copies the parents' table, but not its lists
    yaml_implicit_resolvers: ClassVar = {  # type: ignore[misc]  # the stubs call it an instance variable
        first: list(rules) for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?$"),
    list("-+0123456789."),
)
# Our float pattern also matches integers, so the integer rule must be asked first; and `rebalance: off` is a word,
# not the boolean of YAML 1.1.
for _rules in _Yaml.yaml_implicit_resolvers.values():
    _rules.sort(key=lambda rule: rule[0] == "tag:yaml.org,2002:float")
    _rules[:] = [rule for rule in _rules if rule[0] != "tag:yaml.org,2002:bool"]
_Yaml.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(?:true|false)$"), list("tf"))


def _mapping_without_twins(loader: _Yaml, node: yaml.MappingNode, deep: bool = False) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=deep)
        line = key_node.start_mark.line + 1
        if not isinstance(key, str):
            raise ConfigError(f"line {line}: a key that is no word", "write `key: value` lines")
        if key in seen:
            raise ConfigError(f"line {line}: key '{key}' appears twice", "keep one of them")
        seen[key] = loader.construct_object(value_node, deep=True)
    return seen


_Yaml.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_without_twins)


def load_recipe(source: str | Path = "paper", overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe by name (``paper``) or file, apply ``KEY=VALUE`` overrides, validate.

    Raises ConfigError that lists every fault with its key and the nearest legal one.
    """
    path = _find(source)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", "check its permissions; save it as UTF-8") from None
    tree = parse_yaml(text, str(path))
    tree.setdefault("name", path.stem)
    for override in overrides:
        _apply(tree, override)
    return parse_recipe(tree, str(path))


def parse_yaml(text: str, origin: str) -> dict[str, Any]:
    """A YAML mapping as a nested dict; ``origin`` names it in errors. Raises ConfigError."""
    tree = _read(text, origin) or {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{origin}: holds no mapping", "write `key: value` lines")
    return tree


def _read(text: str, origin: str) -> Any:
    try:
        return yaml.load(text, Loader=_Yaml)  # a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date that does not exist
        raise ConfigError(f"{origin}: not YAML: {error}", "fix the syntax") from None


def parse_recipe(tree: dict[str, Any], origin: str) -> Recipe:
    """Validate a nested dict of recipe keys; ``origin`` names it in errors."""
    try:
        return Recipe.model_validate(_floats_and_tuples(tree, Recipe))
    except ValidationError as error:
        raise ConfigError(f"{origin}: {_explain(error)}", "the recipe files show every key with its meaning") from None


def dump_recipe(recipe: Recipe) -> str:
    """The resolved recipe as YAML, every key written out."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)


def recipe_names() -> list[str]:
    return sorted(p.stem for p in RECIPES.glob("*.yaml"))


def _find(source: str | Path) -> Path:
    if str(source) in recipe_names():
        return RECIPES / f"{source}.yaml"
    path = Path(source)
    if path.is_file():
        return path
    raise ConfigError(
        f"no recipe '{source}'" + _did_you_mean(str(source), recipe_names()),
        f"name one of {', '.join(recipe_names())}, or a YAML file",
    )


def _apply(tree: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override}: no '='", "write --set model.vision.depth=8")
    *parents, leaf = key.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"--set {override}: '{parent}' is a value, not a section", "shorten the key")
    tree[leaf] = _read(value, f"--set {override}")


def _floats_and_tuples(tree: Any, section: type[BaseModel]) -> Any:
    """Strict mode takes no int for a float and no list for a tuple; YAML has neither distinction."""
    if not isinstance(tree, dict):
        return tree
    out = {}
    for key, value in tree.items():
        field = section.model_fields.get(key)
        annotation = field.annotation if field else None
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            value = _floats_and_tuples(value, annotation)
        elif type(value) is int and (annotation is float or float in get_args(annotation)):
            value = float(value)
        elif isinstance(value, list) and float in get_args(annotation):
            value = tuple(float(v) if type(v) is int else v for v in value)
        out[key] = value
    return out


def _explain(error: ValidationError) -> str:
    lines = []
    for fault in error.errors():
        key = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            lines.append(f"unknown key '{key}'{_did_you_mean(key, _keys(Recipe))}")
        else:
            message = fault["msg"].removeprefix("Value error, ")
            given = "" if isinstance(fault["input"], dict) else f", not {fault['input']!r}"
            lines.append(f"{key}: {message}{given}" if key else message)
    return lines[0] if len(lines) == 1 else "".join(f"\n  - {line}" for line in lines)


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in tree.items():
        out |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return out


def _keys(section: type[BaseModel], prefix: str = "") -> list[str]:
    out = []
    for name, field in section.model_fields.items():
        out.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            out += _keys(field.annotation, f"{prefix}{name}.")
    return out


def _did_you_mean(word: str, known: list[str]) -> str:
    leaf = word.rsplit(".", 1)[-1]
    close = [k for k in known if k.rsplit(".", 1)[-1] == leaf]  # the right leaf in the wrong section
    close = close or difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""
