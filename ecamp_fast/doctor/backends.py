"""Libraries behind one door each: attention and image decoding, what is installed and what is used."""

import io
from collections.abc import Iterator

from ecamp_fast.doctor.finding import Finding, fail, ok, warn
from ecamp_fast.doctor.packages import first_line
from ecamp_fast.doctor.run_setup import RunSetup
from ecamp_fast.errors import DataError
from ecamp_fast.extras import install_hint

REINSTALL = "pip install --force-reinstall nvidia-dali-cuda130"
EXTRAS = {"flash-attn": ("flash_attn", "flash_attn", "flash"), "xformers": ("xformers", "xformers.ops", "xformers")}


def attention(setup: RunSetup) -> Iterator[Finding]:
    """Each attention backend: usable here or why not; then which one each part of the model uses, where it is ECAMP."""
    import torch

    from ecamp_fast.config import Recipe
    from ecamp_fast.model.attention import BACKENDS, describe_choice
    from ecamp_fast.model.attention_backends import unusable
    from ecamp_fast.model.ecamp import attention_cases

    parts = attention_cases(setup.recipe or Recipe(), torch.cuda.is_available())
    for name, backend in BACKENDS.items():
        package, module, extra = EXTRAS.get(name, ("torch", "torch", ""))
        fault = unusable(package, module)
        reasons = [backend.lacks(one) for one in parts.values()]
        if fault and fault.startswith("does not load"):
            hint = f"pip install --force-reinstall --no-build-isolation {name}, or pip uninstall {name}"
            yield warn(name, f"installed, but {fault}", hint)
        elif fault:
            yield ok(name, f"{fault} (optional: {install_hint(extra)})")
        else:
            found = sorted({reason for reason in reasons if reason})
            usable = sum(reason is None for reason in reasons)
            yield ok(name, "usable" if not found else f"usable for {usable} of {len(parts)} parts: {', '.join(found)}")
    if setup.recipe is None or not setup.recipe.losses.gloria:
        yield ok("attention", "; ".join(f"{part}: {describe_choice(one)}" for part, one in parts.items()))


def decoding(setup: RunSetup) -> Iterator[Finding]:
    """A grey JPEG through the loader's own DALI pipeline, on every kind of device there is."""
    import numpy as np
    import torch

    from ecamp_fast.shards.load.decode import JpegDecoder

    picture = _jpeg()
    for device in ("cpu", "cuda") if setup.gpus else ("cpu",):
        name = f"DALI on {'the GPU' if device == 'cuda' else 'the CPU'}"
        try:
            decoder = JpegDecoder(1, 32, torch.device(device), 1)
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
