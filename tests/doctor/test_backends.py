import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecamp_fast.doctor import backends
from ecamp_fast.doctor.finding import Status
from ecamp_fast.doctor.run_setup import RunSetup
from ecamp_fast.model.attention import BACKENDS
from ecamp_fast.model.attention_backends import unusable


@pytest.fixture(autouse=True)
def look_again() -> Iterator[None]:
    unusable.cache_clear()
    yield
    unusable.cache_clear()


def test_every_backend_is_named_and_each_part_has_one() -> None:
    findings = {finding.name: finding for finding in backends.attention(RunSetup())}
    assert list(findings) == [*BACKENDS, "attention"]
    parts = dict(part.split(": ") for part in findings["attention"].found.split("; "))
    assert list(parts) == ["encoder", "decoder", "text", "fusion"]
    assert all(choice.split()[0] in BACKENDS for choice in parts.values())
    assert all(finding.status is not Status.FAIL for finding in findings.values())


@pytest.mark.fault("E2.flash-attn")
def test_a_backend_built_for_another_torch_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "flash_attn.py").write_text("raise ImportError('undefined symbol: _ZN3c10')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "flash_attn", raising=False)
    findings = {f.name: f for f in backends.attention(RunSetup())}
    assert findings["flash-attn"].status is Status.WARN
    assert "undefined symbol" in findings["flash-attn"].found and "uninstall" in findings["flash-attn"].hint
    assert "flash-attn" not in findings["attention"].found  # and the model does without it


def test_dali_decodes_here() -> None:
    pytest.importorskip("nvidia.dali")
    (finding,) = backends.decoding(RunSetup())
    assert (finding.name, finding.status) == ("DALI on the CPU", Status.OK)


def test_a_decoder_that_fails_or_errs_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    decode = pytest.importorskip("ecamp_fast.shards.load.decode")

    def breaks(*_: object) -> None:
        raise RuntimeError("Unrecognized image format")

    monkeypatch.setattr(decode.JpegDecoder, "decode", breaks)
    assert next(backends.decoding(RunSetup())).status is Status.FAIL
    import torch

    monkeypatch.setattr(decode.JpegDecoder, "decode", lambda *_: torch.zeros(1, 1, 32, 32))
    assert "wrong" in next(backends.decoding(RunSetup())).found
