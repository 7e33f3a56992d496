import pytest
import torch

from ecamp_fast.bench.data.synthetic import synthetic_batch
from ecamp_fast.bench.step.components import saved_for_backward
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.model.ready import make_ready

VOCABULARY, CPU = 60, torch.device("cpu")


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_the_same_step_with_less_kept(small, dropout: float) -> None:
    """Losses and gradients to the bit; less than half of the memory."""
    found = []
    for activations in ("keep", "recompute"):
        recipe = small("paper", f"activations={activations}", f"model.text.dropout={dropout}", "model.text.depth=4")
        torch.manual_seed(0)
        model = make_ready(Ecamp(recipe, VOCABULARY), recipe, CPU)
        batch = synthetic_batch(recipe, VOCABULARY, [9, 20, 14])
        kept = sum(row["bytes"] for row in saved_for_backward(model, batch) if row["component"] != "MLM head")
        torch.manual_seed(1)
        loss = model(batch).total
        loss.backward()
        found.append((kept, loss.detach(), {name: p.grad for name, p in model.named_parameters()}))
    (kept, loss, gradients), (kept_less, same, again) = found
    assert torch.equal(loss, same) and list(gradients) == list(again)
    assert all(torch.equal(gradients[name], again[name]) for name in gradients)
    assert kept_less < kept / 2
