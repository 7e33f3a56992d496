"""Build the wheel so that the same sources give the same bytes on every machine, with its bill of materials inside.

python .ci/wheel.py [FOLDER]   default: dist

setuptools takes times, permissions and the order of files from the disk, and zlib differs between builds of Python. So
it builds from a copy of the sources alone, and its archive is written again: sorted, of one date, with one permission,
not compressed (1.8 MB). The bill of materials lies where PEP 770 wants it.
"""

import base64
import csv
import hashlib
import io
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from sbom import ROOT, as_bytes

FOLDERS = ("ecamp_fast", "kernels", "shards", "bench")
FILES = ("pyproject.toml", "README.md", "LICENSE")
DATE = (1980, 1, 1, 0, 0, 0)  # the first that a zip archive can hold
EPOCH = "315532800"  # the same for setuptools
BILL = "sboms/ecamp-fast.cdx.json"


def build(root: Path, out: Path) -> Path:
    """The wheel of the sources in ``root``, in the folder ``out``; returns its path."""
    with tempfile.TemporaryDirectory() as scratch:
        sources, made = Path(scratch, "sources"), Path(scratch, "made")
        for folder in FOLDERS:
            shutil.copytree(root / folder, sources / folder, ignore=left_out)
        for name in FILES:
            shutil.copy(root / name, sources)
        pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
        environment = os.environ | {"SOURCE_DATE_EPOCH": EPOCH}
        subprocess.run([*pip, "--wheel-dir", made, sources], check=True, env=environment)
        (wheel,) = made.glob("*.whl")
        out.mkdir(parents=True, exist_ok=True)
        (out / wheel.name).write_bytes(again(wheel, as_bytes(root)))
        return out / wheel.name


def left_out(folder: str, names: list[str]) -> list[str]:
    """What is no source: caches, and the links of `make links`."""
    return [n for n in names if n == "__pycache__" or n.endswith(".egg-info") or Path(folder, n).is_symlink()]


def again(wheel: Path, bill: bytes) -> bytes:
    """The archive with the bill in it, written in one way."""
    with zipfile.ZipFile(wheel) as archive:
        contents = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    record = next(name for name in contents if name.endswith(".dist-info/RECORD"))
    contents[record.removesuffix("RECORD") + BILL] = bill
    del contents[record]
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    writer.writerows([name, f"sha256={_digest(data)}", len(data)] for name, data in sorted(contents.items()))
    writer.writerow([record, "", ""])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in (*sorted(contents.items()), (record, rows.getvalue().encode())):  # RECORD goes last
            entry = zipfile.ZipInfo(name, DATE)
            entry.create_system, entry.external_attr = 3, (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, data)
    return buffer.getvalue()


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


if __name__ == "__main__":
    print(build(ROOT, Path(sys.argv[1] if len(sys.argv) > 1 else "dist")))
