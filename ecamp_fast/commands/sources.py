"""The sources that `ecamp-fast shard` reads, by the name that --from takes."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ecamp_fast.errors import ConfigError
from ecamp_fast.usage import complete
from ecamp_fast.usage.options import columns_option

if TYPE_CHECKING:
    from ecamp_fast.shards.sources.base import Source
    from ecamp_fast.shards.sources.selection.choice import Selection
    from ecamp_fast.shards.sources.tasks.beside import Beside
    from ecamp_fast.text.reading.entities import EntityList

TASK_KINDS = ("nih", "chexpert", "rsna", "covidx", "siim", "list")
KINDS = ("csv", "folder", "mimic-cxr", "openi", "webdataset", "phantom", *TASK_KINDS)

HELP = """SOURCE is, by KIND:

\b
csv         a table with the columns study_id, image_path (relative to the
            table), report; optionally view, patient_id, split, labels
            (separated by ;), attention_map, distilled; or without report,
            which --reports TABLE then has, by image_path. With
            --empty-reports keep image_path alone is enough. --columns
            image_path=Path,report=caption reads other names
folder      a folder of images, each with its report beside it (a.jpg,
            a.txt); with --empty-reports keep, also images without one
mimic-cxr   the folder of MIMIC-CXR-JPG or MIMIC-CXR as PhysioNet gives it,
            with `files` and its tables, or one above it (physionet.org);
            reports are cut into sections
openi       the folder of the Indiana collection: .xml, or its two tables
webdataset  a tar file or a folder of them, KEY.jpg and KEY.txt side by side
phantom     the number of studies to draw
nih, chexpert, rsna, covidx, siim
            the folder with the tables as their owners ship them, images
            (DICOM or PNG) anywhere below; no reports, images alone
list        a folder of images and lists of the paper's protocol, of one
            --task (nih, chexpert, rsna, covidx, aptos, odir5k, mured,
            spinexr) or with masks or boxes (siim, rsna, riga)
"""

# Of `build` and `repair`: the texts are in no manifest. Which views were taken is.
distilled_option = click.option(
    "--distilled",
    metavar="FILE",
    help="Texts by study: columns study_id and text, as CSV, TSV or JSON lines. OUT of `distill run`: see `shard put`.",
)
entities_option = click.option(
    "--entities",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What reports are read for: names and their forms, as YAML or a table with tabs. Default: the paper's 44.",
)
TASK_OPTIONS = ("lists", "task", "splits", "labels", "masks", "boxes")
_READ_TEXT = ("csv", "folder", "mimic-cxr", "openi", "webdataset")
_TAKERS = {
    "use-last": ("mimic-cxr",),
    "reports": ("mimic-cxr", "csv"),
    "columns": ("csv",),
    "empty-reports keep": _READ_TEXT,
    "views": ("csv", "mimic-cxr", "openi", "webdataset", "phantom", "nih", "chexpert"),
    "distilled": _READ_TEXT,
    **dict.fromkeys(("labels", "masks", "boxes"), ("csv",)),
    "task": ("list",),
    **dict.fromkeys(("lists", "splits"), TASK_KINDS),
}


def task_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options ``TASK_OPTIONS``, of `build` and `repair`."""
    for decorate in (
        click.option("--boxes", metavar="TABLE", help="csv: boxes, as image_path, label, x, y, width, height."),
        click.option("--masks", metavar="TABLE", help="csv: masks, as image_path, mask_path, label."),
        click.option(
            "--labels",
            metavar="CLASSES",
            help="csv: columns of 1, 0, -1 or nothing, or all classes that the column labels lists some of; by commas, "
            "or a data set as nih.",
        ),
        click.option(
            "--splits",
            type=click.Choice(["own", "official"]),
            help="Data sets of tasks: no image in two splits, val carved from train where there is none (own, the "
            "default), or as the official code has them.",
        ),
        click.option("--task", metavar="NAME", help="list: the data set whose classes the lists have."),
        click.option("--lists", metavar="FOLDER", help="Data sets of tasks: lists of the paper's protocol to follow."),
    ):
        command = decorate(command)
    return command


views_option = click.option("--views", metavar="PA,AP", help="Images of these views alone. Default: all.")


