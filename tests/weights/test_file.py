import json
import logging
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ecamp_fast.commands.downstream.imports import command
from ecamp_fast.config import Recipe
from ecamp_fast.errors import ConfigError, DataError, NumericsError
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.weights.file import import_weights, load_weights, save_weights
from ecamp_fast.weights.released_names import to_released

FIXTURE = Path(__file__).parents[1] / "data" / "official_tiny"
VOCABULARY = 30


@pytest.fixture
def recipe(small) -> Recipe:
    return small("official")


@pytest.fixture
def source(tmp_path: Path, recipe: Recipe) -> tuple[Path, Ecamp]:
    """A released checkpoint as torch.save writes it, and the model with its weights."""
    torch.manual_seed(5)
    model = Ecamp(recipe, VOCABULARY)
    tensors = {name: tensor.clone() for name, tensor in to_released(model.state_dict(), recipe).items()}
    torch.save({"model": tensors, "epoch": 3}, tmp_path / "released.pth")
    return tmp_path / "released.pth", model


def test_import_then_load_gives_the_same_model(source, tmp_path: Path, recipe: Recipe) -> None:
    file, original = source
    out = tmp_path / "w.safetensors"
    report = import_weights(file, out, recipe)
    assert report.missing == []
    model = Ecamp(recipe, VOCABULARY)
    loaded = load_weights(model, out)
    assert loaded.missing == [] and loaded.ignored == []
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in original.state_dict().items())


def test_file_tells_its_sizes(source, tmp_path: Path, recipe: Recipe) -> None:
    out = tmp_path / "w.safetensors"
    import_weights(source[0], out, recipe)
    with safe_open(out, "pt") as file:
        about = json.loads(file.metadata()["ecamp_fast"])
    assert about["format"] == 1 and len(about["source_sha256"]) == 64
    assert about["sizes"]["vocab_size"] == VOCABULARY and about["sizes"]["max_tokens"] == 24
    assert about["sizes"]["model"]["vision"]["heads"] == 2


def test_partial_file_leaves_the_rest_as_it_was(source, tmp_path: Path, recipe: Recipe, caplog) -> None:
    tensors = {k: v for k, v in to_released(source[1].state_dict(), recipe).items() if k.startswith("blocks.")}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, tmp_path / "mae.safetensors")
    report = import_weights(tmp_path / "mae.safetensors", tmp_path / "w.safetensors", recipe)
    assert len(report.loaded) == 24 and "encoder.class_token" in report.missing
    with safe_open(tmp_path / "w.safetensors", "pt") as file:
        assert json.loads(file.metadata()["ecamp_fast"])["sizes"]["vocab_size"] is None
    model = Ecamp(recipe, VOCABULARY + 9)  # no vocabulary in the file: any will do
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with caplog.at_level(logging.INFO):
        loaded = load_weights(model, tmp_path / "w.safetensors")
    for name, tensor in model.state_dict().items():
        expected = source[1].state_dict()[name] if name.startswith("encoder.blocks.") else before[name]
        assert torch.equal(tensor, expected), name
    assert "encoder.class_token" in loaded.missing
    assert "24 tensors read; not in the file: decoder." in caplog.text


def test_another_vocabulary_names_both_sizes(source, tmp_path: Path, recipe: Recipe) -> None:
    import_weights(source[0], tmp_path / "w.safetensors", recipe)
    with pytest.raises(ConfigError, match="vocabulary has 30 entries, this model's 44"):
        load_weights(Ecamp(recipe, 44), tmp_path / "w.safetensors")


def test_the_image_side_alone_does_not_mind_another_vocabulary(tmp_path: Path, recipe: Recipe) -> None:
    torch.manual_seed(1)
    donor, model = Ecamp(recipe, VOCABULARY), Ecamp(recipe, VOCABULARY + 7)
    save_weights(donor, tmp_path / "donor.safetensors")
    text = {name: value.clone() for name, value in model.state_dict().items() if name.startswith("text.")}
    report = load_weights(model, tmp_path / "donor.safetensors", "image")
    for name, value in model.state_dict().items():
        assert torch.equal(value, text[name] if name in text else donor.state_dict()[name]), name
    assert text and report.missing == sorted(text) and not report.ignored


def test_other_sizes_are_refused_before_anything_changes(source, tmp_path: Path, small) -> None:
    import_weights(source[0], tmp_path / "w.safetensors", small("official"))
    model = Ecamp(small("official", "model.text.ffn=24"), VOCABULARY)
    before = model.encoder.patch.weight.clone()
    with pytest.raises(ConfigError, match=r"fc1\.bias is \(20,\) in the file, \(24,\) in the model"):
        load_weights(model, tmp_path / "w.safetensors")
    assert torch.equal(model.encoder.patch.weight, before)


def test_import_of_other_sizes_writes_nothing(source, tmp_path: Path, small) -> None:
    with pytest.raises(ConfigError, match=r"blocks\.0\.mlp"):
        import_weights(source[0], tmp_path / "w.safetensors", small("official", "model.vision.mlp_ratio=3"))
    assert [path.name for path in tmp_path.iterdir()] == ["released.pth"]


