"""What the record of a step is made of, gathered where it is: on the device, in the vector that the host reads anyway.

Digests are sums modulo 2**40, so they depend on neither the order of samples nor their division among micro-batches and
ranks, and they are exact however the device adds; in float64 too, up to 8,192 ranks. A sample's part is its key
(``keyed_random``: of seed, epoch and sample), and its key times the sum of a constant for each place that is masked.
Patches are those that the encoder saw, taken on the device; words are masked on the host, and so is their digest
(``text.packing.layout``).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ecamp_fast.batch import Batch
from ecamp_fast.config import Recipe
from ecamp_fast.keyed_random import place_constants
from ecamp_fast.objectives import Losses

SLOTS = 4  # of the vector: digests of samples, patches and words, the weights
_DIGEST = 2**40 - 1  # the bits of a digest of which there is one per rank
_ALONE = 2**52 - 1  # of one that is not summed over the ranks
_TENSORS, _VALUES = 8, 512  # of the slice of weights, at most: so many of each
_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes of a weight


@dataclass(frozen=True, slots=True)
class Measured:
    """What a step was made of and what came of it; the same on every rank but for ``weights``, which are rank 0's.

    samples, patches, words  digests of the global batch: its sample keys, its masked patches, its masked words
    weights                  digest of a slice of the weights after the update
    """

    samples: int
    patches: int
    words: int
    weights: int


class StepTally:
    """Gathers one optimizer step after the other; launches nothing between micro-batches and never waits.

    model: whose weights are digested
    """

    def __init__(self, model: nn.Module, recipe: Recipe, device: torch.device | str) -> None:
        self._patches = torch.from_numpy(place_constants(recipe.patches)).to(device)
        self._places = torch.from_numpy(place_constants(_TENSORS * _VALUES) | 1).to(device)  # odd: every bit counts
        weights = list(model.parameters())
        self._weights = weights[:: -(-len(weights) // _TENSORS)]
        self._slices: list[Tensor] = []
        self._where: list[int] = []  # in memory the weights of the slices are
        self._clear()

    def _clear(self) -> None:
        self._keys: list[Tensor] = []
        self._keep: list[Tensor] = []
        self._words = 0

    def add(self, batch: Batch, losses: Losses) -> None:
        """A micro-batch.  losses: that the model gave for it"""
        assert losses.keep is not None  # the model's own
        self._keys.append(batch.keys)
        self._keep.append(losses.keep)
        self._words += batch.text.digest if batch.text else 0

    def put(self, slots: Tensor) -> None:
        """This rank's part of the step, to be summed over the ranks.  slots: (SLOTS,) float64"""
        keys, keep = torch.cat(self._keys), torch.cat(self._keep)
        masks = keys * self._patches.index_select(0, keep.view(-1)).view(keep.shape).sum(1)
        slots[:2] = torch.stack((keys, masks)).sum(1).bitwise_and_(_DIGEST)
        slots[2].fill_(self._words & _DIGEST)
        self._clear()

    def put_weights(self, slots: Tensor) -> None:
        """The weights as they are now.  slots: as for ``put``, summed by now"""
        where = [weight.data_ptr() for weight in self._weights]
        if where != self._where:  # at first, and where DeepSpeed has moved them: as it loads a checkpoint
            parts = [weight.detach().view(-1) for weight in self._weights]
            self._slices = [part[:: -(-len(part) // _VALUES)] for part in parts]
            self._where = where
        chosen = torch.cat(self._slices)
        bits = chosen.view(_INTEGERS[chosen.element_size()])
        slots[3] = (bits * self._places[: len(bits)]).sum() & _ALONE

    def read(self, values: Sequence[float]) -> Measured:
        """values: of the slots, on the host"""
        samples, patches, words = (int(value) & _DIGEST for value in values[:3])
        return Measured(samples, patches, words, int(values[3]))
