"""An instrument: a MIMIC-CXR tree of phantoms, with folders, file names, tables and report styles of the release."""

import csv
import gzip
import io
import textwrap
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ecamp_fast.phantom import describe, phantom

SIZE = 64
LABELS = ("Cardiomegaly", "Edema", "Pleural Effusion", "Pneumonia")
HEAD = " FINAL REPORT\n EXAMINATION:  CHEST (PA AND LAT)\n \n INDICATION:  ___F with cough  // pneumonia?\n \n"
COMPARE = " COMPARISON:  None.\n \n"

# Style -> (report, the text that is to be learned from); {f} findings, {i} impression, wrapped over lines.
STYLES: dict[str, tuple[str, str]] = {
    "full": (HEAD + COMPARE + " FINDINGS: \n \n {f}\n \n IMPRESSION: \n \n {i}\n", "{f} {i}"),
    "views": (" FINAL REPORT\n CHEST, ___:\n \n HISTORY:  ___.\n \n PA AND LATERAL VIEWS OF THE CHEST:  {f}\n"
              " \n IMPRESSION:  {i}\n", "{f} {i}"),
    "joint": (" WET READ: ___ ___ ___ 8:50 AM\n  Wrong in the night.\n" + "_" * 78 + "\n" + HEAD
              + " FINDINGS AND IMPRESSION:  {f}\n", "{f}"),
    "impression": (HEAD + " IMPRESSION:  {i}\n \n NOTIFICATION:  Dr. ___ was called at ___.\n", "{i}"),
    "findings": (HEAD + COMPARE + " FINDINGS:  {f}\n \n RECOMMENDATION(S):  Follow up.\n", "{f}"),
    "addendum": (HEAD + " FINDINGS:  {f}\n \n IMPRESSION:  {i}\n \n FINAL ADDENDUM\n ADDENDUM:  Talked to Dr. ___.\n",
                 "{f} {i}"),
    "neither": (" FINAL REPORT\n INDICATION:  Cough.\n \n As compared to the previous film, {f}\n", ""),
    "empty": ("___\n", ""),
}  # fmt: skip


@dataclass
class Tree:
    """folder; texts: study -> what is to be learned, '' where it is to be dropped; images: dicom_id -> study."""

    folder: Path
    texts: dict[str, str] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)
    styles: dict[str, str] = field(default_factory=dict)

    def rows(self, name: str) -> list[list[str]]:
        """A table of the tree, to be changed and given back to ``rewrite``."""
        with gzip.open(self.folder / name, "rt", newline="") as file:
            return list(csv.reader(file))

    def rewrite(self, name: str, rows: list[list[str]]) -> None:
        with gzip.open(self.folder / name, "wt", newline="") as file:
            csv.writer(file).writerows(rows)


def _dicom(pixels: np.ndarray, view: str) -> bytes:
    """8 grey bits as the upper bits of 12, inverted: MONOCHROME1."""
    pydicom = pytest.importorskip("pydicom", reason="needs pydicom")
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    ds = pydicom.dataset.Dataset()
    ds.file_meta, ds.ViewPosition, ds.PhotometricInterpretation = meta, view, "MONOCHROME1"
    ds.Rows, ds.Columns = pixels.shape
    ds.SamplesPerPixel, ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 1, 16, 12, 11, 0
    ds.PixelData = (4095 - np.round(pixels * (4095 / 255))).astype("<u2").tobytes()
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _jpeg(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def _wrapped(text: str) -> str:
    return "\n ".join(textwrap.wrap(text, 70))


@pytest.fixture
def mimic_tree(tmp_path: Path) -> Callable[..., Tree]:
    """mimic_tree(studies, dicom=False, archive=True): writes a tree; every third study has two images."""

    def write(studies: int, dicom: bool = False, archive: bool = True) -> Tree:
        return write_tree(tmp_path / ("mimic-cxr" if dicom else "mimic-cxr-jpg"), studies, dicom, archive)

    return write


def write_tree(folder: Path, studies: int, dicom: bool = False, archive: bool = True) -> Tree:
    tree = Tree(folder)
    tree.folder.mkdir()
    records, reports, stated, listed = [], {}, [], []
    for number in range(studies):
        description = describe(1, number)
        patient = f"1{number % 3}{int(description.patient_id[-6:]):06d}"
        study, style = f"{50000000 + number}", list(STYLES)[number % len(STYLES)]
        first, *others = (s.strip() for s in description.report.split(". ") if s.strip())
        words = {"i": first.rstrip(".") + ".", "f": ". ".join([*others, ""]).strip().replace("..", ".") or "Clear."}
        words = {name: _wrapped(text) for name, text in words.items()}
        raw, learned = STYLES[style]
        place = f"files/p{patient[:2]}/p{patient}/s{study}"
        reports[f"{place}.txt"] = raw.format(f=words["f"], i=words["i"])
        tree.texts[f"s{study}"] = " ".join(learned.format(f=words["f"], i=words["i"]).split())
        tree.styles[f"s{study}"] = style
        tree.splits[f"s{study}"] = ("train", "validate", "test")[(0, 0, 0, 1, 2)[int(patient) % 5]]
        listed.append([patient, study, f"{place}.txt"])
        stated.append([patient, study, *(("1.0", "0.0", "-1.0", "")[(number + n) % 4] for n in range(len(LABELS)))])
        for view in ("PA", "LATERAL")[: 1 + (number % 3 == 0)]:
            dicom_id = f"{number:08x}-{view.lower()}-{study}"
            pixels = phantom(1, number, SIZE).image
            path = tree.folder / place / f"{dicom_id}{'.dcm' if dicom else '.jpg'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_dicom(pixels, view) if dicom else _jpeg(pixels))
            tree.images[dicom_id] = f"s{study}"
            records.append([dicom_id, patient, study, view, f"{place}/{dicom_id}.dcm"])
    _tables(tree, records, stated, listed, dicom)
    _reports(tree.folder, reports, archive)
    return tree


def _tables(tree: Tree, records: list, stated: list, listed: list, dicom: bool) -> None:
    if dicom:
        tree.rewrite(
            "cxr-record-list.csv.gz",
            [["subject_id", "study_id", "dicom_id", "path"], *([r[1], r[2], r[0], r[4]] for r in records)],
        )
        tree.rewrite("cxr-study-list.csv.gz", [["subject_id", "study_id", "path"], *listed])
    else:
        head = ["dicom_id", "subject_id", "study_id", "PerformedProcedureStepDescription", "ViewPosition"]
        tree.rewrite(
            "mimic-cxr-2.0.0-metadata.csv.gz", [head, *([r[0], r[1], r[2], "CHEST (PA, LAT)", r[3]] for r in records)]
        )
    # the split table is in another order: nothing may be joined by row
    splits = [[r[0], r[2], r[1], tree.splits[f"s{r[2]}"]] for r in reversed(records)]
    tree.rewrite("mimic-cxr-2.0.0-split.csv.gz", [["dicom_id", "study_id", "subject_id", "split"], *splits])
    for labeller in ("chexpert", "negbio"):
        tree.rewrite(f"mimic-cxr-2.0.0-{labeller}.csv.gz", [["subject_id", "study_id", *LABELS], *reversed(stated)])


def _reports(folder: Path, reports: dict[str, str], archive: bool) -> None:
    if archive:
        with zipfile.ZipFile(folder / "mimic-cxr-reports.zip", "w", zipfile.ZIP_DEFLATED) as file:
            for place, text in reports.items():
                file.writestr(place, text)
        return
    for place, text in reports.items():
        (folder / place).write_text(text)
