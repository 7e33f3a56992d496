"""Fine-tuning and probing: what must be learned is learned, what holds nothing scores nothing, files tell it all."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.metrics import roc_auc_score

from ecamp_fast import cli
from ecamp_fast.commands.downstream.task_options import open_device
from ecamp_fast.downstream.heads.classifier import Classifier
from ecamp_fast.downstream.result import TaskResult, read_result
from ecamp_fast.downstream.tasks import probing, scoring
from ecamp_fast.downstream.tasks.classify import ClassifyOptions, classify, is_exclusive
from ecamp_fast.downstream.tasks.probing import ProbeOptions, probe_encoder
from ecamp_fast.downstream.tasks.splits import Subset, split_task
from ecamp_fast.downstream.tasks.timm_model import FittedClassifier, twin
from ecamp_fast.downstream.training.settings import Settings
from ecamp_fast.downstream.trunk import open_trunk
from ecamp_fast.errors import ConfigError, DataError, EcampError, EnvironmentFault
from ecamp_fast.shards.load.read import ShardSet

QUICK = Settings(steps=12, batch=16, lr=0.05, warmup=2, precision="fp32", drop_path=0.1, evaluate_every=6)


def invoke(*arguments: object) -> dict:
    done = CliRunner().invoke(cli.command, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_areas_are_scikit_learns_where_labels_are_known() -> None:
    draw = np.random.default_rng(3)
    outputs = draw.normal(size=(200, 4)).round(1)  # with ties
    values = (draw.random((200, 4)) < 0.3).astype(np.float32)
    values[draw.random((200, 4)) < 0.2] = np.nan
    values[:, 3] = 0
    found = scoring.area_under_roc(outputs, values, list("abcd"), [str(n // 2) for n in range(200)], 50)
    wanted = []
    for number, name in enumerate("abc"):
        known = ~np.isnan(values[:, number])
        wanted.append(roc_auc_score(values[known, number], outputs[known, number]))
        assert found.per_class[name] == pytest.approx(wanted[-1], abs=1e-12)
    assert found.per_class["d"] is None and found.overall.value == pytest.approx(np.mean(wanted), abs=1e-12)
    assert found.overall.low < found.overall.value < found.overall.high


def test_a_class_of_which_nothing_is_known_has_no_area() -> None:
    """CheXpert leaves classes blank: a test split may not know a single label of one."""
    values = np.array([[1, np.nan], [0, np.nan], [1, np.nan]])
    found = scoring.area_under_roc(np.array([[2.0, 1], [1, 1], [3, 1]]), values, ["a", "b"], ["p", "q", "r"], 20)
    assert found.per_class == {"a": 1.0, "b": None} and found.overall.value == 1.0


def test_accuracy_counts_hits() -> None:
    values = np.eye(3)[[0, 1, 2, 2]]
    outputs = np.eye(3)[[0, 2, 2, 2]]
    found = scoring.accuracy(outputs, values, list("abc"), list("wxyz"), 20)
    assert found.overall.value == 0.75 and found.per_class == {"a": 1.0, "b": 0.0, "c": 1.0}
    assert is_exclusive(values) and not is_exclusive(values[:, :2]) and not is_exclusive(np.ones((2, 3)))


def test_the_model_is_the_papers(tiny_run: Path) -> None:
    trunk = open_trunk(tiny_run)
    model = Classifier(trunk, 3)
    images = torch.randint(0, 256, (2, 1, 32, 32), dtype=torch.uint8)
    mean = trunk(images).mean(1)
    wanted = torch.nn.functional.layer_norm(mean, (16,), eps=1e-6) @ model.head.weight.T
    torch.testing.assert_close(model(images), wanted)
    assert model.head.weight.std() < 1e-4 and trunk.net.pos_embed.requires_grad
    assert not any(parameter.requires_grad for parameter in trunk.net.norm.parameters())
    model.freeze_trunk()
    assert [name for name, one in model.named_parameters() if one.requires_grad] == ["head.weight", "head.bias"]
    net, _ = twin(model)
    torch.testing.assert_close(
        net((images.float() / 255 - trunk.mean) / trunk.std), model(images), atol=1e-6, rtol=1e-5
    )


def test_parts_share_no_patient_and_val_is_carved_where_there_is_none(phantoms: ShardSet) -> None:
    splits = split_task(phantoms, Subset(50.0))
    parts = [set(part.patients) for part in (splits.train, splits.val, splits.test)]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    assert splits.test.split == "val" and splits.val.split == "train" and len(splits.val) > 3
    assert len(splits.train) == pytest.approx(0.5 * 0.9 * phantoms.count("train"), abs=3)
    assert len(split_task(phantoms, Subset(count=20)).train) == 20
    with pytest.raises(DataError, match="no split test"):
        split_task(phantoms, Subset(), test_split="test")


def test_a_set_of_one_training_patient_is_refused(phantoms: ShardSet, monkeypatch: pytest.MonkeyPatch) -> None:
    read = phantoms.metadata
    monkeypatch.setattr(
        phantoms,
        "metadata",
        lambda split, index: read(split, index) | ({"patient_id": "1"} if split == "train" else {}),
    )
    with pytest.raises(DataError, match="no patient is left"):
        split_task(phantoms, Subset())


@pytest.mark.parametrize(
    ("name", "fault"),
    [("gpu", ConfigError), ("meta", ConfigError), ("", ConfigError), ("cuda:99", EnvironmentFault)],
)
def test_a_device_that_is_not_there_is_refused(name: str, fault: type[EcampError]) -> None:
    with pytest.raises(fault, match="no such device"):
        open_device(name)


def test_a_patient_in_two_parts_is_named(phantoms: ShardSet, monkeypatch: pytest.MonkeyPatch) -> None:
    about = phantoms.metadata("val", 0)["patient_id"]
    read = phantoms.metadata
    monkeypatch.setattr(
        phantoms, "metadata", lambda split, index: read(split, index) | ({"patient_id": about} if index == 1 else {})
    )
    with pytest.raises(DataError, match="1 patients are in train and in test"):
        split_task(phantoms, Subset())


def test_a_fitted_classifier_predicts_files_as_it_was_judged(
    tiny_run: Path, phantoms: ShardSet, tmp_path: Path
) -> None:
    out = tmp_path / "fit"
    options = ClassifyOptions(Subset(count=40))
    result = classify(str(tiny_run), phantoms, QUICK, out, options)
    known = phantoms.count("train") - result.samples["val"]
    assert result.samples["train"] == 40 and result.fraction == pytest.approx(4000 / known)
    assert 0 <= result.low <= result.score <= result.high <= 1
    assert [step for step, _ in result.extra["curve"]] == [6, 12]
    again = classify(str(tiny_run), phantoms, QUICK, out, options, say=pytest.fail)
    assert again.score == result.score
    image = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (50, 40), np.uint8)).save(image)
    for leftover in ("._a.png", "@eaDir/a.png"):
        (tmp_path / leftover).parent.mkdir(exist_ok=True)
        (tmp_path / leftover).write_bytes(b"no image")
    found = invoke("predict", out, tmp_path, tmp_path / "p.csv")
    assert found["images"] == 1 and found["classes"] == list(result.per_class)
    rows = (tmp_path / "p.csv").read_text().splitlines()
    net = timm.create_model(f"local-dir:{out / 'timm'}", pretrained=True).eval()
    from ecamp_fast.downstream.encoder import read_pictures

    trunk = open_trunk(tiny_run)
    pixels = (read_pictures([image], 32).float() / 255 - trunk.mean) / trunk.std
    with torch.no_grad():
        wanted = net(pixels).sigmoid()[0]
    np.testing.assert_allclose([float(cell) for cell in rows[1].split(",")[1:]], wanted, atol=1e-5)
    assert FittedClassifier(out / "timm").classes == rows[0].split(",")[1:]


def test_a_probe_takes_no_fit_s_place(tiny_run: Path, phantoms: ShardSet, tmp_path: Path) -> None:
    samples = {"train": 1, "val": 1, "test": 1}
    kept = TaskResult("classify", "auroc", 0.5, 0.4, 0.6, {}, {}, "d", "e", 1, 42, samples, {"identity": {}})
    kept.write(tmp_path)
    arguments = [*map(str, ("probe", tiny_run, phantoms.path, tmp_path)), "--no-baselines"]
    done = CliRunner().invoke(cli.command, arguments)
    assert isinstance(done.exception, ConfigError) and "holds a fit of classify" in done.exception.what
    assert read_result(tmp_path) == kept
    invoke(*arguments, "--resume", "never")
    invoke(*arguments)  # its own result it replaces


def test_a_result_of_other_weights_at_the_same_path_is_not_read(
    tiny_run: Path, phantoms: ShardSet, tmp_path: Path
) -> None:
    encoder = shutil.copytree(tiny_run, tmp_path / "encoder")
    few = QUICK.model_copy(update={"steps": 3})
    classify(str(encoder), phantoms, few, tmp_path / "fit", ClassifyOptions(Subset(count=40)))
    tensors = load_file(encoder / "weights.safetensors")
    tensors["encoder.class_token"] += 1
    save_file(tensors, encoder / "weights.safetensors")
    with pytest.raises(ConfigError, match="another fit: weights was"):
        classify(str(encoder), phantoms, few, tmp_path / "fit", ClassifyOptions(Subset(count=40)))


class TestLabels:
    """Of which kind the classes are, and whether there is anything to tell, is seen before a fit."""

    @pytest.fixture
    def told(self, phantoms: ShardSet, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, np.ndarray], None]:
        """Other labels for a split."""
        from ecamp_fast.downstream.tasks import splits

        values: dict[str, np.ndarray] = {}
        read = splits.read_labels

        def labels(shards: ShardSet, split: str, *rest: object) -> object:
            return replace(read(shards, split), names=list("abc"), values=values[split].astype(np.float32))

        monkeypatch.setattr(splits, "read_labels", labels)
        draw = np.random.default_rng(2)
        values |= {split: np.eye(3)[draw.integers(3, size=phantoms.count(split))] for split in phantoms.splits}
        return values.__setitem__

    def fitted(self, tiny_run: Path, phantoms: ShardSet, out: Path, exclusive: bool | None = None) -> str:
        options = ClassifyOptions(Subset(count=20), exclusive=exclusive)
        return classify(str(tiny_run), phantoms, QUICK.model_copy(update={"steps": 3}), out, options).metric

    def test_a_subset_of_one_class_each_makes_no_classes_exclusive(
        self, told: Callable[..., None], tiny_run: Path, phantoms: ShardSet, tmp_path: Path
    ) -> None:
        assert self.fitted(tiny_run, phantoms, tmp_path / "one") == "accuracy"
        told("val", np.eye(3)[np.arange(phantoms.count("val")) % 3] + [0, 0, 1] > 0)
        assert self.fitted(tiny_run, phantoms, tmp_path / "many") == "auroc"
        with pytest.raises(DataError, match="exactly one class"):
            self.fitted(tiny_run, phantoms, tmp_path / "forced", exclusive=True)

    def test_a_test_split_that_tells_nothing_is_refused(
        self, told: Callable[..., None], tiny_run: Path, phantoms: ShardSet, tmp_path: Path
    ) -> None:
        told("val", np.full((phantoms.count("val"), 3), np.nan))
        with pytest.raises(DataError, match="judged on no class"):
            self.fitted(tiny_run, phantoms, tmp_path / "fit")
        with pytest.raises(DataError, match="judged on no class"):
            probe_encoder(str(tiny_run), phantoms, tmp_path / "probe", ProbeOptions(Subset(count=20)))


class TestLearning:
    """On images whose label is their brightness."""

    @pytest.fixture
    def planted(self, phantoms: ShardSet, monkeypatch: pytest.MonkeyPatch) -> ShardSet:
        from ecamp_fast.downstream.tasks import splits

        read = splits.read_labels

        def brightness(shards: ShardSet, split: str, *rest: object) -> object:
            from ecamp_fast.downstream.data.samples import TaskData

            labels = read(shards, split)
            data = TaskData(shards, split, labels, size=32)
            means = torch.cat([batch.images.float().mean((1, 2, 3)) for batch in data.ordered(32)]).numpy()
            return replace(labels, names=["bright"], values=(means > np.median(means)).astype(np.float32)[:, None])

        monkeypatch.setattr(splits, "read_labels", brightness)
        return phantoms

    def test_what_is_in_the_image_is_learned(self, tiny_run: Path, planted: ShardSet, tmp_path: Path) -> None:
        chosen = QUICK.model_copy(update={"steps": 60, "evaluate_every": 30, "crop_area": (0.8, 1.0), "lr": 0.1})
        assert classify(str(tiny_run), planted, chosen, tmp_path / "fine").score > 0.9
        frozen = chosen.model_copy(update={"frozen": True, "lr": 1.0})
        found = classify(str(tiny_run), planted, frozen, tmp_path / "sgd")
        assert found.task == "probe-sgd" and found.score > 0.8

    def test_a_probe_stands_beside_pixels(self, tiny_run: Path, planted: ShardSet, tmp_path: Path) -> None:
        found = probe_encoder(str(tiny_run), planted, tmp_path)
        assert found.score > 0.9
        assert set(found.extra["baselines"]) == {"untrained", "pixels 16x16", "pixels PCA"}
        for name, base in found.extra["baselines"].items():
            gap = found.extra["differences"][name]
            assert gap["value"] == pytest.approx(found.score - base["value"]) and gap["low"] <= gap["high"]
        assert found.extra["baselines"]["pixels 16x16"]["value"] > 0.95

    def test_labels_that_say_nothing_score_one_half(self, tiny_run: Path, planted: ShardSet, tmp_path: Path) -> None:
        split = split_task(planted, Subset())
        draw = np.random.default_rng(0)
        for part in (split.train, split.test):
            part.labels.values[:] = draw.integers(0, 2, part.labels.values.shape)
        judge = probing._Judge(split, 0)
        noise = [torch.from_numpy(draw.normal(size=(len(part), 8))).float() for part in (split.train, split.test)]
        low, high = np.percentile(judge.rows("noise", *noise).resampled[1:], [0.5, 99.5])
        assert low < 0.5 < high


@pytest.mark.parametrize("samples", [30, 7])
def test_principal_components_are_numpys(samples: int) -> None:
    draw = np.random.default_rng(2)
    train, test = draw.normal(size=(samples, 9)) @ draw.normal(size=(9, 9)), draw.normal(size=(5, 9))
    found, other = probing._principal(torch.from_numpy(train), torch.from_numpy(test), 4)
    _, vectors = np.linalg.eigh(np.cov(train.T))
    wanted = (train - train.mean(0)) @ vectors[:, ::-1][:, :4]
    np.testing.assert_allclose(np.abs(found), np.abs(wanted), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.abs(other), np.abs((test - train.mean(0)) @ vectors[:, ::-1][:, :4]), atol=1e-5)
    every, _ = probing._principal(torch.from_numpy(train), torch.from_numpy(test), 100)
    assert every.shape == (samples, min(samples - 1, 9)) and every.std(0).min() > 1e-3  # and none that is rounding


def test_commands_print_what_they_wrote(tiny_run: Path, phantoms: ShardSet, tmp_path: Path) -> None:
    found = invoke(
        "probe", tiny_run, phantoms.path, tmp_path / "probe", "--count", 40, "--pooling", 2, "--device", "cpu"
    )
    assert found == json.loads((tmp_path / "probe" / "result.json").read_text())
    quick = ["steps=2", "warmup=0", "batch=8", "precision=fp32"]
    sets = [part for one in quick for part in ("--set", one)]
    arguments = ("--device", "cpu", "--percent", 50, *sets)
    found = invoke("finetune", "classify", tiny_run, phantoms.path, tmp_path / "fit", *arguments)
    assert found["settings"]["steps"] == 2 and found["fraction"] == 50


def test_probe_options_are_plain(tiny_run: Path, phantoms: ShardSet, tmp_path: Path) -> None:
    found = probe_encoder(f"untrained:{tiny_run}", phantoms, tmp_path, ProbeOptions(Subset(count=40), baselines=True))
    assert "untrained" not in found.extra["baselines"]
    alone = probe_encoder(str(tiny_run), phantoms, tmp_path, ProbeOptions(Subset(count=40), baselines=False))
    assert alone.extra["baselines"] == {}


def test_another_fit_in_the_same_folder_is_refused(tiny_run: Path, phantoms: ShardSet, tmp_path: Path) -> None:
    options = ClassifyOptions(Subset(count=40))
    quick = QUICK.model_copy(update={"steps": 3, "warmup": 0})
    classify(str(tiny_run), phantoms, quick, tmp_path, options)
    for changed in (
        lambda: classify(str(tiny_run), phantoms, quick.model_copy(update={"lr": 0.1}), tmp_path, options),
        lambda: classify(f"untrained:{tiny_run}", phantoms, quick, tmp_path, options),
        lambda: classify(str(tiny_run), phantoms, quick, tmp_path, ClassifyOptions(Subset(count=50))),
    ):
        with pytest.raises(ConfigError, match="another fit"):
            changed()


def test_unknown_labels_are_left_out_of_the_regression() -> None:
    """Whatever stands there, nothing changes; where it is known, something does."""
    from ecamp_fast.downstream.logistic import fit

    draw = torch.Generator().manual_seed(4)
    features, labels = torch.randn(120, 5, generator=draw), torch.rand(120, 2, generator=draw) < 0.4
    known = torch.rand(120, 2, generator=draw) < 0.6
    found = fit(features, labels, [0.1], known).logits(features)
    torch.testing.assert_close(fit(features, labels ^ ~known, [0.1], known).logits(features), found)
    assert not torch.allclose(fit(features, labels ^ known, [0.1], known).logits(features), found)


def test_it_is_told_how_many_images_and_patients_there_are(phantoms: ShardSet, tiny_run: Path, tmp_path: Path) -> None:
    told: list[str] = []
    settings = QUICK.model_copy(update={"steps": 6})
    classify(str(tiny_run), phantoms, settings, tmp_path / "fit", ClassifyOptions(Subset(count=32)), say=told.append)
    splits = split_task(phantoms, Subset(count=32))
    assert told[0] == splits.told()
    train, val, test = (len(set(part.patients)) for part in (splits.train, splits.val, splits.test))
    assert told[0] == (
        f"train 32 images of {train} patients, val {len(splits.val)} images of {val} patients (of split train), "
        f"test {len(splits.test)} images of {test} patients (of split val)"
    )
    assert "val AUROC 0." in " ".join(told)
    probe_encoder(str(tiny_run), phantoms, tmp_path / "probe", ProbeOptions(Subset(count=32)), say=told.append)
    assert told[-2] == splits.told() and f"{32 + len(splits.test)} images" in told[-1]


def test_a_probe_keeps_no_classifier_to_predict_with(phantoms: ShardSet, tiny_run: Path, tmp_path: Path) -> None:
    options = ProbeOptions(Subset(count=32), baselines=False)
    probe_encoder(str(tiny_run), phantoms, tmp_path / "probe", options)
    Image.new("L", (64, 64)).save(tmp_path / "a.png")

    def refused(run: str) -> ConfigError:
        arguments = ["predict", str(tmp_path / run), str(tmp_path / "a.png"), str(tmp_path / "p.csv")]
        error = CliRunner().invoke(cli.command, arguments).exception
        assert isinstance(error, ConfigError)
        return error

    found = refused("probe")
    assert "is a result of probe, which keeps no classifier" in found.what and "probe --sgd" in found.hint
    assert "is no fitted classifier" in refused("nothing").what


@pytest.mark.parametrize("command", ["finetune classify", "finetune segment", "finetune detect", "probe"])
def test_a_share_and_a_number_cannot_both_be_meant(command: str, tmp_path: Path) -> None:
    arguments = [*command.split(), "run", "set", str(tmp_path / "out"), "--percent", "100", "--count", "8"]
    error = CliRunner().invoke(cli.command, arguments).exception
    assert isinstance(error, ConfigError) and error.what == "--percent 100 and --count 8"
    assert not (tmp_path / "out").exists()
