"""What a run may change when it goes on, and what is said of it."""

from typing import Any

import pytest

from ecamp_fast.config import Recipe, load_recipe
from ecamp_fast.config.changes import Settings, flatten, judge_changes, settings_of
from ecamp_fast.errors import ConfigError

JSON = {"gradient_clipping": 0.0, "zero_optimization": {"stage": 2}, "train_micro_batch_size_per_gpu": 4}

STAYS = {  # what is trained on what, and in which order
    *("seed", "batch.total", "batch.balance", "loader.shuffle"),
    *("model.vision.width", "model.vision.depth", "model.vision.heads", "model.vision.mlp_ratio", "model.vision.patch"),
    *("model.decoder.width", "model.decoder.depth", "model.decoder.heads", "model.decoder.mlp_ratio"),
    *("model.text.width", "model.text.depth", "model.text.heads", "model.text.ffn"),
    *("model.position_table", "model.tie_embeddings"),
    *("image.high_size", "image.low_size", "image.low_res", "image.mean", "image.std"),
    *("text.max_tokens", "text.distilled_position", "text.capacity"),
    *("fusion.projection", "fusion.use_global", "fusion.use_local", "sr.final_relu"),
    *("losses.mim", "losses.sr", "losses.mlm", "losses.mlm_positions", "losses.align"),
    *("align.width", "align.sentences", "losses.gloria", "gloria.image", "gloria.image_size", "gloria.bert"),
    *("gloria.layers", "gloria.text", "gloria.max_tokens", "gloria.sentences", "gloria.positives"),
}
TUNES = {  # how: named by --allow-change, or refused
    *("precision", "float8", "model.text.dropout", "image.crop_area", "image.crop_aspect", "image.flip"),
    *("text.distilled_probability", "rebalance", "rebalance_cap", "lambda_neg", "negation", "sr.guidance", "sr.maps"),
    *("masking.image_ratio", "masking.descriptors", "masking.word_ratio", "masking.entity_ratio", "masking.unit"),
    *(
        "masking.ratio_with_entity",
        "losses.mim_scale",
        "losses.norm_pix",
        "losses.mlm_normaliser",
        "align.scale",
        "align.temperature",
    ),
    *("gloria.poles", "gloria.local_scale", "gloria.global_scale", "gloria.sharpness"),
    *("schedule.warmup_epochs", "schedule.horizon_epochs"),
    *("optim.lr", "optim.betas", "optim.eps", "optim.weight_decay"),
}
FREE = {  # neither is the method: what may differ without a word
    *("name", "log_every", "batch.micro", "compile", "activations", "share_projections", "schedule.epochs"),
    *("init_from", "init_parts", "gloria.image_weights", "checkpoint", "evaluation", "safety"),
    *("loader.threads", "loader.prefetch", "loader.region", "loader.hardware", "loader.quarantine", "loader.cache_gb"),
}


def settings(*changes: str, **deepspeed: Any) -> Settings:
    return settings_of(load_recipe("demo", [*changes]), JSON | deepspeed)


def otherwise(key: str) -> Settings:
    """Those of the recipe demo, but for one key, whose value nothing has."""
    found = settings()
    found["recipe"][key] = "changed"
    return found


def test_every_key_has_its_place() -> None:
    """A new key of the recipe must be put into one of the tables above, and into ``changes.TUNED`` where it tunes."""
    identity = Recipe().identity().keys()
    assert identity == STAYS | TUNES, sorted(identity ^ (STAYS | TUNES))
    flat = flatten(Recipe().model_dump(mode="json")).keys()
    free = {key if key in FREE else key.partition(".")[0] for key in flat - identity}
    assert free <= FREE, sorted(free - FREE)


@pytest.mark.fault("C9.identity")
@pytest.mark.parametrize("key", sorted(STAYS))
def test_what_stays_is_refused_whatever_is_allowed(key: str) -> None:
    with pytest.raises(ConfigError, match=f"another recipe: {key} was .*, is .*changed.*\n.*another --out") as caught:
        judge_changes(settings(), otherwise(key), (key, "optim", ""), "RUN")
    assert caught.value.exit_code == 2


def test_what_stays_is_told_with_both_values_and_the_way_back() -> None:
    with pytest.raises(ConfigError) as caught:
        judge_changes(settings("seed=43"), settings("seed=44", "model.vision.depth=2"), (), "RUN")
    both = "model.vision.depth was 3, is 2; seed was 43, is 44"
    assert caught.value.what == f"RUN was started with another recipe: {both}"
    for way in ("--set model.vision.depth=3 --set seed=43", "another --out", "--resume never"):
        assert way in caught.value.hint


