"""``--set KEY=VALUE``: what cannot be meant is refused, with the key and the nearest one."""

from collections.abc import Callable

import pytest


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
