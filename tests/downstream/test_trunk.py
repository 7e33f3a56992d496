"""The trunk against the models that it stands for: ours, transformers', torchvision's, timm's."""

from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from timm.models import save_for_hf
from torch import nn
from transformers import ViTConfig, ViTModel

from ecamp_fast.downstream.features import untrained
from ecamp_fast.downstream.trunk import open_trunk
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.model.ecamp import Ecamp, image_tokens
from ecamp_fast.weights.released_names import to_released

MEAN, STD = 0.4722, 0.3028


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (3, 1, 32, 32), dtype=torch.uint8)


def normalised(images: torch.Tensor) -> torch.Tensor:
    return ((images.float() / 255 - MEAN) / STD).expand(-1, 3, -1, -1)


@torch.no_grad()
def test_our_encoder_before_its_norm_and_after(tiny: Ecamp, tiny_run: Path, images: torch.Tensor) -> None:
    trunk = open_trunk(tiny_run)
    assert (trunk.size, trunk.grid, trunk.width) == (32, 4, 16)
    for one in (trunk, tiny):
        with pytest.raises(ConfigError, match="99 parts a side"):
            one.features(images, 99)
    for pooling in (1, 2):
        torch.testing.assert_close(
            trunk.features(images, pooling), tiny.features(images, pooling), atol=1e-5, rtol=1e-5
        )
    assert not any(one.requires_grad for one in trunk.net.norm.parameters()) and trunk.net.pos_embed.requires_grad
    tokens = trunk(images)
    assert tokens.shape == (3, 16, 16)
    wanted = image_tokens(tiny.encoder, tiny.recipe, images)[:, 1:]
    torch.testing.assert_close(tiny.encoder.norm(tokens), wanted, atol=1e-5, rtol=1e-5)
    assert (tokens - wanted).abs().max() > 0.1  # they are those before the norm


@torch.no_grad()
def test_levels_are_the_tokens_behind_each_block(tiny_run: Path, images: torch.Tensor) -> None:
    trunk = open_trunk(tiny_run)
    first, last = trunk.levels(images, (0, 1))
    torch.testing.assert_close(last, trunk(images))
    assert first.shape == last.shape and (first - last).abs().max() > 1e-2


@torch.no_grad()
def test_first_weights_are_those_of_the_recipe_and_the_seed(tiny: Ecamp, tiny_run: Path, images: torch.Tensor) -> None:
    found = open_trunk(f"untrained:{tiny_run}:5").features(images)
    torch.testing.assert_close(found, untrained(tiny.recipe, 5).features(images), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(found, open_trunk(f"untrained:{tiny_run}").features(images))


@torch.no_grad()
def test_a_vit_of_transformers_is_read_to_the_last_digit(tmp_path: Path, images: torch.Tensor) -> None:
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 96}
    theirs = ViTModel(ViTConfig(**sizes, image_size=32, patch_size=8, layer_norm_eps=1e-6), add_pooling_layer=False)
    theirs.eval().save_pretrained(tmp_path)
    trunk = open_trunk(tmp_path)
    wanted = theirs(pixel_values=normalised(images)).last_hidden_state[:, 1:]
    torch.testing.assert_close(trunk.net.norm(trunk(images)), wanted, atol=1e-6, rtol=1e-6)


@torch.no_grad()
def test_a_resnet_is_read_from_a_file_of_torchvision(tmp_path: Path) -> None:
    theirs = torchvision.models.resnet50(weights=None).eval()
    torch.save(theirs.state_dict(), tmp_path / "r.pth")
    images = torch.randint(0, 256, (2, 1, 64, 64), dtype=torch.uint8)
    trunk = open_trunk(tmp_path / "r.pth", size=64)
    body = nn.Sequential(*list(theirs.children())[:-2])
    torch.testing.assert_close(trunk(images), body(normalised(images)).flatten(2).mT)
    assert (trunk.grid, trunk.width) == (2, 2048)


@torch.no_grad()
def test_a_folder_of_timm_brings_its_own_normalisation(tmp_path: Path, images: torch.Tensor) -> None:
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2, "num_classes": 0}
    theirs = timm.create_model("vit_base_patch16_224", **sizes).eval()
    theirs.pretrained_cfg = {**theirs.pretrained_cfg, "mean": (0.1, 0.2, 0.3), "std": (0.5, 0.6, 0.7)}
    save_for_hf(theirs, str(tmp_path), model_args=sizes, safe_serialization=True)
    trunk = open_trunk(tmp_path)
    pixels = (images.float() / 255 - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)) / torch.tensor([0.5, 0.6, 0.7]).view(
        3, 1, 1
    )
    torch.testing.assert_close(trunk.net.norm(trunk(images)), theirs.forward_features(pixels)[:, 1:])


def test_released_names_within_a_larger_file(tiny: Ecamp, tmp_path: Path, images: torch.Tensor) -> None:
    named = {f"module.{name}": one.clone() for name, one in to_released(tiny.state_dict(), tiny.recipe).items()}
    save_file(named, tmp_path / "released.safetensors")
    trunk = open_trunk(tmp_path / "released.safetensors")
    assert trunk.net.blocks[0].attn.num_heads == 1  # 64 a head, where a file does not say
    assert trunk(images).shape == (3, 16, 16)


def test_another_size_resamples_the_position_table(tiny_run: Path) -> None:
    trunk = open_trunk(tiny_run, size=64)
    assert trunk(torch.zeros(1, 1, 64, 64, dtype=torch.uint8)).shape == (1, 64, 16)
    with pytest.raises(ConfigError, match="patches"):
        open_trunk(tiny_run, size=60)


def test_a_frozen_trunk_stays_in_evaluation_mode(tiny_run: Path) -> None:
    trunk = open_trunk(tiny_run, drop_path=0.5)
    trunk.freeze()
    model = nn.ModuleList([trunk]).train()
    assert not any(module.training for module in trunk.modules()) and model.training
    assert not any(parameter.requires_grad for parameter in trunk.parameters())


def test_what_is_no_encoder_is_refused(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(2)}, tmp_path / "x.safetensors")
    (tmp_path / "folder").mkdir()
    for source in (tmp_path / "none", tmp_path / "folder", tmp_path / "x.safetensors", "untrained:nowhere:seed"):
        with pytest.raises(ConfigError):
            open_trunk(source)
    (tmp_path / "folder" / "config.json").write_text("{")
    with pytest.raises(DataError):
        open_trunk(tmp_path / "folder")
