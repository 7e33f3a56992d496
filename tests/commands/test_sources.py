"""Which sources the command line names, and what each is given."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from ecamp_fast.commands import shard
from ecamp_fast.commands.sources import KINDS, TASK_KINDS, open_source
from ecamp_fast.errors import ConfigError


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_opens_and_says_which_it_is(kind):
    source = open_source(kind, "7")
    assert source.kind == kind == source.description["kind"]


TAKERS = (
    ({"reports": "r.zip"}, ("mimic-cxr", "csv")),
    ({"use_last": True}, ("mimic-cxr",)),
    ({"columns": ("report=caption",)}, ("csv",)),
    ({"empty_reports": "keep"}, ("csv", "folder", "mimic-cxr", "openi", "webdataset")),
    ({"views": "PA,AP"}, ("csv", "mimic-cxr", "openi", "webdataset", "phantom", "nih", "chexpert")),
    ({"distilled": "d.csv"}, ("csv", "folder", "mimic-cxr", "openi", "webdataset")),
    ({"lists": "lists"}, TASK_KINDS),
    ({"splits": "official"}, TASK_KINDS),
    ({"task": "aptos"}, ("list",)),
    ({"labels": "nih"}, ("csv",)),
    ({"masks": "masks.csv"}, ("csv",)),
    ({"boxes": "boxes.csv"}, ("csv",)),
)


@pytest.mark.parametrize(("option", "takers"), TAKERS)
@pytest.mark.parametrize("kind", KINDS)
def test_options_of_some_kinds_are_refused_by_the_others(option, takers, kind):
    if kind in takers:
        assert open_source(kind, "7", **option).kind == kind
        return
    with pytest.raises(ConfigError, match=f"not for --from {kind}"):
        open_source(kind, "7", **option)


def test_the_help_names_every_kind():
    for verb in ("build", "annotate"):
        help_text = CliRunner().invoke(shard.command, [verb, "--help"]).output
        assert all(kind in help_text for kind in KINDS)


def test_annotate_for_a_person(tmp_path):
    (tmp_path / "reports.txt").write_text("There is a small effusion. No edema.")
    (tmp_path / "reports.jpg").write_bytes(b"never opened")
    done = CliRunner().invoke(shard.command, ["annotate", "--from", "folder", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "reports: 1" in done.stdout and "effusion: 1 mentions, 0 denied" in done.stdout
    assert "small" not in done.output


def test_a_data_set_of_a_task_is_built_and_repaired_by_the_command_line(tmp_path):
    """All that decides what lies where is recorded: repair needs the folders alone."""
    folder, lists, out = tmp_path / "images", tmp_path / "lists", tmp_path / "set"
    folder.mkdir()
    lists.mkdir()
    rows, columns = np.mgrid[:64, :64]
    for number in range(4):
        Image.fromarray(((rows * 2 + columns * number) % 256).astype(np.uint8)).save(folder / f"i{number}.png")
    head = "ImageId,EncodedPixels\n"
    (lists / "train_list_10.csv").write_text(head + "i0,2000 500\ni1,-1\n")
    (lists / "val_list.csv").write_text(head + "i0,2000 500\ni2,-1\n")
    (lists / "test_list.csv").write_text(head + "i3,9000 4\n")
    named = ["--from", "list", str(folder), str(out), "--lists", str(lists)]
    options = ["--task", "siim", "--splits", "official", "--workers", "1"]
    done = CliRunner().invoke(shard.command, ["build", *named, *options, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["splits"] == {"train": 2, "val": 2, "test": 1}
    whole = (out / "train-000000.tar").read_bytes()
    (out / "train-000000.tar").write_bytes(whole[:-1])
    done = CliRunner().invoke(shard.command, ["repair", *named, "--workers", "1"])
    assert done.exit_code == 0, done.output
    assert (out / "train-000000.tar").read_bytes() == whole


def test_a_table_with_classes_masks_and_boxes_is_built_and_drawn(tmp_path):
    out, rows = tmp_path / "set", np.mgrid[:64, :64][0]
    for number in range(3):
        Image.fromarray((rows * 3 + number).astype(np.uint8)).save(tmp_path / f"i{number}.png")
    Image.fromarray(((rows > 20) & (rows < 40)).astype(np.uint8) * 255).save(tmp_path / "m.png")
    (tmp_path / "t.csv").write_text("image_path,labels\ni0.png,Mass\ni1.png,\ni2.png,Mass;Hernia\n")
    (tmp_path / "m.csv").write_text("image_path,mask_path,label\ni0.png,m.png,lung\n")
    (tmp_path / "b.csv").write_text("image_path,label,x,y,width,height\ni1.png,lung,3,4,20,30\n")
    beside = ["--masks", str(tmp_path / "m.csv"), "--boxes", str(tmp_path / "b.csv"), "--labels", "Mass, Hernia"]
    named = ["--from", "csv", str(tmp_path / "t.csv"), str(out), "--empty-reports", "keep"]
    done = CliRunner().invoke(shard.command, ["build", *named, *beside, "--holdout", "0", "--workers", "1"])
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(shard.command, ["stats", str(out), "--json"])
    found = json.loads(done.stdout)
    assert found["masks"] == {"names": ["lung"], "samples": 1}
    assert found["label_values"]["Hernia"] == {"present": 1, "absent": 2, "uncertain": 0, "unknown": 0}
    drawn = {}
    for key in ("i0_i0", "i2_i2"):
        done = CliRunner().invoke(shard.command, ["show", str(out), str(tmp_path / "x.png"), "--key", key])
        assert done.exit_code == 0, done.output
        drawn[key] = np.array(Image.open(tmp_path / "x.png")).astype(int)[10:330, 10:330]
    coloured = {key: {*np.nonzero(np.ptp(picture, axis=2).sum(1))[0].tolist()} for key, picture in drawn.items()}
    assert not coloured["i2_i2"] and {105, 199} <= coloured["i0_i0"] <= {*range(105, 200)}  # 21 to 39 of 64
