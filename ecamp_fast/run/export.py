"""The trained weights as one safetensors file, in float32: what fine-tuning, probing and export start from."""

from pathlib import Path
from typing import Any

from ecamp_fast.weights.file import save_weights

WEIGHTS = "weights.safetensors"


def export_weights(engine: Any, out: Path, writes: bool) -> None:
    """Write the engine's master weights. Every rank calls it: ZeRO keeps each rank's part of them.

    writes: whether this rank writes the file (rank 0)
    Raises StorageError where ``out`` cannot be written.
    """
    from deepspeed.utils import safe_get_full_fp32_param

    masters = {}
    for name, parameter in engine.module.named_parameters():
        full = safe_get_full_fp32_param(parameter)
        masters[name] = (parameter.detach().float() if full is None else full).view(parameter.shape).cpu()
    if writes:
        save_weights(engine.module, out, masters)
