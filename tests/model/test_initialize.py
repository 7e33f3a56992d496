from pathlib import Path

import pytest
import torch

from ecamp_fast.config import load_recipe
from ecamp_fast.model.ecamp import Ecamp

SMALL = Path(__file__).resolve().parents[1] / "data" / "small.yaml"

VOCABULARY = 300


@pytest.fixture(scope="module")
def model() -> Ecamp:
    torch.manual_seed(0)
    return Ecamp(load_recipe(SMALL), VOCABULARY)


def bound(inputs: int, outputs: int) -> float:
    return (6 / (inputs + outputs)) ** 0.5


def assert_uniform(weight: torch.Tensor, limit: float) -> None:
    assert weight.abs().max().item() == pytest.approx(limit, rel=0.02)
    assert weight.std().item() == pytest.approx(limit / 3**0.5, rel=0.05)


def test_linear_layers_are_xavier_with_zero_bias(model: Ecamp) -> None:
    assert_uniform(model.text.layers[0].ffn.fc1.weight, bound(192, 384))
    assert_uniform(model.decoder.predict.weight, bound(128, 768))
    assert_uniform(model.encoder.blocks[0].qkv.weight, bound(192, 576))  # one matrix in the released code too
    for module in (model.text.bridge, model.encoder.blocks[0].qkv, model.text.layers[0].attention.qkv):
        assert module.bias.abs().max() == 0


def test_matrices_fused_here_are_drawn_one_by_one(model: Ecamp) -> None:
    for part in (*model.text.layers[0].attention.qkv.weight.chunk(3), *model.text.fusion.key_value.weight.chunk(2)):
        assert_uniform(part, bound(192, 192))


def test_patch_embedding_counts_as_one_matrix(model: Ecamp) -> None:
    assert_uniform(model.encoder.patch.weight, bound(768, 192))
    assert_uniform(model.encoder.patch.bias, 768**-0.5)


def test_tables_and_tokens_are_normal(model: Ecamp) -> None:
    for tensor in (model.text.embeddings.word[1:], model.text.embeddings.position):
        assert tensor.std().item() == pytest.approx(0.02, rel=0.05)
    for token in (model.encoder.class_token, model.decoder.mask_token):
        assert token.std().item() == pytest.approx(0.02, rel=0.25)
    assert model.text.embeddings.word[0].abs().max() == 0
    assert_uniform(model.text.head.vocabulary, bound(192, VOCABULARY))


def test_convolutions_keep_torchs_default(model: Ecamp) -> None:
    for convolution in (model.super_resolution.conv1, model.super_resolution.conv2):
        assert convolution.weight.abs().max().item() == pytest.approx(27**-0.5, rel=0.1)
        assert 0 < convolution.bias.abs().max() <= 27**-0.5


def test_tied_vocabulary_keeps_the_embeddings_distribution() -> None:
    model = Ecamp(load_recipe(SMALL, ["model.tie_embeddings=true"]), VOCABULARY)
    assert model.text.head.vocabulary is model.text.embeddings.word
    assert model.text.head.vocabulary[1:].std().item() == pytest.approx(0.02, rel=0.05)


def test_same_seed_same_weights() -> None:
    first, second = ([torch.manual_seed(3), Ecamp(load_recipe(SMALL), 50).state_dict()][1] for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
