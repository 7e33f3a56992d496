"""Which samples come when: keyed draws, the order of a run, and how a step is divided among micro-batches."""

from typing import Any

from mutant import mutants


def draws() -> Any:
    """Numbers of each stream, by numpy and by torch."""
    import numpy as np
    import torch

    from ecamp_fast.keyed_random import Stream, sample_keys, torch_uniform, uniform

    keys = sample_keys(5, np.array([0, 1, 1, 7]), np.array([7, 7, 8, 1]))
    numbers = [uniform(keys, stream, 3).tolist() for stream in Stream.__members__.values()]
    return keys.tolist(), numbers, torch_uniform(torch.from_numpy(keys), Stream.WORDS, 2).tolist()


def orders() -> Any:
    """Three epochs of sets of several sizes, and of shards whose last window is short."""
    import numpy as np

    from ecamp_fast.shards.load.order import WindowedOrder, global_samples

    whole = [global_samples(count, 3, np.arange(3 * count))[1].tolist() for count in (1, 7, 50, 101)]
    windowed = [WindowedOrder([3, 4, 9, 5], 42, window)(np.arange(63))[1].tolist() for window in (1, 4, 8, 21)]
    return whole, windowed


def steps() -> Any:
    """Micro-batches of three steps, and the lengths that they are assigned by."""
    from types import SimpleNamespace

    import numpy as np

    from ecamp_fast.config import parse_recipe
    from ecamp_fast.shards.format.manifest import DISTILLED, REPORT, TOKENS, Members, Shard
    from ecamp_fast.shards.load.batching import MicroBatches, TokenEstimate

    count, draw = 50, np.random.default_rng(0)
    report, distilled = draw.integers(20, 900, count), draw.integers(0, 300, count)
    sizes = {REPORT: report, DISTILLED: distilled, TOKENS: 4 * (3 + (report + distilled) // 5)}
    members = {name: Members(size, size, size) for name, size in sizes.items()}
    shard = Shard("train.tar", "train", 0, "", [str(number) for number in range(count)], members)
    stored: Any = SimpleNamespace(count=lambda split: count, manifest=SimpleNamespace(of=lambda split: (shard,)))
    out = []
    for mlm_positions in ("masked", "all"):
        tree = {"seed": 7, "batch": {"total": 24, "micro": 6}, "losses": {"mlm_positions": mlm_positions}}
        recipe = parse_recipe(tree, "test")
        lengths = TokenEstimate(stored, "train", recipe)(np.arange(count) // 9, np.arange(count))
        found = map(MicroBatches(stored, "train", recipe), range(3))
        out.append((lengths.tolist(), [(epochs.tolist(), samples.tolist()) for epochs, samples in found]))
    return out


DRAWS = "tests/test_keyed_random.py"
ORDER = "tests/shards/load/test_order.py"
BATCHING = "tests/shards/load/test_batching.py"

MUTANTS = (
    mutants(
        "ecamp_fast/keyed_random.py",
        " ".join(
            f"{DRAWS}::{test}"
            for test in (
                "test_numpy_and_torch_give_the_same_bits",
                "test_the_numbers_are_fixed_for_ever",
                "test_streams_keep_their_numbers_and_share_none",
            )
        ),
        draws,
        {
            "epoch and sample trade places": ("for part in (epoch, sample):", "for part in (sample, epoch):"),
            "numpy's streams are 2**32 draws apart": ("np.uint64(int(stream) << 40)", "np.uint64(int(stream) << 32)"),
            "draws reach up to 2": ("np.float32(2.0**-24)", "np.float32(2.0**-23)"),
            "torch's shift keeps the sign": ("(state >> bits) & ((1 << (64 - bits)) - 1)", "state >> bits"),
            "flips share their numbers with crops": ("FLIP = 2", "FLIP = 1"),
        },
    )
    + mutants(
        "shards/load/order.py",
        " ".join(
            f"{ORDER}::{test}"
            for test in (
                "test_the_order_is_part_of_the_format",
                "test_each_epoch_is_a_permutation",
                "test_epochs_and_seeds_differ",
            )
        ),
        orders,
        {
            "every epoch has the order of the first": (
                "sample_keys(seed, epoch, np.zeros_like(epoch))",
                "sample_keys(seed, 0, np.zeros_like(epoch))",
            ),
            "what falls outside is walked once": ("while outside.size:", "if outside.size:"),
            "all rounds of the network draw alike": ("half + (number << 32)", "half"),
        },
    )
    + mutants(
        "shards/load/order.py",
        " ".join(
            f"{ORDER}::{test}"
            for test in (
                "test_a_windowed_order_is_part_of_the_format",
                "test_windows_shards_and_epochs_are_shuffled",
                "test_each_windowed_epoch_is_a_permutation",
                "test_a_window_lies_in_few_shards",
            )
        ),
        orders,
        {
            "all windows of an epoch share a permutation": ("epoch, window + 1)", "epoch, np.ones_like(window))"),
            "the short window at the end is permuted as a full one": (
                "last = window == self._count",
                "last = window > self._count",
            ),
            "windows are permuted alike in all epochs": (
                "sample_keys(self._seed, epoch, window + 1)",
                "sample_keys(self._seed, 0, window + 1)",
            ),
            "the first window has the key of the shards": ("epoch, window + 1)", "epoch, window)"),
            "shards lie in the same order in every epoch": (
                "np.full_like(number, epoch)",
                "np.zeros_like(number)",
            ),
            "shards stay in their order": ("shards = _permuted(number, key, len(number))", "shards = number"),
        },
    )
    + mutants(
        "shards/load/batching.py",
        " ".join(
            f"{BATCHING}::{test}"
            for test in (
                "test_the_cut_is_part_of_the_format",
                "test_a_step_sees_the_same_samples_balanced_or_not",
                "test_lengths_are_exact_where_the_distilled_text_enters_or_is_empty",
                "test_where_all_texts_cost_alike_nothing_is_assigned",
                "test_assignment_gives_every_sample_once_and_keeps_the_order_within",
            )
        ),
        steps,
        {
            "a step goes on by a micro-batch, not by a batch": (
                "np.arange(step * total, (step + 1) * total)",
                "np.arange(step * micro, step * micro + total)",
            ),
            "epochs stay where they were": (
                "return epochs[assigned], samples[assigned]",
                "return epochs.reshape(-1, micro), samples[assigned]",
            ),
            "the serpentine never turns": ("rows[1::2, ::-1]", "rows[1::2]"),
            "the largest pile goes where there is most": (
                'np.argsort(sums, kind="stable")]',
                'np.argsort(-sums, kind="stable")]',
            ),
            "padded text is assigned by its length": (
                "packed = recipe.losses.mlm and not recipe.padded_text",
                "packed = recipe.losses.mlm",
            ),
            "whether distilled text enters is drawn from its place's draw": (
                "Stream.DISTILLED, 1)[:, 0]",
                "Stream.DISTILLED, 2)[:, 1]",
            ),
            "the report has the distilled text's share": ("(report / np.maximum", "(distilled / np.maximum"),
            "[CLS] is no token": ("np.minimum(1 + n, max_tokens)", "np.minimum(n, max_tokens)"),
        },
    )
)
