"""Batches of a rank: which samples are in them, decoded and resized how, and how much room their text has."""

from typing import Any

from mutant import mutants


def _members(number: int) -> dict[str, bytes]:
    """A sample with an odd picture, and a text of another length than its neighbours'."""
    import io

    import numpy as np
    from PIL import Image

    from ecamp_fast.shards.format.manifest import IMAGE, TOKENS
    from ecamp_fast.shards.format.tokens import pack_tokens

    draw, file = np.random.default_rng(number), io.BytesIO()
    grain = Image.fromarray(draw.integers(0, 256, (9, 9), np.uint8))
    grain.resize((70 + number, 95 - number), Image.Resampling.BICUBIC).save(file, "JPEG")
    texts = (draw.integers(5, 300, size).astype(np.int32) for size in draw.integers(4, 60, 2))
    return {IMAGE: file.getvalue(), TOKENS: pack_tokens(*texts)}


def _stored(count: int, damaged: int | None = None) -> Any:
    from types import SimpleNamespace

    import numpy as np

    from ecamp_fast.errors import DataError
    from ecamp_fast.shards.format.manifest import DISTILLED, REPORT, TOKENS, Members, Shard
    from ecamp_fast.shards.format.tokens import unpack_tokens
    from ecamp_fast.shards.load.read import Sample

    samples = [_members(number) for number in range(count)]
    lengths = np.array([[len(text) for text in unpack_tokens(sample[TOKENS])] for sample in samples])
    sizes = {REPORT: 5 * lengths[:, 0], DISTILLED: 5 * lengths[:, 1], TOKENS: 4 * (3 + lengths.sum(1))}
    members = {name: Members(size, size, size) for name, size in sizes.items()}
    shard = Shard("x.tar", "train", 0, "", [f"s{number}" for number in range(count)], members)

    def read(split: str, index: int, extensions: Any) -> Sample:
        if index == damaged:
            raise DataError("damaged", "fix it")
        return Sample(f"s{index}", "x.tar", samples[index])

    return SimpleNamespace(
        count=lambda split: count,
        epoch=lambda split: count,
        visits=lambda split: 1,
        first=lambda split, limit: np.arange(min(limit, count)),
        manifest=SimpleNamespace(of=lambda split: (shard,), without_text=lambda split: 0),
        store=SimpleNamespace(readers=1),
        lost=np.zeros(0, np.int64),
        read=read,
        locate=lambda name: name,
    )


def batches() -> Any:
    """Samples and grey values of what three ranks train on, and two evaluate on."""
    from ecamp_fast.config import parse_recipe
    from ecamp_fast.shards.load.loader import Loader

    stored, out = _stored(11), []
    tree = {"seed": 7, "image": {"high_size": 64, "low_size": 32}, "batch": {"total": 12, "micro": 2}}
    recipe = parse_recipe(tree | {"loader": {"threads": 1, "prefetch": 1}}, "test")
    for rank in range(3):
        some = list(Loader(stored, "train", recipe, rank=rank, world=3).batches(1, 3))
        some += Loader(stored, "val", recipe, rank=rank, world=2, train=False).evaluation(9) if rank < 2 else ()
        out += [(one.samples.tolist(), one.image.shape, one.image[:, 0, ::12, ::6].tolist()) for one in some]
    return out


def rooms() -> Any:
    """Room for text, to the token, balanced and not, and with a damaged sample."""
    from ecamp_fast.config import parse_recipe
    from ecamp_fast.errors import DataError
    from ecamp_fast.shards.load import capacity

    out: list[Any] = []
    rounded, capacity.MULTIPLE = capacity.MULTIPLE, 1
    for balance, damaged, share in ((True, None, 0.0), (False, None, 0.0), (True, 3, 0.1), (True, 3, 0.0)):
        batch, loader = {"total": 48, "micro": 24, "balance": balance}, {"quarantine": share}
        try:
            found = capacity.measure_capacity(
                _stored(60, damaged), "train", parse_recipe({"batch": batch, "loader": loader}, "test")
            )
            out.append((found.rows, found.predicted))
        except DataError as error:
            out.append(error.what)
    capacity.MULTIPLE = rounded
    return out


