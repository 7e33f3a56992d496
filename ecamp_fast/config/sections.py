"""The sections of a recipe: every knob of the method and of a run, with its type, default, meaning and place in paper.

The one source of what a key means: `ecamp-fast recipes show`, docs/recipes.md and ``train --dry-run`` print it.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ecamp_fast.config.keys import CODE, key

# Far beyond what anybody trains: a slip of the keyboard is an error here, and no day of building a model.
WIDEST = 65536  # of a width, a side, a text
DEEPEST = 1024  # blocks
LONGEST = 1e6  # epochs


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class VisionConfig(Section):
    """The image encoder, a ViT. Patches are square; positions are a fixed sine-cosine table."""

    width: int = key(768, "numbers of a token, D", "§4.4", ge=8, le=WIDEST)
    depth: int = key(
        12, "blocks; the paper's text says 8, its weights have 12", "§4.4; released code", ge=1, le=DEEPEST
    )
    heads: int = key(12, "attention heads; they divide the width", "§4.4", ge=1, le=WIDEST)
    mlp_ratio: float = key(4.0, "width of a block's MLP over the width of a token", "§4.4", gt=0, le=64)
    patch: int = key(16, "side of a patch, pixels of the low-resolution image", "§4.4", ge=1, le=WIDEST)


class DecoderConfig(Section):
    """The image decoder: a narrow ViT over all patches."""

    width: int = key(512, "numbers of a token; the paper's text implies 768", CODE, ge=8, le=WIDEST)
    depth: int = key(4, "blocks", "§4.4", ge=1, le=DEEPEST)
    heads: int = key(16, "attention heads; the paper's text implies 12", CODE, ge=1, le=WIDEST)
    mlp_ratio: float = key(4.0, "width of a block's MLP over the width of a token", "§4.4", gt=0, le=64)


class TextDecoderConfig(Section):
    """The text decoder, BERT, behind one context-fusion layer."""

    width: int = key(768, "numbers of a token, D", "§4.4", ge=8, le=WIDEST)
    depth: int = key(6, "layers behind the fusion layer", CODE, ge=0, le=DEEPEST)
    heads: int = key(6, "attention heads; they divide the width", CODE, ge=1, le=WIDEST)
    ffn: int = key(1536, "width of a layer's feed-forward part", CODE, ge=8, le=WIDEST)
    dropout: float = key(0.1, "rate, of hidden states and of attention alike", CODE, ge=0, lt=1)


class ModelConfig(Section):
    """The sizes of the model's parts, and what they share."""

    vision: VisionConfig = VisionConfig()
    decoder: DecoderConfig = DecoderConfig()
    text: TextDecoderConfig = TextDecoderConfig()
    position_table: Literal["standard", "official"] = key(
        "standard", "frequencies of the sine-cosine positions; official: the released code's wrong ones", "§3.2"
    )
    tie_embeddings: bool = key(False, "the vocabulary projection shares the word embedding, as in BERT", CODE)

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

    high_size: int = key(448, "pixels a side of what super-resolution aims at", "§4.4, §3.3", ge=16, le=WIDEST)
    low_size: int = key(224, "pixels a side of what the encoder sees and MIM rebuilds", "§4.4, §3.2", ge=8, le=WIDEST)
    low_res: Literal["antialiased", "plain"] = key(
        "antialiased", "how the low resolution is made of the high one, bicubic; plain: without antialiasing", "§3.2"
    )
    crop_area: tuple[float, float] = key(
        (0.2, 1.0), "share of the image that a random crop takes, least and most", CODE
    )
    crop_aspect: tuple[float, float] = key((0.75, 4 / 3), "width over height of a random crop, least and most", CODE)
    flip: float = key(0.5, "probability of a horizontal flip; 0 keeps left and right apart", CODE, ge=0, le=1)
    mean: float = key(0.4721, "mean of grey values in [0, 1], by which pixels are normalised", CODE, ge=0, le=1)
    std: float = key(0.3037, "standard deviation of grey values, likewise", CODE, gt=0)

    @property
    def phantom_size(self) -> int:
        """Pixels a side of phantoms drawn for it: a crop has something to choose from."""
        return self.high_size * 8 // 7

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
    """What text of a sample is read: its report, and its distilled text in it."""

    max_tokens: int = key(256, "tokens of a text at most, [CLS] among them; the rest is cut", "§4.4", ge=8, le=WIDEST)
    distilled_probability: float = key(
        0.8,
        "how often the distilled text goes along; 0: context distillation off",
        "§3.2, Eq. 1; Table 4 CD",
        ge=0,
        le=1,
    )
    distilled_position: Literal["random", "append"] = key(
        "random", "where it goes: random: between two sentences; append: behind the report, as the paper has it", "§3.2"
    )
    capacity: Literal["auto", "fixed", "exact"] = key(
        "auto", "shape of the packed text; fixed: one for all batches; exact: its own; auto: fixed on a GPU"
    )


