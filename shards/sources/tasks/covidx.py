"""COVIDx as its authors' scripts write it: a text list for train and for test, images in folders of these names."""

import re
from pathlib import PurePosixPath

from ecamp_fast.shards.sources.base import Listing, Record, RecordFault
from ecamp_fast.shards.sources.redact import redact, redact_place
from ecamp_fast.shards.sources.table import origin, read_whole
from ecamp_fast.shards.sources.tasks.base import TaskSource
from ecamp_fast.shards.sources.tasks.protocol import TASKS
from ecamp_fast.shards.sources.tasks.tables import among, table_named

_LINE = re.compile(r"(\S+)\s+(.+?\.(?:png|jpe?g))\s+(\S+)(?:\s+(\S+))?", re.IGNORECASE)
_SPELLED = {"normal": "normal", "pneumonia": "pneumonia", "covid-19": "COVID-19", "covid": "COVID-19"}
_FIX = "take the list as it was published (three classes), or correct the row"


class CovidxSource(TaskSource):
    """``folder``: with ``train*.txt`` and ``test*.txt``, lines of patient, file, class and source, and the folders
    train and test. Val is carved from train by patient: a tenth, 3,013 images at most.
    """

    kind = "covidx"
    classes = TASKS["covidx"].classes

    def rows(self, listing: Listing) -> dict[str, Record]:
        """By folder and name of the file."""
        records: dict[str, Record] = {}
        for split in ("train", "val", "test"):
            pattern = rf"{split}(?!_list).*\.txt"
            path = table_named(self.folder, pattern, f"{split}.txt", required=split != "val")
            if path is None:
                continue
            for number, line in enumerate(read_whole(path)[0].splitlines(), 1):
                if not line.strip():
                    continue
                match, where = _LINE.fullmatch(line.strip()), origin(path, number)
                try:
                    if not match:
                        raise ValueError("not patient, file, class and source")
                    where = f"{where} ({redact_place(match[2])})"
                    place = f"{split}/{match[2]}"
                    if place in records:
                        raise ValueError(f"the same image as in {records[place].origin}")
                    labels = among([_SPELLED.get(match[3].lower(), match[3])], self.classes)
                except ValueError as error:
                    listing.faults.append(RecordFault(where, str(error), _FIX))
                    continue
                stem = PurePosixPath(place).stem
                records[place] = Record(
                    *(where, number, stem, stem, place, ""),
                    patient_id=f"{match[4]}-{match[1]}" if match[4] else match[1],
                    split=split,
                    labels=labels,
                    columns={"source": redact(match[4])} if match[4] else {},
                )
        return records
