"""``ecamp-fast distill train-student``: a small language model fitted to a large one's answers."""

import json
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from ecamp_fast.commands.progress import BuildProgress
from ecamp_fast.commands.terminal import tell
from ecamp_fast.usage import options as shared

OF_ADAPTERS = ("rank", "alpha", "dropout")


@click.command()
@click.argument("sft", type=click.Path(path_type=Path))
@click.argument("base", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--epochs", default=3, show_default=True, type=click.IntRange(1), help="Passes over the conversations.")
@click.option("--batch", default=16, show_default=True, type=click.IntRange(1), help="Conversations of a step.")
@click.option("--micro", default=4, show_default=True, type=click.IntRange(1), help="Of these, at once in memory.")
@click.option(
    "--rate",
    type=shared.FiniteRange(0, min_open=True),
    show_default="2e-4, with --full 1e-5",
    help="Learning rate at its height.",
)
@click.option("--rank", default=16, show_default=True, type=click.IntRange(1), help="Of the adapters (LoRA).")
@click.option("--alpha", default=32, show_default=True, type=click.IntRange(1), help="Their weight is alpha / rank.")
@click.option("--dropout", default=0.0, show_default=True, type=shared.FiniteRange(0, 0.9), help="Before the adapters.")
@click.option("--full", is_flag=True, help="Fit all weights, without adapters.")
@click.option("--max-tokens", default=2048, show_default=True, type=click.IntRange(1), help="Longer ones are left out.")
@shared.seed_option("Of first weights and order.")
@shared.json_option()
@click.pass_context
def command(
    context: click.Context,
    sft: Path,
    base: Path,
    out: Path,
    rate: float | None,
    full: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Fit BASE, a folder of a Hugging Face causal model, to the conversations of SFT; OUT is a new folder.

    SFT is what `distill export-sft` wrote. The loss is on the answers alone. OUT/model opens in vLLM and transformers,
    OUT/adapter is the LoRA alone, OUT/student.json says how it came about. Nothing is downloaded or reported. Nothing
    is written before the end: a run that is cut off begins anew. Uses one GPU where there is one.

    \b
    Example:
      ecamp-fast distill train-student sft base student --epochs 2
    """
    from ecamp_fast.distill.lessons import (
        FULL_RATE,
        LORA_RATE,
        Tuning,
        check_base,
        check_room,
        read_chats,
        require,
        stay_at_home,
    )
    from ecamp_fast.errors import ConfigError, StorageError
    from ecamp_fast.files import require_folder

    given = [name for name in OF_ADAPTERS if context.get_parameter_source(name) is not ParameterSource.DEFAULT]
    if full and given:
        what = f"--{given[0]} is of the adapters, and --full has none"
        raise ConfigError(what, f"leave out --full or --{given[0]}")
    tuning = Tuning(full=full, rate=rate or (FULL_RATE if full else LORA_RATE), **options)
    if tuning.batch % tuning.micro:
        raise ConfigError(f"--batch {tuning.batch} is no multiple of --micro {tuning.micro}", "change one of them")
    if out.exists():
        raise StorageError(f"{out} exists", "name a folder that does not")
    require_folder(out.parent, "the folder")
    require()
    check_base(base)
    check_room(base, out.parent)
    read_chats(sft)  # before seconds are spent on libraries, and more on a model
    stay_at_home()
    from ecamp_fast.distill.student import train_student

    with BuildProgress("steps") as progress:
        card = train_student(sft, base, out, tuning, tick=progress.tick, say=progress.say)
    if as_json:
        click.echo(json.dumps({**card, "out": str(out)}))
    else:
        tell(*_told(out, card))


def _told(out: Path, card: dict[str, Any]) -> list[str]:
    counts, kept = card["conversations"], card["epochs"][card["kept_epoch"]]
    held_out = "" if kept["val"] is None else f", {kept['val']:.4f} on {counts['val']:,} held out"
    lines = [
        f"{out}: {card['name']}, fitted to {counts['train']:,} conversations; "
        f"loss of epoch {card['kept_epoch']}: {kept['train']:.4f}{held_out}"
    ]
    if counts["too_long"]:
        lines.append(f"left out: {counts['too_long']:,} conversations with too many tokens")
    return [*lines, f"serve {out}/model by the name {card['name']}, then `distill run --plain --model {card['name']}`"]
