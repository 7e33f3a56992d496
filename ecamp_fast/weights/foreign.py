"""Image encoders of others from local files, as timm's models: a ViT of timm or transformers, a ResNet-50."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.strict_json import parse_object
from ecamp_fast.weights.export.to_timm import ARCHITECTURE
from ecamp_fast.weights.file import read_checkpoint
from ecamp_fast.weights.vit_names import is_of_transformers, transformers_to_timm

# What the paper's tasks normalise with, whoever trained the weights; a configuration that says otherwise wins
MEAN, STD = (0.4722,) * 3, (0.3028,) * 3
HEAD_WIDTH = 64  # of every ViT whose file does not say how many heads it has
RESNET_SIZE = 224
_VIT, _RESNET = "blocks.0.attn.qkv.weight", "layer4.2.conv3.weight"
# Where checkpoints of others keep the image encoder
_PREFIXES = (
    "",
    *("module.", "encoder.", "backbone.", "model.", "vit.", "img_encoder.", "image_encoder.", "visual."),
    *("img_encoder_q.model.", "state_dict.", "gloria.img_encoder.model."),
)


@dataclass(frozen=True)
class Foreign:
    """A model of timm without a head, and what it wants of an image.

    size          pixels per side
    mean, std     per channel, of values in 0..1
    architecture  timm's name, which ``arguments`` make this model of
    """

    net: nn.Module
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    architecture: str
    arguments: dict[str, Any]


def open_foreign(path: Path, drop_path: float = 0.0) -> Foreign:
    """The encoder in ``path``; nothing that is in a file is run, and nothing is downloaded.

    path: a folder of timm (``save_for_hf``) or of transformers' ``ViTModel``, or a file (.pth, .safetensors) with the
    tensors of a ViT or a ResNet-50 under timm's or torchvision's names, alone or within a larger model
    Raises ConfigError where it is none of these, DataError where its tensors are damaged or do not fit.
    """
    if path.is_dir():
        file = path / "config.json"
        if not file.exists():
            raise ConfigError(f"{path} is neither a run nor a folder of timm or transformers", "name the folder itself")
        config = _config(file)
        if config.get("model_type") == "vit":
            return _of_transformers(path, config, drop_path)
        if "architecture" in config:
            return _of_timm(path, config, drop_path)
        raise ConfigError(f"{file} is neither timm's nor that of a ViT of transformers", "convert it to timm")
    if not path.exists():
        raise ConfigError(f"{path} does not exist", "name a run, an export, or a file of weights")
    return _of_file(path, drop_path)


def _config(file: Path) -> dict[str, Any]:
    try:
        return parse_object(file.read_bytes())
    except ValueError as error:
        raise DataError(f"{file}: {error}", "restore it from its source") from None


def _of_timm(path: Path, config: dict[str, Any], drop_path: float) -> Foreign:
    import timm

    try:
        net: nn.Module = timm.create_model(
            f"local-dir:{path}", pretrained=True, num_classes=0, drop_path_rate=drop_path
        )
    except (RuntimeError, KeyError, TypeError, OSError, ValueError) as error:
        raise DataError(f"{path} is not read by timm: {error}", "write it again with timm") from None
    known: dict[str, Any] = net.pretrained_cfg  # type: ignore[assignment]
    stated = config.get("model_args", {})
    size = stated.get("img_size") or known["input_size"][-1]
    arguments = stated | {"num_classes": 0}
    size = size[-1] if isinstance(size, list | tuple) else size
    return Foreign(net, int(size), tuple(known["mean"]), tuple(known["std"]), config["architecture"], arguments)


def _of_transformers(path: Path, config: dict[str, Any], drop_path: float) -> Foreign:
    try:
        arguments = {
            "img_size": int(config["image_size"]),
            "patch_size": int(config["patch_size"]),
            "embed_dim": int(config["hidden_size"]),
            "depth": int(config["num_hidden_layers"]),
            "num_heads": int(config["num_attention_heads"]),
            "mlp_ratio": config["intermediate_size"] / config["hidden_size"],
            "qkv_bias": bool(config.get("qkv_bias", True)),
        }
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path / 'config.json'} lacks {error}", "restore it from its source") from None
    file = path / "model.safetensors"
    if not file.exists():
        raise ConfigError(f"{path} has no model.safetensors", "save it with safe_serialization=True")
    tensors = transformers_to_timm(read_checkpoint(file), arguments["depth"])
    mean, std = MEAN, STD
    if (path / "preprocessor_config.json").exists():
        about = _config(path / "preprocessor_config.json")
        mean, std = (tuple(about.get(name) or one) for name, one in (("image_mean", MEAN), ("image_std", STD)))
    return _vit(tensors, arguments, drop_path, path, (mean, std))


def _of_file(path: Path, drop_path: float) -> Foreign:
    tensors = read_checkpoint(path)
    for prefix in _PREFIXES:
        found = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        if _VIT in found and found.get("pos_embed") is not None and found["pos_embed"].ndim == 3:
            return _vit(found, _arguments(found), drop_path, path, (MEAN, STD))
        if _RESNET in found:
            return _resnet50(found, drop_path, path)
    hint = "a folder written by transformers is named itself" if is_of_transformers(tensors) else "convert it to timm"
    raise ConfigError(f"{path} holds neither a ViT nor a ResNet-50 under timm's names", hint)


def _arguments(found: Mapping[str, Tensor]) -> dict[str, Any]:
    """What ``create_model`` is told, as far as the tensors of a ViT tell it."""
    width, _, patch, _ = found["patch_embed.proj.weight"].shape
    cells = found["pos_embed"].shape[1] - 1
    return {
        "img_size": round(cells**0.5) * patch,
        "patch_size": patch,
        "embed_dim": width,
        "depth": 1 + max(int(name.split(".")[1]) for name in found if name.startswith("blocks.")),
        "num_heads": max(1, width // HEAD_WIDTH),
        "mlp_ratio": len(found["blocks.0.mlp.fc1.weight"]) / width,
    }


def _vit(
    tensors: Mapping[str, Tensor],
    sizes: dict[str, Any],
    drop_path: float,
    path: Path,
    normalisation: tuple[tuple[float, ...], tuple[float, ...]],
) -> Foreign:
    import timm

    arguments = {**sizes, "num_classes": 0, "global_pool": "avg", "fc_norm": False}
    net: nn.Module = timm.create_model(ARCHITECTURE, **arguments, drop_path_rate=drop_path)
    return Foreign(_filled(net, tensors, path), sizes["img_size"], *normalisation, ARCHITECTURE, arguments)


def _resnet50(tensors: Mapping[str, Tensor], drop_path: float, path: Path) -> Foreign:
    import timm

    arguments: dict[str, Any] = {"num_classes": 0}
    net: nn.Module = timm.create_model("resnet50", **arguments, drop_path_rate=drop_path)
    return Foreign(_filled(net, tensors, path), RESNET_SIZE, MEAN, STD, "resnet50", arguments)


@torch.no_grad()
def _filled(net: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> nn.Module:
    """The net with the file's tensors, others of the file being passed over.  Raises DataError for what it lacks."""
    wanted = net.state_dict()
    missing = [name for name in wanted if name not in tensors and not name.endswith("num_batches_tracked")]
    wrong = [name for name in wanted if name in tensors and tensors[name].shape != wanted[name].shape]
    if missing or wrong:
        what = f"lacks {missing[0]}" if missing else f"has {wrong[0]} in another shape"
        raise DataError(f"{path} {what} ({len(missing) + len(wrong)} such)", "give the whole encoder")
    net.load_state_dict({name: tensors[name] for name in wanted if name in tensors}, strict=False)
    return net.eval()
