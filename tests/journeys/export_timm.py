"""Journey: a run's encoder gives the same features in a process that knows timm, torch and safetensors, and not us."""

import sys
from pathlib import Path

from journeys.harness import Walk, check, program

# Refuses whatever is no part of timm's world; takes the pixels that ours has prepared, writes features.
ELSEWHERE = """
import sys

class Only:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("ecamp_fast", "deepspeed", "transformers", "webdataset", "nvidia"):
            raise ImportError(f"{name} is not installed here")

sys.meta_path.insert(0, Only())
import timm, torch
from safetensors.torch import load_file, save_file

model = timm.create_model("local-dir:exported/timm", pretrained=True).eval()
with torch.inference_mode():
    save_file({"features": model(load_file("pixels.safetensors")["pixels"]).contiguous()}, "theirs.safetensors")
print(sorted(name for name in sys.modules if name.split(".")[0] == "ecamp_fast"))
"""
OURS = """
import torch
import ecamp_fast
from safetensors.torch import save_file

encoder, seen = ecamp_fast.load("runs/first"), []
encoder.encoder.register_forward_pre_hook(lambda module, given: seen.append(given[0]))  # (B, 1, S, S)
with torch.inference_mode():
    save_file({"features": encoder(encoder.preprocess(["image.png", "other.png"])).contiguous()}, "ours.safetensors")
save_file({"pixels": seen[0].expand(-1, 3, -1, -1).contiguous()}, "pixels.safetensors")
"""
TOLERANCE = 1e-5


def journey(walk: Walk) -> None:
    from PIL import Image

    from ecamp_fast.phantom import phantom

    for number, name in enumerate(("image.png", "other.png")):
        Image.fromarray(phantom(7, number, 96).image).save(walk.here / name)
    walk.need("RUN:runs/first")
    forms = ("timm",) if walk.short else ("timm", "transformers", "ours")
    only = " --to timm" if walk.short else ""
    walk.type(f"ecamp-fast export runs/first exported{only}", says=["exported/timm"])
    for form in forms:
        names = {file.name for file in (walk.here / "exported" / form).iterdir()}
        check("README.md" in names and any(name.endswith(".safetensors") for name in names), f"{form}: {sorted(names)}")
    (walk.here / "ours.py").write_text(OURS)
    walk.type("python ours.py")
    (walk.here / "elsewhere.py").write_text(ELSEWHERE)
    walk.type("python -I elsewhere.py", says=["[]"])
    check_equal(walk.here / "ours.safetensors", walk.here / "theirs.safetensors")


def check_equal(ours: Path, theirs: Path, tolerance: float = TOLERANCE) -> None:
    """Features that are equal within float32's rounding, and tell one picture from another."""
    from safetensors.torch import load_file

    a, b = (load_file(path)["features"].double() for path in (ours, theirs))
    apart = float((a - b).abs().max() / a.abs().max()) if a.shape == b.shape else float("inf")
    check(apart <= tolerance, f"features are equal within {tolerance:g}: {apart:.1e}")
    check(float((a[0] - a[1]).abs().max()) > 1e-3, "two pictures have other features")


def main() -> int:
    return program(journey)


if __name__ == "__main__":
    sys.exit(main())
