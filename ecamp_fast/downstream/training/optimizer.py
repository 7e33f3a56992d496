"""Parameter groups by layer, the optimizer over them, and weights averaged over steps."""

from typing import Any

import torch
from torch import Tensor, nn

from ecamp_fast.downstream.training.settings import Settings
from ecamp_fast.downstream.trunk import Trunk
from ecamp_fast.errors import ConfigError

SCALE = "lr_scale"  # timm's name of a group's share of the rate


def build_optimizer(model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """SGD or AdamW over what requires gradients; each group has its share of the rate under ``lr_scale``.

    Raises ConfigError where there is nothing to train.
    """
    groups = _groups(model, settings)
    if not groups:
        raise ConfigError("there is nothing to train", "leave `frozen` off, or choose a head with weights")
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum)
    return torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Of the coming step."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group[SCALE]


def _groups(model: nn.Module, settings: Settings) -> list[dict[str, Any]]:
    """A group for each share of the rate and each weight decay."""
    scales = layer_scales(model, settings.layer_decay)
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            spared = not settings.decay_all and (parameter.ndim <= 1 or name.endswith(("pos_embed", "cls_token")))
            decay = 0.0 if spared else settings.weight_decay
            groups.setdefault((scales.get(name, 1.0), decay), []).append(parameter)
    return [{"params": found, SCALE: s, "weight_decay": decay} for (s, decay), found in groups.items()]


def layer_scales(model: nn.Module, decay: float) -> dict[str, float]:
    """The share of the rate that each parameter of the trunk gets: decay ** (layers above it), heads being on top.

    timm's own numbering of its models' layers: the embedding is the lowest, then block by block.
    """
    from timm.models import group_parameters

    found: dict[str, float] = {}
    for prefix, trunk in model.named_modules():
        if isinstance(trunk, Trunk) and decay < 1:
            matcher = trunk.net.group_matcher(coarse=False)  # type: ignore[operator]
            layers = group_parameters(trunk.net, matcher, reverse=True)
            top = max(layers.values()) + 1
            start = f"{prefix}." if prefix else ""
            found |= {f"{start}net.{name}": decay ** (top - layer) for name, layer in layers.items()}
    return found


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """What a fit changes of a model: parameters that require gradients, and buffers."""
    fixed = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    return {name: one for name, one in model.state_dict().items() if name not in fixed}


class Averaged:
    """An exponential moving average of what a fit changes of a model.

    decay: share that stays at each step; the first steps count as an average over those that there were
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._model, self._decay = model, decay
        self.values = {name: one.detach().clone() for name, one in trained_state(model).items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After step number ``step``, from 1."""
        decay = min(self._decay, step / (step + 9))
        for name, one in trained_state(self._model).items():
            if one.is_floating_point():
                self.values[name].lerp_(one, 1 - decay)
            else:
                self.values[name].copy_(one)