class MaskingConfig(Section):
    """Which patches and which words are hidden from the model."""

    image_ratio: float = key(0.75, "share of an image's patches", "§3.2", gt=0, lt=1)
    descriptors: Literal["always", "random"] = key(
        "always", "the words before an entity; random: as other words, descriptor masking off", "§3.2; Table 4 DM"
    )
    word_ratio: float = key(0.75, "probability of a word, in a sample without an entity", "§3.2", ge=0, le=1)
    entity_ratio: float = key(0.75, "probability of a word that is an entity", "§3.2", ge=0, le=1)
    ratio_with_entity: float = key(
        0.75, "probability of a word, in a sample with an entity; the released code has 0.70", "§3.2", ge=0, le=1
    )
    unit: Literal["word", "wordpiece"] = key(
        "word", "what is drawn for: a word with all its pieces, or, as the released code does, each wordpiece", "§3.2"
    )


class FusionConfig(Section):
    """Multi-scale context fusion: what of the image goes to the text. One of the two scales stays on."""

    projection: Literal["shared", "separate"] = key(
        "shared", "of the terms that are summed; shared: one for image and patches; separate: plain sum of three", CODE
    )
    use_global: bool = key(True, "the mean of the patches goes to every word", "§3.4; Table 4 MSCF")
    use_local: bool = key(True, "every word looks at the patches by cross-attention", "§3.4; Table 4 MSCF")

    @model_validator(mode="after")
    def _one_scale(self) -> "FusionConfig":
        if not (self.use_global or self.use_local):
            raise ValueError("use_global and use_local cannot both be false")
        return self


class SuperResolutionConfig(Section):
    """Context-guided super-resolution: how the attention map weighs its pixels."""

    guidance: Literal["soft", "window_aligned", "window_fixed", "none"] = key(
        "soft",
        "soft: each pixel by the map; window_aligned: inside a window that follows crop and flip; window_fixed: inside "
        "one that does not, as the released code has it; none: all pixels alike",
        "§3.3, Eq. 5",
    )
    final_relu: bool = key(False, "a ReLU at the end, as the released code has it: nothing below the mean can be drawn")
    maps: Literal["shards", "centre"] = key(
        "shards", "shards: maps of the shard set; centre: none of them, the window in the centre", "§3.3"
    )


class LossesConfig(Section):
    """The terms whose plain sum is the total (Eq. 6)."""

    mim: bool = key(True, "masked patches are rebuilt", "§3.2, Eq. 2")
    sr: bool = key(True, "the image is rebuilt in high resolution", "§3.3, Eq. 5; Table 4 SR")
    mlm: bool = key(True, "masked words are predicted; false: the image part alone, which reads no text", "§3.2, Eq. 4")
    align: bool = key(False, "images against single distilled sentences, section align")
    gloria: bool = key(False, "another model, which learns where words look, section gloria; no other term beside it")
    mim_scale: float = key(
        0.75, "times MIM: 0.75 is the released code's mean over all pixels; the paper: 1", CODE, gt=0
    )
    norm_pix: bool = key(False, "MIM on pixels standardised by patch, as in MAE; needs sr: false")
    mlm_positions: Literal["masked", "all"] = key(
        "masked", "which words carry a loss; all: padding too, as the released code has it", "§3.2, Eq. 4"
    )
    mlm_normaliser: Literal["budget", "weighted_mean", "sum"] = key(
        "budget",
        "what MLM is divided by; budget: samples times max_tokens; weighted_mean: the weights' sum; sum: nothing but "
        "samples, the paper's",
        CODE,
    )

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
    """Images against single distilled sentences, where losses.align is on; no part of the paper."""

    width: int = key(128, "numbers of a picture, a patch and a sentence that are compared", ge=8, le=WIDEST)
    scale: float = key(0.025, "times the term; its gradient in the encoder is then half that of mlm", gt=0)
    temperature: float = key(0.1, "of the contrast, and of the patches that a sentence looks at", gt=0)
    sentences: int = key(24, "of a sample at most, the first", ge=1, le=1024)


