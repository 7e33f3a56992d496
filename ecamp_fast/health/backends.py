"""Libraries behind one door each: attention and image decoding, what is there and what is used."""

import importlib
import importlib.util
import io
from collections.abc import Iterator

from ecamp_fast.errors import DataError
from ecamp_fast.health.case import Case
from ecamp_fast.health.finding import Finding, fail, ok, warn
from ecamp_fast.health.packages import first_line

PICKED = "SDPA"  # what `ecamp_fast.model.attention` calls in this version, on every device
AMPERE = (8, 0)  # lowest compute capability of flash attention
REINSTALL = "pip install --force-reinstall nvidia-dali-cuda130"
EXTRAS = {"flash-attn": ("flash_attn", "flash"), "xformers": ("xformers.ops", "xformers")}


def attention(case: Case) -> Iterator[Finding]:
    """Each attention backend: usable here or why not; then the one that is used."""
    import torch

    ampere = case.gpus and torch.cuda.get_device_capability(0) >= AMPERE
    usable = ["SDPA"]
    yield ok("SDPA", "part of PyTorch, usable")
    if importlib.util.find_spec("torch.nn.attention.varlen") is None:
        yield ok("torch varlen", "not in this PyTorch")
    elif ampere:
        usable.append("torch varlen")
        yield ok("torch varlen", "part of PyTorch, usable")
    else:
        yield ok("torch varlen", "part of PyTorch, needs a GPU from Ampere (8.0) on")
    for name, (module, extra) in EXTRAS.items():
        finding = _extra(name, module, extra, bool(ampere if name == "flash-attn" else case.gpus))
        usable += [name] if finding.found.endswith(", usable") else []
        yield finding
    yield ok("attention", f"auto picks {PICKED}, the only one this version calls; usable: {', '.join(usable)}")


def _extra(name: str, module: str, extra: str, fits: bool) -> Finding:
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        return ok(name, f'not installed (optional: pip install "ecamp-fast[{extra}]")')
    try:
        version = getattr(importlib.import_module(module.partition(".")[0]), "__version__", "")
        importlib.import_module(module)
    except Exception as error:  # built against another PyTorch, it fails in many ways
        mend = f"pip install --force-reinstall --no-build-isolation {name}, or pip uninstall {name}"
        return warn(name, f"installed, but does not load: {first_line(error)}", mend)
    return ok(
        name, f"{version}, usable" if fits else f"{version}, needs a GPU, flash attention one from Ampere (8.0) on"
    )


def decoding(case: Case) -> Iterator[Finding]:
    """A grey JPEG through the loader's own DALI pipeline, on every kind of device there is."""
    import numpy as np
    import torch

    from ecamp_fast.shards.decode import Decoder

    picture = _jpeg()
    for device in ("cpu", "cuda") if case.gpus else ("cpu",):
        name = f"DALI on {'the GPU' if device == 'cuda' else 'the CPU'}"
        try:
            decoder = Decoder(1, 32, torch.device(device), 1)
            image = decoder.decode(["a grey square"], [picture], np.array([[0, 0, 64, 64]]), np.array([False]))
        except (RuntimeError, DataError) as error:
            yield fail(name, f"decodes nothing: {first_line(error)}", REINSTALL)
            continue
        mean = float(image.float().mean())
        if tuple(image.shape) == (1, 1, 32, 32) and abs(mean - 128) < 4:
            yield ok(name, "decodes, crops and resizes")
        else:
            yield fail(name, f"a grey picture came out wrong (mean {mean:.0f})", REINSTALL)


def _jpeg() -> bytes:
    """A grey square of 64 pixels."""
    from PIL import Image

    file = io.BytesIO()
    Image.new("L", (64, 64), 128).save(file, "JPEG")
    return file.getvalue()
