"""The encoder as transformers reads it: ``AutoModel.from_pretrained(FOLDER)`` and ``AutoImageProcessor``."""

from pathlib import Path

from safetensors.torch import save_file

from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.model.vision import CHANNELS, EPSILON
from ecamp_fast.weights.vit_names import to_transformers


def write(model: Ecamp, out: Path) -> None:
    """``config.json``, ``model.safetensors`` and ``preprocessor_config.json`` in ``out``, which must exist.

    Features are the mean of ``last_hidden_state[:, 1:]``; the pooler that ``ViTModel`` would add has no weights here.
    """
    from transformers import CLIPImageProcessor, ViTConfig

    recipe = model.recipe
    vision, pixels = recipe.model.vision, recipe.image
    config = ViTConfig(
        hidden_size=vision.width,
        num_hidden_layers=vision.depth,
        num_attention_heads=vision.heads,
        intermediate_size=int(vision.width * vision.mlp_ratio),
        hidden_act="gelu",
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        layer_norm_eps=EPSILON,
        image_size=pixels.low_size,
        patch_size=vision.patch,
        num_channels=CHANNELS,
        qkv_bias=True,
        architectures=["ViTModel"],
    )
    config.save_pretrained(out)
    state = to_transformers(model.state_dict(), recipe)
    tensors = {name: tensor.float().contiguous() for name, tensor in state.items()}
    save_file(tensors, out / "model.safetensors", {"format": "pt"})
    CLIPImageProcessor(
        size={"shortest_edge": pixels.low_size},
        crop_size={"height": pixels.low_size, "width": pixels.low_size},
        image_mean=[pixels.mean] * CHANNELS,
        image_std=[pixels.std] * CHANNELS,
        do_convert_rgb=True,
    ).save_pretrained(out)
