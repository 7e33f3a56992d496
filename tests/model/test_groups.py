import torch

from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.model.groups import parameter_groups


def test_vectors_and_biases_do_not_decay(small) -> None:
    model = Ecamp(small(), 30)
    decayed, free = parameter_groups(model, 0.05)
    assert decayed["weight_decay"] == 0.05 and free["weight_decay"] == 0.0
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert {names[id(p)] for p in free["params"]} == {
        name for name, p in model.named_parameters() if p.ndim == 1 or name.endswith("bias")
    }
    both = {names[id(p)] for group in (decayed, free) for p in group["params"]}
    assert both == set(names.values())
    assert {"encoder.class_token", "decoder.mask_token", "text.embeddings.token_type"} <= {
        names[id(p)] for p in decayed["params"]
    }


def test_frozen_parameters_are_left_out(small) -> None:
    model = Ecamp(small(), 30)
    model.encoder.requires_grad_(False)
    grouped = {id(p) for group in parameter_groups(model, 0.05) for p in group["params"]}
    assert not grouped & {id(p) for p in model.encoder.parameters()}
    torch.optim.AdamW(parameter_groups(model, 0.05))  # no tensor twice
