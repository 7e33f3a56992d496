"""Finished answers on the disk: one file for each way they were asked for, append-only, synced before they count.

A line is a JSON object that ends with its own CRC-32. The first says what the answers depend on; a file is named by its
digest, so another model, prompt or parameter is another file, and nothing is ever mixed. What a kill left half written
is cut off when the folder is opened again; a line that is damaged is passed over, and its report asked for again.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import socket
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from ecamp_fast.errors import ConfigError, DataError, StorageError
from ecamp_fast.fault_points import reach
from ecamp_fast.files import folder_fault, sync, write_atomically
from ecamp_fast.shards.builder.notice import NOTICE, write_report_notice
from ecamp_fast.strict_json import parse_object

LOCK = "LOCK"
HOW = ("model", "re-asked", "rules", "nothing")
NAMED = "answers-"  # how names of files of answers begin
_FORMAT = 1
_SEAL = re.compile(rb'(.*),"crc32":"([0-9a-f]{8})"\}\n', re.DOTALL)
_LONGEST = 2**23  # bytes of a line


@dataclass(frozen=True, slots=True)
class Finished:
    """What became of one report.

    report      its digest
    text        distilled; '' where there is nothing to state
    how         one of ``HOW``: by the model at once, when asked again, by the rules in its place, not asked at all
    faults      of answers that were rejected, and of requests that failed for good: how many of each class
    tokens_in   of all requests for it that were answered, as the server counts them or as characters say
    tokens_out  likewise
    characters  sent in these requests
    seconds     from the first request to the last answer
    """

    report: str
    text: str
    how: str
    faults: Mapping[str, int] = field(default_factory=dict)
    tokens_in: int = 0
    tokens_out: int = 0
    characters: int = 0
    seconds: float = 0.0


@dataclass
class Content:
    """What a file of answers holds.

    identity  what its answers depend on
    finished  by digest of the report
    events    lines that are no answers: where reports went, that a server has no schemas
    damaged   lines that were passed over
    end       bytes up to the end of the last line that is whole
    """

    identity: dict[str, Any]
    finished: dict[str, Finished] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    damaged: int = 0
    end: int = 0


def journal_name(identity: Mapping[str, Any]) -> str:
    """The file for answers that depend on ``identity``, a tree of plain values."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return f"{NAMED}{hashlib.sha256(text.encode()).hexdigest()[:16]}.jsonl"


