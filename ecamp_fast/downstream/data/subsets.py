"""Parts of the training split: the official lists of a set, or nested, seeded subsets that no patient is cut by."""

from collections.abc import Sequence

import numpy as np

from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.keyed_random import Stream, sample_keys, uniform

WHOLE = 100.0


def choose(patients: Sequence[str], percent: float, seed: int) -> np.ndarray:
    """About ``percent`` of the samples: patients in a keyed order until the share is reached, at least one.

    patients: of each sample   returns sorted sample numbers, int64

    Nested: of one seed, a smaller share is part of every larger one.  Raises ConfigError for a share out of (0, 100].
    """
    if not 0 < percent <= WHOLE:
        raise ConfigError(f"a fraction of {percent:g} %", "give a number above 0, up to 100")
    ranks = _ranks(patients, seed)
    sizes = np.bincount(ranks)
    wanted = percent / WHOLE * len(patients)
    return np.flatnonzero(ranks <= np.searchsorted(np.cumsum(sizes), wanted - 1e-9)).astype(np.int64)


def first(patients: Sequence[str], count: int, seed: int) -> np.ndarray:
    """``count`` samples in the order of ``choose``, the last patient's being cut where they are too many; nested too.

    returns sorted sample numbers, int64
    """
    if not 0 < count <= len(patients):
        raise ConfigError(f"{count} of {len(patients)} training images", "ask for fewer")
    return np.sort(np.argsort(_ranks(patients, seed), kind="stable")[:count]).astype(np.int64)


def _ranks(patients: Sequence[str], seed: int) -> np.ndarray:
    """The place of each sample's patient in the keyed order of patients, int64."""
    names, owner = np.unique(np.asarray(patients), return_inverse=True)
    keys = sample_keys(seed, 0, np.arange(len(names)))
    order = np.argsort(uniform(keys, Stream.SPLIT, 2) @ np.array([1.0, 2.0**-24]), kind="stable")
    return np.argsort(order, kind="stable")[owner]


def listed(fractions: Sequence[frozenset[str]], percent: float) -> np.ndarray:
    """The official list of a set for 1, 10 or 100 %.  returns sorted sample numbers; DataError where there is none."""
    name = f"{percent:g}"
    rows = np.array([number for number, one in enumerate(fractions) if name in one], np.int64)
    if not len(rows):
        have = sorted({one for many in fractions for one in many}, key=float)
        raise DataError(
            f"the set has no list of {name} %",
            f"it has {', '.join(have)}" if have else "leave --official off: subsets are then drawn by patient",
        )
    return rows
