"""Bytes that count as progress of a save: those of threads that work, not of those that watch."""

import threading
from pathlib import Path

import pytest

from ecamp_fast.run.safety.member import moved_bytes

SIZE = 2**20


@pytest.mark.parametrize(("name", "counts"), [("saver", True), ("ecamp-fast-guard", False)])
def test_what_watches_is_no_progress(tmp_path: Path, name: str, counts: bool) -> None:
    if not Path("/proc/self/io").exists():
        pytest.skip("the system does not count bytes")
    written, end = threading.Event(), threading.Event()

    def work() -> None:
        (tmp_path / "a").write_bytes(bytes(SIZE))
        written.set()
        end.wait(30)

    before = moved_bytes([])
    thread = threading.Thread(target=work, name=name)
    thread.start()
    try:
        assert written.wait(30)
        assert (moved_bytes([]) - before >= SIZE) == counts
    finally:
        end.set()
        thread.join()
