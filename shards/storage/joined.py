"""The files of several shard sets behind one interface: ``train-000000.tar`` of set 1 is ``1/train-000000.tar``."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from ecamp_fast.shards.storage.store import Store


class JoinedStore:
    """A ``Store`` over those of several sets.

    stores   of each set
    place    what names them all, for messages
    folder   where the tokenizer lies that they share
    """

    def __init__(self, stores: Sequence[Store], place: str, folder: Path) -> None:
        self._stores = tuple(stores)
        self.place: Path | str = place
        self.folder = folder
        self.cached = any(store.cached for store in stores)
        self.readers = max(store.readers for store in stores)

    def locate(self, name: str) -> str:
        store, own = self._of(name)
        return store.locate(own)

    def sizes(self, names: Iterable[str]) -> dict[str, int | OSError]:
        wanted: dict[str, list[str]] = {}
        for name in names:
            number, _, own = name.partition("/")
            wanted.setdefault(number, []).append(own)
        return {
            f"{number}/{own}": size
            for number, files in wanted.items()
            for own, size in self._stores[int(number)].sizes(files).items()
        }

    def names(self) -> list[str]:
        return [f"{number}/{name}" for number, store in enumerate(self._stores) for name in store.names()]

    def read(self, name: str, offset: int, size: int, fresh: bool = False) -> bytes:
        store, own = self._of(name)
        return store.read(own, offset, size, fresh)

    def as_file(self, name: str) -> AbstractContextManager[Path]:
        store, own = self._of(name)
        return store.as_file(own)

    def _of(self, name: str) -> tuple[Store, str]:
        number, _, own = name.partition("/")
        return self._stores[int(number)], own
