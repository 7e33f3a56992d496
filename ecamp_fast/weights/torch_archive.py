"""Reading files of ``torch.save`` without running anything that is in them.

A ``.pth`` file is a zip archive: a pickle that says how tensors lie in raw storages, and the storages. Unpickling can
call whatever the file names. This reader resolves a short list of names, and none to the real thing: every name stands
for an inert record of this module. No torch code runs before the pickle is done, tensors are then cut from the raw
bytes within checked bounds, and only those that were asked for.
"""

import collections
import io
import math
import pickle
import pickletools
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ecamp_fast.errors import DataError

DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
LARGEST_PICKLE = 2**26  # bytes; that of a training checkpoint of ECAMP has less than one MiB
DEEPEST, MOST_VALUES = 20, 2**17  # of nested contents; DeepSpeed's are 7 deep, a model has some thousand


class Refused(Exception):
    """The archive is damaged, or asks for something that no tensor file needs."""


class _StorageType(NamedTuple):
    """Stands for a storage class of torch: its dtype."""

    dtype: torch.dtype


class _Storage(NamedTuple):
    """A storage that is not read yet: ``values`` numbers in the member ``data/KEY``."""

    dtype: torch.dtype
    key: str
    values: int


class _Record(NamedTuple):
    """A tensor that is not read yet."""

    storage: Any
    offset: Any
    size: Any
    stride: Any


class _Sealed(type):
    """A pickle may set attributes of what it names; these classes have none to set."""

    def __setattr__(cls, name: str, value: object) -> None:
        raise Refused(f"the pickle sets {name} of a class")


class _Bag(metaclass=_Sealed):
    """Stands for objects that are no more than their attributes, as ``argparse.Namespace``."""


