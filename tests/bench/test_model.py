"""The bench of the training step: that its numbers belong together, not how large they are."""

import json
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from click.testing import CliRunner

from ecamp_fast.bench import model as bench
from ecamp_fast.bench.data.synthetic import synthetic_batch
from ecamp_fast.bench.step import peer as peers
from ecamp_fast.bench.step.components import by_component, saved_for_backward
from ecamp_fast.bench.step.peer import Peer, official_twin, released_batch
from ecamp_fast.bench.step.timed_step import DTYPES, PHASES, Step, Stopwatch
from ecamp_fast.config import load_recipe
from ecamp_fast.errors import ConfigError, EnvironmentFault
from ecamp_fast.model import ecamp
from ecamp_fast.model.components import scopes
from ecamp_fast.model.ecamp import Ecamp

SMALL = Path(__file__).parents[1] / "data" / "small.yaml"
VOCABULARY = 200
CPU = torch.device("cpu")
OPTIONS = [
    *("--recipe", str(SMALL), "--batch", "2", "--tokens", "20", "--vocabulary", str(VOCABULARY)),
    *("--repeats", "1", "--device", "cpu", "--json"),
]
RELEASE = """
import ipdb
import numpy as np
import torch

print("noise on stdout, as libraries make it")


class ECAMP(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3, 4))
        self.bias = torch.nn.Parameter(torch.zeros(4, dtype=torch.float32))
        self.scale = np.float(2)

    def forward(self, batch, mask_ratio=0.75):
        image = batch["image"].cuda().mean((2, 3))
        noise = torch.rand(*batch["ids"].shape[:1], 49, device=image.device).mean()
        out = image @ self.weight + self.bias
        return self.scale * out.square().mean(), out.exp().mean(), noise * out.mean()


def ecamp(**options):
    return ECAMP(**options)
"""


