"""Damaged training samples: what stands in for them, and how many there may be."""

from typing import Any

from mutant import mutants


def verdicts() -> Any:
    """Substitutes, notes, counts and the number of faults that ends the run, with and without lost samples."""
    from ecamp_fast.errors import DataError
    from ecamp_fast.shards.load.quarantine import Quarantine

    out: list[Any] = []
    for lost in ((), (0, 1)):
        notes: list[Any] = []
        quarantine = Quarantine(100, 0.1, 5, notes.append, lost)
        for epoch, sample, attempt in ((4, 0, 0), (4, 7, 0), (4, 7, 1), (5, 7, 0), (5, 8, 15), (5, 8, 16), (6, 9, 0)):
            try:
                quarantine.replace(epoch, sample, attempt, DataError("x: damaged", "fix it"))
                out.append(quarantine.found)
            except DataError as error:
                out.append(error.what)
        for found in ((8, 8), (10, 0), (0, 9), (11, 0)):
            try:
                out.append(quarantine.judge(found))
            except DataError as error:
                out.append(error.what)
        out.append(notes)
    return out


def stand_ins() -> Any:
    """Keys and samples of micro-batches of which some samples are damaged."""
    from concurrent.futures import ThreadPoolExecutor
    from types import SimpleNamespace

    import numpy as np

    from ecamp_fast.config import parse_recipe
    from ecamp_fast.errors import DataError
    from ecamp_fast.shards.format.manifest import IMAGE, TOKENS
    from ecamp_fast.shards.format.tokens import pack_tokens
    from ecamp_fast.shards.images.encode import jpeg
    from ecamp_fast.shards.load.collate import Collator
    from ecamp_fast.shards.load.quarantine import Quarantine
    from ecamp_fast.shards.load.read import Sample

    def read(split: str, index: int, extensions: Any) -> Sample:
        from PIL import Image

        if index % 3 == 0:
            raise DataError(f"s{index}: damaged", "fix it")
        tokens = pack_tokens(np.arange(9, dtype=np.int32), np.zeros(0, np.int32))
        return Sample(f"s{index}", "x.tar", {IMAGE: jpeg(Image.new("L", (64, 64))), TOKENS: tokens})

    stored: Any = SimpleNamespace(read=read, store=SimpleNamespace(readers=1), locate=lambda name: name)
    recipe = parse_recipe({"image": {"high_size": 64, "low_size": 32}}, "test")
    with ThreadPoolExecutor(1) as pool:
        collate = Collator(stored, "train", recipe, train=True, quarantine=Quarantine(30, 1.0, 5))
        one = collate(pool, np.array([0, 0, 1, 1]), np.array([3, 4, 6, 8]))
    return one.samples.tolist(), one.keys.tolist(), one.boxes.tolist()


def lost() -> Any:
    """What a loader of each split takes for damaged before it has read anything."""
    from types import SimpleNamespace

    import numpy as np

    from ecamp_fast.config import parse_recipe
    from ecamp_fast.errors import DataError
    from ecamp_fast.shards.load.loader import Loader

    shard = SimpleNamespace(keys=["s"] * 20, members={})
    stored: Any = SimpleNamespace(
        count=lambda split: 20,
        epoch=lambda split: 20,
        visits=lambda split: 1,
        manifest=SimpleNamespace(of=lambda split: (shard,), without_text=lambda split: 0),
        lost=np.array([3, 4, 5]),
        store=SimpleNamespace(readers=1),
    )
    losses, batch = {"mlm": False}, {"total": 4, "micro": 4}
    recipe = parse_recipe({"losses": losses, "batch": batch, "loader": {"quarantine": 0.1}}, "test")
    out = []
    for split in ("train", "val"):
        quarantine = Loader(stored, split, recipe).quarantine
        try:
            assert quarantine is not None
            out.append(quarantine.judge([0]))
        except DataError as error:
            out.append(error.what)
    return out


HOME = "tests/shards/load/test_quarantine.py"

MUTANTS = (
    mutants(
        "shards/load/quarantine.py",
        " ".join(
            f"{HOME}::{test}"
            for test in (
                "test_a_set_that_is_all_damage_ends_the_run",
                "test_the_budget_is_of_all_ranks_and_of_an_epoch",
                "test_what_stands_in_is_drawn_by_epoch_sample_and_attempt",
            )
        ),
        verdicts,
        {
            "lost samples are not counted": ("len(self._lost) + max(found)", "max(found)"),
            "the damage of two epochs is added": ("len(self._lost) + max(found)", "len(self._lost) + sum(found)"),
            "the last of the budget may not be used": ("damaged > self._budget", "damaged >= self._budget"),
            "a lost sample counts twice": ("if sample not in self._lost:", "if True:"),
            "the epoch before is forgotten at once": ("other < epoch - 1", "other < epoch"),
            "one damaged sample too many in a row": ("attempt >= IN_A_ROW", "attempt > IN_A_ROW"),
            "every attempt brings the same substitute": ("np.array([attempt])", "np.array([0])"),
            "every epoch has the same substitute": ("sample_keys(self._seed, epoch,", "sample_keys(self._seed, 0,"),
            "substitutes are drawn from the stream of the order": ("Stream.SUBSTITUTE", "Stream.ORDER"),
            "the last sample never stands in": ("float(draw[0]) * self._count)", "float(draw[0]) * (self._count - 1))"),
            "the note names the damaged sample twice": ('"instead": substitute', '"instead": sample'),
        },
    )
    + mutants(
        "shards/load/collate.py",
        f"{HOME}::test_others_stand_in_and_all_agree_on_them",
        stand_ins,
        {
            "a substitute has the draws of the sample it stands for": (
                "samples = np.array(found, np.int64)\n        keys = sample_keys(self._recipe.seed, epochs, samples)",
                "keys = sample_keys(self._recipe.seed, epochs, samples)\n        samples = np.array(found, np.int64)",
            ),
            "a batch names the sample that was wanted": ("np.array(found, np.int64)", "np.asarray(samples, np.int64)"),
        },
    )
    + mutants(
        "shards/load/loader.py",
        f"{HOME}::test_samples_of_missing_shards_have_others_stand_in",
        lost,
        {
            "samples are lost to every split but training": (
                "if split == TRAINING else []",
                "if split != TRAINING else []",
            )
        },
    )
)
