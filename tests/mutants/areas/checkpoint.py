"""Checkpoints: what makes one complete, which is found, which stay, and what a resumed run goes on with."""

from typing import Any

from mutant import mutants

COMMIT, FIND = "tests/run/checkpoint/test_commit.py", "tests/run/checkpoint/test_find.py"
VERIFY, RETENTION = "tests/run/checkpoint/test_verify.py", "tests/run/checkpoint/test_retention.py"


def _said(action: Any) -> Any:
    try:
        return action()
    except Exception as error:
        return type(error).__name__


def a_save() -> Any:
    """What is synced and renamed, and in which order; what a refusal leaves; what is saved twice, or ruined."""
    import os
    import tempfile
    from pathlib import Path
    from unittest.mock import patch

    import torch

    from ecamp_fast.run.checkpoint.commit import save
    from ecamp_fast.run.checkpoint.manifest import Position

    done: list[Any] = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        done.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name.split("-")[0])
        fsync(descriptor)

    def renamed(source: Any, target: Any) -> None:
        done.append(f"to {Path(target).name}")
        replace(source, target)

    state, waits = {"a": torch.arange(6.0)}, list[float]()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "checkpoints"
        with patch("os.fsync", synced), patch("os.replace", renamed):
            path = save(folder, state, Position(step=1))
        done.append(oct(path.stat().st_mode))
        (path / "more").touch()
        save(folder, state, Position(step=1))
        done.append((sorted(item.name for item in path.iterdir()), sorted(item.name for item in folder.iterdir())))
        with patch.dict(os.environ, {"ECAMP_FAULT": "fsync:file=MANIFEST.json:EIO"}):
            done.append(_said(lambda: save(folder, state, Position(step=2), wait=waits.append)))
        done.append((waits, len(list(folder.iterdir()))))
        ruined = {"a": torch.tensor([float("nan")])}
        done.append(_said(lambda: save(folder, ruined, Position(step=3))))
    return done


def a_meeting() -> Any:
    """What is left in the store, and what a rank's fault is for the others."""
    import torch.distributed as dist

    from ecamp_fast.run.checkpoint.agreement import StoreRanks, together

    store = dist.HashStore()
    ranks = StoreRanks(store, 0, 1)
    for _ in range(9):
        ranks.gather("a", 1)
    return store.num_keys(), store.check(["checkpoint/a/0"]), _said(lambda: together(ranks, "b", lambda: 1 / 0))


def a_search() -> Any:
    """What is found of damaged and hostile checkpoints, what is purged, cleaned, set aside."""
    import hashlib
    import json
    import shutil
    import tempfile
    from pathlib import Path

    import torch

    from ecamp_fast.run.checkpoint.commit import save
    from ecamp_fast.run.checkpoint.find import find
    from ecamp_fast.run.checkpoint.manifest import Position
    from ecamp_fast.run.checkpoint.retention import Retention, clean, set_aside
    from ecamp_fast.run.checkpoint.verify import damage

    def found(known: int | None = None) -> Any:
        path = find(folder, "auto", lambda *_: None, lambda: known)
        return path and path.name

    done: list[Any] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "checkpoints"
        pristine = [save(folder, {"a": torch.arange(6.0)}, Position(step=step)) for step in (1, 2, 3, 4)]
        done.append(found())
        path = pristine[-1]
        shutil.copytree(path, Path(temporary) / "kept")
        manifest, tensors = path / "MANIFEST.json", next(path.glob("rank*"))
        tree = json.loads(manifest.read_text())
        del tree["digest"]
        tree["tensors"]["a"]["parts"] = []
        text = json.dumps(tree, indent=0).removesuffix("\n}").encode()
        hostile = text + f',\n"digest": "{hashlib.sha256(text).hexdigest()}"}}\n'.encode()
        for file, data in (
            (tensors, tensors.read_bytes()[:-1] + b"x"),
            (path / "more", b""),
            (manifest, manifest.read_bytes().replace(b'"data": ""', b'"data": "e"')),
            (manifest, hostile),
        ):
            file.write_bytes(data)
            done.append((_said(lambda: bool(damage(path))), _said(found)))
            shutil.rmtree(path)
            shutil.copytree(Path(temporary) / "kept", path)
        path.chmod(0o707)
        done.append(bool(damage(path)))
        path.chmod(0o700)
        done.append(bool(damage(shutil.copytree(path, folder / "step-00000009"))))
        done.append(Retention(folder, 2).purge(before=[1]))
        for name in ("step-00000005.tmp-a", "step-00000006.tmp-old"):
            (folder / name).mkdir()
        clean(folder)
        done.append(sorted(item.name for item in folder.iterdir()))
        done.append(_said(lambda: set_aside(folder, 3)))
        for item in folder.glob("step*/rank*"):
            item.unlink()
        done.append(_said(found))
        shutil.rmtree(folder)
        done.append((_said(lambda: found(7)), _said(found)))
    return done


