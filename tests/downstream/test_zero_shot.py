"""Prompts: what is asked, what is seen, and how right the answers are."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ecamp_fast.commands.downstream.zero_shot import _table
from ecamp_fast.config import Recipe
from ecamp_fast.downstream import zero_shot
from ecamp_fast.downstream.zero_shot import Answers, ask, judge, score_prompts
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.phantom import FINDINGS
from ecamp_fast.shards.builder.build import Options, build_phantoms
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.text.packing.single_sentences import SentenceEncoder, pack_sentences
from ecamp_fast.text.wordpiece import Wordpiece, load_wordpiece

NAN = np.nan


def answers(affirmed: Any, truth: Any, **more: Any) -> Answers:
    """Of one finding and a grid of 2; the denial lies at 0, each sample is a patient."""
    score, known = np.array(affirmed, np.float32)[:, None], np.array(truth, np.float32)[:, None]
    maps = np.zeros((len(score), 1, 2, 2), np.float32)
    names = [f"p{row}" for row in range(len(score))]
    found = Answers(("mass",), score, np.zeros_like(score), maps, known, maps > 0, names)
    return replace(found, **more)


def test_the_area_counts_pairs_and_leaves_out_what_is_not_known() -> None:
    found = judge(answers([0.9, 0.2, 0.4, -0.3, 7.0], [1, 1, 0, 0, NAN]))
    assert found.samples == 5 and list(found.findings) == ["mass"]
    assert found.mean.auroc and found.mean.auroc.value == 3 / 4
    assert found.mean.plain and found.mean.plain.value == 3 / 4
    assert found.mean.pointing is None and found.mean.chance is None


def test_the_plain_score_is_that_of_the_affirmation_alone() -> None:
    denied = np.array([[0.8], [0.0], [0.9], [0.0]], np.float32)
    found = judge(answers([0.7, 0.2, 0.6, 0.1], [1, 0, 1, 0], denied=denied)).mean
    assert found.plain and found.auroc and (found.plain.value, found.auroc.value) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("affirmed", "share"),
    [
        ([1, 1, -1, -1, -1, -1], 1.0),
        ([1, 1, 1, 1, 1, 1], 0.5),  # "no" is not read: always Yes
        ([-1, -1, -1, -1, -1, -1], 0.5),
        ([1, -1, -1, -1, -1, 1], (1 / 2 + 3 / 4) / 2),
        ([0, 0, 0, 0, 0, 0], 0.5),
        ([-1, -1, 1, 1, 1, 1], 0.0),
    ],
)
def test_the_right_answer_is_balanced_over_with_and_without(affirmed: list[float], share: float) -> None:
    found = judge(answers(affirmed, [1, 1, 0, 0, 0, 0])).mean.negation
    assert found is not None and found.value == pytest.approx(share)
    assert found.low <= found.value <= found.high


def test_intervals_are_over_patients() -> None:
    """Twice the pictures of the same people are no more people."""
    scores, truth = np.random.default_rng(0).normal(size=40), [1, 0] * 20
    one = answers(scores, truth)
    people = [f"p{row // 2}" for row in range(40)]
    twice = answers([*scores, *scores], [*truth, *truth], patients=people * 2)
    first, second = judge(replace(one, patients=people)).mean.auroc, judge(twice).mean.auroc
    assert first and second
    assert (first.value, first.low, first.high) == pytest.approx((second.value, second.low, second.high))
    alone = judge(one).mean.auroc
    assert alone and alone.high - alone.low != pytest.approx(first.high - first.low)


def test_a_finding_that_all_or_none_have_is_left_out_of_the_mean() -> None:
    one = answers([0.9, 0.1], [1, 0])
    both = Answers(
        ("mass", "edema"),
        *(np.repeat(part, 2, 1) for part in (one.affirmed, one.denied, one.maps)),
        np.array([[1, 1], [0, 1]], np.float32),
        np.repeat(one.boxes, 2, 1),
        one.patients,
    )
    found = judge(both)
    assert found.findings["edema"].auroc is None and found.findings["edema"].negation is None
    assert found.mean.auroc and found.mean.auroc.value == 1.0


def test_the_table_says_what_its_columns_are_and_why_a_row_is_empty() -> None:
    truth = np.array([[1, 1, 0, NAN, 1, 1], [0, 1, 0, NAN, 0, NAN]], np.float32)
    boxes = np.zeros((2, 6, 2, 2), bool)
    boxes[0, 0, 0, 0] = True
    maps = np.zeros((2, 6, 2, 2), np.float32)
    names = ("mass", "edema", "fracture", "nodule", "mark", "device")
    scores = np.array([[0.9] * 6, [0.1] * 6], np.float32)
    found = judge(Answers(names, scores, np.zeros_like(scores), maps, truth, boxes, ["a", "b"]))
    assert found.seen["mass"] == zero_shot.SeenImages(1, 1, 1) and found.seen["nodule"] == zero_shot.SeenImages(0, 0, 0)
    lines = _table(found)
    assert [line.split()[0] for line in lines[1:4]] == ["mean", "mass", "mark"]
    assert lines[4] == (
        "cannot be scored: edema (every image has it); fracture (no image is known to have it); "
        "nodule (no image has a label of it); device (no image is known to lack it)"
    )
    assert lines[5] == "no boxes, so no highest patch: mark"
    below = "\n".join(lines[6:])
    assert all(f"{column}: " in below for column in ("AUROC", "plain", "Yes or No", "highest patch", "by chance"))


def test_pointing_counts_pictures_with_boxes_whose_highest_cell_lies_in_one() -> None:
    maps = np.array([[[3, 1], [0, 0]], [[0, 1], [2, 0]], [[9, 0], [0, 0]]], np.float32)[:, None]
    boxes = np.array([[[1, 1], [0, 0]], [[0, 1], [0, 0]], [[0, 0], [0, 0]]], bool)[:, None]
    found = judge(answers([1, 1, -1], [1, 1, 0], maps=maps, boxes=boxes)).mean
    assert found.pointing and found.chance
    assert (found.pointing.value, found.chance.value) == (0.5, (2 / 4 + 1 / 4) / 2)


def test_cells_of_a_box_are_those_whose_middle_it_holds() -> None:
    """Cells of 20 pixels: their middles lie at 10, 30, 50 and 70."""
    boxes = np.array([[30, 45, 50.5, 70], [0, 0, 9, 80]], np.float32)
    found = zero_shot.cells_in_boxes(boxes, [1, 0], 2, 4, 80)
    assert not found[0].any()
    assert np.argwhere(found[1]).tolist() == [[2, 1], [2, 2]]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    out: Path = tmp_path_factory.mktemp("prompts") / "phantoms"
    build_phantoms(40, out, size=74, options=Options(workers=1, seed=42, vocab_size=300, holdout=0.5))
    return ShardSet(out)


@pytest.fixture(scope="module")
def wordpiece(shards: ShardSet) -> Wordpiece:
    return load_wordpiece(shards.wordpiece_path)


@pytest.fixture
def model(small: Callable[..., Recipe], shards: ShardSet) -> Ecamp:
    return Ecamp(small("paper", "losses.align=true", "align.width=8"), shards.manifest.vocab_size).eval()


def test_every_picture_is_asked_of_every_finding(model: Ecamp, shards: ShardSet, wordpiece: Wordpiece) -> None:
    found = ask(model, shards, "val", wordpiece, count=9)
    assert set(found.findings) <= set(FINDINGS) and len(found.patients) == 9
    present = [{n for n, v in shards.metadata("val", row)["labels"].items() if v == 1} for row in range(9)]
    assert [set(np.array(found.findings)[row == 1]) for row in found.truth] == present
    assert found.boxes.any((2, 3)).sum() > 0 and not found.boxes[found.truth == 0].any()
    encode = SentenceEncoder(wordpiece, model.recipe.text.max_tokens)
    labels = zero_shot.read_labels(shards, "val")
    data = zero_shot.TaskData(shards, "val", labels, np.arange(9), size=model.recipe.image.high_size)
    (images,) = [batch.images for batch in data.ordered(9)]
    for column, name in enumerate(found.findings):
        pair = pack_sentences([f"There is {name}.", f"There is no {name}."], encode)
        alike, parts = model.compare(images, pair)
        np.testing.assert_allclose(found.affirmed[:, column], alike[:, 0], atol=1e-5)
        np.testing.assert_allclose(found.denied[:, column], alike[:, 1], atol=1e-5)
        expected = (parts[..., 0] - parts[..., 1]).reshape(9, 4, 4)
        np.testing.assert_allclose(found.maps[:, column], expected, atol=1e-5)


def test_nouns_may_be_given(model: Ecamp, shards: ShardSet, wordpiece: Wordpiece) -> None:
    plain, named = (ask(model, shards, "val", wordpiece, nouns=n) for n in (None, {"effusion": "mass"}))
    changed = (abs(plain.affirmed - named.affirmed) > 1e-5).any(0)
    assert [name for name, other in zip(plain.findings, changed, strict=True) if other] == ["effusion"]
    columns = [named.findings.index(name) for name in ("effusion", "mass")]
    for asked in (named.affirmed, named.denied, named.maps):
        np.testing.assert_array_equal(asked[:, columns[0]], asked[:, columns[1]])


def test_scores_go_into_json(model: Ecamp, shards: ShardSet, wordpiece: Wordpiece) -> None:
    found = score_prompts(model, shards, "val", wordpiece).as_dict()
    assert json.loads(json.dumps(found)) == found and found["samples"] == shards.count("val")
    assert set(found["mean"]) == {"auroc", "plain", "negation", "pointing", "chance"}
    assert all(0 <= found["mean"][name]["value"] <= 1 for name in found["mean"])


def test_a_model_without_sentences_is_refused(
    small: Callable[..., Recipe], shards: ShardSet, wordpiece: Wordpiece
) -> None:
    torch.manual_seed(0)
    with pytest.raises(ConfigError, match=r"without losses\.align"):
        ask(Ecamp(small("paper"), shards.manifest.vocab_size), shards, "val", wordpiece)
    with pytest.raises(ConfigError, match="tokenizer of"):
        ask(Ecamp(small("paper", "losses.align=true"), 40), shards, "val", wordpiece)


def test_a_set_without_labels_is_refused(
    model: Ecamp, shards: ShardSet, wordpiece: Wordpiece, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = shards.metadata
    monkeypatch.setattr(shards, "manifest", replace(shards.manifest, labels=()))
    monkeypatch.setattr(shards, "metadata", lambda split, row: plain(split, row) | {"labels": {}})
    with pytest.raises(DataError, match="no sample of split 'val' has a label"):
        ask(model, shards, "val", wordpiece)