LOADER = "tests/shards/load/test_loader.py"
DECODE = "tests/shards/load/test_decode.py"

MUTANTS = (
    mutants(
        "shards/load/loader.py",
        " ".join(
            f"{LOADER}::{test}"
            for test in (
                "test_batches_are_as_batch_says",
                "test_evaluation_shows_each_sample_once_whole_and_in_order",
                "test_ranks_share_the_batches_of_an_evaluation",
                "test_seeking_gives_what_running_through_gives",
                "test_several_ranks_see_what_one_sees",
                "test_every_sample_once_an_epoch",
            )
        ),
        batches,
        {
            "evaluation takes the random view": (
                "train=train, quarantine=self.quarantine",
                "train=True, quarantine=None",
            ),
            "ranks share the batches of a step in runs": (
                "zip(epochs[self._rank :: self._world], samples[self._rank :: self._world], strict=True)",
                "zip(*(np.array_split(part, self._world)[self._rank] for part in (epochs, samples)), strict=True)",
            ),
            "every rank evaluates the first one's share": (
                "islice(places, self._rank, None, self._world)",
                "islice(places, 0, None, self._world)",
            ),
            "evaluation leaves the first batch out": ("range(0, count, micro)", "range(micro, count, micro)"),
            "evaluation leaves the last, smaller batch out": (
                "range(0, count, micro)",
                "range(0, count - micro + 1, micro)",
            ),
            "steps are counted from 1": (
                "range(start_step, stop_step)",
                "range(start_step + 1, stop_step + 1)",
            ),
            "the view has the low size": ("recipe.image.high_size,", "recipe.image.low_size,"),
        },
    )
    + mutants(
        "shards/load/decode.py",
        f"{DECODE}::test_views_are_the_float64_resize_of_their_crops "
        f"{DECODE}::test_two_batches_may_be_under_way_and_results_last",
        batches,
        {
            "a box is left and top": ('"axis_names": "HW"', '"axis_names": "WH"'),
            "a batch is mirrored as the next one": ("self._waiting[0].flipped[row]", "self._waiting[-1].flipped[row]"),
            "nothing is mirrored": (", bool(self._waiting[0].flipped[row]))", ")"),
        },
    )
    + mutants(
        "shards/load/resize.py",
        "tests/shards/load/test_resize.py::test_as_close_to_float64_as_pillow "
        "tests/shards/load/test_resize.py::test_a_flip_mirrors_left_and_right",
        batches,
        {
            "a flip turns the view upside down": ("rows[::-1] if flipped", "rows[:, ::-1] if flipped"),
            "the view is not antialiased": (", antialias=True", ""),
            "the filter is bilinear": ('mode="bicubic"', 'mode="bilinear"'),
        },
    )
    + mutants(
        "shards/load/capacity.py",
        "tests/shards/load/test_batching.py::test_the_capacity_holds_99_of_100_batches_and_little_more "
        "tests/shards/load/test_quarantine.py::test_room_for_text_is_measured_on_what_is_there",
        rooms,
        {
            "there is room for the mean micro-batch": ("DEVIATIONS * spread)", "spread)"),
            "only what the manifest tells of a sample varies": (
                " + batch * (counts - share * estimates).var())",
                ")",
            ),
            "only what the manifest does not tell varies": ("share**2 * sums.var() + batch", "batch"),
            "there is as much room for predictions as for tokens": (
                "min(rows, _room(predicted, estimates, sums, recipe))",
                "rows",
            ),
            "a damaged sample is passed over where none may stand in": (
                "if faults and (not recipe.loader.quarantine or len",
                "if faults and (len",
            ),
        },
    )
)
