"""The output folder is complete or absent, and belongs to one builder at a time."""

import os
import subprocess
import sys

import pytest

from ecamp_fast.errors import ConfigError, StorageError
from ecamp_fast.shards.builder.output import Output


def fill(output, name="MANIFEST.json"):
    (output.folder / name).write_text("x")


def test_it_appears_with_commit_and_holds_nothing_else(tmp_path):
    out = tmp_path / "deep" / "set"
    with Output(out) as output:
        fill(output)
        assert not out.exists()
        output.commit()
    assert [p.name for p in out.iterdir()] == ["MANIFEST.json"] and os.listdir(out.parent) == ["set"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_nothing(tmp_path, error):
    with pytest.raises(error), Output(tmp_path / "set") as output:
        fill(output)
        raise error
    assert os.listdir(tmp_path) == []


def test_an_empty_folder_is_taken_and_kept_on_failure(tmp_path):
    out = tmp_path / "set"
    out.mkdir()
    with pytest.raises(RuntimeError), Output(out) as output:
        raise RuntimeError
    assert os.listdir(tmp_path) == ["set"] and os.listdir(out) == []
    with Output(out) as output:
        fill(output)
        output.commit()
    assert os.listdir(out) == ["MANIFEST.json"]


def test_what_exists_is_never_overwritten(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "folder"):
        with pytest.raises(ConfigError, match="exists already"), Output(tmp_path / name):
            pass
    assert (tmp_path / "folder" / "x").read_text() == "mine" and not (tmp_path / "folder.building").exists()


def test_a_second_builder_is_told_who_is_at_work(tmp_path):
    out = tmp_path / "set"
    with Output(out) as first:
        fill(first)
        with pytest.raises(StorageError, match=f"another build is writing it .process {os.getpid()} on "), Output(out):
            pass
        assert (first.folder / "MANIFEST.json").exists()
        first.commit()
    with pytest.raises(ConfigError, match="exists already"), Output(out):
        pass


def test_what_a_killed_builder_left_is_there_until_it_is_cleared(tmp_path):
    out = tmp_path / "set"
    program = (
        "import os, signal, sys; from ecamp_fast.shards.builder.output import Output\n"
        "with Output(sys.argv[1]) as output:\n"
        "    (output.folder / 'train-000000.tar').write_text('half'); (output.folder / 'sub').mkdir()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = os.pathsep.join(entry for entry in sys.path if entry)
    subprocess.run([sys.executable, "-c", program, str(out)], env=os.environ | {"PYTHONPATH": path})
    assert os.listdir(tmp_path) == ["set.building"]
    with Output(out) as output:
        assert sorted(os.listdir(output.folder)) == ["sub", "train-000000.tar"]
        output.clear()
        fill(output)
        output.commit()
    assert os.listdir(tmp_path) == ["set"] and os.listdir(out) == ["MANIFEST.json"]


def test_what_is_kept_waits_unlocked(tmp_path):
    out = tmp_path / "set"
    with pytest.raises(RuntimeError), Output(out) as output:
        fill(output, "train-000000.tar")
        output.keep = True
        raise RuntimeError
    assert os.listdir(tmp_path) == ["set.building"]
    with Output(out) as output:
        assert os.listdir(output.folder) == ["train-000000.tar"]
        output.commit()
    assert os.listdir(tmp_path) == ["set"]


def test_the_workspace_of_a_finished_set_is_swept_up_unless_another_builder_is_in_it(tmp_path):
    out = tmp_path / "set"
    with Output(out) as output:
        fill(output)
        os.rename(output.folder, out)  # as commit does
        with pytest.raises(ConfigError, match="exists already"), Output(out):
            pass
        assert output.workspace.exists()
        output.keep = True
    with pytest.raises(ConfigError, match="exists already"), Output(out):
        pass
    assert os.listdir(tmp_path) == ["set"] and os.listdir(out) == ["MANIFEST.json"]


@pytest.mark.parametrize("names", [["thesis.txt"], ["set/a.tar", "journal/x.json"], ["BUILDER", "thesis.txt"]])
@pytest.mark.parametrize("exists", [False, True])
def test_a_folder_of_another_is_not_taken_for_a_workspace(tmp_path, names, exists):
    for name in names:
        (tmp_path / "set.building" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set.building" / name).write_text("mine")
    if exists:
        (tmp_path / "set").write_text("mine")
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    message = "exists already" if exists else r"set\.building is in the way"
    with pytest.raises(ConfigError, match=message), Output(tmp_path / "set"):
        pass
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before
    assert (tmp_path / "set.building" / names[0]).read_text() == "mine"


def test_an_empty_folder_and_the_lock_of_a_build_killed_at_once_are_taken(tmp_path):
    for name in ("one", "two"):
        (tmp_path / f"{name}.building").mkdir()
    (tmp_path / "two.building" / "BUILDER").touch()
    for name in ("one", "two"):
        with Output(tmp_path / name) as output:
            fill(output)
            output.commit()
    assert sorted(os.listdir(tmp_path)) == ["one", "two"]


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError), Output(tmp_path / "file" / "set"):
        pass
