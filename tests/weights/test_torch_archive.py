"""Files of torch.save, honest and hostile. Nothing in a hostile one may run: each leaves a canary file if it does."""

import argparse
import builtins
import io
import os
import pickle
import random
import subprocess
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ecamp_fast.errors import DataError
from ecamp_fast.weights import torch_archive
from ecamp_fast.weights.file import read_checkpoint
from ecamp_fast.weights.torch_archive import read_torch_archive


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    shared = torch.randn(6, 4)
    return OrderedDict(
        weight=torch.randn(3, 5),
        half=torch.randn(4).half(),
        brain=torch.randn(4).bfloat16(),
        double=torch.randn(2, 2).double(),
        index=torch.arange(5),
        flag=torch.tensor([True, False]),
        scalar=torch.tensor(3.5),
        empty=torch.zeros(0, 3),
        turned=shared.T,
        row=shared[2],
        parameter=torch.nn.Parameter(torch.randn(2)),
    )


def assert_same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype and torch.equal(ours[name], tensor.detach()), name
        assert ours[name].is_contiguous()


def test_training_checkpoint_with_arguments_and_optimizer(tmp_path: Path, state) -> None:
    file = tmp_path / "checkpoint-115.pth"
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    arguments = argparse.Namespace(
        lr=1.5e-4, epochs=120, output_dir="out", device="cuda", nested=argparse.Namespace(a=[1])
    )
    scaler = {"scale": 65536.0, "_growth_tracker": 3}
    torch.save(
        {"model": state, "optimizer": optimizer.state_dict(), "epoch": 115, "scaler": scaler, "args": arguments}, file
    )
    assert_same(read_torch_archive(file), state)


@pytest.mark.parametrize("wrap", [lambda s: {"model": s}, lambda s: {"state_dict": s}, lambda s: s, dict])
def test_containers(tmp_path: Path, state, wrap: Callable) -> None:
    torch.save(wrap(state), tmp_path / "w.pth")
    assert_same(read_checkpoint(tmp_path / "w.pth"), state)


