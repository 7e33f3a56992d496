"""The sections of a recipe: every knob of the method and of a run, typed, with its default and what it means."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

# Far beyond what anybody trains: a slip of the keyboard is an error here, and no day of building a model.
WIDEST = 65536  # of a width, a side, a text
DEEPEST = 1024  # blocks
LONGEST = 1e6  # epochs


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class VisionConfig(Section):
    """ViT encoder (paper 4.1). Patches are square; positions are a fixed sine-cosine table."""

    width: int = Field(768, ge=8, le=WIDEST)
    depth: int = Field(12, ge=1, le=DEEPEST)
    heads: int = Field(12, ge=1, le=WIDEST)
    mlp_ratio: float = Field(4.0, gt=0, le=64)
    patch: int = Field(16, ge=1, le=WIDEST)  # pixels of the low-resolution image


class DecoderConfig(Section):
    """Image decoder: a narrow ViT over all patches."""

    width: int = Field(512, ge=8, le=WIDEST)
    depth: int = Field(4, ge=1, le=DEEPEST)
    heads: int = Field(16, ge=1, le=WIDEST)
    mlp_ratio: float = Field(4.0, gt=0, le=64)


class TextDecoderConfig(Section):
    """BERT decoder behind one context-fusion layer. Dropout rates apply to hidden states and to attention."""

    width: int = Field(768, ge=8, le=WIDEST)
    depth: int = Field(6, ge=0, le=DEEPEST)
    heads: int = Field(6, ge=1, le=WIDEST)
    ffn: int = Field(1536, ge=8, le=WIDEST)
    dropout: float = Field(0.1, ge=0, lt=1)


class ModelConfig(Section):
    vision: VisionConfig = VisionConfig()
    decoder: DecoderConfig = DecoderConfig()
    text: TextDecoderConfig = TextDecoderConfig()
    position_table: Literal["standard", "official"] = "standard"  # official: the released code's wrong frequencies
    tie_embeddings: bool = False  # vocabulary projection shares the word embedding

    @model_validator(mode="after")
    def _heads_divide(self) -> "ModelConfig":
        faults = []
        for name, part in (("vision", self.vision), ("decoder", self.decoder), ("text", self.text)):
            if part.width % part.heads:
                faults.append(f"{name}: width {part.width} is not a multiple of heads {part.heads}")
        for name, part in (("vision", self.vision), ("decoder", self.decoder)):
            if part.width % 4:
                faults.append(f"{name}: width {part.width} is not a multiple of 4 (sine-cosine positions)")
        if faults:
            raise ValueError("; ".join(faults))
        return self


class ImageConfig(Section):
    """Pictures: the high-resolution target, the low-resolution input, augmentation (keyed by seed, epoch, sample)."""

    high_size: int = Field(448, ge=16, le=WIDEST)  # pixels per side: super-resolution target
    low_size: int = Field(224, ge=8, le=WIDEST)  # pixels per side: encoder input and reconstruction target
    low_res: Literal["antialiased", "plain"] = "antialiased"  # how 448 becomes 224
    crop_area: tuple[float, float] = (0.2, 1.0)  # RandomResizedCrop, share of the image
    crop_aspect: tuple[float, float] = (0.75, 4 / 3)
    flip: float = Field(0.5, ge=0, le=1)  # probability of a horizontal flip
    mean: float = Field(0.4721, ge=0, le=1)  # of grey values in [0, 1]
    std: float = Field(0.3037, gt=0)

    @model_validator(mode="after")
    def _ranges(self) -> "ImageConfig":
        (smallest, largest), (narrowest, widest) = self.crop_area, self.crop_aspect
        faults = []
        if not 0 < smallest <= largest <= 1:
            faults.append("crop_area must be two shares, 0 < smallest <= largest <= 1")
        if not 0 < narrowest <= widest:
            faults.append("crop_aspect must be two ratios, 0 < narrowest <= widest")
        if faults:
            raise ValueError("; ".join(faults))
        return self


class TextConfig(Section):
    max_tokens: int = Field(256, ge=8, le=WIDEST)
    distilled_probability: float = Field(0.8, ge=0, le=1)  # 0: context distillation off (Table 4, CD)
    distilled_position: Literal["random", "append"] = "random"  # a random sentence slot, or behind the report
    capacity: Literal["auto", "fixed", "exact"] = "auto"  # fixed: one shape for all batches; auto: fixed on a GPU


class MaskingConfig(Section):
    """Ratios are probabilities per word (``unit: word``) or per wordpiece."""

    image_ratio: float = Field(0.75, gt=0, lt=1)
    descriptors: Literal["always", "random"] = "always"  # random: Table 4, DM off
    word_ratio: float = Field(0.75, ge=0, le=1)
    entity_ratio: float = Field(0.75, ge=0, le=1)
    ratio_with_entity: float = Field(0.75, ge=0, le=1)  # replaces word_ratio in a sample that has an entity
    unit: Literal["word", "wordpiece"] = "word"


class FusionConfig(Section):
    """Multi-scale context fusion (paper 3.4). One of the two scales must stay on."""

    projection: Literal["shared", "separate"] = "shared"
    use_global: bool = True
    use_local: bool = True

    @model_validator(mode="after")
    def _one_scale(self) -> "FusionConfig":
        if not (self.use_global or self.use_local):
            raise ValueError("use_global and use_local cannot both be false")
        return self


class SuperResolutionConfig(Section):
    guidance: Literal["soft", "window_aligned", "window_fixed", "none"] = "soft"
    final_relu: bool = False
    maps: Literal["shards", "centre"] = "shards"  # centre: ignore stored maps, weigh the centre window


class LossesConfig(Section):
    """The total is the plain sum of the terms that are on (Eq. 6)."""

    mim: bool = True
    sr: bool = True  # false: Table 4, SR off
    mlm: bool = True  # false: image part only
    align: bool = False  # images against single distilled sentences (section align); no part of the paper
    gloria: bool = False  # another model, which learns where words look (section gloria); no other term beside it
    mim_scale: float = Field(0.75, gt=0)
    norm_pix: bool = False
    mlm_positions: Literal["masked", "all"] = "masked"
    mlm_normaliser: Literal["budget", "weighted_mean", "sum"] = "budget"  # budget: batch x max_tokens

    @model_validator(mode="after")
    def _norm_pix_without_sr(self) -> "LossesConfig":
        if self.norm_pix and self.sr:
            raise ValueError("norm_pix needs sr: false (the same prediction feeds super-resolution)")
        if self.gloria and (self.mim or self.sr or self.mlm or self.align):
            raise ValueError("gloria is another model: mim, sr, mlm and align must be false beside it")
        if not (self.mim or self.sr or self.mlm or self.gloria):
            raise ValueError("every term is off")
        if self.align and not self.mlm:
            raise ValueError("align needs mlm: true (the text decoder's layers read the sentences)")
        return self


class AlignConfig(Section):
    """Images against single distilled sentences, where ``losses.align`` is on."""

    width: int = Field(128, ge=8, le=WIDEST)  # numbers of a picture, a patch and a sentence that are compared
    scale: float = Field(0.025, gt=0)  # of the term in the total: its gradient in the encoder is then half that of mlm
    temperature: float = Field(0.1, gt=0)  # of the contrast, and of the patches that a sentence looks at
    sentences: int = Field(24, ge=1, le=1024)  # of a sample at most, the first


class GloriaConfig(Section):
    """GLoRIA (SPEC 6.1 to 6.3), where ``losses.gloria`` is on. Sizes of its parts are those of ``model``."""

    image: Literal["resnet50", "vit", "cells"] = "resnet50"  # vit: the encoder of ``model.vision``; cells: a small CNN
    image_weights: str | None = None  # resnet50: a file of timm or torchvision; vit: a run of `train`
    image_size: int = Field(299, ge=16, le=WIDEST)  # pixels per side that the view is brought to; vit: image.low_size
    # Folder with a BERT of transformers and its vocab.txt or tokenizer.json, whose width is then that of regions and
    # words. null: a fresh one of ``model.text``, over the vocabulary of the shard set.
    bert: str | None = None
    layers: int = Field(4, ge=1, le=64)  # hidden layers of the text side that are summed, the last ones
    text: Literal["distilled", "raw"] = "distilled"  # whose sentences
    max_tokens: int = Field(97, ge=8, le=WIDEST)  # of a sentence, [CLS] and [SEP] among them
    sentences: int = Field(1, ge=0, le=1024)  # of an image at a time, drawn anew in every epoch; 0: all
    positives: Literal["stated", "diagonal"] = "stated"  # of a sentence: all images that state it, or the one it is of
    poles: bool = False  # "There is X." and "There is no X." come along, and the choice between them is learned
    local_scale: float = Field(1.0, ge=0)
    global_scale: float = Field(1.0, ge=0)
    sharpness: tuple[float, float, float] = (4.0, 5.0, 10.0)  # among regions, over words, of the contrasts

    @model_validator(mode="after")
    def _agrees(self) -> "GloriaConfig":
        faults = []
        if not all(value > 0 for value in self.sharpness):
            faults.append("sharpness must be three numbers above 0")
        if not self.local_scale + self.global_scale:
            faults.append("local_scale and global_scale cannot both be 0")
        if self.poles and self.positives == "diagonal":
            faults.append("poles needs positives: stated (bare sentences are nobody's own)")
        if faults:
            raise ValueError("; ".join(faults))
        return self


class ScheduleConfig(Section):
    """Linear warm-up, then a cosine to ``horizon_epochs``; training ends at ``epochs``."""

    epochs: float = Field(115, gt=0, le=LONGEST)
    warmup_epochs: float = Field(40, ge=0, le=LONGEST)
    horizon_epochs: float = Field(200, gt=0, le=LONGEST)

    @model_validator(mode="after")
    def _ordered(self) -> "ScheduleConfig":
        if self.warmup_epochs >= self.horizon_epochs:
            raise ValueError("warmup_epochs must be below horizon_epochs")
        if self.epochs > self.horizon_epochs:
            horizon = f"horizon_epochs {self.horizon_epochs:g}"
            raise ValueError(f"epochs {self.epochs:g} is beyond {horizon}, from where the learning rate is 0")
        return self


class OptimConfig(Section):
    """AdamW. ``lr`` is absolute, not scaled by the batch (paper 4.1)."""

    lr: float = Field(1.5e-4, gt=0)
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(0.05, ge=0)  # not on vectors and biases

    @field_validator("betas")
    @classmethod
    def _below_one(cls, betas: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError("betas must lie from 0 to below 1")
        return betas


class BatchConfig(Section):
    """In samples. Accumulation follows: total = micro x ranks x accumulation.

    ``micro: auto`` is the largest that fits the device's memory: a run chooses it (``run.auto_batch``) and goes on with
    a number. What counts in micro-batches reads ``Recipe.micro``, which is a number or an error.
    """

    total: int = Field(8192, ge=1, le=2**31)
    micro: int | Literal["auto"] = 256  # per rank and micro-step
    balance: bool = True  # samples of a step share micro-batches so that all have about as many tokens

    @field_validator("micro", mode="before")
    @classmethod
    def _number_or_auto(cls, value: Any) -> Any:
        if value == "auto" or (type(value) is int and 0 < value <= 2**31):
            return value
        raise ValueError("must be a positive whole number, or auto")


class CheckpointConfig(Section):
    every_steps: int = Field(46, ge=1)  # optimizer steps; the paper's epoch is 46
    every_minutes: float | None = Field(None, gt=0)  # beside steps: at the first step after so long without one
    background: bool = True  # a copy in memory, written while training goes on; false: training waits for the disk
    deepspeed: bool = False  # DeepSpeed's own files beside, in RUN/deepspeed, for its tools; no resume reads them
    keep: int = Field(2, ge=2)  # complete checkpoints kept
    milestones: tuple[float, ...] = ()  # epochs after which a checkpoint is written that stays
    keep_best: bool = False  # the one with the lowest held-out loss stays too; checkpoints/BEST names it

    @field_validator("milestones")
    @classmethod
    def _after_a_while(cls, milestones: tuple[float, ...]) -> tuple[float, ...]:
        if not all(epochs > 0 for epochs in milestones):
            raise ValueError("milestones must be epochs above 0")
        return milestones


class EvaluationConfig(Section):
    """Losses on the held-out split, without dropout and augmentation: at the start, at the end, and in between."""

    every_steps: int | None = Field(230, ge=1)  # optimizer steps, five of the paper's epochs; null: start and end alone
    samples: int = Field(1024, ge=1)  # at most


class WatchdogConfig(Section):
    """Seconds without progress after which all ranks leave, with the exit code and the name of the one to blame.

    A mark of progress is made before and after every micro-batch; while saving every byte read or written is one. A
    process that has died is noticed at once.
    """

    start: float = Field(1800.0, gt=0)  # before the first step is done: reading, kernels tuned, compiled
    step: float = Field(300.0, gt=0)  # of a micro-batch, or the update
    data: float = Field(300.0, gt=0)  # waiting for a micro-batch; then what was trained is saved first
    evaluation: float = Field(300.0, gt=0)  # of a batch
    save: float = Field(900.0, gt=0)  # without a byte moved
    stopped: float = Field(10.0, gt=0)  # by a signal
    silent: float = Field(20.0, gt=0)  # without a sign from a rank of another machine, or from the rendezvous store


class SafetyConfig(Section):
    """What a run makes of numbers that go bad: ``run.safety.numbers``."""

    # Updates left out since their gradients or losses were not finite (or a spike, below), as a share of the steps so
    # far: beyond it, and beyond 8, the run ends, as it does after 16 in a row. Sound numbers need none.
    skips: float = Field(0.01, ge=0, le=1)
    # A loss or a gradient far above the last ones. log: a line in events.jsonl; skip: its update is left out as well;
    # roll_back: training goes back to a checkpoint from before, and leaves the suspected updates out.
    spikes: Literal["log", "skip", "roll_back"] = "log"
    z: float = Field(10.0, gt=0)  # robust standard deviations above the median that make a spike
    window: int = Field(64, ge=16)  # steps that it is taken from
    watchdog: WatchdogConfig = WatchdogConfig()


class LoaderConfig(Section):
    threads: int = Field(4, ge=1, le=1024)  # decoding threads per rank
    prefetch: int = Field(2, ge=1, le=1024)  # micro-batches ready ahead
    region: bool = True  # decode only the crop; false: the whole image, of which the GPU's JPEG engine may take more
    hardware: float = Field(0.65, ge=0, le=1)  # share of images for the GPU's JPEG engine; the rest goes to its cores
    quarantine: float = Field(1e-4, ge=0, le=1)  # share of an epoch's samples that may be damaged; others stand in
    # A set read over a network: room on the local disk for what was read, GiB. Folder: ECAMP_FAST_CACHE.
    cache_gb: float = Field(100.0, gt=0)
    # set: every epoch a permutation of the split; N: of the shards, and of each window of N samples, which keeps the
    # reads of a while in few shards; the wider, the better mixed.
    shuffle: Literal["set"] | Annotated[int, Field(ge=1)] = "set"
