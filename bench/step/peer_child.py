"""The released implementation at work, in a process of its own, driven line by line: started by ``peer.py``.

Run as a file by whatever Python the release is installed in: imports nothing of this project. What the release needs
and does not find is fixed here, at run time: ``np.float`` (gone from numpy), ``.cuda()`` on a machine without a GPU,
the debugger it imports. Its checkout is only read.
Requests: step, saved, losses; a line of JSON answers each, and one comes first: what was loaded.
"""

import argparse
import importlib
import importlib.metadata
import json
import os
import sys
import time
import types
from collections.abc import Callable
from typing import Any


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--code", required=True)  # folder that holds module/model_ecamp.py
    options.add_argument("--batch", required=True)  # .safetensors
    options.add_argument("--threads", type=int, required=True)
    options.add_argument("--weights", required=True)  # .safetensors, names of the release
    given = options.parse_args()
    answers, sys.stdout = sys.stdout, sys.stderr  # what the release prints is no answer
    beside = os.path.dirname(os.path.abspath(__file__))
    sys.path = [given.code] + [folder for folder in sys.path if os.path.abspath(folder or ".") != beside]
    sys.dont_write_bytecode = True
    peer = Release(given)
    print(json.dumps({"versions": peer.versions, "parameters": peer.parameters}), file=answers, flush=True)
    requests: dict[str, Callable[[], Any]] = {"step": peer.step, "saved": peer.saved, "losses": peer.losses}
    for line in sys.stdin:
        print(json.dumps(requests[line.strip()]()), file=answers, flush=True)


class Release:
    """The released model with the optimizer of its own training script."""

    def __init__(self, given: argparse.Namespace) -> None:
        import numpy
        import torch

        if not hasattr(numpy, "float"):
            setattr(numpy, "float", float)  # noqa: B010, type checkers know that it is gone
        try:
            import ipdb  # noqa: F401
        except ImportError:
            sys.modules["ipdb"] = types.ModuleType("ipdb")
        from safetensors.torch import load_file

        self.torch: Any = torch
        self.cuda = torch.cuda.is_available()
        if not self.cuda:
            torch.set_num_threads(given.threads)
            setattr(torch.Tensor, "cuda", lambda tensor, *unused, **ignored: tensor)  # noqa: B010
        torch.manual_seed(0)
        self.model: Any = importlib.import_module("module.model_ecamp").ecamp()
        self.model.load_state_dict(load_file(given.weights))
        batch = load_file(given.batch)
        self.noise = batch.pop("noise")
        if self.cuda:
            self.model.cuda()
            batch = {name: tensor.cuda() for name, tensor in batch.items()}
        self.batch = batch
        self.parameters = sum(weight.numel() for weight in self.model.parameters())
        self.versions = {name: _version(name) for name in ("torch", "torchvision", "timm", "transformers")}
        groups: list[dict[str, Any]] = [{"params": [], "weight_decay": 0.05}, {"params": [], "weight_decay": 0.0}]
        for name, weight in self.model.named_parameters():
            if weight.requires_grad:
                groups[weight.ndim <= 1 or name.endswith(".bias")]["params"].append(weight)
        self.adamw = torch.optim.AdamW(groups, lr=1.5e-4, betas=(0.9, 0.95))
        self.scaler = torch.amp.GradScaler("cuda", enabled=self.cuda)

    def forward(self) -> tuple[Any, tuple[Any, Any, Any]]:
        """The sum of the three terms, and the terms."""
        with self.torch.autocast("cuda", dtype=self.torch.float16, enabled=self.cuda):
            mim, sr, mlm = self.model(self.batch)
            return mim + sr + mlm, (mim, sr, mlm)

    def step(self) -> dict[str, float]:
        """Seconds of forward, backward, optimizer and all together; as the release does it, losses are read."""
        began = self._now()
        core = time.process_time()
        loss, terms = self.forward()
        for term in terms:
            term.item()
        forward = self._now()
        self.scaler.scale(loss).backward()
        backward = self._now()
        self.scaler.step(self.adamw)
        self.scaler.update()
        self.adamw.zero_grad()
        ended = self._now()
        return {
            "forward": forward - began,
            "backward": backward - forward,
            "optimizer": ended - backward,
            "together": ended - began,
            "core": time.process_time() - core,
        }

    def saved(self) -> int:
        """Bytes kept for the backward pass beside the parameters: storages, each once."""
        known = {weight.untyped_storage().data_ptr() for weight in self.model.parameters()}
        total = 0

        def note(tensor: Any) -> Any:
            nonlocal total
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in known:
                known.add(storage.data_ptr())
                total += storage.nbytes()
            return tensor

        with self.torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            loss, _ = self.forward()
        del loss
        return total

    def losses(self) -> list[float]:
        """The three terms without dropout, patches masked by the noise of the batch."""
        drawn = self.torch.rand
        self.torch.rand = lambda *shape, **options: self.noise.to(**options)
        self.model.eval()
        try:
            with self.torch.no_grad():
                terms = self.model(self.batch)
        finally:
            self.torch.rand = drawn
            self.model.train()
        return [float(term) for term in terms]

    def _now(self) -> float:
        if self.cuda:
            self.torch.cuda.synchronize()
        return time.perf_counter()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
