"""Checkpoints: what makes one complete, which is found, and what a resumed run goes on with."""

from typing import Any

from mutant import mutants


def a_save() -> Any:
    """What is synced, renamed and kept by saves; what is found of damaged ones; what a restore says."""
    import os
    import tempfile
    from pathlib import Path
    from unittest.mock import patch

    from ecamp_fast.run import checkpoint
    from ecamp_fast.run.checkpoint import Position
    from ecamp_fast.run.distributed import init

    class Engine:
        optimizer = None

        def save_checkpoint(self, folder: str, tag: str, save_latest: bool) -> None:
            (Path(folder) / tag / "states.pt").write_bytes(b"weights")

        def load_checkpoint(self, folder: str, tag: str) -> Any:
            return tag, {}

    init()
    done: list[Any] = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        done.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name.split("-")[0])
        fsync(descriptor)

    def renamed(source: Any, target: Any) -> None:
        done.append(f"to {Path(target).name}")
        replace(source, target)

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "checkpoints"
        with patch("os.fsync", synced), patch("os.replace", renamed):
            for step in (1, 2, 3):
                path = checkpoint.save(Engine(), folder, Position(step, 1, "d", "r"), keep=2)
        done.append(sorted(item.name for item in folder.iterdir()))
        done.append((oct(path.stat().st_mode), checkpoint.damage(path), (folder / "LATEST").read_text()))
        for other in (
            Position(0, 1, "d", "r"),
            Position(0, 2, "d", "r"),
            Position(0, 1, "x", "r"),
            Position(0, 1, "d", "x"),
        ):
            done.append(_said(lambda other=other: checkpoint.restore(Engine(), path, other)))
        for name, data in (("states.pt", b"weighty"), ("states.pt", b"weight"), ("more.pt", b"")):
            before = (path / "states.pt").read_bytes()
            (path / name).write_bytes(data)
            done.append(bool(checkpoint.damage(path)))
            done.append(_said(lambda: getattr(checkpoint.find(folder, "auto", lambda *_: None), "name", None)))
            (path / name).unlink()
            (path / "states.pt").write_bytes(before)
        done.append(_said(lambda: getattr(checkpoint.find(folder, "auto", lambda *_: None), "name", None)))
        (folder / "step-00000009.tmp").mkdir()
        checkpoint.save(Engine(), folder, Position(3, 1, "d", "r"), keep=2)
        done.append(sorted(item.name for item in folder.iterdir()))
        done.append(_said(lambda: checkpoint.find(folder, "never", lambda *_: None)))
        done.append(_said(lambda: checkpoint.find(folder / "none", "must", lambda *_: None)))
        path.chmod(0o707)
        done.append(bool(checkpoint.damage(path)))
        for one in folder.glob("step-*"):
            (one / "states.pt").unlink()
        done.append(_said(lambda: checkpoint.find(folder, "auto", lambda *_: None)))
    return done


def _said(action: Any) -> Any:
    try:
        return action()
    except Exception as error:
        return type(error).__name__


def a_file() -> Any:
    """What is synced and renamed when a file is written."""
    import os
    import tempfile
    from pathlib import Path
    from unittest.mock import patch

    from ecamp_fast.files import write_atomically

    done: list[str] = []
    fsync, replace = os.fsync, os.replace
    with tempfile.TemporaryDirectory() as folder:
        with (
            patch("os.fsync", lambda one: done.append("sync") or fsync(one)),
            patch("os.replace", lambda one, other: done.append("rename") or replace(one, other)),
        ):
            write_atomically(Path(folder) / "one", b"data")
        return done, [path.name for path in Path(folder).iterdir()]


MUTANTS = [
    *mutants(
        "ecamp_fast/run/checkpoint.py",
        "tests/run/test_checkpoint.py",
        a_save,
        {
            "files are not synced": ("    sync(file)\n", ""),
            "the folder is not synced after it was renamed": ("    sync(final.parent)\n", ""),
            "the names point to what is not there yet": (
                "    os.replace(temporary, final)\n    sync(final.parent)\n",
                '    write_atomically(final.parent / "LATEST", final.name.encode())\n'
                "    os.replace(temporary, final)\n    sync(final.parent)\n",
            ),
            "the manifest is written after the renaming": (
                "    write_json(\n        temporary / MANIFEST,",
                "    os.makedirs(final)\n    os.replace(temporary / 'states.pt', final / 'states.pt')\n"
                "    temporary.rmdir()\n    temporary = final\n    write_json(\n        temporary / MANIFEST,",
            ),
            "digests are not compared": ('!= entry["sha256"]:', "== '':"),
            "files that nobody listed are fine": (
                'does not belong to it" if extra else ""',
                'does not belong to it" if not listed else ""',
            ),
            "one more is kept": ("[-keep:]", "[-keep - 1 :]"),
            "the oldest is found": (", reverse=True)\n    for candidate", ")\n    for candidate"),
            "damage is followed by a start from nothing": ('if candidates or mode == "must":', 'if mode == "must":'),
            "unfinished ones stay": ("        shutil.rmtree(left_over)\n", "        pass\n"),
            "another number of ranks is fine": ("if found.world != expected.world:", "if False:"),
            "other data are fine": ("if found.data != expected.data:", "if False:"),
            "another recipe is fine": ("if found.recipe not in (expected.recipe, former_recipe):", "if False:"),
            "the step is one too many": ("    return found.step\n", "    return found.step + 1\n"),
            "others may read it": ("mode=0o700", "mode=0o755"),
            "anybody may write to it": ("or path.stat().st_mode & stat.S_IWOTH", ""),
        },
    ),
    *mutants(
        "ecamp_fast/files.py",
        "tests/run/test_checkpoint.py",
        a_file,
        {
            "a file is renamed before it is on the disk": ("            os.fsync(file.fileno())\n", ""),
            "the renaming is not on the disk": ("        sync(path.parent)\n", ""),
        },
    ),
]
