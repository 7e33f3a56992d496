"""Reports that the rules cannot read, because they are Spanish: refused by name before they are trained on."""

import re
from collections.abc import Iterable

from ecamp_fast.errors import DataError

# Columns by which PadChest's table is known, if it has so many of them.
PADCHEST = frozenset({"ImageID", "ImageDir", "StudyID", "PatientID", "Projection", "Report", "Labels", "ReportID"})
_ENOUGH = 5

# Words of Spanish reports that English ones lack; PadChest cuts its words to stems (hallazg, derram).
_SPANISH = """
sin con del los las una unos unas por para que como sus este esta estos estas muy hay sobre entre desde pero dentro
izquierdo izquierda izquierd derecho derecha derech ambos ambas leve signos hallazgos hallazg patologicos patolog eed
derrame derram cambios cambi cronicos cronic pulmonar pulmonares radiografia torax silueta siluet cardiaca cardiomegalia
cardiomegali aumento aument densidad densid engrosamiento engros pinzamiento pinz seno senos costofrenico costofrenicos
costofren infiltrado infiltrados consolidacion consolid neumonia neumoni elongacion elong aortica callos callo fracturas
costales hilios parenquima campos cateter marcapasos marcap estudio estudi previo previ normalidad limites
ni dentr imagen imagenes identific signific sugest probabl condensacion condens hipoventilacion hipoventil neumotorax
hemitorax cardiomediastin atelectasias redistribucion redistribu
"""
# Words of English reports that Spanish ones lack.
_ENGLISH = """
the is are of and there with in to was were has have been be or for at from which this that not an on as lungs lung
heart chest clear within without evidence seen effusion pneumothorax
"""
SPANISH, ENGLISH = frozenset(_SPANISH.split()), frozenset(_ENGLISH.split())
_LOOKED_AT = 1000  # reports, from all over the listing
_WORD = re.compile(r"[^\W\d_]+")
_PLAIN = str.maketrans("áéíóúüñ", "aeiouun")

_READ = "PadChest's are, and the rules read English only"
_HINT = "translate the reports, or take the images alone: --empty-reports keep, and no column of reports"


def is_spanish(report: str) -> bool:
    """Whether a report has more words that only Spanish ones have than words that only English ones have."""
    words = _WORD.findall(report.lower().translate(_PLAIN))
    spanish, english = (sum(word in known for word in words) for known in (SPANISH, ENGLISH))
    return spanish > english


def refuse_spanish(name: str, reports: Iterable[str]) -> None:
    """name: of the source.  Raises DataError where more than half of the reports are Spanish."""
    different = list(dict.fromkeys(report for report in reports if report))
    looked_at = different[:: max(1, len(different) // _LOOKED_AT)]
    spanish = sum(map(is_spanish, looked_at))
    if 2 * spanish > len(looked_at):
        what = f"{name}: {spanish:,} of {len(looked_at):,} reports looked at are Spanish, as {_READ}"
        raise DataError(what, _HINT)


def refuse_padchest(name: str, columns: Iterable[str]) -> None:
    """name: of a table without the columns that it needs.  Raises DataError if it is PadChest's, by its columns."""
    if len(PADCHEST & set(columns)) >= _ENOUGH:
        raise DataError(
            f"{name}: PadChest's table: its reports are Spanish, and the rules read English only",
            "take its images alone: --empty-reports keep --columns "
            "image_path=ImageID,study_id=StudyID,patient_id=PatientID,view=Projection; or translate the reports",
        )
