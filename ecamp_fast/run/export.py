"""The trained weights as one safetensors file, in float32: what fine-tuning, probing and export start from."""

from pathlib import Path
from typing import Any

from torch import Tensor

from ecamp_fast.run.checkpoint.engine_state import unfused_masters
from ecamp_fast.weights.file import save_weights

WEIGHTS = "weights.safetensors"


def export_weights(engine: Any, out: Path, writes: bool) -> None:
    """Write the engine's master weights. Every rank calls it: ZeRO keeps each rank's part of them.

    writes: whether this rank writes the file (rank 0)
    Raises StorageError where ``out`` cannot be written.
    """
    masters = {name: master.cpu() for name, master in master_weights(engine).items()}
    if writes:
        save_weights(engine.module, out, masters)


def master_weights(engine: Any) -> dict[str, Tensor]:
    """Every parameter by name, in float32, as the optimizer keeps it. Every rank calls it."""
    from deepspeed.utils import safe_get_full_fp32_param

    kept = unfused_masters(engine.optimizer)  # which DeepSpeed's function does not see
    masters = {}
    for name, parameter in engine.module.named_parameters():
        full = kept.get(id(parameter)) if kept else safe_get_full_fp32_param(parameter)
        masters[name] = (parameter.float() if full is None else full).detach().view(parameter.shape)
    return masters