def a_loop() -> Any:
    """What a save behind training holds, and what is told of it."""
    import os
    import tempfile
    from pathlib import Path
    from unittest.mock import patch

    import torch

    from ecamp_fast.run.checkpoint.agreement import Alone
    from ecamp_fast.run.checkpoint.manifest import Position
    from ecamp_fast.run.checkpoint.read import load
    from ecamp_fast.run.checkpoint.saver import Request, Saver

    told: list[Any] = []
    state = {"a": torch.arange(4.0)}
    with tempfile.TemporaryDirectory() as temporary:
        saver = Saver(Path(temporary), Alone(), keep=2)
        with patch.dict(os.environ, {"ECAMP_FAULT": "checkpoint.write:sleep=0.3;write:file=BEST:EIO"}):
            for step in (1, 2):
                saver.save(state, Request(Position(step=step), best=1.0))
                told.append(len(list(Path(temporary).glob("step-*[0-9]"))))
                state["a"].add_(10)
            saver.wait()
        told.append([(outcome.fault is None, bool(outcome.untidy)) for outcome in saver.finished()])
        told.append(load(Path(temporary) / "step-00000002")[0]["a"].tolist())
    return told


def a_resume() -> Any:
    """What an engine has after loading, and the updates it counts."""
    import tempfile
    from pathlib import Path
    from types import SimpleNamespace

    import torch

    from ecamp_fast.run.checkpoint.commit import save
    from ecamp_fast.run.checkpoint.engine_state import engine_state, load_engine_state
    from ecamp_fast.run.checkpoint.manifest import Position
    from ecamp_fast.run.checkpoint.read import Checkpoint
    from ecamp_fast.run.distributed import init

    def engine(updates: int) -> Any:
        torch.manual_seed(updates)
        module = torch.nn.Linear(3, 2)
        optimizer = torch.optim.AdamW(module.parameters())
        for _ in range(updates):
            module(torch.ones(3)).sum().backward()
            optimizer.step()
        return SimpleNamespace(
            module=module, optimizer=optimizer, basic_optimizer=optimizer, zero_optimization=lambda: False
        )

    init()
    told: list[Any] = []
    with tempfile.TemporaryDirectory() as temporary:
        for updates in (0, 2):
            path = save(Path(temporary), engine_state(engine(updates)), Position(step=updates))
            other = engine(3)
            load_engine_state(other, Checkpoint(path))
            state = other.basic_optimizer.state[other.module.weight]
            told.append((other.module.weight.tolist(), {name: value.tolist() for name, value in state.items()}))
    return told


def a_change() -> Any:
    """What may differ when a run goes on."""
    from ecamp_fast.config import Recipe
    from ecamp_fast.config.changes import judge_changes, settings_of

    def judged(allowed: tuple[str, ...], clipping: float = 0.0, **changes: Any) -> Any:
        before, now = (settings_of(Recipe(), {"gradient_clipping": value}) for value in (0, clipping))
        return _said(lambda: judge_changes(before, {**now, "recipe": now["recipe"] | changes}, allowed, "RUN"))

    return (
        *(judged(()), judged((), 1.0), judged(("gradient_clipping",), 1.0), judged(("seed",), seed=7)),
        *(judged((), negation="x"), judged(("negation",), negation="x"), judged(("neg",), negation="x")),
    )


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