def test_state_dict_with_metadata(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    torch.save(module.state_dict(), tmp_path / "w.pth")
    assert_same(read_torch_archive(tmp_path / "w.pth"), module.state_dict())


class Payload:
    """Pickles as a call of ``function``."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple:
        return self.call


def payloads(canary: Path) -> dict[str, object]:
    touch = f"open({str(canary)!r}, 'w').close()"
    return {
        "os.system": Payload(os.system, f"touch {canary}"),
        "exec": Payload(builtins.exec, touch),
        "eval": Payload(builtins.eval, f"open({str(canary)!r}, 'w')"),
        "subprocess": Payload(subprocess.check_call, ["touch", str(canary)]),
        "open": Payload(builtins.open, str(canary), "w"),
        "pickle.loads": Payload(pickle.loads, pickle.dumps(Payload(os.system, f"touch {canary}"))),
        "torch.load": Payload(torch.load, str(canary)),
        "namespace": argparse.Namespace(epoch=Payload(os.system, f"touch {canary}")),
    }


@pytest.mark.parametrize("name", payloads(Path("x")))
@pytest.mark.parametrize("protocol", [2, 4])
def test_hostile_pickles_are_refused_and_do_not_run(tmp_path: Path, state, name: str, protocol: int) -> None:
    canary, file = tmp_path / "canary", tmp_path / "w.pth"
    torch.save({"model": state, "args": payloads(canary)[name]}, file, pickle_protocol=protocol)
    with pytest.raises(DataError, match=r"w\.pth is refused: its pickle names"):
        read_checkpoint(file)
    assert not canary.exists()


def test_the_canary_can_sing(tmp_path: Path) -> None:
    """The payloads are real: an ordinary unpickler runs them."""
    canary = tmp_path / "canary"
    pickle.Unpickler(io.BytesIO(pickle.dumps(payloads(canary)["exec"]))).load()
    assert canary.exists()


def archive(
    file: Path, data: bytes, storages: dict[str, bytes] | None = None, compress: int = zipfile.ZIP_STORED
) -> None:
    with zipfile.ZipFile(file, "w", compress) as out:
        out.writestr("archive/data.pkl", data)
        for key, raw in (storages or {}).items():
            out.writestr(f"archive/data/{key}", raw)


def tensor_pickle(
    count: int, offset: int, size: tuple, stride: tuple, key: str = "0", kind: str = "FloatStorage"
) -> bytes:
    """{'w': tensor} by hand, as torch writes it, with any numbers in it."""

    marker = object()

    class Writer(pickle.Pickler):
        def persistent_id(self, thing: object) -> object:
            return ("storage", getattr(torch, kind), key, "cpu", count) if thing is marker else None

    out = io.BytesIO()
    rebuild = Payload(torch._utils._rebuild_tensor_v2, marker, offset, size, stride, False, OrderedDict())
    Writer(out, 2).dump({"w": rebuild})
    return out.getvalue()


def test_tensor_by_hand_is_read(tmp_path: Path) -> None:
    raw = torch.arange(6.0).numpy().tobytes()
    archive(tmp_path / "w.pth", tensor_pickle(6, 1, (2, 2), (2, 1)), {"0": raw})
    assert read_torch_archive(tmp_path / "w.pth")["w"].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("numbers", "why"),
    [
        ((6, 0, (7,), (1,)), "beyond its storage"),
        ((6, 5, (2,), (1,)), "beyond its storage"),
        ((6, 0, (2, 2), (5, 1)), "beyond its storage"),
        ((6, 0, (10**12,), (0,)), "beyond its storage"),  # would fill the memory
        ((6, -1, (2,), (1,)), "described wrongly"),
        ((6, 0, (2,), (-1,)), "described wrongly"),
        ((6, 0, (2,), (1, 1)), "described wrongly"),
        ((6, 0, ("2",), (1,)), "described wrongly"),
        ((600, 0, (2,), (1,)), "storage 0 has 24 bytes"),
    ],
)
def test_tensors_outside_their_storage_are_refused(tmp_path: Path, numbers: tuple, why: str) -> None:
    archive(tmp_path / "w.pth", tensor_pickle(*numbers), {"0": bytes(24)})
    with pytest.raises(DataError, match=why):
        read_torch_archive(tmp_path / "w.pth")


def test_large_memo_index_is_refused(tmp_path: Path) -> None:
    """LONG_BINPUT 2**31 makes an ordinary unpickler allocate 32 GiB."""
    archive(tmp_path / "w.pth", b"\x80\x02}r\x00\x00\x00\x80.")
    with pytest.raises(DataError, match="more memory than it can use"):
        read_torch_archive(tmp_path / "w.pth")


def test_compressed_archives_are_refused(tmp_path: Path) -> None:
    archive(tmp_path / "w.pth", tensor_pickle(6, 0, (6,), (1,)), {"0": bytes(24)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(DataError, match="is compressed"):
        read_torch_archive(tmp_path / "w.pth")


def test_large_pickles_are_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(torch_archive, "LARGEST_PICKLE", 10)
    archive(tmp_path / "w.pth", tensor_pickle(6, 0, (6,), (1,)), {"0": bytes(24)})
    with pytest.raises(DataError, match=r"its data\.pkl has \d+ bytes"):
        read_torch_archive(tmp_path / "w.pth")


@pytest.mark.parametrize("name", ["_Bag", "_RebuildTensor"])
def test_a_pickle_cannot_change_what_it_names(tmp_path: Path, name: str) -> None:
    """BUILD with slot state sets attributes: neither stand-in takes any."""
    named = b"cargparse\nNamespace\n" if name == "_Bag" else b"ctorch._utils\n_rebuild_tensor_v2\n"
    slots = b"N}\x8c\x0c__setstate__Ns\x86b."  # state (None, {"__setstate__": None})
    archive(tmp_path / "w.pth", b"\x80\x04" + named + slots)
    with pytest.raises(DataError):
        read_torch_archive(tmp_path / "w.pth")
    assert not hasattr(getattr(torch_archive, name), "__setstate__")


def test_every_truncation_is_an_error(tmp_path: Path, state) -> None:
    file = tmp_path / "w.pth"
    torch.save({"model": state}, file)
    data = file.read_bytes()
    for length in range(0, len(data), 211):
        file.write_bytes(data[:length])
        with pytest.raises(DataError):
            read_checkpoint(file)


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    torch.save({"model": {"w": torch.zeros(1000)}}, file)
    data = bytearray(file.read_bytes())
    data[data.index(bytes(512)) + 100] ^= 1
    file.write_bytes(data)
    with pytest.raises(DataError, match=r"damaged \(BadZipFile\)"):
        read_checkpoint(file)


def test_old_format_is_named_with_its_hint(tmp_path: Path, state) -> None:
    file = tmp_path / "old.pth"
    torch.save({"model": state}, file, _use_new_zipfile_serialization=False)
    with pytest.raises(DataError, match=r"torch before 1\.6.*\n.*weights_only=True"):
        read_checkpoint(file)


@pytest.mark.parametrize("data", [b"", b"hello", b"PK\x03\x04", b"\x80\x02}q\x00.", bytes(64)])
def test_other_files_are_an_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "w.pth").write_bytes(data)
    with pytest.raises(DataError, match=r"w\.pth"):
        read_checkpoint(tmp_path / "w.pth")


@pytest.mark.parametrize("contents", [{"model": {}}, {"model": {"epoch": 3}}, [1, 2], {"model": {1: torch.zeros(2)}}])
def test_files_without_named_tensors_are_refused(tmp_path: Path, contents: object) -> None:
    torch.save(contents, tmp_path / "w.pth")
    with pytest.raises(DataError, match="holds no named tensors"):
        read_checkpoint(tmp_path / "w.pth")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_checkpoint(tmp_path / "none.pth")


def test_changed_pickles_end_in_an_error_or_in_tensors(tmp_path: Path) -> None:
    """Random damage behind a good checksum: an answer or a DataError, never anything else."""
    chance, good = random.Random(0), tensor_pickle(6, 0, (6,), (1,))
    for _ in range(300):
        data = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        archive(tmp_path / "w.pth", bytes(data), {"0": bytes(24)})
        try:
            tensors = read_torch_archive(tmp_path / "w.pth")
        except DataError:
            continue
        assert all(isinstance(tensor, torch.Tensor) for tensor in tensors.values())
