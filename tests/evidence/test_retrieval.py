"""Own among others: ranks by hand, a model that reads finds them, and one that does not is at chance."""

import numpy as np
import pytest
import torch

from ecamp_fast.evidence.retrieval import first_of_patients, own_ranks, retrieve
from ecamp_fast.evidence.samples import Samples
from ecamp_fast.model.ecamp import Ecamp


def test_ranks_by_hand() -> None:
    nats = np.array([[4.0, 9.0, 2.0], [6.0, 7.0, 2.0], [5.0, 8.0, 2.0]])
    report, image = own_ranks(nats)
    # less the mean (5, 8, 2): (-1, 1, 0), (1, -1, 0), (0, 0, 0)
    assert report.tolist() == [1.0, 1.0, 2.0]
    assert image.tolist() == [1.0, 1.0, 2.0]


def test_a_report_that_is_easy_to_guess_is_not_everybodys() -> None:
    generator = np.random.default_rng(0)
    nats = generator.normal(size=(40, 40)) + 50 * np.arange(40) - 3 * np.eye(40)
    assert own_ranks(nats)[0].mean() < 4


def test_noise_is_at_chance() -> None:
    generator = np.random.default_rng(0)
    found = np.array([own_ranks(generator.normal(size=(20, 20)) + 9 * np.arange(20)) for _ in range(200)])
    assert found.mean((0, 2)) == pytest.approx(10.5, abs=0.35)
    assert (found <= 1).mean() == pytest.approx(1 / 20, abs=0.012)


def test_the_first_of_each_patient() -> None:
    assert first_of_patients(["b", "a", "b", "c", "a"]) == [0, 1, 3]


def test_nats_are_those_of_each_report_with_each_image(model: Ecamp, val: Samples) -> None:
    """Against scoring every pair alone, the image encoded by itself and the words added up sample by sample."""
    from ecamp_fast.downstream.visualize.look import encode_whole

    few = Samples(val.batches[:2], val.patients[:16])
    chosen = first_of_patients(few.patients)
    expected = np.zeros((len(chosen), 16))
    with torch.no_grad():
        for row, number in enumerate(chosen):
            latent = encode_whole(model, few.images[number : number + 1])
            for part, batch in enumerate(few.batches):
                scores = model.score_words(batch, latent.expand(8, -1, -1))
                starts = batch.text.predicted[:9].tolist()
                for sample in range(8):
                    inside = (scores.entries >= starts[sample]) & (scores.entries < starts[sample + 1])
                    expected[row, part * 8 + sample] = float(scores.nats[inside].sum())
    report, image = own_ranks(expected[:, chosen])
    found = retrieve(model, few)
    assert found.patients == [few.patients[number] for number in chosen]
    assert found.report.tolist() == report.tolist() and found.image.tolist() == image.tolist()


def test_a_model_that_reads_the_picture_finds_its_own(
    model: Ecamp, val: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ecamp_fast.downstream.visualize.look import encode_whole
    from ecamp_fast.model.ecamp import WordScores

    own = {int(n): encode_whole(model, b.image)[i] for b in val.batches for i, n in enumerate(b.samples)}

    def score(batch, latent):
        wrong = torch.stack([(latent[row] - own[int(n)]).abs().mean() for row, n in enumerate(batch.samples)])
        nats = wrong.repeat_interleave(batch.text.predicted.diff()[: len(batch)].long())
        return WordScores(torch.arange(len(nats)), nats, nats < 0)

    monkeypatch.setattr(model, "score_words", score)
    found = retrieve(model, val, gallery=10)
    assert len(found.patients) == 10 and set(found.report) == set(found.image) == {1.0}
