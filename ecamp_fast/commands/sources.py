"""The sources that `ecamp-fast shard` reads, by the name that --from takes."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from ecamp_fast.errors import ConfigError

if TYPE_CHECKING:
    from ecamp_fast.shards.source import Source

KINDS = ("csv", "folder", "mimic-cxr", "openi", "webdataset", "phantom")

HELP = """SOURCE is, by KIND:

\b
csv         a table with the columns study_id, image_path (relative to the
            table), view, report; optionally patient_id, split, labels
            (separated by ;), attention_map, distilled
folder      a folder of images, each with its report beside it (a.jpg, a.txt)
mimic-cxr   the folder of MIMIC-CXR-JPG or MIMIC-CXR as PhysioNet gives it,
            with `files` and its tables; reports are cut into sections
openi       the folder of the Indiana collection: .xml, or its two tables
webdataset  a tar file or a folder of them, KEY.jpg and KEY.txt side by side
phantom     the number of studies to draw
"""


def choice(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options and the argument that name a source: kind, source, reports, use_last."""
    for decorate in (
        click.argument("source"),
        click.option(
            "--use-last", is_flag=True, help="mimic-cxr: take the last paragraph of reports without sections."
        ),
        click.option("--reports", metavar="ZIP|FOLDER", help="mimic-cxr: report files. Default: in SOURCE."),
        click.option("--from", "kind", type=click.Choice(KINDS), required=True, help="What SOURCE is."),
    ):
        command = decorate(command)
    return command


def open_source(
    kind: str, source: str, *, reports: str | None = None, use_last: bool = False, seed: int = 42, size: int = 512
) -> "Source":
    """The source that a command line names.  seed, size: of phantoms.  Raises ConfigError for what cannot be meant."""
    if kind != "mimic-cxr" and (reports or use_last):
        name = "--reports" if reports else "--use-last"
        raise ConfigError(f"{name} is for --from mimic-cxr, not for --from {kind}", f"leave out {name}")
    if kind == "mimic-cxr":
        from ecamp_fast.shards.sources.mimic_cxr import MimicCxrSource

        return MimicCxrSource(source, reports, use_last=use_last)
    if kind == "openi":
        from ecamp_fast.shards.sources.openi import OpeniSource

        return OpeniSource(source)
    if kind == "folder":
        from ecamp_fast.shards.sources.folder import FolderSource

        return FolderSource(source)
    if kind == "webdataset":
        from ecamp_fast.shards.sources.webdataset import WebdatasetSource

        return WebdatasetSource(source)
    if kind == "csv":
        from ecamp_fast.shards.sources.csv_file import CsvSource

        return CsvSource(source)
    from ecamp_fast.shards.sources.phantom import PhantomSource

    if not source.isdecimal() or int(source) < 1:
        raise ConfigError(f"--from phantom: '{source}' is no number of studies", "write --from phantom 40 OUT")
    return PhantomSource(int(source), seed, size)
