import pytest
import timm
import torch
from torch import Tensor

from ecamp_fast.config import Recipe, load_recipe
from ecamp_fast.errors import ConfigError
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.weights.released_names import (
    BERT,
    FUSION,
    HEAD,
    LEGACY_FUSION,
    POOLER,
    WORDS,
    from_released,
    to_released,
)

VOCABULARY = 30
ENCODER = ("cls_token", "pos_embed", "patch_embed.", "blocks.", "norm.")


@pytest.fixture(scope="module")
def full_size() -> dict[str, Tensor]:
    """Every tensor of a released checkpoint at its released size, on meta."""
    recipe = load_recipe("official")
    with torch.device("meta"):
        return to_released(Ecamp(recipe, 30000).state_dict(), recipe)


@pytest.fixture
def recipe(small) -> Recipe:
    return small("official")


@pytest.fixture
def released(recipe: Recipe) -> dict[str, Tensor]:
    """A released checkpoint of small sizes with random numbers."""
    tensors = to_released(Ecamp(recipe, VOCABULARY).state_dict(), recipe)
    return {name: torch.randn_like(tensor) for name, tensor in tensors.items()}


def fresh(recipe: Recipe) -> Ecamp:
    torch.manual_seed(99)
    return Ecamp(recipe, VOCABULARY)


def test_golden_counts(full_size: dict[str, Tensor]) -> None:
    """350 entries, 183,425,240 parameters, 222 tensors without decay and 125 with."""
    assert len(full_size) == 350
    parameters = {k: v for k, v in full_size.items() if k != HEAD + "decoder.bias"}  # the second name of one tensor
    assert sum(tensor.numel() for tensor in parameters.values()) == 183_425_240
    trained = {k: v for k, v in parameters.items() if k not in ("pos_embed", "decoder_pos_embed")}
    assert sum(tensor.numel() for tensor in trained.values()) == 183_173_080
    free = [name for name, tensor in trained.items() if tensor.ndim == 1 or name.endswith("bias")]
    assert (len(free), len(trained) - len(free)) == (222, 125)
    assert sum(trained[name].numel() for name in free) == 250_934


def test_golden_parts(full_size: dict[str, Tensor]) -> None:
    def count(*prefixes: str) -> int:
        names = [k for k in full_size if k.startswith(prefixes) and k != HEAD + "decoder.bias"]
        return sum(full_size[name].numel() for name in names)

    assert count("patch_embed.") == 590_592
    assert count("blocks.") == 85_054_464
    assert count("decoder_") == 13_499_136
    assert count("super_res.") == 168
    assert count("bert_mlp.") == count(POOLER) == 590_592
    assert count("bert_encoder.") == 83_536_176
    assert count(BERT + "embeddings.") == 23_239_680
    assert count(FUSION) == 7_681_536
    assert count(BERT + "encoder.layer.") == 28_362_240
    assert count(HEAD) == 23_662_128


def test_golden_classifier_lacks_only_its_head(full_size: dict[str, Tensor]) -> None:
    with torch.device("meta"):
        classifier = timm.create_model("vit_base_patch16_224", num_classes=14, global_pool="avg", fc_norm=True)
    wanted = set(classifier.state_dict())
    assert wanted - set(full_size) == {"head.weight", "head.bias", "fc_norm.weight", "fc_norm.bias"}
    assert len(set(full_size) - wanted) == 202
    assert all(full_size[name].shape == classifier.state_dict()[name].shape for name in wanted & set(full_size))


def test_there_and_back(recipe: Recipe, released: dict[str, Tensor]) -> None:
    model = fresh(recipe)
    state, report = from_released(released, recipe, model.state_dict())
    assert report.missing == [] and set(report.ignored) == {POOLER + "weight", POOLER + "bias", HEAD + "decoder.bias"}
    model.load_state_dict(state)
    back = to_released(model.state_dict(), recipe)
    assert set(back) == set(released) and not back[POOLER + "weight"].any()
    assert all(torch.equal(back[name], released[name]) for name in report.loaded)


def test_queries_keys_and_values_find_their_rows(recipe: Recipe, released: dict[str, Tensor]) -> None:
    state, _ = from_released(released, recipe, fresh(recipe).state_dict())
    width = recipe.model.text.width
    value = released[BERT + "encoder.layer.1.attention.self.value.weight"]
    assert torch.equal(state["text.layers.1.attention.qkv.weight"][2 * width :], value)
    key = released[FUSION + "cross_self_attention.key.bias"]
    assert torch.equal(state["text.fusion.key_value.bias"][:width], key)


