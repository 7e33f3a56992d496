"""Answers on the disk: whole after a kill at any byte, one writer, no two ways of asking in one file."""

import json
import os
import stat
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from ecamp_fast.distill.journal import (
    AnswerJournal,
    Finished,
    journal_name,
    other_files,
    peek,
    read_journal,
    read_texts,
)
from ecamp_fast.errors import ConfigError, DataError, StorageError

WHO = {"model": "m", "parameters": {"temperature": 0}, "distiller": {"prompt": "a"}}
ENTRIES = [
    Finished("a" * 64, "There is edema.", "model", {}, 100, 5, 400, 0.25),
    Finished("b" * 64, "There is no Œdème „x“.\n", "re-asked", {"echo": 1, "prose": 1}, 300, 15, 1200, 1),
    Finished("c" * 64, "", "nothing"),
    Finished("d" * 64, "There may be pneumonia.", "rules", {"empty": 3}, 1, 1, 1, 1.5),
]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A file of four answers and a note."""
    with AnswerJournal(tmp_path / "out", WHO) as opened:
        opened.add(ENTRIES[:2])
        opened.note({"event": "plain"})
        opened.add(ENTRIES[2:])
        opened.add([])
        return opened.path


def held(path: Path) -> list[Finished]:
    return list(read_journal(path).finished.values())


@pytest.mark.fault("L8.named")
def test_what_is_written_is_read(journal: Path) -> None:
    content = read_journal(journal)
    assert list(content.finished.values()) == ENTRIES and content.identity == WHO
    assert content.events == [{"event": "plain"}] and content.damaged == 0
    assert content.end == journal.stat().st_size
    assert read_texts(journal) == read_texts(journal.parent) == {e.report: e.text for e in ENTRIES}
    for line in journal.read_bytes().splitlines():  # a line is JSON, its seal what zlib says of the rest
        tree = json.loads(line)
        assert int(tree["crc32"], 16) == zlib.crc32(line.rpartition(b',"crc32"')[0])
    assert set(json.loads(journal.read_bytes().splitlines()[1])) == {*ENTRIES[0].__slots__, "crc32"}


@pytest.mark.fault("L5.any-byte", "L5.torn")
def test_a_kill_at_any_byte_leaves_whole_answers_and_nothing_else(journal: Path) -> None:
    data = journal.read_bytes()
    head = data.index(b"\n") + 1  # written atomically
    for size in range(head, len(data)):
        journal.write_bytes(data[:size])
        whole = data[:size].count(b"\n") - 1
        left = [e for e, at in zip(ENTRIES, (1, 2, 4, 5), strict=True) if at <= whole]
        assert held(journal) == left
        if size % 25 and data[size - 1 : size] != b"\n":
            continue
        with AnswerJournal(journal.parent, WHO) as opened:
            found = list(opened.content.finished.values())
            assert found == left and journal.stat().st_size == opened.content.end == data[:size].rindex(b"\n") + 1
            opened.add([e for e in ENTRIES if e not in found])
        assert held(journal) == ENTRIES and journal.read_bytes().count(b"\n") in (5, 6)


@pytest.mark.fault("L5.damaged")
@pytest.mark.parametrize("where", [1, 2, 4, 5])
def test_a_line_that_is_damaged_is_passed_over_and_none_of_it_believed(where: int, journal: Path) -> None:
    lines = journal.read_bytes().splitlines(keepends=True)
    for at in range(0, len(lines[where]) - 1, 3):
        changed = bytearray(lines[where])
        changed[at] ^= 1
        journal.write_bytes(b"".join([*lines[:where], changed, *lines[where + 1 :]]))
        content = read_journal(journal)
        wanted = [e for e, line in zip(ENTRIES, (1, 2, 4, 5), strict=True) if line != where]
        assert list(content.finished.values()) == wanted
        assert content.damaged == (where != 5)
    with AnswerJournal(journal.parent, WHO) as opened:
        opened.add([e for e in ENTRIES if e not in wanted])
    assert set(read_journal(journal).finished) == {e.report for e in ENTRIES}


def test_lines_that_are_whole_and_no_answer(journal: Path) -> None:
    for change in ({"how": "guess"}, {"text": None}, {"more": 1}, {"seconds": "1"}):
        tree = {k: getattr(ENTRIES[0], k) for k in ENTRIES[0].__slots__} | change
        body = json.dumps(tree, separators=(",", ":"))[:-1].encode()
        journal.write_bytes(journal.read_bytes() + body + b',"crc32":"%08x"}\n' % zlib.crc32(body))
    assert held(journal) == ENTRIES


@pytest.mark.parametrize("head", [b"", b"\n", b'{"format":1}\n', b"x" * 100])
def test_a_first_line_that_is_damaged_is_told(head: bytes, journal: Path) -> None:
    journal.write_bytes(head + b"".join(journal.read_bytes().splitlines(keepends=True)[1:]))
    with pytest.raises(DataError, match="first line"), AnswerJournal(journal.parent, WHO):
        pass


@pytest.mark.fault("L5.two-writers")
def test_a_second_writer_is_refused(journal: Path) -> None:
    before = journal.read_bytes()
    with AnswerJournal(journal.parent, WHO):
        for identity in (WHO, {**WHO, "model": "other"}):
            with (
                pytest.raises(StorageError, match="another run is writing it"),
                AnswerJournal(journal.parent, identity),
            ):
                pass
    assert journal.read_bytes() == before
    with AnswerJournal(journal.parent, WHO):
        pass


@pytest.mark.fault("L8.model", "L8.prompt", "L8.parameters", "L8.never-mixed")
@pytest.mark.parametrize(
    "other",
    [
        {**WHO, "model": "n"},
        {**WHO, "parameters": {"temperature": 1}},
        {**WHO, "distiller": {"prompt": "b"}},
        {**WHO, "distiller": {"prompt": "a", "rules": "1"}},
    ],
)
def test_another_model_prompt_or_parameter_is_another_file(other: dict, journal: Path) -> None:
    assert journal_name(other) != journal_name(WHO) == journal.name
    assert journal_name(dict(reversed(WHO.items()))) == journal.name
    with AnswerJournal(journal.parent, other) as opened:
        assert opened.content.finished == {}
        opened.add(ENTRIES[:1])
    assert held(journal) == ENTRIES and held(opened.path) == ENTRIES[:1]
    with pytest.raises(ConfigError, match="several models"):
        read_texts(journal.parent)


def test_of_several_files_the_one_by_the_list_is_read(tmp_path: Path) -> None:
    """Two by one list, as before and after a change of the rules, are told apart by what they depend on."""
    asked = [("a" * 64, "1" * 64), ("b" * 64, "1" * 64), ("b" * 64, "2" * 64)]
    for number, (entities, rules) in enumerate(asked):
        who = {**WHO, "distiller": {"entities": entities, "rules": rules}}
        assert len(other_files(tmp_path / "out", who)) == number
        with AnswerJournal(tmp_path / "out", who) as opened:
            opened.add(ENTRIES[number : number + 1])
        assert len(other_files(tmp_path / "out", who)) == number
    assert read_texts(tmp_path / "out", "a" * 64) == {ENTRIES[0].report: ENTRIES[0].text}
    with pytest.raises(ConfigError) as caught:
        read_texts(tmp_path / "out", "b" * 64)
    told = str(caught.value)
    assert all(f"list {'b' * 12}, rules {rules * 12}" in told for rules in "12") and "a" * 12 not in told
    with pytest.raises(ConfigError, match="rules or lists"):
        read_texts(tmp_path / "out")


@pytest.mark.fault("P1.owner-alone")
def test_the_folder_is_for_its_owner_alone_and_says_what_it_is_under(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        (tmp_path / "there").mkdir(mode=0o755)
        for name in ("there", "new"):
            with AnswerJournal(tmp_path / name, WHO) as journal:
                journal.add(ENTRIES)
    finally:
        os.umask(before)
    for name in ("there", "new"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o700
        files = list((tmp_path / name).iterdir())
        assert {path.name for path in files} == {"LOCK", "NOTICE.txt", journal.path.name}
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
        assert "Data Use Agreement" in (tmp_path / name / "NOTICE.txt").read_text()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ConfigError, match="something else"), AnswerJournal(tmp_path, WHO):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(StorageError), AnswerJournal(tmp_path / "thesis.tex", WHO):
        pass


def test_to_look_is_not_to_write(tmp_path: Path, journal: Path) -> None:
    assert peek(tmp_path / "nothing", WHO).finished == {} and not (tmp_path / "nothing").exists()
    assert list(peek(journal.parent, WHO).finished.values()) == ENTRIES
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no answers"):
        read_texts(tmp_path / "empty")
    with pytest.raises(DataError):
        read_texts(tmp_path / "nothing.jsonl")


@pytest.mark.parametrize("point", ["write", "fsync"])
def test_a_disk_that_refuses_takes_nothing_with_it(point: str, journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    more = [Finished("e" * 64, "x", "model"), Finished("f" * 64, "y", "model")]
    with AnswerJournal(journal.parent, WHO) as opened:
        monkeypatch.setenv("ECAMP_FAULT", f"{point}:file={journal.name}:ENOSPC")
        with pytest.raises(StorageError, match="No space left"):
            opened.add(more)
        assert more[0].report not in opened.content.finished
        monkeypatch.delenv("ECAMP_FAULT")
        opened.add(more)
    assert held(journal) == [*ENTRIES, *more]


@pytest.mark.fault("L5.synced")
def test_what_add_returns_from_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    with AnswerJournal(tmp_path / "out", WHO) as opened:
        monkeypatch.setattr(os, "pwrite", _noted(calls, "write", os.pwrite))
        monkeypatch.setattr(os, "fsync", _noted(calls, "sync", os.fsync))
        opened.add(ENTRIES)
    assert calls == ["write", "sync"]  # one for all of them


def _noted(calls, name, function):
    def call(*arguments):
        calls.append(name)
        return function(*arguments)

    return call


@pytest.mark.fault("L5.kill")
@pytest.mark.parametrize("point", ["write", "fsync"])
def test_a_writer_killed_within_a_write(point: str, tmp_path: Path) -> None:
    program = (
        "import sys\nfrom ecamp_fast.distill.journal import AnswerJournal, Finished\n"
        "with AnswerJournal(sys.argv[1], {'model': 'm'}) as journal:\n"
        "    for number in range(9):\n"
        "        journal.add([Finished(f'{number:064}', 'x', 'model')])\n"
        "        print(number, flush=True)\n"
    )
    path = os.pathsep.join(entry for entry in sys.path if entry)
    fault = f"{point}:file=answers-*:nth={7 if point == 'fsync' else 5}:kill"  # the first line is synced twice
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "out"],
        env=os.environ | {"PYTHONPATH": path, "ECAMP_FAULT": fault},
        capture_output=True,
        text=True,
    )
    counted = done.stdout.split()
    assert done.returncode == -9 and counted
    with AnswerJournal(tmp_path / "out", {"model": "m"}) as journal:
        found = [int(digest) for digest in journal.content.finished]
    assert found[: len(counted)] == [int(number) for number in counted] and len(found) - len(counted) in (0, 1)
