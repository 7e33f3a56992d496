"""A fitted classifier as a folder of timm: ``timm.create_model("local-dir:OUT", pretrained=True)``."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ecamp_fast.downstream.heads.classifier import Classifier
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.files import new_folder, write_json
from ecamp_fast.strict_json import parse_object

CLASSES, EXCLUSIVE = "label_names", "exclusive"


def write_classifier(model: Classifier, classes: Sequence[str], exclusive: bool, out: Path) -> None:
    """``config.json`` and ``model.safetensors`` in ``out``, complete or absent; what lay there is replaced."""
    import shutil

    from timm.models import save_for_hf

    net, arguments = twin(model)
    trunk = model.trunk
    net.pretrained_cfg = {  # type: ignore[assignment]
        "architecture": trunk.architecture,
        "input_size": (3, trunk.size, trunk.size),
        "fixed_input_size": trunk.is_vit,
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "crop_mode": "center",
        "mean": tuple(trunk.mean.flatten().tolist()),
        "std": tuple(trunk.std.flatten().tolist()),
        "num_classes": len(classes),
    }
    if out.exists():
        shutil.rmtree(out)
    with new_folder(out) as folder:
        save_for_hf(net, str(folder), model_args=arguments, safe_serialization=True)
        file = folder / "config.json"
        about = {CLASSES: list(classes), EXCLUSIVE: exclusive}  # the second is passed over by timm
        write_json(file, parse_object(file.read_bytes()) | about)


def twin(model: Classifier) -> tuple[nn.Module, dict[str, Any]]:
    """timm's model of the same outputs, on the host, and the arguments it is made with."""
    import timm

    trunk = model.trunk
    arguments = trunk.arguments | {"num_classes": model.head.out_features}
    if trunk.is_vit:
        arguments |= {"global_pool": "avg", "fc_norm": True, "img_size": trunk.size}
    net: nn.Module = timm.create_model(trunk.architecture, **arguments)
    state = {name: one for name, one in trunk.net.state_dict().items() if not name.startswith("norm.")}
    if trunk.is_vit:
        state |= {f"fc_norm.{name}": one for name, one in model.norm.state_dict().items()}
    head = "head" if trunk.is_vit else "fc"
    state |= {f"{head}.{name}": one for name, one in model.head.state_dict().items()}
    net.load_state_dict({name: copy.deepcopy(one.detach()).cpu().float() for name, one in state.items()})
    return net.eval(), arguments


class FittedClassifier:
    """A classifier of ``write_classifier``: grey images in, a probability per class out."""

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        """Raises ConfigError where ``folder`` is none, DataError where it is damaged."""
        import timm

        file = folder / "config.json"
        if not file.exists():
            raise ConfigError(f"{folder} is no fitted classifier", "name the OUT of `ecamp-fast finetune classify`")
        try:
            config = parse_object(file.read_bytes())
            known = config["pretrained_cfg"]
            self.classes = [str(name) for name in config[CLASSES]]
            self.size, self._exclusive = int(known["input_size"][-1]), bool(config[EXCLUSIVE])
            mean, std = torch.tensor(known["mean"]), torch.tensor(known["std"])
            net: nn.Module = timm.create_model(f"local-dir:{folder}", pretrained=True)
        except (KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
            raise DataError(f"{folder} is not read: {error}", "fit it again") from None
        self._net = net.eval().to(device)
        self._mean, self._std = (one.view(1, -1, 1, 1).to(device) for one in (mean, std))
        self._device = torch.device(device)

    @torch.no_grad()
    def probabilities(self, images: Tensor) -> Tensor:
        """images: (B, 1, S, S) uint8   returns (B, F) float32, on the host"""
        pixels = (images.to(self._device).float() / 255 - self._mean) / self._std
        logits: Tensor = self._net(pixels).float()
        return (logits.softmax(1) if self._exclusive else logits.sigmoid()).cpu()