def test_older_names_are_known(recipe: Recipe, released: dict[str, Tensor]) -> None:
    model = fresh(recipe)
    older = {f"module.{name.replace(FUSION, LEGACY_FUSION)}": tensor for name, tensor in released.items()}
    older["module." + BERT + "embeddings.position_ids"] = torch.arange(24)[None]
    del older["module." + HEAD + "bias"]  # its twin remains
    older["module." + HEAD + "decoder.bias"] = released[HEAD + "bias"]
    state, report = from_released(older, recipe, model.state_dict())
    now, _ = from_released(released, recipe, model.state_dict())
    assert BERT + "embeddings.position_ids" in report.ignored
    assert state.keys() == now.keys() and all(torch.equal(state[name], now[name]) for name in state)


def test_encoder_of_mae(recipe: Recipe, released: dict[str, Tensor]) -> None:
    encoder = {name: tensor for name, tensor in released.items() if name.startswith(ENCODER)}
    state, report = from_released(encoder, recipe, fresh(recipe).state_dict())
    assert set(report.loaded) == set(encoder) and report.ignored == []
    assert {name.split(".")[0] for name in report.missing} == {"decoder", "super_resolution", "text"}
    assert torch.equal(state["encoder.positions"], encoder["pos_embed"])


def test_whole_mae_has_more_decoder_blocks(recipe: Recipe, released: dict[str, Tensor]) -> None:
    mae = {k: v for k, v in released.items() if k.startswith((*ENCODER, "mask_token", "decoder_"))}
    further = {k.replace("decoder_blocks.0", "decoder_blocks.4"): v for k, v in mae.items() if "decoder_blocks.0" in k}
    state, report = from_released(mae | further, recipe, fresh(recipe).state_dict())
    assert set(report.loaded) == set(mae) and set(report.ignored) == set(further)
    assert torch.equal(state["decoder.predict.weight"], mae["decoder_pred.weight"])


def test_a_fused_matrix_needs_all_its_parts(recipe: Recipe, released: dict[str, Tensor]) -> None:
    part = BERT + "encoder.layer.0.attention.self.query.weight"
    del released[part]
    state, report = from_released(released, recipe, fresh(recipe).state_dict())
    assert "text.layers.0.attention.qkv.weight" not in state
    assert report.missing == ["text.layers.0.attention.qkv.weight"]
    assert part.replace("query", "key") in report.ignored


def test_other_shapes_are_refused_by_name(recipe: Recipe, released: dict[str, Tensor]) -> None:
    released["blocks.1.mlp.fc1.weight"] = torch.zeros(60, 16)
    with pytest.raises(
        ConfigError, match=r"blocks.1.mlp.fc1.weight is \(60, 16\) in the file, \(64, 16\) in the model"
    ):
        from_released(released, recipe, fresh(recipe).state_dict())


def test_another_vocabulary_is_refused_with_both_sizes(recipe: Recipe, released: dict[str, Tensor]) -> None:
    released[WORDS] = torch.zeros(VOCABULARY + 7, recipe.model.text.width)
    with pytest.raises(ConfigError, match="vocabulary has 37 entries, this model's 30"):
        from_released(released, recipe, fresh(recipe).state_dict())


def test_untied_file_does_not_enter_a_tied_model(small, released: dict[str, Tensor]) -> None:
    tied = small("official", "model.tie_embeddings=true")
    with pytest.raises(ConfigError, match=r"set model\.tie_embeddings: false"):
        from_released(released, tied, fresh(tied).state_dict())
    released[HEAD + "decoder.weight"] = released[WORDS]
    state, _ = from_released(released, tied, fresh(tied).state_dict())
    assert torch.equal(state["text.embeddings.word"], released[WORDS])


def test_parts_that_a_model_lacks_are_ignored(small, released: dict[str, Tensor]) -> None:
    images_only = small("mae", "model.decoder.depth=1")
    state, report = from_released(released, images_only, Ecamp(images_only, VOCABULARY).state_dict())
    assert {name.split(".")[0] for name in state} == {"encoder", "decoder"} and report.missing == []
    assert WORDS in report.ignored and "super_res.conv1.weight" in report.ignored
