"""A whole recipe: its sections together, what must agree between them, and what follows from them."""

import hashlib
import json
from typing import Any, Literal

from pydantic import model_validator

from ecamp_fast.config.keys import CODE, key
from ecamp_fast.config.sections import (
    AlignConfig,
    BatchConfig,
    CheckpointConfig,
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
    Section,
    SuperResolutionConfig,
    TextConfig,
)
from ecamp_fast.errors import ConfigError

_FIRST_WEIGHTS = ("gloria.image_weights",)  # read once, before the first step


class Recipe(Section):
    """The run as a whole, and the re-balancing of words in the paper's own terms (Eq. 3)."""

    name: str = key("paper", "what the run is called: the file's name, where it gives none")
    seed: int = key(42, "of first weights, order, crops, masks and dropout", CODE, ge=0, lt=2**63)
    precision: Literal["bf16", "fp32"] = key(
        "bf16", "of weights and products; the released code has fp16 with a scaler"
    )
    activations: Literal["keep", "recompute"] = key(
        "keep", "what blocks keep for the backward; recompute: their input alone, for a third more work"
    )
    float8: bool = key(False, "products of the blocks in 8-bit floats: Hopper and later, extra `float8`")
    compile: Literal["auto", "off", "default", "reduce-overhead", "max-autotune"] = key(
        "auto", "torch.compile's mode; auto: default on a GPU, off elsewhere"
    )
    share_projections: bool = key(
        True, "masked patches enter the image decoder alike: project them once for all samples"
    )
    init_from: str | None = key(
        None,
        "weights to start from, whole or in part: a file made by `ecamp-fast import`, or of a run; the authors started "
        "from MAE's ViT-B/16 (mae_vit_base.pth); null: random numbers",
        CODE,
    )
    init_parts: Literal["all", "image"] = key(
        "all", "which of them; image: no part that reads text, so another vocabulary is no matter"
    )
    model: ModelConfig = ModelConfig()
    image: ImageConfig = ImageConfig()
    text: TextConfig = TextConfig()
    masking: MaskingConfig = MaskingConfig()
    rebalance: Literal["eq3", "official", "off"] = key(
        "eq3",
        "weights of descriptors; official: the released code's formula; off: all weigh 1",
        "§3.2, Eq. 3; Table 4 RF",
    )
    lambda_neg: float = key(0.05, "weight of a descriptor that is denied", "§3.2, Eq. 3", ge=0, le=1)
    rebalance_cap: float | None = key(10.0, "largest weight of a descriptor that is not denied; null: none", gt=0)
    negation: Literal["lexicon", "phrases"] = key(
        "lexicon", "what is denied: as a radiologist would read it, or by the released code's two phrases", "§3.2"
    )
    fusion: FusionConfig = FusionConfig()
    sr: SuperResolutionConfig = SuperResolutionConfig()
    losses: LossesConfig = LossesConfig()
    align: AlignConfig = AlignConfig()
    gloria: GloriaConfig = GloriaConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    optim: OptimConfig = OptimConfig()
    batch: BatchConfig = BatchConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    safety: SafetyConfig = SafetyConfig()
    loader: LoaderConfig = LoaderConfig()
    log_every: int = key(10, "optimizer steps between lines of metrics.jsonl", ge=1)

    @model_validator(mode="after")
    def _sizes_agree(self) -> "Recipe":
        image, patch, faults = self.image, self.model.vision.patch, []
        if image.low_size % patch:
            faults.append(f"image.low_size {image.low_size} is not a multiple of model.vision.patch {patch}")
        if image.high_size != 2 * image.low_size:
            faults.append("image.high_size must be twice image.low_size (super-resolution doubles)")
        if not 0 < self.kept_patches < self.patches:
            faults.append("masking.image_ratio leaves no patch kept or none masked")
        total, micro = self.batch.total, self.batch.micro
        if micro != "auto" and total % micro:
            faults.append(f"batch.total {total} is not a multiple of batch.micro {micro}")
        if faults:
            raise ValueError("; ".join(faults))
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

    @property
    def micro(self) -> int:
        """Samples per rank and micro-step.  Raises ConfigError as long as ``batch.micro`` is auto."""
        if self.batch.micro == "auto":
            raise ConfigError("batch.micro is auto: a run chooses it on its device", "--set batch.micro=N")
        return self.batch.micro

    def accumulation(self, world: int) -> int:
        """Micro-steps per optimizer step on ``world`` ranks.

        Raises ConfigError where micro-batch and ranks do not divide the batch.
        """
        total, micro = self.batch.total, self.micro
        if total % (micro * world):
            fits = [smaller for smaller in range(1, micro + 1) if total % (smaller * world) == 0]
            hint = f"--set batch.micro={fits[-1]}" if fits else f"choose batch.total as a multiple of {world}"
            raise ConfigError(f"batch.total {total} is not a multiple of batch.micro {micro} x {world} ranks", hint)
        return total // (micro * world)

    def with_micro(self, micro: int) -> "Recipe":
        """The same recipe with a number of samples per micro-step."""
        return self.model_copy(update={"batch": self.batch.model_copy(update={"micro": micro})})

    def identity(self) -> dict[str, Any]:
        """The keys, dotted, that a resumed run must not change: all that decide which numbers it computes."""
        flat = flatten(self.model_dump(mode="json"))
        watching = ("name", "init_", "log_every", "batch.micro", "checkpoint.", "evaluation.", "safety.")
        loader = tuple(f"loader.{name}" for name in LoaderConfig.model_fields if name != "shuffle")
        free = (*watching, *loader, "schedule.epochs", "compile", "activations", "share_projections", *_FIRST_WEIGHTS)
        return {name: value for name, value in flat.items() if not name.startswith(free)}

    @property
    def digest(self) -> str:
        """sha256 of those keys of ``identity`` that have not their default: a key that is new changes no digest."""
        default = type(self)().identity()
        return _sha256({name: value for name, value in self.identity().items() if value != default[name]})

    @property
    def reads_maps(self) -> bool:
        """Whether super-resolution is guided by attention maps of the shard set."""
        return self.losses.sr and self.sr.guidance != "none" and self.sr.maps == "shards"

    @property
    def padded_text(self) -> bool:
        """Whether padding is embedded and scored, as the released code does; otherwise text is packed."""
        return self.losses.mlm_positions == "all"


def _sha256(keys: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(keys, sort_keys=True).encode()).hexdigest()


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys, dotted."""
    out: dict[str, Any] = {}
    for name, value in tree.items():
        out |= flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return out
