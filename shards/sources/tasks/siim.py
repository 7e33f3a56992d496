"""SIIM-ACR Pneumothorax as Kaggle ships it: run lengths by image, and DICOM images of 1024 pixels."""

from pathlib import PurePosixPath

from ecamp_fast.shards.sources.base import Listing, Record
from ecamp_fast.shards.sources.files import IMAGES
from ecamp_fast.shards.sources.redact import redact
from ecamp_fast.shards.sources.tasks.base import TaskSource
from ecamp_fast.shards.sources.tasks.lists import read_masks
from ecamp_fast.shards.sources.tasks.protocol import PNEUMOTHORAX, TASKS
from ecamp_fast.shards.sources.tasks.tables import table_named


class SiimSource(TaskSource):
    """``folder``: with ``train-rle.csv`` or ``stage_2_train.csv``, ImageId and EncodedPixels, several rows an image, -1
    for no mask; images anywhere below as .dcm or .png. 15 % of the images each become val and test.
    """

    kind = "siim"
    shares = (("test", 0.15), ("val", 0.15))
    classes = TASKS["siim"].classes
    planes = (PNEUMOTHORAX,)

    def rows(self, listing: Listing) -> dict[str, Record]:
        """By image."""
        pattern = r"(?:train-rle|stage_2_train).*\.csv"
        path = table_named(self.folder, pattern, "train-rle.csv or stage_2_train.csv")
        assert path
        found = read_masks(path, listing)
        return {
            name: Record(
                *(f"{where} ({redact(name)})", row, name, name, name, ""),
                labels=stated.labels or {},
                masks=stated.masks,
            )
            for row, (name, (where, stated, _)) in enumerate(found.items())
        }

    def key(self, name: str) -> str:
        """The image, of which the file has its name."""
        path = PurePosixPath(name)
        return path.stem if path.suffix.lower() in IMAGES else path.name