ROOM = "ecamp_fast/run/checkpoint"
MUTANTS = [
    *mutants(
        f"{ROOM}/commit.py",
        COMMIT,
        a_save,
        {
            "the folder is renamed before its names are on the disk": ("    sync(temporary)\n", ""),
            "the disk is asked once": ("ATTEMPTS = 3", "ATTEMPTS = 1"),
            "what was half written stays": (
                "                clean(final.parent)\n        raise",
                "                pass\n        raise",
            ),
            "others may read it": ("temporary.mkdir(mode=0o700)", "temporary.mkdir()"),
            "what stands is never replaced": ("if final.exists() and not damage(final) and", "if final.exists() and"),
            "numbers that are not finite are saved": ("    _refuse_not_finite(pieces, position.step, ranks)\n", ""),
        },
    ),
    *mutants(
        f"{ROOM}/agreement.py",
        "tests/run/checkpoint/test_agreement.py",
        a_meeting,
        {
            "answers of before are found": ("checkpoint/{self._meetings}/{key}", "checkpoint/{key}"),
            "nothing is forgotten": ("self._store.delete_key(self._former.pop(0))", "self._former.pop(0)"),
            "a rank leaves the others waiting": (
                "except Exception as error:  # none",
                "except OSError as error:  # none",
            ),
        },
    ),
    *mutants(
        f"{ROOM}/manifest.py",
        f"tests/run/checkpoint/test_manifest.py {VERIFY}",
        a_search,
        {
            "a manifest is believed": ("if hashlib.sha256(text).hexdigest().encode() != seal[1]:", "if not seal[1]:"),
            "gaps are no fault": ("return None if end == math.prod(self.shape) else end", "return None"),
        },
    ),
    *mutants(
        f"{ROOM}/verify.py",
        VERIFY,
        a_search,
        {
            "digests are not compared": ("!= entry.sha256:", '== "":'),
            "files that nobody listed are fine": ("sorted(found - listed.keys())", "sorted(found - found)"),
            "the step of another folder is fine": ("not in (None, step)", "== -1"),
            "anybody may write to it": (" or found.st_mode & stat.S_IWOTH", ""),
            "tensors that the files do not hold are fine": (
                "        _match_tensors(path, read_manifest(path))\n",
                "        pass\n",
            ),
        },
    ),
    *mutants(
        f"{ROOM}/find.py",
        FIND,
        a_search,
        {
            "the oldest is found": ("sorted(steps, reverse=True)", "sorted(steps)"),
            "damage ends in a start from nothing": (
                "    if candidates:\n",
                "    if candidates == 0:\n",
            ),
            "checkpoints that are gone are a start from nothing": ("(step := known()) is not None", "(step := None)"),
        },
    ),
    *mutants(
        f"{ROOM}/retention.py",
        RETENTION,
        a_search,
        {
            "damaged ones count": ("            if damage(path):\n                return False\n", ""),
            "one more is kept": ("*whole[: self._keep]", "*whole[: self._keep + 1]"),
            "the last from before a trouble goes": ("<= limit][:1]", "< limit][:0]"),
            "unfinished ones stay": ("                _remove(left_over)\n", "                pass\n"),
            "later ones stay in the way": (
                "(step_of(path.name) or 0) > step:",
                "(step_of(path.name) or 0) > 99:",
            ),
        },
    ),
    *mutants(
        f"{ROOM}/saver.py",
        "tests/run/checkpoint/test_saver.py",
        a_loop,
        {
            "training goes on in what is written": ("replace(piece, values=self._buffers[name])", "piece"),
            "a second save does not wait": ("        self._await()\n        pieces =", "        pieces ="),
            "a best that is not noted is a failed save": ("            return str(error)\n", "            raise\n"),
        },
    ),
    *mutants(
        f"{ROOM}/engine_state.py",
        "tests/run/checkpoint/test_engine_state.py",
        a_resume,
        {
            "moments of before stay": ("else kept.zero_()", "else None"),
            "updates are counted anew": ("fill_(updates[id(fragment.owner)])", "fill_(0.0)"),
        },
    ),
    *mutants(
        "ecamp_fast/config/changes.py",
        "tests/config/test_changes.py",
        a_change,
        {
            "clipping changes silently": ('differing(before.get("deepspeed", {}), now["deepspeed"])', "{}"),
            "what stays may be allowed": ("    if fixed:\n", "    if fixed and not allowed:\n"),
            "half a name allows": ('return name if name.endswith(".") else f"{name}."', "return name"),
        },
    ),
    *mutants(
        "ecamp_fast/files.py",
        RETENTION,
        a_file,
        {
            "a file is renamed before it is on the disk": ("            os.fsync(file.fileno())\n", ""),
            "the renaming is not on the disk": ("        sync(path.parent)\n", ""),
        },
    ),
]
