"""The data sets of the paper's tasks: their classes in order, and the lists that its protocol ships (SPEC 7.1 to 7.3).

Names are as the owners spell them. Counts are rows of the official lists: a list of another length is noted, no fault.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

PNEUMOTHORAX, PNEUMONIA = "Pneumothorax", "Pneumonia"
CANVAS = 1024  # pixels a side that boxes of RSNA and run lengths of SIIM refer to
NO_FINDING = ("No Finding", "normal", "Normal", "")  # what tables write where no class is present


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set of a task.

    classes    in the order of its lists
    exclusive  one class an image: a list has its number instead of a column for each
    overlaps   the official lists have images in several splits: each is kept in one, test before val before train
    val        images of train that become val, where neither owner nor lists have one
    counts     rows of the official lists: of text with labels, and of tables with masks or boxes, by ``1``, ``10``,
               ``100``, ``val``, ``test``
    head       first line of an official list, of either kind
    """

    classes: tuple[str, ...]
    exclusive: bool = False
    overlaps: bool = False
    val: int = 0
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    head: Mapping[str, str] = field(default_factory=dict)


def _rows(one: int, ten: int, whole: int, val: int, test: int) -> dict[str, int]:
    return {"1": one, "10": ten, "100": whole, "val": val, "test": test}


_NIH = (
    *("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", PNEUMONIA, PNEUMOTHORAX),
    *("Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia"),
)
_MURED = (
    *("DR", "NORMAL", "MH", "ODC", "TSLN", "ARMD", "DN", "MYA", "BRVO", "ODP", "CRVO", "CNV", "RS", "ODE", "LS"),
    *("CSR", "HTR", "ASR", "CRS", "OTHER"),
)
_ODIR = ("Normal", "Diabetes", "Glaucoma", "Cataract", "AMD", "Hypertension", "Pathological Myopia", "Other")
_RSNA_CSV = 'train_images/a37191a3-64a6-4a9d-9340-36f3decb92d6.png,"[[0.0, 0.0, 0.0, 0.0]]"'
_RIGA_CSV = "Image/BinRushed/BinRushed1/image47.tif,FinalLabel/BinRushed/BinRushed1/image47.tif"

TASKS: dict[str, Dataset] = {
    "nih": Dataset(
        _NIH,
        val=11_219,
        counts={"txt": _rows(785, 7_847, 78_468, 11_219, 22_433)},
        head={"txt": "images_006/00011997_000.png" + " 0" * 14},
    ),
    "chexpert": Dataset(
        ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion"),
        overlaps=True,  # its val list is its test list
        val=5_000,
        counts={"txt": _rows(2_184, 21_841, 218_414, 234, 234)},
        head={"txt": "train/patient57997/study1/view1_frontal.jpg 0 1 0 1 1"},
    ),
    "rsna": Dataset(
        (PNEUMONIA,),
        counts={"txt": _rows(252, 2_518, 25_184, 1_500, 3_000), "csv": _rows(160, 1_601, 16_010, 5_337, 5_337)},
        head={"txt": "train_images/0004cfab-14fd-4e49-80ba-63a80b6bddd6.png 0", "csv": _RSNA_CSV},
    ),
    "covidx": Dataset(
        ("normal", "pneumonia", "COVID-19"),
        exclusive=True,
        val=3_013,
        counts={"txt": _rows(271, 2_712, 27_117, 3_013, 400)},
        head={"txt": "test/MIDRC-RICORD-1C-419639-003251-46647-0.png 2"},
    ),
    "aptos": Dataset(
        ("No DR", "Mild", "Moderate", "Severe", "Proliferative DR"),
        exclusive=True,
        counts={"txt": _rows(25, 256, 2_563, 366, 733)},
        head={"txt": "000c1434d8d7.png 2"},
    ),
    "odir5k": Dataset(
        _ODIR,
        counts={"txt": _rows(45, 448, 4_474, 639, 1_279)},
        head={"txt": "4489_right.jpg 0 1 0 0 0 0 0 0"},
    ),
    "mured": Dataset(
        _MURED, counts={"txt": _rows(15, 154, 1_542, 222, 444)}, head={"txt": "959.png" + " 0" * 19 + " 1"}
    ),
    "spinexr": Dataset(
        ("Abnormal",),
        counts={"txt": _rows(74, 739, 7_389, 1_000, 2_077)},
        head={"txt": "train/9106ed62c7d28c9aa713da6a5340313b.png 0"},
    ),
    "siim": Dataset(
        (PNEUMOTHORAX,),
        overlaps=True,  # val and test share 124 images, all of them positive
        counts={"csv": {"1": 92, "10": 883, "val": 2_169, "test": 2_146}},
        head={"csv": "ImageId,EncodedPixels"},
    ),
    "riga": Dataset((), counts={"csv": _rows(5, 56, 560, 95, 95)}, head={"csv": _RIGA_CSV}),
}

# How a path names its patient, where it does.
PATIENTS = {"nih": r"(?:^|/)(\d{8})_\d{3}\.", "chexpert": r"(?:^|/)(patient\d+)/study\d+/"}

# Grey values of RIGA's masks: the cup lies within the disc.
RIGA_PLANES = ("disc", "cup")
RIGA_CUP = 255
