"""``--set KEY=VALUE``: what cannot be meant is refused, with the key and the nearest one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ecamp_fast.config.overrides import require_distinct
from ecamp_fast.errors import ConfigError


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("optim.lrr=1e-4", "optim.lr"),
        ("lr=1e-4", "optim.lr"),
        ("optim.depth=4", "model.vision.depth"),
        ("lambda=0.1", "lambda_neg"),
        ("masking.image_ration=0.5", "masking.image_ratio"),
        ("batch.micros=4", "batch.micro"),
    ],
)
def test_an_unknown_key_names_the_nearest(refused: Callable[..., str], override: str, nearest: str) -> None:
    message = refused(override)
    assert f"--set {override}: " in message  # not the line of a file where it does not stand
    assert f"unknown key '{override.partition('=')[0]}'" in message
    assert f"did you mean '{nearest}'" in message


@pytest.mark.parametrize(
    "override",
    [
        "model.vision.depth=2.5",
        "model.vision.depth=true",
        "model.vision.depth='8'",
        "model.vision.depth=null",
        "optim.lr=fast",
        "optim.lr=-1e-4",
        "optim.lr=.nan",
        "optim.lr=.inf",
        "seed=-1",
        "seed=9223372036854775808",
        "losses.mim=1",
        "losses.mim=off",
        "image.crop_area=[0.2]",
        "image.crop_area=0.2",
        "optim.betas=[0.9, 0.95, 0.99]",
        "masking.image_ratio=1.0",
        "model=vit_base",
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_by_its_key(refused: Callable[..., str], override: str) -> None:
    assert override.partition("=")[0] in refused(override)


@pytest.mark.parametrize("override", ["optim.lr", "=3", "", "optim.lr.deep=3", "optim.lr=[", "optim.lr={a: 1, a: 2}"])
def test_an_override_that_is_none(refused: Callable[..., str], override: str) -> None:
    assert refused(override)


LITTLE = "seed: 3\nschedule: {epochs: 5, horizon_epochs: 6, warmup_epochs: 1}\nlosses: {sr: false}\n"


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["optim.lrr=1"], "--set optim.lrr=1: unknown key"),
        (["optim.lr=fast"], "--set optim.lr=fast: optim.lr: "),
        (["optim.lr=-1"], "--set optim.lr=-1: optim.lr: "),
        (["schedule.epochs=9"], "--set schedule.epochs=9: schedule: epochs 9 is beyond horizon_epochs 6"),
        (["schedule.warmup_epochs=8", "seed=2", "schedule.horizon_epochs=7"],
         "--set schedule.warmup_epochs=8 and --set schedule.horizon_epochs=7: schedule: warmup_epochs must"),
        (["model.vision.width=100"], "--set model.vision.width=100: model: vision: width 100"),
        (["seed=2", "image.low_size=100"], "--set image.low_size=100: image.low_size 100 is not"),
        (["image={low_size: 100}"], "--set image={low_size: 100}: image.low_size 100 is not"),
        (["losses.mim=false", "losses.mlm=false"], "--set losses.mim=false and --set losses.mlm=false: losses: every"),
    ],
)  # fmt: skip
def test_a_fault_of_the_command_line_names_it_and_no_file(
    refused: Callable[..., str], overrides: list[str], named: str, tmp_path: Path
) -> None:
    path = tmp_path / "little.yaml"
    path.write_text(LITTLE)
    message = refused(*overrides, source=str(path))
    assert message.startswith(named) and "little.yaml" not in message


def test_faults_of_a_file_name_file_and_line_beside_those_of_the_command_line(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("seed: x\nschedule: {epochs: 900}\n")
    beyond = "line 2: schedule: epochs 900 is beyond"
    message = refused("optim.lr=x", "schedule.warmup_epochs=1", source=str(path))
    for told in (f"- {path}: line 1: seed: ", f"- {path}: {beyond}", "- --set optim.lr=x: optim.lr: "):
        assert told in message
    assert refused(source=str(path)).startswith(f"{path}: \n  - line 1: seed")
    both = refused("optim.lr=x", "seed=y")
    assert both.startswith("the recipe is at fault:\n  - --set seed=y: ") and ".yaml" not in both


def test_a_key_that_is_set_twice() -> None:
    require_distinct(["optim.lr=1e-3", "optim.eps=1e-3"])
    with pytest.raises(ConfigError, match=r"--set seed=1 and --set seed=2: key 'seed' is set twice"):
        require_distinct(["seed=1", "optim.lr=1", "seed=2"])
