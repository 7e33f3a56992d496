"""The released implementation beside ours: a checkout of the user's, run by a Python that suits it, on the same batch.

It answers through pipes (``peer_child.py``), so that the two can take turns on one machine. Its numbers count only
after ``parity``: with the same weights and masks both must give the same three losses.
"""

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from safetensors.torch import save_file
from torch import Tensor

from ecamp_fast.batch import Batch, Text
from ecamp_fast.config import Recipe, load_recipe
from ecamp_fast.errors import ConfigError, EnvironmentFault
from ecamp_fast.geometry import ATTENTION_GRID
from ecamp_fast.kernels.low_resolution import low_resolution
from ecamp_fast.kernels.pixels import normalise
from ecamp_fast.model.ecamp import Ecamp, View
from ecamp_fast.text.codes import token_ids
from ecamp_fast.weights.released_names import to_released

CODE, TELLTALE = Path("ECAMP") / "Pre-training", Path("module") / "model_ecamp.py"
# Relative, of each loss, in float32. At the paper's sizes the two differ by 1e-7; a layer left out, other patches,
# another window or another way to resize by 1e-4 or more.
TOLERANCE = 1e-5
ANTIALIASED_SINCE = (0, 17)  # torchvision, whose Resize the release calls without saying how


class Peer:
    """The release in its own process, from ``with`` to the end of the block."""

    def __init__(self, checkout: Path, python: Path, tensors: Mapping[str, Tensor], weights: Mapping[str, Tensor]):
        """tensors: see ``released_batch``   weights: under released names, complete.

        Raises ConfigError where the checkout is none, EnvironmentFault where the release does not start.
        """
        code = next((folder for folder in (checkout, checkout / CODE) if (folder / TELLTALE).is_file()), None)
        if code is None:
            raise ConfigError(f"--peer {checkout}: no {TELLTALE} there", "give a checkout of the released repository")
        self._folder = tempfile.TemporaryDirectory(prefix="ecamp-fast-")
        batch_file, weights_file, log = (Path(self._folder.name) / name for name in ("batch", "weights", "log"))
        save_file(dict(tensors), batch_file)
        save_file({name: tensor.contiguous().clone() for name, tensor in weights.items()}, weights_file)
        child = Path(__file__).with_name("peer_child.py")
        given = ["--code", str(code.resolve()), "--batch", str(batch_file), "--weights", str(weights_file)]
        self._log = log
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                [str(python), str(child), *given, "--threads", str(torch.get_num_threads())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        try:
            greeting = self._answer()
        except EnvironmentFault:
            self.close()
            raise
        weights_file.unlink()
        self.versions: dict[str, str | None] = greeting["versions"]
        self.parameters: int = greeting["parameters"]

    def step(self) -> dict[str, float]:
        """A training step; seconds as ``Step.run`` gives them."""
        seconds: dict[str, float] = self._ask("step")
        return seconds

    def saved(self) -> int:
        """Bytes it keeps for the backward pass beside its parameters."""
        return int(self._ask("saved"))

    def losses(self) -> list[float]:
        """MIM, SR, MLM without dropout."""
        return [float(loss) for loss in self._ask("losses")]

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, request: str) -> Any:
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):  # it is gone: the answer says why
            print(request, file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            log = self._log.read_text()[-2000:]
            raise EnvironmentFault(
                f"the released implementation ended:\n{log}",
                "give --peer-python an environment with what the release needs (transformers 4.42 to 4.46)",
            )
        return json.loads(line)


def introduce(
    checkout: Path, python: Path, vocab_size: int, model: Ecamp, host: Batch, device: torch.device
) -> tuple[Peer, dict[str, Any]]:
    """Start the release on a batch that lies on the CPU, and judge it.  model: whose sizes and masks it gets.

    returns the peer, running, and versions, parity, and whether it passed.
    """
    if not (model.decoder and model.super_resolution and model.text):
        raise ConfigError("--peer: the release has all three losses", "choose a recipe that has them too")
    twin = official_twin(model.recipe, vocab_size)
    tensors = released_batch(model.recipe, host, model.view(host))
    other = Peer(checkout, python, tensors, to_released(twin.state_dict(), twin.recipe))
    try:
        distances = parity(twin.to(device), {name: tensor.to(device) for name, tensor in tensors.items()}, other)
    except BaseException:
        other.close()
        raise
    passed = all(distance <= TOLERANCE for distance in distances.values())
    return other, {"versions": other.versions, "parity": distances, "passed": passed}


def released_batch(recipe: Recipe, batch: Batch, view: View) -> dict[str, Tensor]:
    """A micro-batch on the CPU as the released loader gives it, and ``noise`` (B, N) from which its patches are drawn.

    view: of the same batch; its text is padded to ``text.max_tokens`` where it is packed.
    """
    assert view.text is not None
    count, max_tokens, side = len(batch), recipe.text.max_tokens, recipe.image.high_size
    rows, valid = ~_padding(recipe, batch), (torch.arange(max_tokens) < batch.lengths[:, None]).flatten()

    def padded(values: Tensor, fill: float) -> Tensor:
        out = torch.full((count * max_tokens,), fill, dtype=values.dtype)
        out[valid] = values[rows]
        return out.view(count, max_tokens)

    weights = torch.ones(len(view.text.ids)).index_copy(0, view.text.rows, view.text.weights)
    noise = torch.empty(count, recipe.patches)
    order = torch.cat([view.keep, view.masked], 1)
    noise.scatter_(1, order, torch.linspace(0, 1, recipe.patches).expand(count, -1))
    grey = normalise(batch.image, recipe.image.mean, recipe.image.std)
    return {
        "image": grey.expand(count, 3, side, side).contiguous(),
        "ids": padded(view.text.ids, 0),
        "labels": padded(token_ids(view.text.codes).long(), 0),
        "attention_mask": valid.view(count, max_tokens).long(),
        "type_ids": torch.zeros(count, max_tokens, dtype=torch.long),
        "weights": padded(weights, 1.0),
        "column": batch.window[:, 0].long(),
        "row": batch.window[:, 1].long(),
        "noise": noise,
    }


def _padding(recipe: Recipe, batch: Batch) -> Tensor:
    """(T,) bool: rows of the batch that are padding."""
    assert batch.text is not None
    if not recipe.padded_text:
        return torch.zeros(len(batch.text.codes), dtype=torch.bool)
    return (torch.arange(recipe.text.max_tokens) >= batch.lengths[:, None]).flatten()


def official_twin(recipe: Recipe, vocab_size: int) -> Ecamp:
    """A model of the same sizes that computes what the release computes, in float32, without dropout."""
    sizes = {"model": {"vision", "decoder", "text"}, "image": {"high_size", "low_size", "mean", "std"}}
    changes = [
        f"{section}.{key}={json.dumps(value)}"
        for section, keys in sizes.items()
        for key, value in getattr(recipe, section).model_dump(mode="json").items()
        if key in keys
    ]
    changes += [f"text.max_tokens={recipe.text.max_tokens}", f"masking.image_ratio={recipe.masking.image_ratio}"]
    return Ecamp(load_recipe("official", changes), vocab_size).eval()


@torch.no_grad()
def parity(twin: Ecamp, tensors: Mapping[str, Tensor], peer: Peer) -> dict[str, float]:
    """Relative difference of the three losses, the release's against the twin's on the same weights and masks."""
    recipe, lengths = twin.recipe, tensors["attention_mask"].sum(1)
    image, pixels, max_tokens = tensors["image"][:, :1], recipe.image, recipe.text.max_tokens
    version = [int(part) for part in (peer.versions["torchvision"] or "0.0").split(".")[:2]]
    low = low_resolution(image, pixels.mean, pixels.std, antialias=tuple(version) >= ANTIALIASED_SINCE)
    order = tensors["noise"].argsort(1)
    every = torch.arange(tensors["ids"].numel(), device=image.device)
    cu_seqlens = torch.arange(0, len(every) + 1, max_tokens, dtype=torch.int32, device=image.device)
    text = Text(
        codes=tensors["labels"].flatten().int(),
        ids=tensors["ids"].flatten(),
        rows=every,
        labels=tensors["labels"].flatten(),
        weights=tensors["weights"].flatten(),
        cu_seqlens=cu_seqlens,
        predicted=cu_seqlens,
        max_seqlen=max_tokens,
    )
    view = View(
        low=low,
        keep=order[:, : recipe.kept_patches],
        masked=order[:, recipe.kept_patches :],
        high=image,
        attention=image.new_zeros(len(image), ATTENTION_GRID, ATTENTION_GRID),
        window=torch.stack([tensors["column"], tensors["row"]], 1),
        text=text,
        lengths=lengths,
    )
    losses = twin.losses(view)
    ours = {"mim": losses.mim, "sr": losses.sr, "mlm": losses.mlm}
    theirs = zip(ours, peer.losses(), strict=True)
    return {name: abs(loss - float(ours[name])) / abs(float(ours[name])) for name, loss in theirs}
