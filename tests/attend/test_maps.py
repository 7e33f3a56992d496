"""Maps against loops: what is asked, where the words look, what is made of several, the window with the most."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from ecamp_fast.attend.maps import combine, entity_maps, in_levels, over_whole, window_labels
from ecamp_fast.attend.model import Gloria
from ecamp_fast.attend.questions import Question, Questions
from ecamp_fast.config import Recipe
from ecamp_fast.shards.load.crop import sample_maps, whole_boxes
from ecamp_fast.text.packing.captions import CaptionEncoder, pack_captions
from ecamp_fast.text.reading.entities import DEFAULT, Entity, EntityList

OWN, BARE = "There is large left pneumothorax.", "There is pneumothorax."


def entities_of(questions: list[Question]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in questions:
        found.setdefault(one.entity, []).append(one.sentence)
    return found


@pytest.mark.parametrize(
    ("text", "own", "bare"),
    [
        (f"{OWN} There is no effusion.", {"pneumothorax": [OWN]}, {"pneumothorax": [BARE]}),
        ("There may be nodule.", {"nodule": ["There may be nodule."]}, {"nodule": ["There is nodule."]}),
        ("There is no left mass.", {}, {}),
        ("There is normal aorta. There is no hernia.", {}, {}),
        (
            "There is tortuous aorta. There are normal hilar contours.",
            {"aorta": ["There is tortuous aorta."]},
            {"aorta": ["There is tortuous aorta."]},
        ),
        (
            "There is left mass. There is no effusion. There is small right mass.",
            {"mass": ["There is left mass.", "There is small right mass."]},
            {"mass": ["There is mass."]},
        ),
        ("", {}, {}),
        (
            "A nodule and an effusion are seen. The aorta is normal. No mass.",  # a raw report
            {name: ["A nodule and an effusion are seen."] for name in ("nodule", "effusion")},
            {"nodule": ["There is nodule."], "effusion": ["There is effusion."]},
        ),
    ],
)
def test_what_a_text_states_is_asked_for(text: str, own: dict, bare: dict, encode: CaptionEncoder) -> None:
    assert entities_of(Questions(encode, DEFAULT, "own")(text)) == own
    assert entities_of(Questions(encode, DEFAULT, "bare")(text)) == bare


def test_the_words_of_a_question(encode: CaptionEncoder) -> None:
    # [CLS] There is large left pneumothorax .
    assert Questions(encode, DEFAULT, "own", "all")(OWN) == [Question("pneumothorax", OWN, 1, 6)]
    assert Questions(encode, DEFAULT, "own", "entity")(OWN) == [Question("pneumothorax", OWN, 5, 6)]
    assert Questions(encode, DEFAULT, "bare", "entity")(OWN) == [Question("pneumothorax", BARE, 3, 4)]
    behind = "There is mass in the right lung."
    assert Questions(encode, DEFAULT, "own", "entity")(behind) == [Question("mass", behind, 3, 4)]
    assert Questions(encode, DEFAULT, "own", "all")(behind) == [Question("mass", behind, 1, 8)]
    short = CaptionEncoder(encode.vocabulary, 5)  # [CLS], three wordpieces, [SEP]: the noun is cut off
    assert Questions(short, DEFAULT, "own", "entity")(OWN) == [Question("pneumothorax", OWN, 1, 4)]
    listed = EntityList([Entity("lung fluid", forms=("pleural fluid",))])
    assert Questions(encode, listed, "bare", "entity")("There is pleural fluid.") == [
        Question("lung fluid", "There is lung fluid.", 3, 5)
    ]


@pytest.fixture
def model(tiny: Callable[..., Recipe], encode: CaptionEncoder) -> Gloria:
    torch.manual_seed(0)
    return Gloria(tiny(), encode.vocabulary.size).eval()


def by_hand(model: Gloria, image: torch.Tensor, asked: Question, encode: CaptionEncoder, values: str) -> np.ndarray:
    """The mean over words, word by word."""
    packed = pack_captions([asked.sentence], encode)
    if values == "attention":
        every = model.attention(image[None], packed)[0, 0]
        mean = sum(every[number] for number in range(asked.first, asked.stop)) / (asked.stop - asked.first)
        assert float(mean.sum()) == pytest.approx(1, abs=1e-5)
        return mean.numpy()
    regions, words = model.image(image[None])[0][0], model.text(packed)[0][0]
    found = np.zeros(len(regions))
    for number in range(asked.first, asked.stop):
        for place, region in enumerate(regions):
            found[place] += float((region * words[number]).sum()) / (asked.stop - asked.first)
    side = round(len(regions) ** 0.5)
    return np.maximum(found, 0).reshape(side, side)


@pytest.mark.parametrize("values", ["product", "attention"])
@torch.no_grad()
def test_maps_are_means_over_words_each_image_alone(model: Gloria, encode: CaptionEncoder, values: str) -> None:
    images = torch.randint(0, 256, (4, 1, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    two = [Question("mass", "There is left mass.", 1, 5), Question("mass", "There is right mass.", 4, 5)]
    questions = [
        [Question("pneumothorax", OWN, 1, 6), *two],
        [],
        [Question("nodule", "There may be nodule.", 4, 5)],
        two,
    ]
    found = entity_maps(model, images, questions, encode, values)
    assert [list(one) for one in found] == [["pneumothorax", "mass"], [], ["nodule"], ["mass"]]
    for row, asked in enumerate(questions):
        wanted: dict[str, np.ndarray] = {}
        for one in asked:
            found_by_hand = by_hand(model, images[row], one, encode, values)
            wanted[one.entity] = np.maximum(wanted.get(one.entity, 0), found_by_hand)
        for name, one in wanted.items():
            np.testing.assert_allclose(found[row][name], one, rtol=1e-4, atol=1e-5 if values == "product" else 1e-7)
    every = np.concatenate([one.ravel() for maps in found for one in maps.values()])
    assert (every > 0).any() and (every == 0).any() == (values == "product")
    assert entity_maps(model, images, [[]] * 4, encode) == [{}] * 4


def test_maps_together() -> None:
    sharp, flat = np.array([[0.0, 0.1], [0.2, 0.7]]), np.full((2, 2), 0.25)
    np.testing.assert_allclose(combine([sharp, flat]), [[0.25, 0.25], [0.25, 0.7]])
    other = np.array([[0.4, 0.2], [0.2, 0.2]])
    np.testing.assert_allclose(combine([sharp, other], "mean"), [[0.5, 1 / 14], [1 / 7, 0.5]], rtol=1e-6)
    np.testing.assert_allclose(combine([flat], "mean"), np.zeros((2, 2)))
    assert in_levels(sharp).tolist() == [[0, 36], [73, 255]] and in_levels(sharp).dtype == np.uint8
    assert in_levels(np.zeros((3, 2, 2))).max() == 0
    assert in_levels(np.stack([sharp, 10 * flat])).max((1, 2)).tolist() == [255, 255]


def at(values: np.ndarray, y: float, x: float) -> float:
    """Bilinear, by hand; y, x in cells, of whose middles the first is at 0.5."""
    grid = len(values)
    y, x = (min(max(one - 0.5, 0), grid - 1) for one in (y, x))
    top, left = min(int(y), grid - 2), min(int(x), grid - 2)
    return sum(
        (1 - abs(y - row)) * (1 - abs(x - column)) * values[row, column]
        for row in (top, top + 1)
        for column in (left, left + 1)
    )


@pytest.mark.parametrize(("height", "width"), [(90, 90), (60, 100), (150, 90), (601, 600), (90, 240)])
def test_a_map_is_brought_over_the_whole_image(height: int, width: int) -> None:
    values = np.random.default_rng(0).random((6, 6))
    side, top, left = min(height, width), (height - min(height, width)) // 2, (width - min(height, width)) // 2
    whole = over_whole(values, height, width)
    assert whole.shape == (round(6 * height / side), round(6 * width / side))
    for row in range(whole.shape[0]):
        for column in range(whole.shape[1]):
            y, x = (row + 0.5) * height / whole.shape[0], (column + 0.5) * width / whole.shape[1]
            assert whole[row, column] == pytest.approx(
                at(values, (y - top) * 6 / side, (x - left) * 6 / side), abs=1e-6
            )
    if height == width:
        np.testing.assert_allclose(whole, values, rtol=1e-6)


def test_the_loader_sees_the_square_where_the_model_saw_it() -> None:
    """A blob in the square of a wide image, by the loader's own view of the middle."""
    ys, xs = np.mgrid[:19, :19]
    blob = np.exp(-((ys - 5) ** 2 + (xs - 13) ** 2) / 6)
    for height, width in ((400, 700), (700, 400), (512, 512)):
        sizes = np.array([height]), np.array([width])
        view = sample_maps(
            [in_levels(over_whole(blob, height, width))], whole_boxes(*sizes), np.zeros(1, bool), *sizes
        )[0]
        row, column = np.unravel_index(view.argmax(), view.shape)
        assert abs((row + 0.5) / 28 - 5.5 / 19) < 0.04 and abs((column + 0.5) / 28 - 13.5 / 19) < 0.04


