"""The notice beside shards, and beside what was read of reports, where these come under a data use agreement."""

from pathlib import Path

from ecamp_fast.files import write_atomically

NOTICE = "NOTICE.txt"
_RULES = """
- Do not share it, or parts of it, with anyone who has not signed that agreement. Do not send it to a service of others.
- Keep it where nobody else can read it. The files are for their owner alone: leave them so.
- Do not try to identify a patient. Report text that may identify one to PHI-report@physionet.org.
- Treat what was derived from it in the same way: runs, checkpoints, weights, reports with pictures.
"""
_TEXTS = {
    "mimic-cxr": """\
This shard set was made from MIMIC-CXR. It holds radiographs and reports of patients, and is under the PhysioNet
Credentialed Health Data Use Agreement (version 1.5.0) that was signed for them.
"""
    + _RULES
}
_OF_REPORTS = """\
What lies here was written from reports of patients, and says what they say. If they are of MIMIC-CXR, it is under the
PhysioNet Credentialed Health Data Use Agreement (version 1.5.0) that was signed for them; if not, under the terms that
they came with.
"""


def write_notice(folder: Path, kind: str) -> None:
    """Write NOTICE.txt beside the shards of a source that needs one.  kind: of the source.  Raises StorageError."""
    if kind in _TEXTS:
        write_atomically(folder / NOTICE, _TEXTS[kind].encode())


def write_report_notice(folder: Path) -> None:
    """Write NOTICE.txt beside what was read of reports: a table does not say where they come from.

    Raises StorageError.
    """
    write_atomically(folder / NOTICE, (_OF_REPORTS + _RULES).encode())