class GloriaConfig(Section):
    """GLoRIA, where losses.gloria is on: the model that attention maps come from. Its parts have the sizes of model."""

    image: Literal["resnet50", "vit", "cells"] = key(
        "resnet50", "the image side; vit: the encoder of model.vision; cells: a small CNN", "§3.3, GLoRIA"
    )
    image_weights: str | None = key(None, "that it begins with; resnet50: a file of timm or torchvision; vit: a run")
    image_size: int = key(
        299, "pixels a side that the view is brought to; vit: image.low_size", "GLoRIA", ge=16, le=WIDEST
    )
    bert: str | None = key(
        None,
        "folder of a BERT of transformers with its vocab.txt or tokenizer.json, whose width is then that of regions "
        "and words; null: a fresh one of model.text, over the vocabulary of the shard set",
        "GLoRIA",
    )
    layers: int = key(4, "hidden layers of the text side that are summed, the last ones", "GLoRIA", ge=1, le=64)
    text: Literal["distilled", "raw"] = key("distilled", "whose sentences: of the distilled text or the report", "§3.3")
    max_tokens: int = key(97, "of a sentence, [CLS] and [SEP] among them", "GLoRIA", ge=8, le=WIDEST)
    sentences: int = key(1, "of an image at a time, drawn anew in every epoch; 0: all", ge=0, le=1024)
    positives: Literal["stated", "diagonal"] = key(
        "stated", "of a sentence; stated: all images that state it; diagonal: the one it is of, as GLoRIA has it"
    )
    poles: bool = key(False, "'There is X.' and 'There is no X.' come along, and the choice between them is learned")
    local_scale: float = key(1.0, "times the contrast of words and regions", "GLoRIA", ge=0)
    global_scale: float = key(1.0, "times the contrast of sentences and images", "GLoRIA", ge=0)
    sharpness: tuple[float, float, float] = key(
        (4.0, 5.0, 10.0), "of the softmax among regions, of the sum over words, of the contrasts", "GLoRIA"
    )

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
    """How long, and how the learning rate goes: a linear warm-up, then a cosine to the horizon."""

    epochs: float = key(115, "where training ends; a fraction is one of the training split", "§4.4", gt=0, le=LONGEST)
    warmup_epochs: float = key(40, "until the learning rate is at its peak", CODE, ge=0, le=LONGEST)
    horizon_epochs: float = key(200, "where the cosine would reach 0; training may end before", CODE, gt=0, le=LONGEST)

    @model_validator(mode="after")
    def _ordered(self) -> "ScheduleConfig":
        if self.warmup_epochs >= self.horizon_epochs:
            raise ValueError("warmup_epochs must be below horizon_epochs")
        if self.epochs > self.horizon_epochs:
            horizon = f"horizon_epochs {self.horizon_epochs:g}"
            raise ValueError(f"epochs {self.epochs:g} is beyond {horizon}, from where the learning rate is 0")
        return self


class OptimConfig(Section):
    """AdamW."""

    lr: float = key(1.5e-4, "peak learning rate, absolute: not scaled by the batch", "§4.4", gt=0)
    betas: tuple[float, float] = key((0.9, 0.95), "decay of the two moments", "§4.4")
    eps: float = key(1e-8, "beside the second moment's root", CODE, gt=0)
    weight_decay: float = key(0.05, "of matrices; vectors and biases have none", "§4.4", ge=0)

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

    total: int = key(8192, "of an optimizer step, whatever the number of ranks", "§4.4", ge=1, le=2**31)
    micro: int | Literal["auto"] = key(256, "of a rank's micro-step; auto: the largest that memory allows", "§4.4")
    balance: bool = key(True, "samples of a step share micro-batches so that all have about as many tokens")

    @field_validator("micro", mode="before")
    @classmethod
    def _number_or_auto(cls, value: Any) -> Any:
        if value == "auto" or (type(value) is int and 0 < value <= 2**31):
            return value
        raise ValueError("must be a positive whole number, or auto")


