"""``ecamp-fast visualize``: where words look in images, as a page of pictures and numbers."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ecamp_fast.commands.downstream.task_options import open_device
from ecamp_fast.commands.terminal import tell
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.usage import options as shared

if TYPE_CHECKING:
    from ecamp_fast.model.ecamp import Ecamp
    from ecamp_fast.report.look_page import LookPage
    from ecamp_fast.report.looks import Asked
    from ecamp_fast.shards.load.read import ShardSet
    from ecamp_fast.text.reading.entities import EntityList

PHANTOMS = "phantom"  # kind of a set that no patient is in
NO_PICTURES = "The images are of patients, so none is drawn: --pictures draws them. The numbers may be shared."


@click.command()
@shared.run_argument()
@shared.out_option("Folder that does not exist.", required=True)
@shared.data_option("Shard set whose images and reports are looked at.")
@click.option("--image", type=click.Path(path_type=Path), metavar="FILE", help="One image instead, with --text.")
@click.option("--text", metavar="TEXT", help="Read this, not the report of an image.")
@click.option("--word", "words", multiple=True, metavar="WORD", help="Look for this word; may be repeated.")
@click.option(
    "--entity",
    "entities",
    multiple=True,
    metavar="ENTITY",
    help="Look for this entity, however worded; may be repeated.",
)
@click.option(
    "--style",
    default="paper",
    show_default=True,
    type=click.Choice(["paper", "plain"]),
    help="Stretched as in the paper, or as the values are.",
)
@shared.split_option("Of --data.", "val")
@click.option("--samples", default=4, show_default=True, type=click.IntRange(0, 64), help="Images of --data to draw.")
@click.option(
    "--count",
    default=512,
    show_default=True,
    metavar="N",
    type=click.IntRange(1),
    help="Images of --data to measure on.",
)
@click.option("--pictures/--no-pictures", default=None, help="Default: of phantoms, and of --image; not of patients.")
@shared.tokenizer_option("With --image. Default: the run's.")
@shared.device_option()
@shared.json_option()
def command(run: Path, out: Path, as_json: bool, **options: Any) -> None:
    """Draw where words of a report look in its image by RUN, as Figure 4 of the paper does, into FOLDER.

    Of each word or entity: the cross-attention of its pieces averaged, for each head and the highest of all, no patch
    hidden, each in its true place. Where --data has boxes of findings, the page says whether maps point at them more
    often than a blind guess, the centre, the finding's usual place and random weights do, and whether they are sharper
    on ill images than on healthy ones.

    FOLDER gets index.html, which needs nothing else, and each picture as PNG. Everything stays on this machine.

    \b
    Example:
      ecamp-fast visualize runs/mine --data SHARDS --word effusion --out looks
    """
    if (options["data"] is None) == (options["image"] is None):
        raise click.UsageError("Name one of --data and --image.")
    if options["image"] and not options["text"]:
        raise click.UsageError("--image needs --text: the words whose attention is drawn.")
    if out.exists():
        raise ConfigError(f"{out} exists", "choose another FOLDER, or remove it")
    from ecamp_fast.files import new_folder, require_folder

    require_folder(out)
    page = _page(run, options)
    from ecamp_fast.report.look_page import checks, write_looks

    out.parent.mkdir(parents=True, exist_ok=True)
    with new_folder(out) as folder:
        files = write_looks(page, folder)
    found = checks(page.claims) if page.claims else []
    if as_json:
        claims = page.claims.as_dict() if page.claims else None
        listed = [check.as_dict() for check in found]
        click.echo(json.dumps({"schema": 1, "out": str(out), "files": files, "checks": listed, "claims": claims}))
        return
    for check in found:
        tell(f"{'OK  ' if check.passed else 'no  '}  {check.name}: {check.found}")
    if page.why_none:
        tell(page.why_none)
    tell(out / files[0])


def _page(run: Path, options: dict[str, Any]) -> "LookPage":
    from ecamp_fast.run.rundir import require_run
    from ecamp_fast.shards.storage.store import require_set_at

    require_run(run)
    if options["data"]:
        require_set_at(options["data"])
    entities = _entities(run, options["data"])
    if entities is not None:
        _check_entities(options["entities"], entities)
    from ecamp_fast.downstream.visualize.look import require_looks
    from ecamp_fast.report.looks import Asked
    from ecamp_fast.run.trained import load_trained

    model = load_trained(run, open_device(options["device"]))
    require_looks(model)
    words, named = (tuple(dict.fromkeys(options[name])) for name in ("words", "entities"))  # each once
    asked = Asked(words, named, options["text"])
    if not options["image"]:
        return _of_set(run, model, asked, options)
    if entities is None:
        tell("note: the run's shard set is not on this machine: --text is read for the paper's entities", err=True)
    return _of_image(run, model, asked, options, entities)


def _entities(run: Path, data: str | None) -> "EntityList | None":
    """The list that --data, or else the run's own set, was read for; None where that is not on this machine.

    Of several sets that of one with text: of images alone none was read.
    """
    from ecamp_fast.run.rundir import RunDir
    from ecamp_fast.shards.format.manifest import MANIFEST, read_manifest
    from ecamp_fast.shards.storage.address import parse_address
    from ecamp_fast.shards.storage.weighted import as_recorded, parse_data

    if data:
        return None if parse_address(data) else read_manifest(Path(data)).entities
    own = [source.place for source in parse_data(as_recorded(RunDir(run, writes=False).state().get("data") or ""))]
    present = [place for place in own if place and not parse_address(place) and (Path(place) / MANIFEST).is_file()]
    held = [read_manifest(Path(place)) for place in present]
    if with_text := [one for one in held if one.tokenizer_digest]:
        return with_text[0].entities
    return held[0].entities if held and len(held) == len(own) else None


def _check_entities(named: Sequence[str], entities: "EntityList") -> None:
    """Raises ConfigError for an entity that is not in the list."""
    if wrong := [name for name in named if name not in entities.names]:
        what = f"--entity {wrong[0]} is none of the {len(entities)}"
        raise ConfigError(what, f"choose of {', '.join(entities.names)}, or --word")


def _of_set(run: Path, model: "Ecamp", asked: "Asked", options: dict[str, Any]) -> "LookPage":
    from ecamp_fast.downstream.visualize.measure import measure
    from ecamp_fast.report.build import choose
    from ecamp_fast.report.look_page import LookPage
    from ecamp_fast.report.looks import looks_of
    from ecamp_fast.run.trained import tokenizer_fault
    from ecamp_fast.shards.load.loader import require_text
    from ecamp_fast.shards.load.read import ShardSet
    from ecamp_fast.text.wordpiece import load_wordpiece

    shards, split = ShardSet(options["data"]), options["split"]
    shards.count(split)
    require_text(shards, model.recipe, (split,))
    if fault := tokenizer_fault(run, model, shards.manifest.tokenizer_digest, shards.manifest.vocab_size):
        raise DataError(f"{shards.path}: {fault}", "build the set with the run's tokenizer (--tokenizer)")
    drawn = _may_draw(shards, options["pictures"]) and options["samples"] > 0
    looks, pictures = [], []
    if drawn:
        looks = looks_of(model, shards, split, load_wordpiece(shards.wordpiece_path), asked, options["samples"])
        if not looks:
            raise DataError(f"{shards.path}: no text of split '{split}' has what is looked for", "name other words")
        pictures = choose(model, shards, split, model.recipe, options["samples"]) if model.decoder else []
    claims = measure(model, shards, split, options["count"])
    source = f"split {split} of a set of kind {shards.manifest.source['kind']}, {claims.samples:,} images measured"
    why = "" if drawn or options["pictures"] is False or not options["samples"] else NO_PICTURES
    return LookPage(run.resolve().name, options["style"], looks, pictures, claims, why, source)


def _may_draw(shards: "ShardSet", pictures: bool | None) -> bool:
    """Whether images may be drawn: where somebody says so, else where they are of nobody."""
    return shards.manifest.source["kind"] == PHANTOMS if pictures is None else pictures


def _of_image(
    run: Path, model: "Ecamp", asked: "Asked", options: dict[str, Any], entities: "EntityList | None"
) -> "LookPage":
    from ecamp_fast.downstream.encoder import PretrainedEncoder
    from ecamp_fast.downstream.visualize.queries import read_text
    from ecamp_fast.report.look_page import LookPage
    from ecamp_fast.report.looks import look_at
    from ecamp_fast.run.trained import tokenizer_fault
    from ecamp_fast.text.reading.entities import DEFAULT
    from ecamp_fast.text.wordpiece import load_wordpiece

    if options["pictures"] is False:
        raise click.UsageError("--image without pictures leaves nothing to show.")
    wordpiece = load_wordpiece(options["tokenizer"] or _own_tokenizer(run))
    if fault := tokenizer_fault(run, model, wordpiece.digest, wordpiece.vocab_size):
        raise ConfigError(f"the tokenizer is not that of {run}: {fault}", "name it: --tokenizer FILE")
    file: Path = options["image"]
    image = PretrainedEncoder(model.recipe, model.encoder).preprocess([file])
    read = read_text(options["text"], wordpiece, model.recipe.text.max_tokens, entities or DEFAULT)
    looked = look_at(model, image, file.name, read, asked)
    if looked is None:
        raise ConfigError("--text has nothing of what is looked for", "name a word that it has: --word WORD")
    return LookPage(run.resolve().name, options["style"], [looked], source="one image, and a text that was given")


def _own_tokenizer(run: Path) -> Path:
    from ecamp_fast.commands.report import own_data
    from ecamp_fast.run.rundir import RunDir
    from ecamp_fast.shards.load.mix import open_data

    return open_data(own_data(RunDir(run, writes=False).state(), run)).wordpiece_path
