"""What must not pass: a decoder that knows how common words are, and one that looks at no picture."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from ecamp_fast.batch import Batch
from ecamp_fast.evidence.samples import Samples
from ecamp_fast.evidence.words import Unigram, WordEvidence, collect, compare_words, unigram
from ecamp_fast.model.ecamp import Ecamp, WordScores
from ecamp_fast.scores import Estimate
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.text.codes import MASK_ID, Mark, has


@pytest.fixture(scope="session")
def common(train: Samples, phantoms: ShardSet) -> Unigram:
    return unigram(train.batches, phantoms.manifest.vocab_size)


def scored(nats: Callable[[Batch, Tensor], Tensor]) -> Callable[[Batch], WordScores]:
    """A decoder whose words cost ``nats(batch, labels)``."""

    def score(batch: Batch) -> WordScores:
        entries = torch.arange(len(batch.text.rows))
        found = nats(batch, batch.text.labels)
        return WordScores(entries, found.float(), found < 0.7)

    return score


def brightness(batch: Batch) -> Tensor:
    """(P,): of the image that each predicted word is read from."""
    counts = batch.text.predicted.diff()[: len(batch)].long()
    return batch.image.float().mean((1, 2, 3)).repeat_interleave(counts)


def test_the_unigram_counts_the_predicted_words_of_the_training_split(
    common: Unigram, train: Samples, phantoms: ShardSet
) -> None:
    labels = torch.cat([batch.text.labels for batch in train.batches])
    weights = torch.cat([batch.text.weights for batch in train.batches]).double()
    size, word = phantoms.manifest.vocab_size, int(labels[5])
    share = ((labels == word).sum() + 1) / (len(labels) + size)
    assert float(common.alike[word]) == pytest.approx(-float(share.log()), rel=1e-5)
    share = (weights[labels == word].sum() + 1) / (weights.sum() + size)
    assert float(common.weighted[word]) == pytest.approx(-float(share.log()), rel=1e-5)
    assert float((-common.alike).exp().sum()) == pytest.approx(1)


def test_a_decoder_that_knows_the_unigram_alone_fails(common: Unigram, val: Samples) -> None:
    found = compare_words(scored(lambda batch, labels: common.alike[labels]), val, common)
    assert found.below.value == pytest.approx(0, abs=1e-5) and not found.check_words().passed
    assert found.swapped.value == 0 and not found.check_picture().passed


def test_a_decoder_that_looks_at_no_picture_fails(common: Unigram, val: Samples) -> None:
    found = compare_words(scored(lambda batch, labels: 0.4 * common.alike[labels]), val, common)
    assert found.check_words().passed and found.swapped.value == 0 and not found.check_picture().passed


def test_a_decoder_that_the_picture_confuses_fails(common: Unigram, val: Samples) -> None:
    """It reads the picture, but another's serves as well: the difference has no sign."""
    noise = scored(lambda batch, labels: 2 + brightness(batch) / 100)
    assert not compare_words(noise, val, common).check_picture().passed


def test_a_decoder_that_reads_the_picture_passes(common: Unigram, val: Samples) -> None:
    own = {int(n): float(b.image[i].float().mean()) for b in val.batches for i, n in enumerate(b.samples)}

    def nats(batch: Batch, labels: Tensor) -> Tensor:
        counts = batch.text.predicted.diff()[: len(batch)].long()
        wanted = torch.tensor([own[int(n)] for n in batch.samples]).repeat_interleave(counts)
        return 1 + (brightness(batch) - wanted).abs() / 10

    found = compare_words(scored(nats), val, common)
    assert found.nats.value == 1 and found.check_picture().passed and found.check_words().passed
    assert not found.check_picture(least=99).passed and not found.check_words(least=99).passed
    assert "(needed: 99)" in found.check_words(99).found


def test_a_decoder_that_reads_the_picture_for_other_words_alone_fails(common: Unigram, val: Samples) -> None:
    own = {int(n): float(b.image[i].float().mean()) for b in val.batches for i, n in enumerate(b.samples)}

    def nats(batch: Batch, labels: Tensor) -> Tensor:
        counts = batch.text.predicted.diff()[: len(batch)].long()
        wanted = torch.tensor([own[int(n)] for n in batch.samples]).repeat_interleave(counts)
        finding = has(batch.text.codes[batch.text.rows], Mark.ENTITY | Mark.DESCRIPTOR)
        return 1 + (brightness(batch) - wanted).abs() / 10 * ~finding

    found = compare_words(scored(nats), val, common)
    assert found.swapped.positive and found.swapped_findings.value == 0 and not found.check_picture().passed


