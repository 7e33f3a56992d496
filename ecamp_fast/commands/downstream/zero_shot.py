"""``ecamp-fast zero-shot``: findings by their names alone, with a run of ``losses.align`` or a GLoRIA."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ecamp_fast.commands.downstream.task_options import open_device
from ecamp_fast.commands.terminal import tell
from ecamp_fast.errors import ConfigError

if TYPE_CHECKING:
    from ecamp_fast.downstream.zero_shot import PromptScores
    from ecamp_fast.scores import Estimate


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("shards")
@click.option("--split", default="val", show_default=True, metavar="NAME")
@click.option("--count", type=click.IntRange(2), metavar="N", help="Samples at most, the first. Default: all.")
@click.option(
    "--tokenizer",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="tokenizer.json of the shard set that RUN was trained on. Default: that of SHARDS.",
)
@click.option(
    "--noun", "nouns", multiple=True, metavar="FINDING=WORDS", help="What a finding is called in its prompts."
)
@click.option("--device", help="cpu or cuda. Default: cuda where there is one.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    run: Path,
    shards: str,
    split: str,
    count: int | None,
    tokenizer: Path | None,
    nouns: tuple[str, ...],
    device: str | None,
    as_json: bool,
) -> None:
    """Ask RUN of the images in SHARDS: "There is X.", "There is no X.", for every finding X that the set has labels of.

    Told are the AUROC of the difference and of the affirmation alone, the share of images to which the true one of both
    sentences is nearer (half of it without reading "no"), and how often the highest patch lies in a box of the finding.
    """
    called = dict(noun.partition("=")[::2] for noun in nouns)
    if not all(called.values()):
        raise ConfigError("--noun without words", "--noun 'effusion=pleural effusion'")
    from ecamp_fast.shards.load.read import ShardSet
    from ecamp_fast.shards.storage.store import require_set_at

    require_set_at(shards)
    from ecamp_fast.attend import prompts as gloria
    from ecamp_fast.attend.trained import load_gloria
    from ecamp_fast.downstream.zero_shot import score_prompts
    from ecamp_fast.run.trained import load_trained, read_recipe
    from ecamp_fast.shards.load.captions import caption_encoder
    from ecamp_fast.text.wordpiece import load_wordpiece

    where = open_device(device)
    known = ShardSet(shards)
    recipe = read_recipe(run)
    if tokenizer is None and not recipe.gloria.bert and not known.manifest.tokenizer_digest:
        hint = "name the tokenizer.json of the set that RUN was trained on: --tokenizer FILE"
        raise ConfigError(f"{shards} has no reports, and so no tokenizer", hint)
    words = tokenizer or known.wordpiece_path
    if recipe.losses.gloria:
        encode = caption_encoder(recipe, words)
        found = gloria.score_prompts(load_gloria(run, where), known, split, encode, count=count, nouns=called)
    else:
        wordpiece = load_wordpiece(words)
        found = score_prompts(load_trained(run, where), known, split, wordpiece, count=count, nouns=called)
    if as_json:
        click.echo(json.dumps({"schema": 1, **found.as_dict()}))
        return
    tell(f"{'':16}{'AUROC':21}{'plain':21}{'Yes or No':21}{'highest patch':21}by chance")
    for name, scores in {"mean": found.mean, **found.findings}.items():
        tell(f"{name[:15]:16}{_line(scores)}")


def _line(scores: "PromptScores") -> str:
    chance = f"{scores.chance.value:.3f}" if scores.chance else "-"
    return "".join(map(_told, (scores.auroc, scores.plain, scores.negation, scores.pointing))) + chance


def _told(found: "Estimate | None") -> str:
    told = f"{found.value:.3f} ({found.low:.3f}-{found.high:.3f})" if found else "-"
    return f"{told:21}"
