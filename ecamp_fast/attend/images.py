"""The image sides of GLoRIA: regions, and the whole, in the width of the text side (SPEC 6.1).

Legend: B images, S pixels a side of the view, R = G x G regions, D width.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, interpolate

from ecamp_fast.config import Recipe
from ecamp_fast.errors import ConfigError
from ecamp_fast.kernels.pixels import normalise
from ecamp_fast.model.ecamp import image_tokens
from ecamp_fast.model.vision import Encoder
from ecamp_fast.run.trained import load_trained
from ecamp_fast.weights.foreign import open_foreign

CELLS = (32, 48, 96, 128)  # channels of the small network's four stages


class ImageSide(nn.Module):
    """Local: a product without bias for each region. Global: one with bias for their mean, of a later layer.

    local_width, global_width: numbers of a region, and of what the whole is made of
    """

    def __init__(self, local_width: int, global_width: int, width: int) -> None:
        super().__init__()
        self.local = nn.Linear(local_width, width, bias=False)
        self.whole = nn.Linear(global_width, width)
        # Products of regions and words begin around 1. By torch's default they begin around 10: one word has taken each
        # region before anything is learned, and where a word has all regions or none, its map is flat and stays so.
        nn.init.normal_(self.local.weight, std=(local_width * width) ** -0.5)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """image: (B, 1, S, S) uint8   returns regions (B, R, D), row by row, and the whole (B, D)"""
        regions, later = self.layers(image)
        return self.local(regions), self.whole(later.mean(1))

    def layers(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of the layer that regions are read from, and of the layer behind it."""
        raise NotImplementedError


class ResNetSide(ImageSide):
    """timm's ResNet-50: regions of its third stage, 19 x 19 at 299 pixels, the whole of its fourth."""

    def __init__(self, recipe: Recipe, width: int, fresh: bool) -> None:
        import timm

        super().__init__(1024, 2048, width)
        self._recipe = recipe
        self.net = timm.create_model("resnet50", num_classes=0, norm_layer=BatchNorm)
        if (weights := recipe.gloria.image_weights) and not fresh:
            found = open_foreign(Path(weights))
            if found.architecture != "resnet50":
                raise ConfigError(f"gloria.image_weights: {weights} is a {found.architecture}", "name a ResNet-50's")
            self.net.load_state_dict(found.net.state_dict())

    def layers(self, image: Tensor) -> tuple[Tensor, Tensor]:
        pixels = _pixels(image, self._recipe).to(self.local.weight.dtype).expand(-1, 3, -1, -1)
        net = self.net
        rows = net.maxpool(net.act1(net.bn1(net.conv1(pixels))))  # type: ignore[operator]
        third = net.layer3(net.layer2(net.layer1(rows)))  # type: ignore[operator]
        return _rows(third), _rows(net.layer4(third))  # type: ignore[operator]


class EncoderSide(ImageSide):
    """This project's ViT, all patches seen: regions are patches, the whole is their mean."""

    def __init__(self, recipe: Recipe, width: int, fresh: bool) -> None:
        vision = recipe.model.vision.width
        super().__init__(vision, vision, width)
        self._recipe = recipe
        self.encoder = Encoder(recipe)
        if (weights := recipe.gloria.image_weights) and not fresh:
            trained = load_trained(Path(weights)).encoder.state_dict()
            own = self.encoder.state_dict()
            if {name: one.shape for name, one in trained.items()} != {name: one.shape for name, one in own.items()}:
                sizes = "model.vision, image.low_size and model.position_table"
                raise ConfigError(f"gloria.image_weights: {weights} has an encoder of other sizes", f"take its {sizes}")
            self.encoder.load_state_dict(trained)

    def layers(self, image: Tensor) -> tuple[Tensor, Tensor]:
        tokens = image_tokens(self.encoder, self._recipe, image)[:, 1:]
        return tokens, tokens


class CellsSide(ImageSide):
    """A small network for small pictures: regions of 8 x 8 pixels, the whole of a layer with half as many a side.

    Norms over groups of channels: an image's numbers do not depend on its batch.
    """

    def __init__(self, recipe: Recipe, width: int, fresh: bool) -> None:
        first, second, third, fourth = CELLS
        super().__init__(third, fourth, width)
        self._recipe = recipe
        self.near = nn.Sequential(
            _convolution(1, first, 5, 2), _convolution(first, second, 3, 2), _convolution(second, second, 3, 1),
            _convolution(second, third, 3, 2), _convolution(third, third, 3, 1), _convolution(third, third, 3, 1),
        )  # fmt: skip
        self.far = nn.Sequential(_convolution(third, fourth, 3, 2), _convolution(fourth, fourth, 3, 1))

    def layers(self, image: Tensor) -> tuple[Tensor, Tensor]:
        near = self.near(_pixels(image, self._recipe).to(self.local.weight.dtype))
        return _rows(near), _rows(self.far(near))


class BatchNorm(nn.BatchNorm2d):
    """With means and variances in float32, whatever the dtype of the model."""

    def forward(self, input: Tensor) -> Tensor:
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        weight, bias = self.weight.float(), self.bias.float()
        mean, variance = self.running_mean, self.running_var
        if mean.dtype != torch.float32:  # an engine that makes all of a model bfloat16
            mean, variance = mean.float(), variance.float()
        found = batch_norm(input, mean, variance, weight, bias, self.training, self.momentum, self.eps)
        if mean is not self.running_mean and self.training:
            self.running_mean.copy_(mean)
            self.running_var.copy_(variance)
        return found


def image_side(recipe: Recipe, width: int, fresh: bool = False) -> ImageSide:
    """The one that ``gloria.image`` names, in the width of the text side.  fresh: see ``Gloria``"""
    sides = {"resnet50": ResNetSide, "vit": EncoderSide, "cells": CellsSide}
    return sides[recipe.gloria.image](recipe, width, fresh)


def _pixels(image: Tensor, recipe: Recipe) -> Tensor:
    """Normalised, at ``gloria.image_size``.  image: (B, 1, S, S) uint8   returns float32"""
    found, size = normalise(image, recipe.image.mean, recipe.image.std), recipe.gloria.image_size
    if found.shape[-1] == size:
        return found
    return interpolate(found, size=(size, size), mode="bilinear", align_corners=True)


def _convolution(inside: int, outside: int, size: int, stride: int) -> nn.Sequential:
    layer = nn.Conv2d(inside, outside, size, stride, size // 2, bias=False)
    return nn.Sequential(layer, nn.GroupNorm(8, outside), nn.ReLU())


def _rows(found: Tensor) -> Tensor:
    """(B, C, G, G) to (B, G * G, C)."""
    return found.flatten(2).mT