@pytest.mark.parametrize("tied", [False, True])
def test_save_and_load(tmp_path: Path, small, tied: bool) -> None:
    recipe = small("paper", f"model.tie_embeddings={str(tied).lower()}")
    first, second = Ecamp(recipe, VOCABULARY), Ecamp(recipe, VOCABULARY)
    save_weights(first, tmp_path / "w.safetensors")
    assert load_weights(second, tmp_path / "w.safetensors").missing == []
    assert all(torch.equal(second.state_dict()[name], tensor) for name, tensor in first.state_dict().items())
    assert (second.text.head.vocabulary is second.text.embeddings.word) == tied


def test_masters_are_saved_in_place_of_the_models_own(tmp_path: Path, recipe: Recipe) -> None:
    model = Ecamp(recipe, VOCABULARY).bfloat16()
    master = torch.randn_like(model.encoder.norm.bias, dtype=torch.float32)
    save_weights(model, tmp_path / "w.safetensors", {"encoder.norm.bias": master})
    found = load_file(tmp_path / "w.safetensors")
    assert torch.equal(found["encoder.norm.bias"], master)
    assert torch.equal(found["encoder.norm.weight"], model.encoder.norm.weight)


def test_untied_weights_do_not_enter_a_tied_model(tmp_path: Path, small) -> None:
    save_weights(Ecamp(small(), VOCABULARY), tmp_path / "w.safetensors")
    with pytest.raises(ConfigError, match=r"set model\.tie_embeddings: false"):
        load_weights(Ecamp(small("paper", "model.tie_embeddings=true"), VOCABULARY), tmp_path / "w.safetensors")


def test_files_of_others_are_not_loaded_directly(source, tmp_path: Path, recipe: Recipe) -> None:
    model = Ecamp(recipe, VOCABULARY)
    for file in (source[0], FIXTURE / "checkpoint.safetensors"):
        with pytest.raises(DataError, match="ecamp-fast import"):
            load_weights(model, file)
    save_file({"unknown": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(DataError, match="holds no tensor of ECAMP, MAE, MRM or a ViT"):
        import_weights(tmp_path / "x.safetensors", tmp_path / "w.safetensors", recipe)


def fixture_sizes() -> list[str]:
    config = json.loads((FIXTURE / "config.json").read_text())
    vision, bert = config["vision"], config["bert"]
    return [
        f"model.vision={{width: {vision['embed_dim']}, depth: {vision['depth']}, heads: {vision['num_heads']}}}",
        f"model.decoder={{width: {vision['decoder_embed_dim']}, depth: {vision['decoder_depth']}, heads: 2}}",
        f"model.text={{width: {bert['hidden_size']}, depth: {bert['num_hidden_layers']}, heads: 2, "
        f"ffn: {bert['intermediate_size']}}}",
        f"text.max_tokens={bert['max_position_embeddings']}",
    ]


def test_command(tmp_path: Path) -> None:
    out = tmp_path / "w.safetensors"
    arguments = [str(FIXTURE / "checkpoint.safetensors"), str(out)]
    for override in fixture_sizes():
        arguments += ["--set", override]
    result = CliRunner().invoke(command, [*arguments, "--json"], catch_exceptions=False)
    facts = json.loads(result.output)
    assert result.exit_code == 0 and facts["missing"] == [] and facts["out"] == str(out)
    assert any(name.startswith("text.fusion.") for name in load_file(out))
    with pytest.raises(ConfigError, match="exists"):
        CliRunner().invoke(command, arguments, catch_exceptions=False)
    again = CliRunner().invoke(command, [*arguments, "--overwrite"], catch_exceptions=False)
    assert "not in the file: nothing" in again.output


def test_command_with_the_wrong_recipe_names_the_tensor(tmp_path: Path) -> None:
    arguments = [str(FIXTURE / "checkpoint.safetensors"), str(tmp_path / "w.safetensors")]
    with pytest.raises(ConfigError, match=r"cls_token is \(1, 1, 32\) in the file, \(1, 1, 768\) in the model"):
        CliRunner().invoke(command, arguments, catch_exceptions=False)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.fault("N1.never-exported", "N1.init-from")
def test_what_is_not_finite_is_neither_saved_nor_loaded_nor_converted(
    source, tmp_path: Path, recipe: Recipe, value: float
) -> None:
    model, out = source[1], tmp_path / "w.safetensors"
    save_weights(model, out)
    good = out.read_bytes()
    masters = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    bad_name = next(name for name in masters if name.startswith("encoder.blocks.1."))
    masters[bad_name].view(-1)[-1] = value
    with pytest.raises(NumericsError, match=bad_name) as error:
        save_weights(model, out, masters)
    assert error.value.exit_code == 6 and out.read_bytes() == good

    with safe_open(out, "pt") as file:
        about = file.metadata()
    save_file(masters, tmp_path / "bad.safetensors", about)
    other = Ecamp(recipe, VOCABULARY)
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(DataError, match=f"bad.safetensors: {bad_name} is not finite"):
        load_weights(other, tmp_path / "bad.safetensors")
    assert all(torch.equal(tensor, before[name]) for name, tensor in other.state_dict().items())

    torch.save({"model": to_released(masters, recipe)}, tmp_path / "bad.pth")
    with pytest.raises(DataError, match=r"bad.pth: .* is not finite"):
        import_weights(tmp_path / "bad.pth", tmp_path / "never.safetensors", recipe)
    assert not (tmp_path / "never.safetensors").exists()
