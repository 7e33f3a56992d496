"""Spanish reports are refused by name; English ones never are."""

import json

import pytest
from click.testing import CliRunner

from ecamp_fast.cli import command
from ecamp_fast.errors import DataError
from ecamp_fast.text.language import ENGLISH, PADCHEST, SPANISH, is_spanish, refuse_padchest, refuse_spanish

# Made for these tests; the stems are cut as PadChest cuts its words.
SPANISH_REPORTS = [
    "Sin hallazgos patológicos.",
    "hallazg patolog basal",
    "Derrame pleural izquierdo leve.",
    "derram pleural izquierd",
    "Cardiomegalia. Elongación aórtica.",
    "elong aort, siluet normal",
    "Silueta cardíaca dentro de los límites de la normalidad.",
    "aument densid derech",
    "Aumento de densidad en campos inferiores, con pinzamiento del seno costofrénico derecho.",
    "No hay derrame.",
    "Neumonía.",
    "Infiltrado en lóbulo superior derecho compatible con neumonía.",
    "SE OBSERVAN CALLOS DE FRACTURAS COSTALES ANTIGUAS.",
    "Portador de marcapasos. Sin cambios respecto al estudio previo.",
]
ENGLISH_REPORTS = [
    "No effusion.",
    "Clear lungs.",
    "Cardiomegaly.",
    "Normal chest.",
    "There is a small left pleural effusion.",
    "No acute disease.",
    "Para-aortic density is seen.",
    "Stable cardiomegaly, no pneumonia per se.",
    "Senor XXXX was seen at the clinic.",
    "Pulmonary edema. Aortic calcification.",
    "Patient del Rio: the heart is enlarged.",
    "Costal fractures, hiliar nodes, limited study.",
    "___",
    "",
    "12.5 cm",
]


@pytest.mark.parametrize("report", SPANISH_REPORTS)
def test_spanish_is_known(report):
    assert is_spanish(report) and is_spanish(report.upper())


@pytest.mark.parametrize("report", ENGLISH_REPORTS)
def test_english_is_not_taken_for_it(report):
    assert not is_spanish(report)


@pytest.mark.parametrize("word", sorted(SPANISH))
def test_every_spanish_word_counts(word):
    assert is_spanish(f"{word}.") and word not in ENGLISH and not is_spanish(f"{word}, the")


@pytest.mark.parametrize("word", sorted(ENGLISH))
def test_every_english_word_counts(word):
    assert not is_spanish(f"sin {word}")


@pytest.mark.parametrize(
    "spanish, english, refused", [(1, 0, True), (0, 1, False), (2, 1, True), (1, 1, False), (7, 6, True), (6, 7, False)]
)
def test_the_majority_decides(spanish, english, refused):
    reports = [f"Sin derrame, {n}." for n in range(spanish)] + [f"The lungs are clear, {n}." for n in range(english)]
    if not refused:
        refuse_spanish("x.csv", reports)
        return
    with pytest.raises(DataError, match="PadChest's are, and the rules read English only") as caught:
        refuse_spanish("x.csv", reports)
    assert f"{spanish} of {spanish + english} reports" in caught.value.what
    assert "translate" in caught.value.hint and "--empty-reports keep" in caught.value.hint


def test_no_report_is_no_spanish_report():
    refuse_spanish("x.csv", ["", ""])


def test_many_reports_are_looked_at_from_all_over():
    english, spanish = ([f"{text} {n}" for n in range(3000)] for text in ("The lungs are clear", "Sin derrame"))
    refuse_spanish("x.csv", [*spanish[:1400], *english])
    with pytest.raises(DataError):
        refuse_spanish("x.csv", [*english[:1400], *spanish])


@pytest.mark.parametrize("without", sorted(PADCHEST))
def test_its_table_is_known_without_any_one_column(without):
    with pytest.raises(DataError, match="PadChest"):
        refuse_padchest("x.csv", PADCHEST - {without})


@pytest.mark.parametrize(
    "columns", [[], ["study_id", "image_path", "view"], ["ImageID", "PatientID", "Report", "Labels"]]
)
def test_another_table_is_not(columns):
    refuse_padchest("x.csv", columns)


def run(*arguments):
    return CliRunner().invoke(command, ["shard", *map(str, arguments)])


def spanish_csv(folder):
    rows = [f"s{n},{n}.jpg,PA,{text}" for n, text in enumerate(t.replace(",", "") for t in SPANISH_REPORTS)]
    for n in range(len(rows)):
        (folder / f"{n}.jpg").write_bytes(b"never opened")
    (folder / "t.csv").write_text("\n".join(["study_id,image_path,view,report", *rows]))
    return folder / "t.csv"


@pytest.mark.parametrize("verb", ["build", "annotate", "dry run"])
def test_the_command_line_says_which_corpus_it_is(verb, tmp_path):
    source = ["--from", "csv", spanish_csv(tmp_path)]
    arguments = {"build": ["build", *source, tmp_path / "set"], "annotate": ["annotate", *source]}
    arguments["dry run"] = [*arguments["build"], "--dry-run"]
    done = run(*arguments[verb])
    assert done.exit_code == DataError.exit_code or isinstance(done.exception, DataError)
    assert "PadChest" in str(done.exception) and "14 of 14 reports" in str(done.exception)
    assert "derrame" not in str(done.exception).lower() and not (tmp_path / "set").exists()


def test_a_folder_of_spanish_reports_is_refused_too(tmp_path):
    (tmp_path / "a.txt").write_text(SPANISH_REPORTS[0])
    done = run("annotate", "--from", "folder", tmp_path)
    assert isinstance(done.exception, DataError) and "PadChest" in done.exception.what


def test_its_images_alone_are_taken(tmp_path):
    from PIL import Image

    (tmp_path / "t.csv").write_text("image_path,ImageID,ImageDir,StudyID,PatientID,Projection,Report,Labels\n"
                                    "a.jpg,a.jpg,0,1,1,PA,sin hallazg,[]\n")  # fmt: skip
    Image.linear_gradient("L").save(tmp_path / "a.jpg")
    done = run("build", "--from", "csv", tmp_path / "t.csv", tmp_path / "set", "--empty-reports", "keep", "--json")
    assert done.exit_code == 0 and json.loads(done.stdout)["samples"] == 1
    refused = run("build", "--from", "csv", tmp_path / "t.csv", tmp_path / "again")
    assert "PadChest" in refused.exception.what and "image_path=ImageID" in refused.exception.hint
