"""The tasks that a grid may name, each a function from one cell's inputs to its result.

A function gets the folder of its cell, writes ``result.json`` there (``downstream.result``), and goes on from what an
earlier call left in it. Where a learning rate is chosen, the result's ``extra["best"]`` is the step that was kept and
its score on the validation split, which it is chosen by.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ecamp_fast.config import parse_section
from ecamp_fast.config.sections import Section
from ecamp_fast.downstream.result import TaskResult
from ecamp_fast.downstream.training.settings import Settings
from ecamp_fast.errors import DataError

if TYPE_CHECKING:
    import torch

    from ecamp_fast.downstream.tasks.splits import Subset
    from ecamp_fast.shards.load.read import ShardSet

BEST = "best"  # key of ``TaskResult.extra``: step and score
PCA = "pixels-pca:"  # in front of a number of components: a source that is no encoder


@dataclass(frozen=True)
class CellInputs:
    """What one fit depends on.

    settings  seed and learning rate are the cell's
    encoder   what ``open_trunk`` takes; of kinds that no grid names what their ``TaskKind.source`` says
    shards    a shard set
    fraction  percent of the training samples
    official  by the set's own list
    options   of the grid's task, as its kind's model takes them
    device    None: a GPU where there is one
    """

    settings: Settings
    encoder: str
    shards: str
    fraction: float
    official: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    device: str | None = None

    def open_set(self) -> "ShardSet":
        """Raises as ``ShardSet`` does."""
        from ecamp_fast.shards.load.read import ShardSet

        return ShardSet(self.shards)

    def subset(self, count: int) -> "Subset":
        """Of the training samples.  count: images instead of a percentage; 0: by percentage"""
        from ecamp_fast.downstream.tasks.splits import Subset

        return Subset(self.fraction, self.official, count, self.settings.seed)

    def open_device(self) -> "torch.device":
        """Raises as ``downstream.device`` does."""
        from ecamp_fast.downstream.device import open_device

        return open_device(self.device)


class CommonOptions(Section):
    """What a grid's task may say of any kind of task.

    size  pixels per side; null: the encoder's own   test: the split that is judged; null: test, or val
    """

    size: int | None = Field(None, ge=8)
    test: str | None = None


class ClassOptions(CommonOptions):
    """Of classification and probes.

    classes    null: all of the set   uncertain: class -> what an uncertain label counts as
    count      training images instead of a percentage; 0: by percentage
    exclusive  one class an image, by accuracy; null: as the labels are
    """

    classes: list[str] = Field(default_factory=list)
    uncertain: dict[str, int] = Field(default_factory=dict)
    count: int = Field(0, ge=0)
    exclusive: bool | None = None


class ProbeGridOptions(ClassOptions):
    """Of probes.  pooling: means of so many parts a side, which keep place"""

    pooling: int = Field(1, ge=1, le=64)


class SegmentGridOptions(CommonOptions):
    """Of segmentation, as ``tasks.segment.SegmentOptions`` has them.  masks: empty: all of the set"""

    masks: list[str] = Field(default_factory=list)
    boxes: bool = False
    head: Literal["setr", "linear", "convolutional", "dpt"] = "setr"
    augment: bool = True
    balance: bool = False
    cache_gb: float = Field(16.0, ge=0)
    count: int = Field(0, ge=0)


class PatchGridOptions(CommonOptions):
    """Of probes of single patches.  masks: empty: all of the set   count: as of classification"""

    masks: list[str] = Field(default_factory=list)
    count: int = Field(0, ge=0)


class DetectGridOptions(CommonOptions):
    """Of detection, as ``tasks.detect.HeadOptions`` has them.  classes: empty: all with boxes"""

    classes: list[str] = Field(default_factory=list)
    head: Literal["yolo", "fcos"] = "yolo"
    channels: int | None = Field(None, ge=32)
    reduction: int | None = Field(None, ge=1)
    mgca: bool = False
    count: int = Field(0, ge=0)


class ZeroShotGridOptions(CommonOptions):
    """Of prompts.

    score  auroc: "There is X." less "There is no X."; negation: the true one of both is nearer; pointing: the highest
           patch lies in a box
    count  images at most, the first; 0: all   nouns: finding -> what it is called
    tokenizer  tokenizer.json of the set that the run was trained on; null: the set's own
    """

    score: Literal["auroc", "negation", "pointing"] = "auroc"
    count: int = Field(0, ge=0)
    nouns: dict[str, str] = Field(default_factory=dict)
    tokenizer: str | None = None


TaskFunction = Callable[[CellInputs, Path], TaskResult]


@dataclass(frozen=True)
class TaskKind:
    """A kind of task.

    run        the function
    options    what a grid may say of it
    settings   file of ``recipes/tasks/`` that has its rows; None: it takes none
    tuned      whether it has a learning rate, which is chosen on the validation split
    published  kind of the paper's tables that it stands beside; None: of none
    plain      kinds that score what needs no learning on the same samples and labels
    untrained  whether random initialisation has a score too
    row        of a kind that no grid names: its row in the table   source: and what it gets for an encoder; both once
               for each architecture among the runs, where they have a {width} or a {run}
    """

    run: TaskFunction
    options: type[Section] = CommonOptions
    settings: str | None = None
    tuned: bool = True
    published: str | None = None
    plain: tuple[str, ...] = ()
    untrained: bool = True
    row: str = ""
    source: str = ""


def _classify(given: CellInputs, out: Path) -> TaskResult:
    from ecamp_fast.downstream.data.labels import parse_counts
    from ecamp_fast.downstream.tasks.classify import ClassifyOptions, classify

    known = parse_section(ClassOptions, dict(given.options), "options")
    wanted = ClassifyOptions(
        subset=given.subset(known.count),
        names=tuple(known.classes),
        exclusive=known.exclusive,
        uncertain=tuple(parse_counts([f"{name}={value}" for name, value in known.uncertain.items()]).items()),
        size=known.size,
        test_split=known.test,
    )
    return classify(given.encoder, given.open_set(), given.settings, out, wanted, device=given.open_device())


def _probe(given: CellInputs, out: Path) -> TaskResult:
    from ecamp_fast.downstream.tasks.probing import probe_encoder

    return probe_encoder(given.encoder, given.open_set(), out, _probe_options(given), device=given.open_device())


def _pixels(given: CellInputs, out: Path) -> TaskResult:
    from ecamp_fast.downstream.tasks.probing import probe_pixels

    options = _probe_options(given)
    width = int(given.encoder.removeprefix(PCA)) if given.encoder.startswith(PCA) else 0
    return probe_pixels(width * options.pooling**2, given.open_set(), out, options, device=given.open_device())


def _probe_options(given: CellInputs) -> Any:
    from ecamp_fast.downstream.data.labels import parse_counts
    from ecamp_fast.downstream.tasks.probing import ProbeOptions

    known = parse_section(ProbeGridOptions, dict(given.options), "options")
    counts = parse_counts([f"{name}={value}" for name, value in known.uncertain.items()])
    return ProbeOptions(
        subset=given.subset(known.count),
        names=tuple(known.classes),
        pooling=known.pooling,
        uncertain=tuple(counts.items()),
        size=known.size,
        test_split=known.test,
        baselines=False,  # they are rows of their own
    )


def _segment(given: CellInputs, out: Path) -> TaskResult:
    from ecamp_fast.downstream.tasks.segment import SegmentOptions, segment

    known = parse_section(SegmentGridOptions, dict(given.options), "options")
    wanted = SegmentOptions(
        subset=given.subset(known.count),
        masks=tuple(known.masks),
        boxes=known.boxes,
        head=known.head,
        augment=known.augment,
        balance=known.balance,
        size=known.size,
        test_split=known.test,
        cache_gb=known.cache_gb,
    )
    return segment(given.encoder, given.open_set(), given.settings, out, wanted, device=given.open_device())


def _detect(given: CellInputs, out: Path) -> TaskResult:
    from ecamp_fast.downstream.tasks.detect import DetectOptions, HeadOptions, detect

    known = parse_section(DetectGridOptions, dict(given.options), "options")
    wanted = DetectOptions(
        subset=given.subset(known.count),
        names=tuple(known.classes),
        head=HeadOptions(known.head, known.channels, known.reduction, known.mgca),
        size=known.size,
        test_split=known.test,
    )
    return detect(given.encoder, given.open_set(), given.settings, out, wanted, device=given.open_device())


def _zero_shot(given: CellInputs, out: Path) -> TaskResult:
    """A score of ``downstream.zero_shot`` as a result: mean over findings, and of each."""
    from ecamp_fast.downstream.zero_shot import score_prompts
    from ecamp_fast.run.trained import load_trained
    from ecamp_fast.text.wordpiece import load_wordpiece

    known = parse_section(ZeroShotGridOptions, dict(given.options), "options")
    shards, model = given.open_set(), load_trained(Path(given.encoder), given.open_device())
    split = known.test or ("test" if "test" in shards.splits else "val")
    wordpiece = load_wordpiece(Path(known.tokenizer) if known.tokenizer else shards.wordpiece_path)
    found = score_prompts(model, shards, split, wordpiece, count=known.count or None, nouns=known.nouns)
    mean = getattr(found.mean, known.score)
    if mean is None:
        raise DataError(f"{given.shards}: nothing in {split} can tell {known.score}", "name another split, or score")
    each = {name: getattr(one, known.score) for name, one in found.findings.items()}
    result = TaskResult(
        task="zero-shot",
        metric=known.score,
        score=mean.value,
        low=mean.low,
        high=mean.high,
        per_class={name: one.value if one else None for name, one in each.items()},
        settings=known.model_dump(mode="json"),
        data=shards.manifest.digest,
        encoder=given.encoder,
        fraction=0.0,
        seed=given.settings.seed,
        samples={"train": 0, "val": 0, "test": found.samples},
    )
    result.write(out)
    return result


def _patches(given: CellInputs, out: Path, baselines: bool = False) -> TaskResult:
    from ecamp_fast.downstream.tasks.patches import probe_patches
    from ecamp_fast.downstream.tasks.probing import ProbeOptions

    known = parse_section(PatchGridOptions, dict(given.options), "options")
    options = ProbeOptions(
        given.subset(known.count), tuple(known.masks), size=known.size, test_split=known.test, baselines=baselines
    )
    return probe_patches(given.encoder, given.open_set(), out, options, device=given.open_device())


def _patch_pixels(given: CellInputs, out: Path) -> TaskResult:
    from ecamp_fast.downstream.tasks.patches import OWN_PIXELS

    return _beside_patches(given, out, OWN_PIXELS)


def _patch_place(given: CellInputs, out: Path) -> TaskResult:
    from ecamp_fast.downstream.tasks.patches import PLACE

    return _beside_patches(given, out, PLACE)


def _beside_patches(given: CellInputs, out: Path, name: str) -> TaskResult:
    """A score that a probe of patches tells beside its own; that probe stays in a folder of its own."""
    (out / "probe").mkdir(exist_ok=True)
    whole = _patches(given, out / "probe", baselines=True)
    found = (whole.extra["baselines"] | {"place": whole.extra["place"]})[name]
    resampled = {"resampled": whole.extra["draws"][name]}
    result = replace(
        whole, score=found["value"], low=found["low"], high=found["high"], per_class={}, extra=resampled, task="patches"
    )
    result.write(out)
    return result


PIXELS = ("pixels", "pixels-pca")
TASKS: dict[str, TaskKind] = {
    "classify": TaskKind(_classify, ClassOptions, "classify", published="classify", plain=PIXELS),
    "probe": TaskKind(_probe, ProbeGridOptions, tuned=False, published="probe", plain=PIXELS),
    "probe-sgd": TaskKind(_classify, ClassOptions, "probe", published="probe", plain=PIXELS),
    "segment": TaskKind(_segment, SegmentGridOptions, "segment", published="segment"),
    "patches": TaskKind(_patches, PatchGridOptions, tuned=False, plain=("patch-pixels", "patch-place")),
    "detect": TaskKind(_detect, DetectGridOptions, "detect", published="detect"),
    "zero-shot": TaskKind(_zero_shot, ZeroShotGridOptions, tuned=False, untrained=False),
    "pixels": TaskKind(_pixels, ProbeGridOptions, tuned=False, row="pixels 16 x 16", source="pixels"),
    "pixels-pca": TaskKind(_pixels, ProbeGridOptions, tuned=False, row="pixels PCA {width}", source=f"{PCA}{{width}}"),
    "patch-pixels": TaskKind(
        _patch_pixels, PatchGridOptions, tuned=False, row="pixels of the patch", source="untrained:{run}"
    ),
    "patch-place": TaskKind(_patch_place, PatchGridOptions, tuned=False, row="place alone", source="untrained:{run}"),
}


def named(kinds: Mapping[str, TaskKind]) -> list[str]:
    """Those that a grid may name."""
    return [name for name, kind in kinds.items() if not kind.row]
