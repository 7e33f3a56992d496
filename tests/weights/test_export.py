"""Weights that go anywhere: what other libraries make of them, and what comes back."""

import hashlib
import json
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file

import ecamp_fast
from ecamp_fast.commands.downstream.export import command
from ecamp_fast.config import Recipe
from ecamp_fast.errors import ConfigError, DataError, EnvironmentFault
from ecamp_fast.model.ecamp import Ecamp, image_tokens
from ecamp_fast.run.rundir import RunDir
from ecamp_fast.shards.builder.build import build_phantoms
from ecamp_fast.shards.format.manifest import read_manifest
from ecamp_fast.weights.export import to_onnx, to_ours
from ecamp_fast.weights.file import import_weights
from ecamp_fast.weights.released_names import to_released

FILES = {"timm": "model.safetensors", "transformers": "model.safetensors", "ours": "weights.safetensors"}


DEEP = Image.fromarray(np.full((8, 8), 40_000, np.uint16))  # as Pillow makes grey of it, all is white


@pytest.fixture(scope="module")
def model(small: Callable[..., Recipe]) -> Ecamp:
    """No weight is that of its neighbour, or of its first value: norms and the class token among them."""
    torch.manual_seed(3)
    model = Ecamp(small("official"), 30).eval()
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model


@pytest.fixture(scope="module")
def run(model: Ecamp, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "a run"
    folder.mkdir()
    to_ours.write(model, folder)
    return folder


@pytest.fixture(scope="module")
def out(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported")
    done = CliRunner().invoke(command, [str(run), str(out)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return out


@pytest.fixture(scope="module")
def pixels(model: Ecamp) -> torch.Tensor:
    """Normalised, one channel."""
    return torch.randn(4, 1, model.recipe.image.low_size, model.recipe.image.low_size)


@pytest.fixture(scope="module")
def tokens(model: Ecamp, pixels: torch.Tensor) -> torch.Tensor:
    every = torch.arange(model.recipe.patches).expand(len(pixels), -1)
    with torch.no_grad():
        return model.encoder(pixels, every)


def apart(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).abs().max() / wanted.abs().max())


def test_timm_gives_the_same_features(out: Path, pixels: torch.Tensor, tokens: torch.Tensor) -> None:
    import timm

    loaded = timm.create_model(f"local-dir:{out / 'timm'}", pretrained=True).eval()
    with torch.no_grad():
        features, every = loaded(pixels.expand(-1, 3, -1, -1)), loaded.forward_features(pixels.expand(-1, 3, -1, -1))
    assert apart(features, tokens[:, 1:].mean(1)) < 1e-5 and apart(every, tokens) < 1e-5
    assert apart(features, tokens[:, 0]) > 1e-2  # not the class token, which timm pools by default


def test_transformers_gives_the_same_tokens(out: Path, pixels: torch.Tensor, tokens: torch.Tensor) -> None:
    from transformers import AutoModel

    folder = out / "transformers"
    loaded, told = AutoModel.from_pretrained(folder, add_pooling_layer=False, output_loading_info=True)
    assert not any(told.values()), told
    with torch.no_grad():
        found = loaded.eval()(pixel_values=pixels.expand(-1, 3, -1, -1)).last_hidden_state
    assert apart(found, tokens) < 1e-5


def test_onnx_takes_any_batch(run: Path, tmp_path: Path, pixels: torch.Tensor, tokens: torch.Tensor) -> None:
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    onnxruntime = pytest.importorskip("onnxruntime", reason="nothing is installed that runs ONNX files")
    done = CliRunner().invoke(command, [str(run), str(tmp_path / "out"), "--to", "onnx"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    session = onnxruntime.InferenceSession(str(tmp_path / "out" / "onnx" / "model.onnx"))
    for batch in (1, 4, 7):
        rows = torch.arange(batch) % len(pixels)
        every, features = session.run(None, {"pixels": pixels[rows].expand(-1, 3, -1, -1).numpy()})
        assert apart(torch.from_numpy(every), tokens[rows]) < 1e-5
        assert apart(torch.from_numpy(features), tokens[rows, 1:].mean(1)) < 1e-5


def test_ours_is_the_whole_model(out: Path, run: Path, model: Ecamp) -> None:
    written, whole = load_file(out / "ours" / "weights.safetensors"), model.state_dict()
    assert written.keys() == whole.keys() and all(torch.equal(written[name], whole[name]) for name in whole)
    assert (out / "ours" / "recipe.yaml").read_text() == (run / "recipe.yaml").read_text()


@pytest.mark.parametrize("form", FILES)
@pytest.mark.parametrize("named", ["folder", "file"])
def test_what_was_exported_is_read_back_to_the_bit(
    out: Path, model: Ecamp, tmp_path: Path, form: str, named: str
) -> None:
    source = out / form if named == "folder" else out / form / FILES[form]
    report = import_weights(source, tmp_path / "again.safetensors", model.recipe)
    again, whole = load_file(tmp_path / "again.safetensors"), model.state_dict()
    wanted = whole.keys() if form == "ours" else {name for name in whole if name.startswith("encoder.")}
    assert again.keys() == wanted and all(torch.equal(again[name], whole[name]) for name in wanted)
    assert report.missing == sorted(whole.keys() - wanted) and report.ignored == []


def test_more_blocks_than_the_recipe_has_are_told(out: Path, model: Ecamp, tmp_path: Path) -> None:
    vision = model.recipe.model.vision.model_copy(update={"depth": 1})
    parts = model.recipe.model.model_copy(update={"vision": vision})
    shallow = model.recipe.model_copy(update={"model": parts})
    report = import_weights(out / "transformers", tmp_path / "again.safetensors", shallow)
    assert "encoder.layer.1.output.dense.bias" in report.ignored
    assert not any(name.startswith("encoder.") for name in report.missing)


def test_of_mrm_the_image_side_is_read(model: Ecamp, tmp_path: Path) -> None:
    """It predicts patches at twice the resolution, and its text side has another width."""
    whole = to_released(model.state_dict(), model.recipe)
    image = {name: tensor.clone() for name, tensor in whole.items() if not name.startswith(("bert_", "super_res"))}
    patch = model.recipe.model.vision.patch
    image["decoder_pred.weight"] = torch.randn(4 * 3 * patch**2, model.recipe.model.decoder.width)
    image["decoder_pred.bias"] = torch.randn(4 * 3 * patch**2)
    image["bert_mlp.weight"] = torch.randn(5, model.recipe.model.vision.width)
    image["bert_encoder.model.bert.embeddings.word_embeddings.weight"] = torch.randn(11, 5)
    torch.save({"model": image}, tmp_path / "MRM.pth")
    report = import_weights(tmp_path / "MRM.pth", tmp_path / "again.safetensors", model.recipe)
    again = load_file(tmp_path / "again.safetensors")
    assert all(torch.equal(again[name], tensor) for name, tensor in model.encoder.state_dict(prefix="encoder.").items())
    assert "decoder_pred.weight" in report.ignored and "bert_mlp.weight" in report.ignored
    assert {name for name in report.missing if not name.startswith("text.")} == {
        *("decoder.predict.weight", "decoder.predict.bias"),
        *(f"super_resolution.conv{n}.{leaf}" for n in (1, 2) for leaf in ("weight", "bias")),
    }


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """Wider than high, in colour, and not the same left and right."""
    y, x = np.mgrid[0:90, 0:130]
    grey = (x + y + 20 * np.sin(x / 5)).clip(0, 255).astype(np.uint8)
    Image.fromarray(np.stack([grey] * 3, 2)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_a_loaded_encoder_reads_pictures(run: Path, model: Ecamp, picture: Path) -> None:
    encoder = ecamp_fast.load(run)
    grey = Image.open(picture).convert("L")
    images = encoder.preprocess([picture, str(picture), picture.read_bytes(), grey, np.asarray(grey)])
    size = model.recipe.image.high_size
    assert images.shape == (5, 1, size, size) and images.dtype == torch.uint8
    assert all(torch.equal(images[0], other) for other in images)
    with torch.no_grad():
        assert (
            torch.equal(encoder(images[:1]), model.features(images[:1]))
            and encoder.width == model.recipe.model.vision.width
        )
        found = encoder.tokens(images[:1])
    assert torch.equal(found, image_tokens(model.encoder, model.recipe, images[:1]).detach())
    assert encoder.preprocess([]).shape == (0, 1, size, size)


def test_a_picture_is_seen_alike_by_all(out: Path, run: Path, model: Ecamp, picture: Path) -> None:
    """The centred square, by antialiased cubic filters; ours goes by way of the high resolution."""
    import timm
    from transformers import AutoImageProcessor

    encoder = ecamp_fast.load(run)
    image = Image.open(picture).convert("RGB")
    pretrained = timm.create_model(f"local-dir:{out / 'timm'}", pretrained=True)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(pretrained))
    theirs = transform(image)
    size = model.recipe.image.low_size
    assert theirs.shape == (3, size, size) and torch.equal(theirs[0], theirs[2])
    also = AutoImageProcessor.from_pretrained(out / "transformers")(image, return_tensors="pt")["pixel_values"][0]
    assert (theirs - also).abs().max() < 0.05  # of a deviation: they round at other places
    with torch.no_grad():
        mine, other = encoder(encoder.preprocess([picture])), pretrained.eval()(theirs[None])
    turned = encoder(encoder.preprocess([np.asarray(image.convert("L").transpose(Image.Transpose.FLIP_LEFT_RIGHT))]))
    assert apart(mine, other) < 0.25 * apart(turned.detach(), other)


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((4, 4)), np.zeros((4, 4, 3), np.uint8), np.zeros((0, 4), np.uint8), b"no picture", "/no/such.png", DEEP],
)
def test_what_is_no_picture_is_named_by_its_number(run: Path, picture: Path, wrong: Any) -> None:
    with pytest.raises(DataError, match="picture 1 cannot be read"):
        ecamp_fast.load(run).preprocess([picture, wrong])


def test_cards_say_what_the_weights_are(out: Path, run: Path) -> None:
    for form, file in FILES.items():
        text = (out / form / "README.md").read_text()
        digest = hashlib.sha256((out / form / file).read_bytes()).hexdigest()
        assert digest in text and "Look up the terms of the data" in text and "Not a medical device" in text
        assert str(run.parent) not in text
        assert (out / form).stat().st_mode & 0o777 == 0o700 and (out / form / file).stat().st_mode & 0o777 == 0o600


def run_lines(code: str, names: dict[str, Any], folder: Path) -> torch.Tensor:
    """What lines of Python leave as ``features``.  names: that they find"""
    (folder / "lines.py").write_text(code)
    with torch.no_grad():
        features: torch.Tensor = runpy.run_path(str(folder / "lines.py"), names)["features"]
    return features


def test_the_lines_of_the_cards_run(out: Path, picture: Path, tmp_path: Path) -> None:
    found = []
    for form in FILES:
        code = (out / form / "README.md").read_text().split("```python\n")[1].split("```")[0]
        code = code.replace("FOLDER", str(out / form)).replace("image.png", str(picture))
        names: dict[str, Any] = {"image": Image.open(picture)}
        found.append(run_lines(code, names, tmp_path))
    assert all(features.shape == found[0].shape for features in found)
    assert all(apart(features, found[0]) < 0.1 for features in found)


def test_the_lines_of_the_readme_run(
    out: Path, model: Ecamp, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(ecamp_fast.__file__).resolve().parents[1] / "README.md").read_text()
    section = text.split("## The encoder elsewhere\n")[1].split("\n## ")[0]
    blocks = [block.split("```")[0] for block in section.split("```python\n")[1:]]
    assert len(blocks) == 3 and all(len(block.split("\n")) <= 5 for block in blocks)
    shutil.copytree(out, tmp_path / "exported")
    shutil.copy(picture, tmp_path / "image.png")
    monkeypatch.chdir(tmp_path)
    size = model.recipe.image.low_size
    for block in blocks:
        names: dict[str, Any] = {"pixels": torch.randn(1, 3, size, size)}
        assert run_lines(block, names, tmp_path).shape == (1, model.recipe.model.vision.width)


def test_data_that_is_known_brings_its_duties(run: Path, tmp_path: Path) -> None:
    known, phantoms = tmp_path / "known", tmp_path / "phantoms"
    shutil.copytree(run, known)
    build_phantoms(12, phantoms, size=64)
    RunDir(known).set_state(status="complete", step=7, data=str(phantoms), manifest=read_manifest(phantoms).digest)
    CliRunner().invoke(command, [str(known), str(tmp_path / "out"), "--to", "ours, ours"], catch_exceptions=False)
    text = (tmp_path / "out" / "ours" / "README.md").read_text()
    assert "drawn by the program" in text and "7 optimizer steps" in text and read_manifest(phantoms).digest in text
    assert str(phantoms) not in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["--to", "timm,kears"], "kears"), (["--to", ","], "names nothing"), ([], "exists")],
)
def test_what_cannot_be_meant_is_refused_before_anything(out: Path, run: Path, arguments: list[str], says: str) -> None:
    before = sorted(out.rglob("*"))
    with pytest.raises(ConfigError, match=says):
        CliRunner().invoke(command, [str(run), str(out), *arguments], catch_exceptions=False)
    assert sorted(out.rglob("*")) == before


def test_onnx_is_asked_for_before_anything_is_written(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(to_onnx, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentFault, match="onnx and onnxscript not installed"):
        CliRunner().invoke(command, [str(run), str(tmp_path / "out"), "--to", "timm,onnx"], catch_exceptions=False)
    assert not (tmp_path / "out").exists()


def test_a_form_that_fails_leaves_nothing(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(model: Ecamp, folder: Path) -> None:
        (folder / "half").write_text("x")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(to_ours, "write", half)
    with pytest.raises(Exception, match="No space left"):
        CliRunner().invoke(command, [str(run), str(tmp_path / "out"), "--to", "ours"], catch_exceptions=False)
    assert not list((tmp_path / "out").glob("*")) and not list((tmp_path / "out").glob(".*"))


def test_the_digests_are_told_as_json(run: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(command, [str(run), str(tmp_path / "out"), "--to", "ours", "--json"])
    (written,) = json.loads(done.stdout)["written"]
    assert (
        written["sha256"] == hashlib.sha256((Path(written["folder"]) / "weights.safetensors").read_bytes()).hexdigest()
    )
