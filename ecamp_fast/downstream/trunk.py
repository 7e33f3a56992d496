"""The image encoder that a task is put on: ours, or another's from local files; its tokens three ways.

All of them run as timm's models, which have drop path, layer-wise rates and other input sizes: ours is equal to its
twin there to rounding (``weights.export.to_timm``).

Legend: B images, S pixels per side, G cells per side, D width.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from ecamp_fast.config import Recipe
from ecamp_fast.downstream.features import untrained
from ecamp_fast.errors import ConfigError
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.model.vision import CHANNELS
from ecamp_fast.run.trained import load_trained, read_recipe
from ecamp_fast.weights.export.to_timm import ARCHITECTURE, arguments, twin
from ecamp_fast.weights.foreign import Foreign, open_foreign

RESNET_CELL = 32  # pixels a side
UNTRAINED = "untrained:"  # in front of a run, and :SEED behind it if need be


class Trunk(nn.Module):
    """Grey images in, patch tokens out.

    source  a model of timm without a head, a ViT or a ResNet, and what it wants of an image
    size    S, pixels per side of its input
    """

    mean: Tensor
    std: Tensor

    def __init__(self, source: Foreign, size: int) -> None:
        super().__init__()
        self.net, self.size, self._is_frozen = source.net, size, False
        self.architecture, self.arguments = source.architecture, source.arguments
        net = self.net
        self.register_buffer("mean", torch.tensor(source.mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(source.std).view(1, -1, 1, 1), persistent=False)
        self.is_vit = hasattr(net, "blocks")
        self.width: int = net.num_features  # type: ignore[assignment]
        patch: Any = net.patch_embed.patch_size[0] if self.is_vit else RESNET_CELL  # type: ignore[union-attr, index]
        self.grid = -(-size // int(patch))
        for parameter in self._final_norm().parameters():  # no task trains it: see ``forward`` and ``features``
            parameter.requires_grad_(False)

    def freeze(self) -> None:
        """Nothing of it is trained from now on, and it stays in evaluation mode whatever the model around it does."""
        self.requires_grad_(False)
        self.eval()
        self._is_frozen = True

    def train(self, mode: bool = True) -> "Trunk":
        super().train(mode and not self._is_frozen)
        return self

    def prepare(self, frozen: bool, compiled: bool) -> None:
        """For a fit.  frozen: as ``freeze``   compiled: each block of a ViT by itself, one graph for all of them"""
        if frozen:
            self.freeze()
        if compiled:
            for block in getattr(self.net, "blocks", ()):
                block.compile()

    def forward(self, images: Tensor) -> Tensor:
        """Patch tokens before the final norm, without the class token, row by row (SPEC 7.2, 7.3).

        images: (B, 1, S, S) uint8   returns (B, G*G, D)
        """
        return self.levels(images, (-1,))[0]

    def levels(self, images: Tensor, blocks: Sequence[int]) -> list[Tensor]:
        """Tokens behind some blocks, as ``forward`` gives those behind the last.

        blocks: their numbers, negative ones from the end, in rising order; of a ResNet its stages
        """
        pixels = (images.float() / 255 - self.mean) / self.std
        if not self.is_vit and list(blocks) == [-1]:
            return [self.net.forward_features(pixels).flatten(2).mT]  # type: ignore[operator]
        count = len(self.net.blocks) if self.is_vit else len(self.net.feature_info)  # type: ignore[arg-type]
        wanted = [block % count for block in blocks]
        shape = "NLC" if self.is_vit else "NCHW"
        found = self.net.forward_intermediates(  # type: ignore[operator]
            pixels, indices=wanted, norm=False, output_fmt=shape, intermediates_only=True
        )
        return list(found) if self.is_vit else [one.flatten(2).mT for one in found]

    def features(self, images: Tensor, pooling: int = 1) -> Tensor:
        """Means of the tokens after the final norm, which frozen probes read: ``model.ecamp.image_features``.

        pooling: a mean for each of pooling x pooling parts of the image   returns (B, pooling * pooling * D)

        Raises ConfigError where a side has fewer patches than parts: some would be told twice.
        """
        if pooling > self.grid:
            raise ConfigError(f"means of {pooling} parts a side, of {self.grid} patches", "ask for fewer parts")
        tokens = self._final_norm()(self(images))
        if pooling == 1:
            mean: Tensor = tokens.mean(1)
            return mean
        return adaptive_avg_pool2d(as_map(tokens, self.grid), pooling).flatten(2).mT.flatten(1)

    def _final_norm(self) -> nn.Module:
        norm = getattr(self.net, "norm", None)
        return norm if self.is_vit and norm is not None else nn.Identity()


def as_map(tokens: Tensor, grid: int) -> Tensor:
    """tokens: (B, G*G, D), row by row   returns (B, D, G, G)"""
    return tokens.mT.unflatten(2, (grid, grid))


def open_trunk(
    source: str | Path, *, size: int | None = None, drop_path: float = 0.0, device: torch.device | str = "cpu"
) -> Trunk:
    """The trunk that ``source`` names, in evaluation mode and float32.

    source     a run or the folder ``ours`` of an export; ``untrained:RUN`` or ``untrained:RUN:SEED``, RUN's recipe with
               the first weights of a seed (0); a folder of timm or of transformers' ViT, or a file of weights that is a
               ViT's or a ResNet-50's under timm's names
    size       pixels per side; None: as it was trained. The position table is resampled to it
    drop_path  of the last block, falling to 0 at the first

    Raises ConfigError where it is none of these, DataError where weights are damaged or do not fit.
    """
    text = str(source)
    if text.startswith(UNTRAINED):
        run, seed = _untrained(text)
        return _ours(untrained(read_recipe(run), seed), size, drop_path).to(device)
    path = Path(source)
    if (path / "recipe.yaml").exists():
        return _ours(load_trained(path), size, drop_path).to(device)
    return _of(open_foreign(path, drop_path), size).to(device)


def _untrained(source: str) -> tuple[Path, int]:
    run = source.removeprefix(UNTRAINED)
    head, colon, tail = run.rpartition(":")
    if colon and tail.isdigit():
        return Path(head), int(tail)
    if colon and not Path(run).exists():
        raise ConfigError(f"{source}: {tail!r} is no seed", f"write {UNTRAINED}RUN or {UNTRAINED}RUN:SEED")
    return Path(run), 0


def _ours(model: Ecamp, size: int | None, drop_path: float) -> Trunk:
    recipe: Recipe = model.recipe
    pixels = recipe.image
    mean, std = (pixels.mean,) * CHANNELS, (pixels.std,) * CHANNELS
    net = twin(model, drop_path)
    return _of(Foreign(net, pixels.low_size, mean, std, ARCHITECTURE, arguments(recipe)), size)


def _of(found: Foreign, size: int | None) -> Trunk:
    if size is not None and size != found.size and hasattr(found.net, "set_input_size"):
        patch = found.net.patch_embed.patch_size[0]  # type: ignore[union-attr, index]
        if size % patch:
            raise ConfigError(f"{size} pixels are no whole number of patches of {patch}", "choose another size")
        found.net.set_input_size(img_size=size)  # type: ignore[operator]
    return Trunk(found, size or found.size).eval()
