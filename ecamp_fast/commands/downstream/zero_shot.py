"""``ecamp-fast zero-shot``: findings by their names alone, with a run of ``losses.align`` or a GLoRIA."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ecamp_fast.commands.downstream.task_options import open_device
from ecamp_fast.commands.terminal import tell
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.usage import options

if TYPE_CHECKING:
    from ecamp_fast.downstream.zero_shot import PromptScores, ZeroShot
    from ecamp_fast.scores import Estimate

COLUMNS = (
    'AUROC: how well images with X are told from others by how much nearer "There is X." is than "There is no X."',
    'plain: the same of "There is X." alone',
    'Yes or No: how often the true one of both sentences is nearer, with and without X alike; 0.5 does not read "no"',
    "highest patch: how often the patch most like X lies in a box of X; by chance: how often any patch would",
    "In brackets 95 % intervals over patients; - where SHARDS cannot tell.",
)


@click.command()
@options.run_argument()
@options.shards_argument()
@options.split_option("Of SHARDS.", "val")
@click.option("--count", type=click.IntRange(2), metavar="N", help="Samples at most, the first. Default: all.")
@options.tokenizer_option("Of the shard set that RUN was trained on. Default: that of SHARDS.")
@click.option(
    "--noun",
    "nouns",
    multiple=True,
    metavar="FINDING=WORDS",
    help="What a finding is called in its prompts; may be repeated.",
)
@options.device_option()
@options.json_option()
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

    \b
    Example:
      ecamp-fast zero-shot runs/mine SHARDS --split test
    """
    called = dict(noun.partition("=")[::2] for noun in nouns)
    if not all(called.values()):
        raise ConfigError("--noun without words", "--noun 'effusion=pleural effusion'")
    from ecamp_fast.shards.load.read import ShardSet
    from ecamp_fast.shards.storage.store import require_set_at

    require_set_at(shards)
    from ecamp_fast.attend import prompts as gloria
    from ecamp_fast.attend.trained import load_gloria, reader_of
    from ecamp_fast.downstream.zero_shot import score_prompts
    from ecamp_fast.run.trained import load_trained, read_recipe
    from ecamp_fast.text.wordpiece import load_wordpiece

    where = open_device(device)
    known = ShardSet(shards)
    recipe = read_recipe(run)
    if recipe.losses.gloria:
        encode = reader_of(run, recipe, known, tokenizer)
        found = gloria.score_prompts(load_gloria(run, where), known, split, encode, count=count, nouns=called)
    else:
        if tokenizer is None and not known.manifest.tokenizer_digest:
            hint = "name the tokenizer.json of the set that RUN was trained on: --tokenizer FILE"
            raise DataError(f"{shards} has no reports, and so no tokenizer", hint)
        wordpiece = load_wordpiece(tokenizer or known.wordpiece_path)
        found = score_prompts(load_trained(run, where), known, split, wordpiece, count=count, nouns=called)
    if as_json:
        click.echo(json.dumps({"schema": 1, **found.as_dict()}))
        return
    tell(*_table(found))


def _table(found: "ZeroShot") -> list[str]:
    """Findings without a single number stand in one line, with the reason."""
    empty = {name: why for name, seen in found.seen.items() if (why := _unknown(found, name))}
    rows = {"mean": found.mean, **{name: one for name, one in found.findings.items() if name not in empty}}
    lines = [f"{'':16}{'AUROC':21}{'plain':21}{'Yes or No':21}{'highest patch':21}by chance"]
    lines += [f"{name[:15]:16}{_line(scores)}" for name, scores in rows.items()]
    if empty:
        lines.append("cannot be scored: " + "; ".join(f"{name} ({why})" for name, why in empty.items()))
    if unboxed := [name for name in rows if name != "mean" and not found.seen[name].boxed]:
        lines.append(f"no boxes, so no highest patch: {', '.join(unboxed)}")
    return [*lines, "", *COLUMNS]


def _unknown(found: "ZeroShot", name: str) -> str:
    """Why a finding has no number at all; "" where it has one."""
    scores, seen = found.findings[name], found.seen[name]
    if any((scores.auroc, scores.plain, scores.negation, scores.pointing)):
        return ""
    if not seen.present:
        return "no image is known to have it" if seen.absent else "no image has a label of it"
    return "every image has it" if seen.present == found.samples else "no image is known to lack it"


def _line(scores: "PromptScores") -> str:
    chance = f"{scores.chance.value:.3f}" if scores.chance else "-"
    return "".join(map(_told, (scores.auroc, scores.plain, scores.negation, scores.pointing))) + chance


def _told(found: "Estimate | None") -> str:
    told = f"{found.value:.3f} ({found.low:.3f}-{found.high:.3f})" if found else "-"
    return f"{told:21}"