@pytest.fixture
def small() -> Any:
    return load_recipe(SMALL)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A checkout that looks like the released one and computes something small."""
    folder = tmp_path / "checkout" / peers.CODE / "module"
    folder.mkdir(parents=True)
    (folder / "model_ecamp.py").write_text(RELEASE)
    return tmp_path / "checkout"


@pytest.fixture
def tensors(small) -> dict[str, torch.Tensor]:
    batch = synthetic_batch(small, VOCABULARY, [3, 9])
    return released_batch(small, batch, Ecamp(small, VOCABULARY).view(batch))


WEIGHTS = {"weight": torch.full((3, 4), 0.5), "bias": torch.zeros(4)}


def test_numbers_of_a_small_recipe_belong_together() -> None:
    done = CliRunner().invoke(bench.command, [*OPTIONS, "--precision", "fp32", "--precision", "bf16"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["recipe"], result["batch"], result["tokens"], result["peer"]) == ("small", 2, 20.0, None)
    assert 5 < result["predicted"] < 20
    parts = {name: work for name, work in result["flops_per_sample"].items() if name != "total"}
    assert sum(parts.values()) == pytest.approx(result["flops_per_sample"]["total"])
    fp32, bf16 = (result["ours"][precision] for precision in ("fp32", "bf16"))
    for found in (fp32, bf16):
        medians = {phase: times["median"] for phase, times in found["seconds"].items()}
        assert sum(medians[phase] for phase in PHASES) == pytest.approx(medians["together"])
        assert found["images_per_second"] == pytest.approx(2 / medians["together"])
        assert found["mfu"] is None and found["peak_memory_bytes"] is None
        assert sum(found["saved_by_component"].values()) == pytest.approx(found["saved_bytes_per_sample"])
        watched = {name for name, times in found["component_seconds"].items() if times["forward"] > 0}
        assert set(parts) <= watched and set(parts) <= set(found["saved_by_component"])
        assert all(found["component_seconds"][part]["backward"] > 0 for part in parts)
    assert bf16["saved_bytes_per_sample"] < 0.6 * fp32["saved_bytes_per_sample"]
    text = bench.describe(result)
    assert "ours bf16, ms: forward" in text and all(part in text for part in parts)


def test_saved_storages_count_once_and_parameters_never() -> None:
    recipe = load_recipe(SMALL, ["losses={sr: false, mlm: false}", "model.vision.depth=1", "model.decoder.depth=1"])
    model, batch = Ecamp(recipe, VOCABULARY), synthetic_batch(recipe, VOCABULARY, [5, 5])
    rows = saved_for_backward(model, batch)
    pixels = [row for row in rows if row["component"] == "patch embedding"]
    assert [row["bytes"] for row in pixels] == [2 * recipe.kept_patches * 16**2 * 4]
    tokens = 2 * (recipe.kept_patches + 1)
    (hidden, activated) = (row for row in rows if row["shape"] == [tokens, 4 * 192])  # before and after GELU
    assert hidden["bytes"] == activated["bytes"] == tokens * 4 * 192 * 4
    assert sum(by_component(rows).values()) == sum(row["bytes"] for row in rows)
    assert rows == sorted(rows, key=lambda row: -row["bytes"])


def test_the_model_is_left_as_it_was() -> None:
    recipe = load_recipe(SMALL)
    model, function = Ecamp(recipe, VOCABULARY), ecamp.mlm_loss
    with pytest.raises(RuntimeError), scopes(model) as running:
        assert ecamp.mlm_loss is not function and running == ["other"]
        raise RuntimeError
    assert ecamp.mlm_loss is function
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("precision", DTYPES)
def test_a_step_moves_every_weight(small, precision: str) -> None:
    step = Step(small, VOCABULARY, precision, CPU)
    step.masters.adamw.param_groups[0]["lr"] = step.masters.adamw.param_groups[1]["lr"] = 0.1
    before = [weight.detach().clone() for weight in step.model.parameters()]
    seconds = step.run(synthetic_batch(small, VOCABULARY, [20, 30]))
    assert set(seconds) == {*PHASES, "together", "core"} and all(time > 0 for time in seconds.values())
    for weight, old in zip(step.model.parameters(), before, strict=True):
        assert weight.dtype == DTYPES[precision] and weight.grad is None and not torch.equal(weight, old)


def test_a_stopwatch_gives_the_time_between_marks() -> None:
    watch = Stopwatch(CPU)
    for _ in range(3):
        watch.mark()
    assert len(watch.laps()) == 2 and min(watch.laps()) >= 0


def test_the_release_gets_the_batch_in_its_form(small, tensors) -> None:
    assert tensors["image"].shape == (2, 3, 224, 224) and tensors["ids"].shape == (2, 128)
    assert tensors["attention_mask"].sum(1).tolist() == [3, 9]
    assert tensors["labels"][0, 3:].any().item() is False and tensors["weights"][0, 3:].eq(1).all()
    batch = synthetic_batch(small, VOCABULARY, [3, 9])
    keep = Ecamp(small, VOCABULARY).view(batch).keep
    assert torch.equal(tensors["noise"].argsort(1)[:, : small.kept_patches], keep)


def test_the_release_answers_through_pipes(release, tensors) -> None:
    with Peer(release, Path(sys.executable), tensors, WEIGHTS) as peer:
        assert peer.parameters == 16 and torch.__version__.startswith(peer.versions["torch"])
        out = tensors["image"].mean((2, 3)) @ WEIGHTS["weight"]
        expected = [2 * out.square().mean(), out.exp().mean(), tensors["noise"].mean() * out.mean()]
        assert peer.losses() == pytest.approx([float(term) for term in expected], rel=1e-5)
        seconds = peer.step()
        assert set(seconds) == {*PHASES, "together", "core"} and seconds["together"] > 0
        assert peer.saved() > 0
    assert peer._process.poll() is not None
    assert not list(release.rglob("__pycache__"))


def test_what_is_no_checkout_is_refused(tmp_path: Path, tensors) -> None:
    with pytest.raises(ConfigError, match="model_ecamp"):
        Peer(tmp_path, Path(sys.executable), tensors, WEIGHTS)


def test_a_release_that_does_not_start_says_why(release, tensors) -> None:
    (release / peers.CODE / "module" / "model_ecamp.py").write_text("import a_library_that_is_missing")
    with pytest.raises(EnvironmentFault, match="a_library_that_is_missing"):
        Peer(release, Path(sys.executable), tensors, WEIGHTS)


class Impostor:
    """Answers as a release would, at once."""

    versions: ClassVar = {"torchvision": "0.29.1"}

    def __init__(self, *unused: Any) -> None:
        self.steps = 0

    def close(self) -> None: ...

    def step(self) -> dict[str, float]:
        self.steps += 1
        return dict.fromkeys((*PHASES, "together", "core"), float(self.steps))

    def saved(self) -> int:
        return 2 * 10**9

    def losses(self) -> list[float]:
        return self.told


@pytest.mark.parametrize("fault", [0.0, 1e-3])
def test_times_beside_the_release_need_parity(monkeypatch, fault: float) -> None:
    compute = Ecamp.losses

    def overheard(self: Ecamp, view: Any) -> Any:
        losses = compute(self, view)
        mim, sr, mlm = (term.item() for term in (losses.mim, losses.sr, losses.mlm))
        Impostor.told = [mim, sr, mlm * (1 + fault)]
        return losses

    monkeypatch.setattr(Ecamp, "losses", overheard)
    monkeypatch.setattr(peers, "Peer", Impostor)
    done = CliRunner().invoke(bench.command, [*OPTIONS, "--peer", "anywhere"])
    assert done.exit_code == (1 if fault else 0), done.output
    result = json.loads(done.stdout.splitlines()[-1])
    peer, text = result["peer"], bench.describe(result)
    assert peer["parity"]["mlm"] == pytest.approx(fault, abs=1e-6) and peer["parity"]["mim"] < 1e-6
    assert ("FAILED" in text) == bool(fault) and ("times as fast" in text) != bool(fault)
    if fault:
        assert "ratio" not in peer and "seconds" not in peer
        return
    ours = result["ours"]["fp32"]
    assert peer["ratio"]["fp32"]["together"] == pytest.approx(2 / ours["seconds"]["together"]["median"])  # second step
    assert peer["saved_ratio"]["fp32"] == pytest.approx(1e9 / ours["saved_bytes_per_sample"])


def test_the_release_needs_a_recipe_with_all_its_losses() -> None:
    done = CliRunner().invoke(bench.command, [*OPTIONS, "--set", "losses.sr=false", "--peer", "anywhere"])
    assert isinstance(done.exception, ConfigError) and "all three losses" in str(done.exception)


def test_the_twin_computes_what_the_release_does_at_the_sizes_of_the_recipe(small) -> None:
    recipe = official_twin(small, VOCABULARY).recipe
    assert recipe.model.vision == small.model.vision and recipe.image.high_size == small.image.high_size
    assert recipe.text.max_tokens == small.text.max_tokens and recipe.model.text.ffn == small.model.text.ffn
    assert recipe.padded_text and recipe.sr.final_relu and recipe.sr.guidance == "window_fixed"


@pytest.mark.gpu
def test_on_a_gpu() -> None:
    options = [*OPTIONS, "--device", "cuda", "--precision", "bf16"]
    done = CliRunner().invoke(bench.command, options)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout.splitlines()[-1])["ours"]["bf16"]
    assert found["peak_memory_bytes"] > found["saved_bytes_per_sample"] > 0
    assert all(found["component_seconds"][part]["forward"] > 0 for part in ("encoder", "decoder", "text layers"))
