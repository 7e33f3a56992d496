"""The batched losses against SPEC 6.2 taken literally: text by text, region by region."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy

from ecamp_fast.attend.losses import Sharpness, local_similarity, pair_loss, word_attention
from ecamp_fast.batch import Sentences

SHARPNESS = Sharpness()
SIZES = [(5, 49, 96), (5, 49, 24)]  # fewer regions than numbers, and more


def attended(regions: Tensor, words: Tensor) -> Tensor:
    """Of one image and one text.  regions: (R, D)   words: (L, D)   returns (L, R)"""
    scores = regions @ words.T
    return (4.0 * scores.softmax(1)).T.softmax(1)


def by_the_loop(regions: Tensor, words: Tensor, real: Tensor) -> Tensor:
    """SPEC 6.2, 1 to 4, each image and each text by itself."""
    rows = []
    for image in regions:
        row = []
        for text, known in zip(words, real, strict=True):
            contexts = attended(image, text[known]) @ image
            row.append((5.0 * cosine_similarity(contexts, text[known])).exp().sum().log())
        rows.append(torch.stack(row))
    return torch.stack(rows)


def drawn(images: int, count: int, width: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """Regions, words of as many texts and two more, of which some are none."""
    torch.manual_seed(3)
    lengths = torch.randint(1, 12, (images + 2,))
    real = torch.arange(12) < lengths[:, None]
    words = torch.randn(images + 2, 12, width) * real[:, :, None]
    return torch.randn(images, count, width).to(dtype), words.to(dtype), real


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("room", [1 << 25, 3000])
def test_similarities_and_gradients_are_those_of_the_loop(size: tuple[int, int, int], room: int) -> None:
    regions, words, real = drawn(*size)
    sides = []
    for find in (lambda *both: local_similarity(*both, real, SHARPNESS, room), lambda *both: by_the_loop(*both, real)):
        both = [one.clone().requires_grad_() for one in (regions, words)]
        found = find(*both)
        target = torch.arange(len(regions))
        (cross_entropy(10 * found, target) + cross_entropy(10 * found.T[: len(regions)], target)).backward()
        sides.append((found.detach(), *(one.grad for one in both)))
    for one, other in zip(*sides, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    assert sides[1][1].abs().max() > 1e-3  # there is a gradient to compare


def test_gradients_are_the_differences() -> None:
    regions, words, real = (one.double() if one.is_floating_point() else one for one in drawn(2, 5, 4))
    both = [one.requires_grad_() for one in (regions, words)]
    for width in (4, 8):  # both ways to a squared length
        wide = [torch.cat([one] * (width // 4), -1).detach().requires_grad_() for one in both]
        similarity = lambda one, other: local_similarity(one, other, real, SHARPNESS)  # noqa: E731
        loose = {"eps": 1e-2, "atol": 2e-2, "rtol": 2e-2}  # the losses compute in float32
        assert torch.autograd.gradcheck(similarity, wide, nondet_tol=0, **loose)


def test_maps_are_the_loops_and_soft() -> None:
    regions, words, real = drawn(3, 49, 24)
    maps = word_attention(regions, words, real, SHARPNESS)
    for image, row in zip(regions, maps, strict=True):
        for text, known, found in zip(words, real, row, strict=True):
            torch.testing.assert_close(found[known], attended(image, text[known]), rtol=1e-5, atol=1e-7)
            assert not found[~known].any()
    sums = maps.sum(-1)
    torch.testing.assert_close(sums, real.float().expand_as(sums))
    lowest, highest = maps.amin(-1)[:, real], maps.amax(-1)[:, real]
    assert (highest / lowest).max() < torch.tensor(4.0).exp() * (1 + 1e-5)


def test_bfloat16_is_near() -> None:
    regions, words, real = drawn(*SIZES[0])
    exact = local_similarity(regions, words, real, SHARPNESS)
    rough = local_similarity(regions.bfloat16(), words.bfloat16(), real, SHARPNESS)
    assert rough.dtype == torch.float32 and (rough - exact).abs().max() < 0.1


def stating(stated: Tensor) -> Sentences:
    """Sentences that images state.  stated: (B, U)"""
    count = stated.shape[1]
    tokens = torch.ones(count, dtype=torch.int64)
    ends, real = torch.arange(count + 1, dtype=torch.int32), torch.ones(count, dtype=torch.bool)
    return Sentences(tokens, ends, real, stated, torch.arange(count), torch.zeros(stated.shape), 1)


def test_on_the_diagonal_it_is_two_cross_entropies() -> None:
    torch.manual_seed(0)
    similarity, target = torch.randn(6, 6), torch.arange(6)
    wanted = cross_entropy(10 * similarity, target) + cross_entropy(10 * similarity.T, target)
    found = pair_loss(similarity, stating(torch.eye(6, dtype=torch.bool)), SHARPNESS, poles=False)
    torch.testing.assert_close(found, wanted)


def test_a_shared_sentence_is_no_fault_of_those_who_share_it() -> None:
    """With the diagonal, two patients who state the same are pushed apart."""
    shared = torch.tensor([[True, False], [True, False], [False, True]])
    similarity = torch.tensor([[1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]])
    apart = torch.tensor([[1.0, -1.0], [0.0, -1.0], [-1.0, 1.0]])
    both, one = (pair_loss(one, stating(shared), SHARPNESS, poles=False) for one in (similarity, apart))
    assert both < one


def test_poles_count_where_they_are_asked_for() -> None:
    sentences = stating(torch.eye(2, dtype=torch.bool))
    worth = torch.tensor([[0.5, 0.0], [0.0, 0.5]])
    sentences = replace(sentences, negation=torch.tensor([1, 0]), worth=worth)
    similarity = torch.tensor([[0.3, 0.1], [0.2, 0.4]])
    off, on = (pair_loss(similarity, sentences, SHARPNESS, poles=poles) for poles in (False, True))
    choice = (1 + (10 * torch.tensor([-0.2, -0.2])).exp()).log().mean()
    torch.testing.assert_close(on - off, 2 * choice)