class CheckpointConfig(Section):
    """When a run is saved, and what stays."""

    every_steps: int = key(46, "optimizer steps between two; the paper's epoch is 46", ge=1)
    every_minutes: float | None = key(None, "beside steps: at the first step after so long without one", gt=0)
    background: bool = key(True, "a copy in memory, written while training goes on; false: training waits for the disk")
    deepspeed: bool = key(False, "DeepSpeed's own files beside, in RUN/deepspeed, for its tools; no resume reads them")
    keep: int = key(2, "complete checkpoints that stay, the newest", ge=2)
    milestones: tuple[float, ...] = key((), "epochs after which a checkpoint is written that stays")
    keep_best: bool = key(False, "the one with the lowest held-out loss stays too; checkpoints/BEST names it")

    @field_validator("milestones")
    @classmethod
    def _after_a_while(cls, milestones: tuple[float, ...]) -> tuple[float, ...]:
        if not all(epochs > 0 for epochs in milestones):
            raise ValueError("milestones must be epochs above 0")
        return milestones


class EvaluationConfig(Section):
    """Losses on the held-out split, without dropout and augmentation: at the start, at the end, and in between."""

    every_steps: int | None = key(
        230, "optimizer steps between two, five of the paper's epochs; null: at start and end alone", ge=1
    )
    samples: int = key(1024, "of the split val at most", ge=1)


class WatchdogConfig(Section):
    """Seconds without progress after which all ranks leave, and the one to blame is named.

    A mark of progress is made before and after every micro-batch; while saving every byte read or written is one. A
    process that has died is noticed at once.
    """

    start: float = key(1800.0, "before the first step is done: reading, kernels tuned, compiled", gt=0)
    step: float = key(300.0, "of a micro-batch, or the update", gt=0)
    data: float = key(300.0, "waiting for a micro-batch; then what was trained is saved first", gt=0)
    evaluation: float = key(300.0, "of a batch of the held-out split", gt=0)
    save: float = key(900.0, "while saving, without a byte moved", gt=0)
    stopped: float = key(10.0, "stopped by a signal", gt=0)
    silent: float = key(20.0, "without a sign from a rank of another machine, or from the rendezvous store", gt=0)


class SafetyConfig(Section):
    """What a run makes of numbers that go bad."""

    skips: float = key(
        0.01,
        "updates left out since something was not finite, or a spike, as a share of the steps so far; beyond it, and "
        "beyond 8, the run ends, as it does after 16 in a row",
        ge=0,
        le=1,
    )
    spikes: Literal["log", "skip", "roll_back"] = key(
        "log",
        "a loss or a gradient far above the last ones; log: a line in events.jsonl; skip: its update is left out as "
        "well; roll_back: training goes back to a checkpoint from before, and leaves the suspected updates out",
    )
    z: float = key(10.0, "robust standard deviations above the median that make a spike", gt=0)
    window: int = key(64, "steps that the median is taken from", ge=16)
    watchdog: WatchdogConfig = WatchdogConfig()


class LoaderConfig(Section):
    """How samples are read, decoded and ordered."""

    threads: int = key(4, "decoding threads of a rank", ge=1, le=1024)
    prefetch: int = key(2, "micro-batches ready ahead", ge=1, le=1024)
    region: bool = key(
        True, "decode the crop alone; false: the whole image, of which the GPU's JPEG engine may take more"
    )
    hardware: float = key(0.65, "share of images for the GPU's JPEG engine; the rest goes to its cores", ge=0, le=1)
    quarantine: float = key(1e-4, "share of an epoch's samples that may be damaged; others stand in", ge=0, le=1)
    cache_gb: float = key(
        100.0, "GiB on the local disk for what is read of a set over a network; its folder: ECAMP_FAST_CACHE", gt=0
    )
    shuffle: Literal["set"] | Annotated[int, Field(ge=1)] = key(
        "set",
        "set: every epoch a permutation of the split; N: of the shards, and of each window of N samples, which keeps "
        "the reads of a while in few shards; the wider, the better mixed",
    )