class _RebuildTensor(metaclass=_Sealed):
    """Stands for torch's function that makes a tensor from its storage."""

    __slots__ = ()

    def __call__(self, storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> _Record:
        return _Record(storage, offset, size, stride)


class _Unwrap(metaclass=_Sealed):
    """Stands for what is made from one value: a parameter from its tensor, a size, a member of an enumeration."""

    __slots__ = ()

    def __call__(self, data: Any, *_: Any) -> Any:
        return data


_Names = Mapping[tuple[str, str], Any]
TENSORS: _Names = {
    ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
    ("torch._utils", "_rebuild_parameter"): _Unwrap(),
    ("collections", "OrderedDict"): collections.OrderedDict,
}
RELEASED: _Names = {**TENSORS, ("argparse", "Namespace"): _Bag}
DEEPSPEED: _Names = {
    **TENSORS,
    ("torch", "Size"): _Unwrap(),
    ("deepspeed.runtime.fp16.loss_scaler", "LossScaler"): _Bag,
    ("deepspeed.runtime.zero.config", "ZeroStageEnum"): _Unwrap(),
    ("deepspeed.utils.tensor_fragment", "fragment_address"): _Bag,
}


class _Unpickler(pickle.Unpickler):
    """Resolves the few names that a file of tensors needs, each to a stand-in, and refuses all others."""

    def __init__(self, data: bytes, names: _Names) -> None:
        super().__init__(io.BytesIO(data), encoding="utf-8")
        self._names = names

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in DTYPES:
            return _StorageType(DTYPES[name])
        if (module, name) not in self._names:
            raise Refused(f"its pickle names {module}.{name}, which no tensor needs")
        return self._names[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        match pid:
            case ("storage", _StorageType(dtype), str(key), str(), int(count)):
                return _Storage(dtype, key, count)
        raise Refused("its pickle refers to something that is not a storage")


class _Archive:
    """The zip archive that ``torch.save`` writes."""

    def __init__(self, file: zipfile.ZipFile) -> None:
        self.file = file
        pickles = [name for name in file.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise Refused("it has no data.pkl")
        self.root = pickles[0].removesuffix("data.pkl")
        if self.root + "byteorder" in file.namelist() and self.entry("byteorder") != b"little":
            raise Refused("it was written on a big-endian machine")
        self.storages: dict[str, Tensor] = {}

    def entry(self, name: str, largest: int | None = None) -> bytes:
        """The bytes of a member; the zip's CRC is checked."""
        info = self.file.getinfo(self.root + name)
        if info.compress_type != zipfile.ZIP_STORED:
            raise Refused(f"its member {name} is compressed, which torch.save never does")
        if largest is not None and info.file_size > largest:
            raise Refused(f"its {name} has {info.file_size} bytes")
        return self.file.read(info)

    def contents(self, names: _Names) -> Any:
        """The unpickled object; tensors are ``_Record``.  names: what each may be called, and what stands for it"""
        data = self.entry("data.pkl", LARGEST_PICKLE)
        for code, argument, _ in pickletools.genops(data):
            if code.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > len(data):
                raise Refused("its pickle asks for more memory than it can use")
        return _Unpickler(data, names).load()

    def view(self, record: _Record) -> Tensor:
        """The part of its storage."""
        storage, offset, size, stride = record
        if not isinstance(storage, _Storage) or not _are_counts((offset, *size, *stride)) or len(size) != len(stride):
            raise Refused("a tensor is described wrongly")
        values = math.prod(size)
        end = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) + 1 if values else 0
        if values > storage.values or end > storage.values:
            raise Refused("a tensor reaches beyond its storage")
        return self._storage(storage).as_strided(size, stride, offset)

    def _storage(self, storage: _Storage) -> Tensor:
        if storage.key not in self.storages:
            raw = bytearray(self.entry(f"data/{storage.key}"))
            if len(raw) != storage.values * storage.dtype.itemsize:
                raise Refused(f"its storage {storage.key} has {len(raw)} bytes")
            empty = torch.empty(0, dtype=storage.dtype)
            self.storages[storage.key] = torch.frombuffer(raw, dtype=storage.dtype) if raw else empty
        found = self.storages[storage.key]
        if found.dtype != storage.dtype:
            raise Refused(f"its storage {storage.key} has two types")
        return found


def read_torch_archive(path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict saved by ``torch.save``; under ``model`` or ``state_dict``, or at the top.

    Optimizer state and arguments are not read. Raises DataError, naming the file, for what is damaged, and for what
    names anything but tensors, dictionaries and ``argparse.Namespace``.
    """
    with _opened(path) as archive:
        state = _state_dict(archive.contents(RELEASED))
        views = {name: archive.view(record) for name, record in state.items()}
        return {name: view.clone(memory_format=torch.contiguous_format) for name, view in views.items()}


def read_deepspeed_file(path: Path) -> dict[str, Any]:
    """What a file of DeepSpeed's checkpoints holds: dictionaries, lists, numbers, strings and tensors, nested.

    Objects are dictionaries of their attributes, tuples are lists; tensors that share memory in the file share it.
    Raises DataError, naming the file, for what is damaged or no dictionary, and for what names anything else.
    """
    with _opened(path) as archive:
        contents = _Plain(archive).plain(archive.contents(DEEPSPEED))
        if not isinstance(contents, dict):
            raise Refused("it holds no dictionary")
        return contents


@contextmanager
def _opened(path: Path) -> Iterator[_Archive]:
    """Inside, whatever is wrong with the file is a DataError that names it."""
    try:
        with zipfile.ZipFile(path) as file:
            yield _Archive(file)
    except Refused as error:
        raise DataError(f"{path} is refused: {error}", "get the file again, from a source you trust") from None
    except Exception as error:  # a hostile pickle can raise anything
        raise DataError(f"{path} is damaged ({type(error).__name__})", "get the file again") from None


class _Plain:
    """Turns what was unpickled into plain values and tensors; a small pickle can hold endless ones."""

    def __init__(self, archive: _Archive) -> None:
        self._archive, self._left = archive, MOST_VALUES

    def plain(self, found: Any, depth: int = 0) -> Any:
        self._left -= 1
        if depth > DEEPEST or self._left < 0:
            raise Refused("its contents are nested too deep, or too many")
        kind = type(found)
        if kind is _Record:
            return self._archive.view(found)
        if kind in (dict, collections.OrderedDict, _Bag):
            return self._dictionary(vars(found) if kind is _Bag else found, depth)
        if kind in (list, tuple):
            return [self.plain(value, depth + 1) for value in found]
        if found is not None and kind not in (bool, int, float, str):
            raise Refused(f"it holds a {kind.__name__}")
        return found

    def _dictionary(self, found: Mapping[Any, Any], depth: int) -> dict[Any, Any]:
        if any(type(key) not in (str, int) for key in found):
            raise Refused("it has keys that are neither names nor numbers")
        return {key: self.plain(value, depth + 1) for key, value in found.items()}


def _state_dict(contents: Any) -> Mapping[str, _Record]:
    for key in ("model", "state_dict"):
        if isinstance(contents, dict) and isinstance(contents.get(key), dict):
            contents = contents[key]
            break
    records = {k: v for k, v in contents.items() if isinstance(v, _Record)} if isinstance(contents, dict) else {}
    if not records or not all(isinstance(name, str) for name in records):
        raise Refused("it holds no named tensors")
    return records


def _are_counts(numbers: tuple[Any, ...]) -> bool:
    """Whether all are whole numbers, none below zero: a pickle may give anything."""
    return all(type(number) is int and number >= 0 for number in numbers)
