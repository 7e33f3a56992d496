import importlib
import sys
from pathlib import Path

import pytest

from ecamp_fast.health import backends
from ecamp_fast.health.case import Case
from ecamp_fast.health.finding import Status


def test_every_backend_is_named_and_one_is_picked() -> None:
    findings = {finding.name: finding for finding in backends.attention(Case())}
    assert list(findings) == ["SDPA", "torch varlen", "flash-attn", "xformers", "attention"]
    assert findings["attention"].found.startswith("auto picks SDPA")
    assert all(finding.status is not Status.FAIL for finding in findings.values())


def test_the_picked_backend_is_what_the_model_calls() -> None:
    attention = importlib.import_module("ecamp_fast.model.attention")
    called = [name for name in ("flash_attn", "varlen_attn", "xformers") if hasattr(attention, name)]
    assert hasattr(attention, "scaled_dot_product_attention") and not called, "health.backends.PICKED is out of date"


def test_a_backend_built_for_another_torch_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "flash_attn.py").write_text("raise ImportError('undefined symbol: _ZN3c10')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "flash_attn", raising=False)
    (finding,) = (f for f in backends.attention(Case()) if f.name == "flash-attn")
    assert finding.status is Status.WARN
    assert "undefined symbol" in finding.found and "uninstall" in finding.mend


def test_dali_decodes_here() -> None:
    pytest.importorskip("nvidia.dali")
    (finding,) = backends.decoding(Case())
    assert (finding.name, finding.status) == ("DALI on the CPU", Status.OK)


def test_a_decoder_that_fails_or_errs_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    decode = pytest.importorskip("ecamp_fast.shards.decode")

    def breaks(*_: object) -> None:
        raise RuntimeError("Unrecognized image format")

    monkeypatch.setattr(decode.Decoder, "decode", breaks)
    assert next(backends.decoding(Case())).status is Status.FAIL
    import torch

    monkeypatch.setattr(decode.Decoder, "decode", lambda *_: torch.zeros(1, 1, 32, 32))
    assert "wrong" in next(backends.decoding(Case())).found