def choice(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options and the argument that name a source: kind, source, reports, use_last, empty_reports, columns."""
    for decorate in (
        click.argument("source", shell_complete=complete.files),
        click.option(
            "--use-last", is_flag=True, help="mimic-cxr: take the last paragraph of reports without sections."
        ),
        click.option(
            "--empty-reports",
            type=click.Choice(["drop", "keep"]),
            default="drop",
            show_default=True,
            help="Images without a report: leave them out, or keep them as images alone.",
        ),
        click.option(
            "--reports",
            metavar="PATH",
            help="mimic-cxr: archive or folder of the report files (default: in SOURCE). csv: table of the reports.",
        ),
        columns_option("csv"),
        click.option("--from", "kind", type=click.Choice(KINDS), required=True, help="What SOURCE is."),
    ):
        command = decorate(command)
    return command


def open_source(
    kind: str,
    source: str,
    *,
    reports: str | None = None,
    use_last: bool = False,
    empty_reports: str = "drop",
    columns: Sequence[str] = (),
    views: str | None = None,
    distilled: str | None = None,
    seed: int = 42,
    size: int = 512,
    **of_tasks: str | None,
) -> "Source":
    """The source that a command line names.

    columns     NAME=COLUMN, as --columns takes them
    views       names with commas between
    distilled   file of distilled texts
    seed, size  of phantoms; the seed also of splits that are carved
    of_tasks    ``TASK_OPTIONS``
    Raises ConfigError for what cannot be meant.
    """
    keep_empty = empty_reports == "keep"
    given: dict[str, object] = {"use-last": use_last, "reports": reports, "columns": columns}
    given |= {"empty-reports keep": keep_empty, "views": views, "distilled": distilled, **of_tasks}
    _check_takers(kind, given)
    selection = _selection(views, distilled)
    if kind == "mimic-cxr":
        from ecamp_fast.shards.sources.mimic_cxr import MimicCxrSource

        return MimicCxrSource(source, reports, use_last=use_last, keep_empty=keep_empty, selection=selection)
    if kind == "openi":
        from ecamp_fast.shards.sources.openi import OpeniSource

        return OpeniSource(source, keep_empty=keep_empty, selection=selection)
    if kind == "folder":
        from ecamp_fast.shards.sources.folder import FolderSource

        return FolderSource(source, keep_empty=keep_empty, selection=selection)
    if kind == "webdataset":
        from ecamp_fast.shards.sources.webdataset import WebdatasetSource

        return WebdatasetSource(source, keep_empty=keep_empty, selection=selection)
    if kind == "csv":
        from ecamp_fast.shards.sources.columns import parse
        from ecamp_fast.shards.sources.csv_file import CsvSource

        beside, names = _beside(of_tasks), parse(columns)
        return CsvSource(source, reports, keep_empty=keep_empty, names=names, selection=selection, beside=beside)
    if kind in TASK_KINDS:
        return _task_source(kind, source, of_tasks, seed, selection)
    from ecamp_fast.shards.sources.phantom import PhantomSource

    if not source.isdecimal() or int(source) < 1:
        raise ConfigError(f"--from phantom: '{source}' is no number of studies", "write --from phantom 40 OUT")
    return PhantomSource(int(source), seed, size, selection=selection)


def read_entities(path: Path | None) -> "EntityList":
    """The list of a file; the paper's where there is none.  Raises ConfigError."""
    from ecamp_fast.text.entity_file import read_entities as read
    from ecamp_fast.text.reading.entities import DEFAULT

    return read(path) if path else DEFAULT


def _check_takers(kind: str, given: Mapping[str, object]) -> None:
    """Raises ConfigError for an option that other kinds take."""
    for option, kinds in _TAKERS.items():
        if given.get(option) and kind not in kinds:
            what = f"--{option} is for --from {', '.join(kinds)}, not for --from {kind}"
            raise ConfigError(what, f"leave out --{option}")


def _beside(options: Mapping[str, str | None]) -> "Beside":
    from ecamp_fast.shards.sources.tasks.beside import Beside, parse_classes

    masks, boxes = (Path(value) if (value := options.get(name)) else None for name in ("masks", "boxes"))
    labels = options.get("labels")
    return Beside(() if labels is None else parse_classes(labels), masks, boxes)


def _task_source(
    kind: str, source: str, options: Mapping[str, str | None], seed: int, selection: "Selection"
) -> "Source":
    """A data set of a task.  Raises ConfigError for one that there is not."""
    from ecamp_fast.shards.sources.tasks.base import Splits
    from ecamp_fast.shards.sources.tasks.chexpert import ChexpertSource
    from ecamp_fast.shards.sources.tasks.covidx import CovidxSource
    from ecamp_fast.shards.sources.tasks.listed import ListSource
    from ecamp_fast.shards.sources.tasks.nih import NihSource
    from ecamp_fast.shards.sources.tasks.rsna import RsnaSource
    from ecamp_fast.shards.sources.tasks.siim import SiimSource

    lists = options.get("lists")
    splits = Splits(Path(lists) if lists else None, options.get("splits") == "official", seed)
    if kind == "list":
        return ListSource(source, options.get("task") or "", splits, selection=selection)
    of_kind = {one.kind: one for one in (NihSource, ChexpertSource, RsnaSource, CovidxSource, SiimSource)}
    return of_kind[kind](source, splits, selection=selection)


def _selection(views: str | None, distilled: str | None) -> "Selection":
    """Each view once, in whatever case.  Raises ConfigError for names of views that are none."""
    from ecamp_fast.shards.sources.selection.choice import Selection

    names = tuple(name.strip() for name in (views or "").split(",")) if views is not None else ()
    if not all(names):
        raise ConfigError(f"--views '{views}': an empty name", "write names with commas between, as --views PA,AP")
    once: dict[str, str] = {}
    for name in names:
        once.setdefault(name.casefold(), name)
    return Selection(tuple(once.values()), Path(distilled) if distilled else None)
