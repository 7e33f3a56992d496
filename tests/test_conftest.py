"""A run says where its kernels ran, and asks PyTorch whether there is a GPU."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
ASKED = """
import os
import sys
from types import SimpleNamespace

import torch

os.environ.pop("TRITON_INTERPRET", None)
torch.cuda.is_available = lambda: {cuda}
torch.cuda.get_device_name = lambda: "NVIDIA H200"
sys.path.insert(0, "tests")
import conftest

print(os.environ.get("TRITON_INTERPRET"), conftest.pytest_report_header(), sep="; ")
print(conftest.kernels_run(cuda=True, interpreted=True))
"""


def asked(cuda: bool) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", ASKED.format(cuda=cuda)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_pytorch_decides_whether_there_is_a_gpu() -> None:
    with_gpu, warning = asked(cuda=True)
    assert with_gpu == "None; Triton kernels: on NVIDIA H200"
    assert warning.startswith("WARNING") and "not tested" in warning
    without, _ = asked(cuda=False)
    assert without.startswith("1; Triton kernels: in the interpreter, on the CPU")