def test_means_are_those_of_all_tokens_by_hand(model: Ecamp, common: Unigram, val: Samples) -> None:
    found = compare_words(model.score_words, val, common)
    nats, hits, labels, weights, finding = [], [], [], [], []
    with torch.no_grad():
        for batch in val.batches:
            view = model.view(batch)
            hidden = model.text(
                batch.text.ids, model.encoder(view.low, view.keep), *model._text_layouts(view, batch.text)
            )
            head, rows = model.text.head, (batch.text.ids == MASK_ID).nonzero()[:, 0]
            logits = head(hidden[rows]) @ head.vocabulary.T + head.bias
            nats.append(torch.nn.functional.cross_entropy(logits, batch.text.labels, reduction="none"))
            hits.append(logits.argmax(1) == batch.text.labels)
            labels.append(batch.text.labels)
            weights.append(batch.text.weights)
            finding.append(has(batch.text.codes[rows], Mark.ENTITY | Mark.DESCRIPTOR))
    nats, hits, labels, weights, finding = map(torch.cat, (nats, hits, labels, weights, finding))
    assert found.nats.value == pytest.approx(float(nats.mean()), rel=1e-5)
    assert found.accuracy.value == pytest.approx(float(hits.float().mean()), abs=1e-6)
    assert found.unigram.value == pytest.approx(float(common.alike[labels].mean()), rel=1e-6)
    below = ((common.weighted[labels] - nats) * weights).sum() / weights.sum()
    assert found.weighted_below.value == pytest.approx(float(below), abs=1e-5)
    assert found.commonest.value == pytest.approx(float((labels == labels.mode().values).float().mean()), abs=1e-6)
    swapped = torch.cat([model.score_words(batch).nats for batch in val.swapped()])
    worth = weights * finding
    assert found.swapped.value == pytest.approx(float(((swapped - nats) * weights).sum() / weights.sum()), abs=1e-6)
    assert found.swapped_findings.value == pytest.approx(
        float(((swapped - nats) * worth).sum() / worth.sum()), abs=1e-6
    )


def test_patients_are_drawn_not_tokens(common: Unigram, val: Samples) -> None:
    """All words of a patient cost the same, so there is as much to go by as there are patients."""
    level = {name: float(np.random.default_rng(i).normal(2, 1)) for i, name in enumerate(sorted(set(val.patients)))}
    by_sample = {int(n): level[val.patients[int(n)]] for b in val.batches for n in b.samples}

    def nats(batch: Batch, labels: Tensor) -> Tensor:
        counts = batch.text.predicted.diff()[: len(batch)].long()
        return torch.tensor([by_sample[int(n)] for n in batch.samples]).repeat_interleave(counts)

    found = compare_words(scored(nats), val, common).nats
    expected = 2 * 1.96 * np.std(list(level.values())) / len(level) ** 0.5
    assert found.high - found.low == pytest.approx(expected, rel=0.45)
    alone = Samples(val.batches, [str(i) for i in range(len(val.patients))])
    assert compare_words(scored(nats), alone, common).nats.low != found.low


def test_numbers_go_to_json() -> None:
    one = Estimate(1.0, 0.5, 2.0)
    evidence = WordEvidence(*[one] * 8)
    assert set(evidence.as_dict()) >= {"below", "swapped", "accuracy"} and evidence.as_dict()["nats"]["low"] == 0.5


def test_every_token_is_its_own_patients(common: Unigram, val: Samples) -> None:
    first, totals = 0, {}
    for batch in val.batches:
        counts = batch.text.predicted.diff()[: len(batch)].tolist()
        totals |= {first + row: count for row, count in enumerate(counts)}
        first += len(batch)
    found = collect(scored(lambda batch, labels: torch.ones(len(labels))), val.batches)
    assert dict(enumerate(np.bincount(found["sample"]).tolist())) == totals


def test_a_real_decoder_without_its_picture_fails(
    model: Ecamp, common: Unigram, val: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Untrained words cost less with the own picture or with another by chance; without any they cost the same."""
    assert compare_words(model.score_words, val, common).swapped.value != 0
    decode = model.text.forward
    monkeypatch.setattr(model.text, "forward", lambda ids, latent, *rest: decode(ids, torch.zeros_like(latent), *rest))
    found = compare_words(model.score_words, val, common)
    assert found.swapped.value == 0 and not found.check_picture().passed