class AnswerJournal:
    """The answers in ``folder`` that depend on ``identity``. Use as a context: nobody else writes meanwhile.

    Entering makes the folder, for its owner alone, with a notice on what it holds, and reads what is there already.
    Raises ConfigError where the folder is not empty and no run made it; DataError where the file's first line is
    damaged; StorageError where the disk refuses or another run writes it.
    """

    def __init__(self, folder: str | Path, identity: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        self.path = self.folder / journal_name(identity)
        self._identity = dict(identity)
        self.content = Content(self._identity)
        self._file = self._lock = -1

    def __enter__(self) -> "AnswerJournal":
        try:
            self._enter()
        except OSError as error:
            self._close()
            raise self._refused(error) from error
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._close()

    def add(self, finished: Iterable[Finished]) -> None:
        """Append answers and sync them: when this returns they survive whatever happens.  Raises StorageError."""
        entries = list(finished)
        self._append([asdict(entry) for entry in entries])
        self.content.finished.update((entry.report, entry) for entry in entries)

    def note(self, event: Mapping[str, Any]) -> None:
        """Append a line that is no answer; as ``add``.  event: a plain object with a key ``event``"""
        self._append([dict(event)])
        self.content.events.append(dict(event))

    def _enter(self) -> None:
        if fault := folder_fault(self.folder):
            raise StorageError(f"OUT {self.folder}: {fault}", "choose another, or fix its permissions")
        if self.folder.is_dir() and not (self.folder / LOCK).exists() and any(self.folder.iterdir()):
            raise ConfigError(f"{self.folder} holds something else", "name a folder that does not exist")
        self.folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        self._lock = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._take_lock()
        os.chmod(self.folder, 0o700)
        if not (self.folder / NOTICE).exists():
            write_report_notice(self.folder)
        if not self.path.exists():
            write_atomically(self.path, _line({"format": _FORMAT, "identity": self._identity}))
        self.content = read_journal(self.path)
        self._file = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        os.ftruncate(self._file, self.content.end)
        sync(self.path)

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._lock, 200, 0).decode(errors="replace").strip()
            what = f"{self.folder}: another run is writing it ({holder})"
            raise StorageError(what, "wait for it, or choose another folder") from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)

    def _append(self, trees: list[dict[str, Any]]) -> None:
        data = b"".join(map(_line, trees))
        try:
            reach("write", file=self.path.name)
            written = 0
            while written < len(data):
                written += os.pwrite(self._file, data[written:], self.content.end + written)
            reach("fsync", file=self.path.name)
            os.fsync(self._file)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self.content.end)
            raise self._refused(error) from error
        self.content.end += len(data)

    def _refused(self, error: OSError) -> StorageError:
        return StorageError(f"cannot write {self.folder}: {error.strerror}", "free space, or check permissions")

    def _close(self) -> None:
        for descriptor in (self._file, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._lock = -1


def peek(folder: str | Path, identity: Mapping[str, Any]) -> Content:
    """What a run with this identity would find in ``folder``; writes nothing.  Raises DataError."""
    path = Path(folder) / journal_name(identity)
    return read_journal(path) if path.is_file() else Content(dict(identity))


def read_texts(place: str | Path, entities: str = "") -> dict[str, str]:
    """Distilled text by the digest of its report (``report_digest``): as ``read_answers``."""
    return {digest: entry.text for digest, entry in read_answers(place, entities).items()}


def read_answers(place: str | Path, entities: str = "") -> dict[str, Finished]:
    """Answers by the digest of their report (``report_digest``), of a file of answers or of the folder of one.

    entities: digest of the list that they must have been read by; '' for any. Files by other lists in the folder are
              passed over
    Raises DataError where there is none, or it is damaged; ConfigError where the folder has several, or they are about
    the entities of another list.
    """
    path = Path(place)
    if path.is_dir():
        path = _only_file(path, entities)
    content = read_journal(path)
    asked = _entities(content.identity)
    if entities and asked not in ("", entities):
        what = f"{path}: its answers are about another list of entities ({asked[:12]}) than the reports are read by"
        raise ConfigError(
            f"{what} ({entities[:12]})", "run `ecamp-fast distill run` with this list: its answers stand apart"
        )
    return content.finished


def other_files(folder: str | Path, identity: Mapping[str, Any]) -> list[str]:
    """Names of the files of answers in ``folder`` that depend on something else than ``identity``."""
    own = journal_name(identity)
    return [file.name for file in sorted(Path(folder).glob(f"{NAMED}*.jsonl")) if file.name != own]


def _only_file(folder: Path, entities: str) -> Path:
    """The file of answers of a folder: as ``read_answers``."""
    files = sorted(folder.glob(f"{NAMED}*.jsonl"))
    if not files:
        raise DataError(f"{folder}: no answers", "name the OUT of `ecamp-fast distill run`")
    if len(files) > 1:
        identities = {file: _identity(file) for file in files}
        by_list = [file for file in files if not entities or _entities(identities[file]) in ("", entities)]
        if len(by_list) > 1:
            told = ", ".join(f"{file.name} ({_told(identities[file])})" for file in by_list)
            raise ConfigError(f"{folder}: answers of several models, prompts, rules or lists: {told}", "name one file")
        files = by_list or files
    return files[0]


def _told(identity: Mapping[str, Any]) -> str:
    """What answers depend on, in a few words."""
    distiller = identity.get("distiller")
    known = distiller if isinstance(distiller, dict) else {}
    parts = {"model": identity.get("model"), "list": known.get("entities"), "rules": known.get("rules")}
    return ", ".join(f"{name} {str(value)[: 40 if name == 'model' else 12]}" for name, value in parts.items() if value)


def _entities(identity: Mapping[str, Any]) -> str:
    """Digest of the list that answers were read by; '' where they do not say."""
    distiller = identity.get("distiller")
    return str(distiller.get("entities", "")) if isinstance(distiller, dict) else ""


def read_journal(path: Path) -> Content:
    """What a file of answers holds.  Raises DataError where it cannot be read, or its first line is damaged."""
    try:
        with open(path, "rb") as file:
            content = Content(_head(path, file.readline(_LONGEST)), end=file.tell())
            bad = 0  # lines since the last whole one
            for line in iter(lambda: file.readline(_LONGEST), b""):
                tree = _object(line)
                entry = _finished(tree) if tree and "event" not in tree else None
                if tree is None or (entry is None and "event" not in tree):
                    bad += 1
                    continue
                content.damaged, bad, content.end = content.damaged + bad, 0, file.tell()
                if entry is None:
                    content.events.append(tree)
                else:
                    content.finished.setdefault(entry.report, entry)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}", "check the path and its permissions") from None
    return content


def _identity(path: Path) -> dict[str, Any]:
    """What the answers of a file depend on.  Raises DataError."""
    try:
        with open(path, "rb") as file:
            return _head(path, file.readline(_LONGEST))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}", "check the path and its permissions") from None


def _head(path: Path, line: bytes) -> dict[str, Any]:
    """The identity that the first line of a file gives.  Raises DataError."""
    head = _object(line)
    if not head or head.get("format") != _FORMAT or not isinstance(head.get("identity"), dict):
        hint = "move it away: its reports are then asked for again"
        raise DataError(f"{path}: its first line is damaged, or of another version", hint)
    identity: dict[str, Any] = head["identity"]
    return identity


def _line(tree: dict[str, Any]) -> bytes:
    body = json.dumps(tree, separators=(",", ":"), allow_nan=False)[:-1].encode()
    return body + b',"crc32":"%08x"}\n' % zlib.crc32(body)


def _object(line: bytes) -> dict[str, Any] | None:
    """What a line holds; None where it is torn or damaged."""
    sealed = _SEAL.fullmatch(line)
    if sealed is None or zlib.crc32(sealed[1]) != int(sealed[2], 16):
        return None
    try:
        return parse_object(sealed[1] + b"}")
    except ValueError:
        return None


_KINDS: dict[str, type | tuple[type, ...]] = {
    "report": str,
    "text": str,
    "how": str,
    "faults": dict,
    **dict.fromkeys(("tokens_in", "tokens_out", "characters"), int),
    "seconds": (int, float),
}


def _finished(tree: dict[str, Any]) -> Finished | None:
    """None where it is no answer as this version writes them."""
    if tree.keys() != _KINDS.keys() or not all(isinstance(tree[name], kind) for name, kind in _KINDS.items()):
        return None
    return Finished(**tree) if tree["how"] in HOW else None