@pytest.mark.fault("C9.tunables", "C9.difference-told")
@pytest.mark.parametrize("key", sorted(TUNES))
def test_what_tunes_must_be_allowed_by_its_name(key: str) -> None:
    with pytest.raises(ConfigError, match=f"trained otherwise: {key} was .*, is .*\n.*--allow-change {key}"):
        judge_changes(settings(), otherwise(key), (), "RUN")
    (told,) = judge_changes(settings(), otherwise(key), (key,), "RUN")
    assert told.startswith(f"{key} was ") and told.endswith(', is "changed"')


@pytest.mark.fault("C9.tunables")
def test_all_that_differs_must_be_allowed() -> None:
    before, now = settings(), settings("optim.lr=0.5", "optim.eps=0.5", "image.flip=0.25")
    with pytest.raises(ConfigError) as caught:
        judge_changes(before, now, ("optim.lr",), "RUN")
    assert caught.value.hint.endswith("--allow-change image.flip --allow-change optim.eps")
    assert "optim.lr" not in caught.value.what
    told = judge_changes(before, now, ("optim", "image.flip"), "RUN")
    assert [line.split()[0] for line in told] == ["image.flip", "optim.eps", "optim.lr"]
    for section in ("opt", "optim.l", "image.flip.", "optim.lr.x", ""):
        with pytest.raises(ConfigError):
            judge_changes(before, now, (section, "image.flip"), "RUN")
    assert judge_changes(before, now, ("optim.", "image."), "RUN") == told


@pytest.mark.fault("C9.deepspeed")
def test_a_changed_clipping_no_longer_passes_silently() -> None:
    clipped = settings(gradient_clipping=1.0)
    with pytest.raises(ConfigError, match=r"gradient_clipping was 0\.0, is 1\.0\n.*--allow-change gradient_clipping"):
        judge_changes(settings(), clipped, (), "RUN")
    assert judge_changes(settings(), clipped, ("gradient_clipping",), "RUN") == ["gradient_clipping was 0.0, is 1.0"]
    gone = settings()
    del gone["deepspeed"]["gradient_clipping"]
    with pytest.raises(ConfigError, match=r"gradient_clipping was 0\.0, is not set"):
        judge_changes(settings(), gone, (), "RUN")


@pytest.mark.fault("C9.deepspeed")
def test_keys_of_deepspeed_that_are_unknown_here_tune() -> None:
    with pytest.raises(ConfigError, match=r"new_section\.key was not set, is 3"):
        judge_changes(settings(), settings(new_section={"key": 3}), (), "RUN")
    assert judge_changes(settings(), settings(new_section={"key": 3}), ("new_section",), "RUN")


@pytest.mark.parametrize(
    "changes",
    [
        {"zero_optimization": {"stage": 0, "reduce_bucket_size": 5}},
        {"train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 8, "train_batch_size": 8},
        {"steps_per_print": 5, "wall_clock_breakdown": True, "tensorboard": {"enabled": True}},
        {"data_types": {"grad_accum_dtype": "fp32"}, "bf16": {"enabled": True}},
    ],
)
def test_what_leaves_the_method_as_it_is_passes(changes: dict[str, Any]) -> None:
    assert judge_changes(settings(), settings(**changes), (), "RUN") == []


@pytest.mark.parametrize(
    "change",
    [
        *("name=x", "batch.micro=2", "log_every=3", "schedule.epochs=5", "checkpoint.every_steps=3", "compile=off"),
        *("activations=recompute", "loader.threads=1", "loader.quarantine=0.5", "evaluation.samples=5"),
    ],
)
def test_what_is_no_part_of_the_method_passes(change: str) -> None:
    assert judge_changes(settings(), settings(change), (), "RUN") == []


def test_a_key_that_a_run_did_not_know_had_its_default() -> None:
    before = settings_of(Recipe(), JSON)
    del before["recipe"]["rebalance_cap"]
    assert judge_changes(before, settings_of(Recipe(), JSON), (), "RUN") == []
    with pytest.raises(ConfigError, match=r"rebalance_cap was 10\.0, is 3"):
        judge_changes(before, settings_of(load_recipe("paper", ["rebalance_cap=3"]), JSON), (), "RUN")


def test_numbers_are_compared_as_they_are_written() -> None:
    """Lists of a recipe are tuples, those of a manifest lists; 1 and 1.0 are the same clipping."""
    before = settings(gradient_clipping=0)
    before["recipe"]["optim.betas"] = tuple(before["recipe"]["optim.betas"])
    assert judge_changes(before, settings(), (), "RUN") == []


def test_settings_that_lack_a_part_are_another_run() -> None:
    for before in ({}, {"recipe": {}}, {"deepspeed": {}}):
        with pytest.raises(ConfigError):
            judge_changes(before, settings("seed=7"), (), "RUN")
