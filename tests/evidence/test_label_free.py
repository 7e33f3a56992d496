"""The report card: it equals what it is made of, an untrained model looks untrained, and two models are paired."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ecamp_fast.commands.downstream.label_free import report_card
from ecamp_fast.config import Recipe, dump_recipe
from ecamp_fast.downstream.features import encode
from ecamp_fast.downstream.probe import probe
from ecamp_fast.errors import ConfigError, StorageError
from ecamp_fast.evidence import label_free as module
from ecamp_fast.evidence.entities import read_entities, stated
from ecamp_fast.evidence.label_free import OTHER, RANDOM, LabelFree, Measure, label_free
from ecamp_fast.evidence.samples import Samples, patients
from ecamp_fast.evidence.views import agreement
from ecamp_fast.evidence.words import compare_words, unigram
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.phantom import describe
from ecamp_fast.report.card_page import card_html, card_markdown
from ecamp_fast.run.evaluate import evaluate
from ecamp_fast.run.rundir import RunDir
from ecamp_fast.scores import draw_patients
from ecamp_fast.shards.load.loader import Loader
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.text.reading.entities import DEFAULT
from ecamp_fast.weights.file import save_weights

FEW = 5  # patients with an entity, and without: the set is small


@pytest.fixture(scope="module", autouse=True)
def small_set() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LEAST", FEW)
        yield


@pytest.fixture(scope="module")
def untrained_model(phantoms: ShardSet, recipe: Recipe) -> Ecamp:
    torch.manual_seed(0)
    return Ecamp(recipe, phantoms.manifest.vocab_size).eval()


@pytest.fixture(scope="module")
def card(untrained_model: Ecamp, phantoms: ShardSet) -> LabelFree:
    return label_free(untrained_model, phantoms, "val")


def test_losses_are_those_of_an_evaluation(card: LabelFree, untrained_model: Ecamp, phantoms: ShardSet) -> None:
    loader = Loader(phantoms, "val", untrained_model.recipe, train=False)
    engine = SimpleNamespace(module=untrained_model, eval=untrained_model.eval, train=lambda: None)
    wanted = evaluate(engine, loader, None)
    for name, term in (("total", "loss"), ("mim", "mim"), ("sr", "sr"), ("mlm", "mlm")):
        assert card.measures[f"loss/{name}"].value.value == pytest.approx(wanted[term], rel=1e-4)
    assert card.measures["words"].value.value == pytest.approx(wanted["nats_per_token"], rel=1e-4)
    assert card.measures["accuracy"].value.value == pytest.approx(wanted["accuracy"], abs=1e-6)
    assert card.samples == wanted["samples"] == phantoms.count("val")


def test_other_images_cost_what_the_evidence_says(
    card: LabelFree, untrained_model: Ecamp, val: Samples, train: Samples
) -> None:
    words = compare_words(untrained_model.score_words, val, unigram(train.batches, untrained_model.vocab_size))
    assert card.measures["words"].value.as_dict() == pytest.approx(words.nats.as_dict(), rel=1e-6)


def test_an_untrained_model_looks_untrained(card: LabelFree) -> None:
    """Nothing is surely above what learned nothing, and everything was measured that the set allows."""
    assert set(card.absent) == {"views"}
    for name in ("reconstruction", "words", "findings", "probe", *(n for n in card.measures if n[:4] == "retr")):
        one = card.measures[name]
        assert not all(one.better(draws).positive for draws in one.opponents.values()), name
    assert card.measures["probe"].opponents.keys() == {RANDOM, "pixels 16 x 16"}


def test_a_model_that_draws_its_own_patient_is_above_another(
    untrained_model: Ecamp, phantoms: ShardSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    reconstruct = Ecamp.reconstruct

    def cheating(self, batch):
        found = reconstruct(self, batch)
        object.__setattr__(found, "prediction", found.low + 0.1 * torch.randn_like(found.low))
        return found

    monkeypatch.setattr(Ecamp, "reconstruct", cheating)
    one = label_free(untrained_model, phantoms, "val", 24).measures["reconstruction"]
    assert one.value.value > 0.9 and one.better(one.opponents[OTHER]).positive


def test_entities_are_what_reports_state_and_enough_patients_have(phantoms: ShardSet) -> None:
    names = patients(phantoms, "val", phantoms.count("val"))
    found = stated(phantoms, "val", names, FEW)
    assert found.entities and "aorta" not in found.entities and found.labels.shape[0] == len(names)
    for number in range(len(names)):
        drawn = describe(42, int(phantoms.key("val", number).removeprefix("phantom").split("_")[0]))
        states = read_entities(drawn.report)
        assert found.labels[number].tolist() == [entity in states for entity in found.entities]
    for column in range(len(found.entities)):
        having = {name for name, row in zip(names, found.labels, strict=True) if row[column]}
        assert FEW <= len(having) <= len(set(names)) - FEW
    assert not stated(phantoms, "val", names, 10**6).entities
    assert read_entities("No effusion. Small pneumothorax.") == {"pneumothorax"}


def test_entities_by_hand() -> None:
    texts = [
        "No edema. Small effusion.",
        "Edema.",
        "Effusion, edema. The aorta is tortuous.",
        "",
        "Effusion.",
        "No mass.",
    ]
    manifest = SimpleNamespace(entities=DEFAULT)
    shards = SimpleNamespace(
        read=lambda split, number, _: {"txt": texts[number].encode()},
        first=lambda split, count: np.arange(count),
        manifest=manifest,
    )
    found = stated(shards, "val", list("aabbcc"), 1)
    assert found.entities == ["edema"]  # of a and b; all have an effusion, nobody a mass, and an aorta is an organ
    assert found.rows.tolist() == [0, 1, 2, 4, 5] and found.patients == list("aabcc")
    assert found.labels[:, 0].tolist() == [False, True, True, False, False]


def test_the_probe_is_the_house_probe(
    card: LabelFree, untrained_model: Ecamp, phantoms: ShardSet, val: Samples
) -> None:
    known = stated(phantoms, "val", val.patients, FEW)
    wanted = probe(encode(untrained_model, val.images), known.labels, val.patients).auroc()
    assert card.measures["probe"].value.value == pytest.approx(float(wanted), abs=1e-6)


def test_views_of_a_study_are_compared_where_there_are_some(
    untrained_model: Ecamp, phantoms: ShardSet, val: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = ShardSet.metadata
    monkeypatch.setattr(
        ShardSet, "metadata", lambda *a: (m := read(*a)) | {"study_id": m["patient_id"], "view": "PA"}
    )  # now the studies of a patient are views of one
    monkeypatch.setattr(module, "LEAST", 10**6)  # nothing to probe
    found = LabelFree("val", len(val.patients), 1, {}, {}, untrained_model.recipe)
    module._features(found, untrained_model, phantoms, val, draw_patients(val.patients))
    own = agreement(
        encode(untrained_model, val.images).double().numpy(), val.patients, val.patients, [""] * len(val.patients)
    )
    assert found.absent.keys() == {"probe"} and found.measures.keys() == {"views"}
    views = found.measures["views"]
    assert set(views.opponents) == {RANDOM, "pixels 16 x 16", "chance"}
    assert views.value.value == pytest.approx(np.nanmean(own)) and views.opponents["chance"][0] == 0.5


def test_better_is_signed_and_paired() -> None:
    draws = np.random.default_rng(0).normal(3, 1, 500)
    more, less = Measure("a", draws), Measure("b", draws, lower=True)
    assert more.better(draws - 1).value == pytest.approx(1) and less.better(draws + 2).value == pytest.approx(2)
    assert more.better(draws - 1).high - more.better(draws - 1).low == pytest.approx(0, abs=1e-9)
    assert less.better(draws - 1).value == pytest.approx(-1)


def test_a_model_against_itself_and_against_another_recipe(
    card: LabelFree, untrained_model: Ecamp, phantoms: ShardSet, recipe: Recipe
) -> None:
    assert all(one.value == one.low == one.high == 0 for one in card.better_than(card).values())
    masking = recipe.masking.model_copy(update={"image_ratio": 0.25})
    other = LabelFree("val", 1, 1, card.measures, {}, recipe.model_copy(update={"masking": masking}))
    assert card.hides_otherwise(other) == ["masking.image_ratio"]
    assert set(card.better_than(other)) == {"probe"}
    seeded = LabelFree("val", 1, 1, card.measures, {}, recipe.model_copy(update={"seed": 7}))
    assert not card.hides_otherwise(seeded)


def test_words_that_the_model_cannot_read_are_left_out(untrained_model: Ecamp, phantoms: ShardSet) -> None:
    found = label_free(untrained_model, phantoms, "val", 16, words_fault="another tokenizer")
    assert {"words", "retrieval"} <= set(found.absent) and found.absent["words"] == "another tokenizer"
    assert not {"loss/mlm", "loss/total", "words"} & set(found.measures) and "loss/mim" in found.measures


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, phantoms: ShardSet, recipe: Recipe) -> list[Path]:
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        path = tmp_path_factory.mktemp("runs") / f"seed-{seed}"
        RunDir(path).create()
        one = recipe.model_copy(update={"seed": seed})
        model = Ecamp(one, phantoms.manifest.vocab_size)
        (path / "recipe.yaml").write_text(dump_recipe(one))
        save_weights(model, path / "weights.safetensors", dict(model.named_parameters()))
        RunDir(path).set_state(status="complete", tokenizer=phantoms.manifest.tokenizer_digest)
        found.append(path)
    return found


def test_two_runs_side_by_side(runs: list[Path], phantoms: ShardSet, tmp_path: Path) -> None:
    lines: list[str] = []
    found = report_card(runs, str(phantoms.path), count=24, out=tmp_path / "out", say=lines.append)
    json.dumps(found, allow_nan=False)
    assert list(found["cards"]) == ["seed-0", "seed-1"] and "seed-1: retrieval of the own report" in lines
    one, two = (found["cards"][name]["measures"] for name in found["cards"])
    assert found["better"]["loss/mim"]["value"] == pytest.approx(two["loss/mim"]["value"] - one["loss/mim"]["value"])
    # The same patches and words are hidden: differences are far surer than either number
    spread = {name: number["high"] - number["low"] for name, number in found["better"].items()}
    assert spread["words"] < (one["words"]["high"] - one["words"]["low"]) * 1.5
    page, plain = ((tmp_path / "out" / f"label-free.{end}").read_text() for end in ("html", "md"))
    assert "seed-0 better by" in page and "| seed-0 | seed-1 | seed-0 better by |" in plain
    assert "data:image" not in page and not any(phantoms.key("val", n) in page + plain for n in range(20))


def test_a_card_of_one(card: LabelFree) -> None:
    page, plain = card_html({"a <b>": card}), card_markdown({"a|b": card})
    assert "a &lt;b&gt;" in page and "a\\|b" in plain and "no views: no study of these samples has two views" in plain
    assert plain.count("\n| ") == len(card.measures) + 2


def test_what_is_refused(runs: list[Path], phantoms: ShardSet, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one, or two"):
        report_card([*runs, runs[0]], str(phantoms.path))
    with pytest.raises(ConfigError, match="twice"):
        report_card([runs[0], runs[0]], str(phantoms.path))
    (tmp_path / "file").touch()
    with pytest.raises(StorageError):
        report_card(runs, str(phantoms.path), out=tmp_path / "file")
