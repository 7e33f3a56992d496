from functools import partial

import pytest
import timm
import torch
from timm.models.vision_transformer import Block as TimmBlock
from torch import nn

from ecamp_fast.model.sequences import SequenceLayout
from ecamp_fast.model.vision import Block, Encoder, ImageDecoder, PatchEmbedding, unpatchify


def test_block_is_timms() -> None:
    ours = Block(24, 3, 4.0).double()
    theirs = TimmBlock(24, 3, mlp_ratio=4.0, qkv_bias=True, norm_layer=partial(nn.LayerNorm, eps=1e-6)).double()
    names = {"attn.qkv": "qkv", "attn.proj": "proj", "mlp.fc1": "fc1", "mlp.fc2": "fc2"}
    state = {}
    for name, tensor in theirs.state_dict().items():
        nn.init.normal_(tensor)
        module, leaf = name.rsplit(".", 1)
        state[f"{names.get(module, module)}.{leaf}"] = tensor
    ours.load_state_dict(state)
    x = torch.randn(2, 7, 24, dtype=torch.float64, requires_grad=True)
    mine = ours(x.flatten(0, 1), SequenceLayout.equal(2, 7)).view_as(x)
    torch.testing.assert_close(mine, theirs(x))
    gradients = [torch.autograd.grad(out.square().sum(), x)[0] for out in (mine, theirs(x))]
    torch.testing.assert_close(*gradients)


def test_grey_embedding_is_the_convolution_of_three_equal_channels() -> None:
    ours = PatchEmbedding(10, 4)
    theirs = nn.Conv2d(3, 10, 4, 4)
    theirs.load_state_dict(ours.state_dict())
    image = torch.randn(2, 1, 8, 12)
    rows = nn.functional.unfold(image, 4, stride=4).transpose(1, 2)
    expected = theirs(image.expand(-1, 3, -1, -1)).flatten(2).transpose(1, 2)
    torch.testing.assert_close(ours(rows), expected, atol=1e-5, rtol=1e-5)


def test_encoder_sees_kept_patches_only(small) -> None:
    recipe = small()
    encoder = Encoder(recipe)
    low = torch.randn(2, 1, 32, 32)
    keep = torch.tensor([[3, 0, 9], [15, 2, 1]])
    latent = encoder(low, keep)
    seen = torch.zeros(2, 1, 4, 4).view(2, 1, 16).scatter(2, keep[:, None], 1.0).view(2, 1, 4, 4)
    seen = seen.repeat_interleave(8, 2).repeat_interleave(8, 3)
    torch.testing.assert_close(encoder(low * seen + 99 * (1 - seen), keep), latent)


def test_tokens_come_in_the_order_of_keep(small) -> None:
    encoder = Encoder(small()).double()
    low = torch.randn(1, 1, 32, 32).double()
    once, turned = encoder(low, torch.tensor([[3, 0, 9]])), encoder(low, torch.tensor([[9, 3, 0]]))
    torch.testing.assert_close(once[:, [0, 3, 1, 2]], turned)


def test_decoder_predicts_every_patch_whatever_the_order(small) -> None:
    recipe = small()
    encoder, decoder = Encoder(recipe).double(), ImageDecoder(recipe).double()
    low = torch.randn(1, 1, 32, 32).double()
    once, turned = (
        decoder(encoder(low, keep), keep) for keep in (torch.tensor([[3, 0, 9]]), torch.tensor([[9, 3, 0]]))
    )
    assert once.shape == (1, 16, 8 * 8 * 3)
    torch.testing.assert_close(once, turned)
    assert (once[0, 1] - once[0, 2]).abs().max() > 1e-6  # masked patches differ by their places


@pytest.mark.parametrize("patch", [2, 8])
def test_unpatchify_lays_channels_fastest(patch: int) -> None:
    grid = 3
    prediction = torch.randn(2, grid**2, patch**2 * 3)
    picture = unpatchify(prediction, patch)
    assert picture.is_contiguous(memory_format=torch.channels_last)
    for row, column, y, x, c in [(0, 0, 0, 1, 2), (2, 1, patch - 1, 0, 1), (1, 2, 1, patch - 1, 0)]:
        value = prediction[1, row * grid + column, (y * patch + x) * 3 + c]
        assert picture[1, c, row * patch + y, column * patch + x] == value


def test_released_encoder_is_a_timm_vit(small) -> None:
    """The whole encoder with all patches equals timm's ViT of the same sizes."""
    recipe = small()
    ours = Encoder(recipe).double()
    theirs = timm.models.VisionTransformer(
        img_size=32,
        patch_size=8,
        embed_dim=16,
        depth=2,
        num_heads=2,
        num_classes=0,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
    ).double()
    names = {"class_token": "cls_token", "positions": "pos_embed", "patch.weight": "patch_embed.proj.weight"}
    names["patch.bias"] = "patch_embed.proj.bias"
    state = {}
    for name, tensor in ours.state_dict().items():
        for mine, other in (("qkv", "attn.qkv"), ("proj", "attn.proj"), ("fc1", "mlp.fc1"), ("fc2", "mlp.fc2")):
            name = name.replace(f".{mine}.", f".{other}.")
        state[names.get(name, name)] = tensor
    theirs.load_state_dict(state)
    image = torch.randn(2, 1, 32, 32).double()
    tokens = ours(image, torch.arange(16).expand(2, -1))
    torch.testing.assert_close(tokens, theirs.forward_features(image.expand(-1, 3, -1, -1)))


def test_projections_made_once_for_all_samples_are_those_of_each(small) -> None:
    recipes = small("paper"), small("paper", "share_projections=false")
    shared, each = (ImageDecoder(recipe) for recipe in recipes)
    each.load_state_dict(shared.state_dict())
    width = recipes[0].model.vision.width
    keep = torch.stack([torch.randperm(recipes[0].patches)[: recipes[0].kept_patches] for _ in range(3)])
    latent = torch.randn(3, 1 + keep.shape[1], width)
    cotangent = torch.randn(3, recipes[0].patches, shared.predict.out_features)
    outputs = []
    for decoder in (shared, each):
        leaf = latent.clone().requires_grad_()
        out = decoder(leaf, keep)
        outputs.append([out, *torch.autograd.grad(out, [leaf, *decoder.parameters()], cotangent)])
    for one, other in zip(*outputs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    assert recipes[0].identity() == recipes[1].identity()  # the same numbers: a run may be resumed with either
