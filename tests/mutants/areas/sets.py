"""Several sets in one run: what an epoch has of each, in which order, under which digest; and sets that are merged."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mutant import mutants


def mixed() -> Any:
    """Five epochs of sets with several shares, and how places are divided among them."""
    from functools import partial

    import numpy as np

    from ecamp_fast.shards.load.order import MixedOrder, global_samples, interleave, visits

    out = []
    for pairs in ([(4, 4), (5, 2)], [(10, 3), (6, 13), (7, 7)], [(12, 24)]):
        counts, shares = zip(*pairs, strict=True)
        orders = [partial(global_samples, count, number) for number, count in enumerate(counts)]
        order = MixedOrder(orders, counts, shares)
        out.append([part.tolist() for part in order(np.arange(5 * sum(shares)))])
        out.append([part.tolist() for part in interleave(shares, np.arange(sum(shares)))])
    return out, [visits(*pair) for pair in ((5, 2), (6, 13), (4, 4), (4, 8), (10, 5))]


def shares() -> Any:
    """Shares by weight, digests, and what stands for sets of which a part is looked at."""
    import numpy as np

    from ecamp_fast.shards.load.mix import MixedSet, ShardMix, digest_of

    def part(count: int, weight: float) -> Any:
        return MixedSet(SimpleNamespace(manifest=SimpleNamespace(count=lambda split: count), count=None), weight)  # type: ignore[arg-type]

    parts = [part(20, 1.0), part(12, 0.3), part(5, 0.5), part(7, 0.01), part(0, 2.0)]
    both: Any = SimpleNamespace(parts=parts[:2], count=lambda split: 32)
    first = np.asarray(ShardMix.first(both, "val", 9)).tolist()
    digests = [digest_of(["a", "b"], weights) for weights in ([1, 0.3], [1, 0.5])]
    return [[one.share(split) for one in parts] for split in ("train", "val")], first, digests


def seeds() -> Any:
    """The order of a set by its content."""
    from ecamp_fast.shards.load.batching import seed_of_set

    sets: list[Any] = [SimpleNamespace(manifest=SimpleNamespace(digest=letter * 64)) for letter in "ab"]
    return [seed_of_set(42, one) for one in sets]


def damaged() -> Any:
    from ecamp_fast.errors import DataError
    from ecamp_fast.shards.load.quarantine import Quarantine

    quarantine = Quarantine(100, 0.5, 0, visits=3)
    for visit in range(4):
        quarantine.replace(visit, visit % 2, 0, DataError("damaged"))
    return quarantine.found


def names() -> Any:
    from ecamp_fast.errors import ConfigError
    from ecamp_fast.shards.storage.weighted import parse_weighted

    out = []
    for named in ("a", "a:0.3", "a:2:1", "http://localhost:9000", "http://localhost:9000/a:3", "a:0", "a:101", "a:nan"):
        try:
            found = parse_weighted(named)
        except ConfigError as error:
            out.append((named, error.what))
        else:
            out.append((str(found), found.weight))
    return out


def merges() -> Any:
    """New names of shards, keys that two sets have, and patients in two splits."""
    from ecamp_fast.errors import DataError
    from ecamp_fast.shards.builder.merge_sets import _numbered, _Read, _require_apart, _require_fit
    from ecamp_fast.shards.format.manifest import Manifest, Shard

    def one(name: str, keys: tuple[str, ...]) -> Any:
        shards = tuple(Shard(f"{split}-000000.tar", split, 0, "", keys, {}) for split in ("train", "val"))
        return SimpleNamespace(path=Path(name), manifest=Manifest("", {"kind": name}, 64, "", 0, "", {}, {}, shards))

    def refused(action: Any, *arguments: Any) -> str:
        try:
            action(*arguments)
        except DataError as error:
            return error.what
        return ""

    sets = [one("a", ("k",)), one("b", ("K2",))]
    numbered = [(str(folder), old.name, new.name) for folder, old, new in _numbered(sets)]
    alike = [refused(_require_fit, [sets[0], one("c", (key,))]) for key in ("k", "K", "l")]
    patients = {"p": {"train", "val"}, "q": {"train"}, "": {"train", "val"}}
    return numbered, alike, refused(_require_apart, _Read(splits=patients))


ORDER = "tests/shards/load/test_mixed_order.py"
MIX = "tests/shards/load/test_mix.py"
WEIGHTED = "tests/shards/storage/test_weighted.py"
MERGED = "tests/shards/builder/test_merge_sets.py"

MUTANTS = (
    mutants(
        "shards/load/order.py",
        ORDER,
        mixed,
        {
            "the permutation of a set begins anew in every epoch": ("order(first + rank[of])", "order(rank[of])"),
            "an epoch begins where a whole set would have ended": (
                "first = epoch[of] * self._shares[number]",
                "first = epoch[of] * self._counts[number]",
            ),
            "samples of the second set have numbers of the first": (
                "sample[of] += self._starts[number]",
                "sample[of] += 0",
            ),
            "all visits of an epoch have its number": (
                "epoch[of] * self.visits + passed - first // self._counts[number]",
                "epoch[of] * self.visits",
            ),
            "an epoch has a number too few": (
                "(latest + share - 1) // count + 1",
                "(latest + share - 1) // count or 1",
            ),
            "sets come one behind the other in an epoch": (
                "taken = (place + 1) * share // max(left, 1) > before",
                "before, taken = place, place < share",
            ),
            "the rest is counted with the first set in it": (
                "np.where(taken, before, place - before)",
                "np.where(taken, before, place)",
            ),
        },
    )
    + mutants(
        "shards/load/mix.py",
        MIX,
        shares,
        {
            "weights are ignored": ("count * self.weight + 0.5", "count + 0.5"),
            "half a sample is none": ("count * self.weight + 0.5", "count * self.weight"),
            "a small weight takes nothing": ("min(count, 1))", "0)"),
            "held-out samples are weighted too": ("if split != TRAINING:", "if split == TRAINING and count < 0:"),
            "other weights are the same data": ('f"{digest} {float(weight)!r}\\n"', 'f"{digest}\\n"'),
            "what is looked at in part is of one set": (
                "(np.cumsum(counts) - counts)[which] + rank",
                "np.arange(len(rank))",
            ),
        },
    )
    + mutants(
        "shards/load/batching.py",
        f"{MIX}::test_the_order_of_a_set_is_the_same_beside_other_weights",
        seeds,
        {"all sets are ordered by one seed": ("int(shard_set.manifest.digest[:16], 16)", "0")},
    )
    + mutants(
        "shards/load/quarantine.py",
        f"{MIX}::test_damaged_samples_are_counted_by_epochs_whatever_their_visits",
        damaged,
        {"visits are taken for epochs": ("epoch //= self._visits", "epoch //= 1")},
    )
    + mutants(
        "shards/storage/weighted.py",
        WEIGHTED,
        names,
        {
            "a port is a weight": ("if found is None or _HOST_ALONE.fullmatch(named)", "if found is None"),
            "a weight of nothing": ("0 < weight <= LARGEST", "0 <= weight <= LARGEST"),
            "no weight is too large": ("0 < weight <= LARGEST", "0 < weight"),
            "a folder that ends in a number is recorded without its weight": (
                "if self.weight != 1 or _parted(self.place) else",
                "if self.weight != 1 else",
            ),
        },
    )
    + mutants(
        "shards/builder/merge_sets.py",
        MERGED,
        merges,
        {
            "shards keep their names": ('name=f"{split}-{number:06d}.tar"', "name=shard.name"),
            "keys differ by the case of letters": ("Counter(key.lower() for", "Counter(key for"),
            "a patient may be in two splits": ("sum(len(splits) > 1 for", "sum(len(splits) > 2 for"),
            "patients who are not named are one": ("in read.splits.items() if patient)", "in read.splits.items())"),
        },
    )
)