def by_loop(patches: np.ndarray) -> tuple[int, int]:
    """SPEC 6.4, point 4, window by window.  patches: (14, 14) integers"""
    sums = {(i, j): int(patches[i : i + 12, j : j + 12].sum()) for i in range(3) for j in range(3)}
    best = [place for place, value in sums.items() if value == max(sums.values())]
    return best[0] if len(best) == 1 else (1, 1)


def test_windows_are_those_of_a_loop() -> None:
    draw = np.random.default_rng(0)
    maps = [draw.integers(0, 256, (28, 28)).astype(np.uint8) for _ in range(60)]
    corner, tie = np.zeros((28, 28), np.uint8), np.zeros((28, 28), np.uint8)
    corner[0, 27] = 9
    tie[13:15, 13:15] = 9
    maps += [corner, tie, np.zeros((28, 28), np.uint8)]
    sizes = np.full(len(maps), 280)
    wanted = [by_loop(one.astype(int).reshape(14, 2, 14, 2).sum((1, 3))) for one in maps]
    assert wanted[-3:] == [(0, 2), (1, 1), (1, 1)] and len({*wanted}) == 9
    assert [tuple(one) for one in window_labels(maps, sizes, sizes).tolist()] == wanted
    wide = np.zeros((28, 56), np.uint8)
    wide[:, -4:] = 9  # beyond the square
    wide[27, 15] = 1  # its lower left corner
    assert window_labels([wide], np.array([280]), np.array([560])).tolist() == [[2, 0]]
