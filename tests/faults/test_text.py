"""Table T of faults: text is never lost, never paired with another's image, and what is dropped is counted."""

import csv
import functools
import json
import random

import numpy as np
import pytest
from PIL import Image

from ecamp_fast.errors import DataError
from ecamp_fast.shards.builder.build import Options, build
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.shards.sources.csv_file import CsvSource
from ecamp_fast.shards.sources.folder import FolderSource
from ecamp_fast.text.packing.assemble import assemble
from ecamp_fast.text.reading.cleaning import clean, is_empty, read_text
from ecamp_fast.text.reading.rules import distill

QUICK = Options(workers=1, vocab_size=200)
COLUMNS = ["study_id", "image_path", "view", "report"]


@pytest.fixture
def table(tmp_path):
    """table(reports, encoding="utf-8"): a CSV with an image for each report; returns its path."""

    def write(reports, encoding="utf-8"):
        with open(tmp_path / "reports.csv", "w", newline="", encoding=encoding) as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for number, report in enumerate(reports):
                writer.writerow([f"s{number}", f"{number}.png", "PA", report])
                picture = (np.arange(64 * 64).reshape(64, 64) % (100 + number)).astype(np.uint8)
                Image.fromarray(picture).save(tmp_path / f"{number}.png")
        return tmp_path / "reports.csv"

    return write


def stored(folder):
    shards = ShardSet(folder)
    samples = [shards.read(split, index) for split in shards.splits for index in range(shards.count(split))]
    return {json.loads(sample["json"])["study_id"]: sample for sample in samples}


# T1: bytes to text


@pytest.mark.fault(
    "T1.cp1252", "T1.latin-1", "T1.byte-order-mark", "T1.crlf", "T1.control", "T1.surrogate", "T1.right-to-left"
)
@pytest.mark.parametrize(
    ("data", "text", "encoding"),
    [
        (b"patient\x92s \x93mild\x94 edema \x96 no change", "patient’s “mild” edema – no change", "cp1252"),
        (b"Gr\xf6\xdfe", "Größe", "cp1252"),
        (b"caf\xe9 \x81", "café ", "latin-1"),
        (b"\xef\xbb\xbfclear", "clear", "utf-8"),
        ("clear, größer".encode("utf-16"), "clear, größer", "utf-16"),
        (b"one\r\ntwo\rthree\n", "one\ntwo\nthree\n", "utf-8"),
        (b"no\x00 edema\x07\x1b[2J", "no edema[2J", "utf-8"),
        ("\u202eamede\u202c \u200bclear".encode(), "amede clear", "utf-8"),
        (b"\xed\xa0\x80clear", "í\xa0€clear", "cp1252"),  # a surrogate is no UTF-8
    ],
)  # fmt: skip
def test_t1_encodings_and_control_characters(data, text, encoding):
    assert read_text(data) == (text, encoding)


@pytest.mark.fault("T1.nothing-lost")
def test_t1_any_bytes_are_read_and_nothing_readable_is_lost():
    """Seeded mutations of a report in four encodings: never an error, and no printable ASCII character disappears."""
    rng = random.Random(1)
    report = "No pleural effusion; the heart’s size is “normal”. Größe 3 cm – stable.\r\n"
    for number in range(1000):
        data = bytearray(report.encode(("utf-8", "cp1252", "utf-8-sig", "cp1252")[number % 4]))
        for _ in range(rng.randint(1, 6)):
            data[rng.randrange(4, len(data))] = rng.randrange(256)
        text, _ = read_text(bytes(data))
        assert clean(text) == text and not any(ord(c) < 32 and c not in "\t\n" for c in text)
        ascii_before = [chr(b) for b in data if 32 <= b < 127]
        assert [c for c in text if 32 <= ord(c) < 127 and c != " "] == [c for c in ascii_before if c != " "]


@pytest.mark.fault("T1.cp1252", "T1.noted-once")
def test_t1_a_table_in_another_encoding_is_noted_once_and_stored_as_utf8(table, tmp_path):
    path = table(["The patient’s lungs are “clear”.", "No edema – stable."], encoding="cp1252")
    report = build(CsvSource(path), tmp_path / "set", QUICK)
    (note,) = [note for note in report.manifest.notes if "UTF-8" in note]
    assert "reports.csv is not UTF-8: read as cp1252" in note
    assert stored(tmp_path / "set")["s0"]["txt"].decode() == "The patient’s lungs are “clear”."


# T2: reports that say nothing


@pytest.mark.fault("T2.empty", "T2.underscores")
@pytest.mark.parametrize(
    "report", ["", " \n\t ", "___", " __ . __ ", "XXXX", "XXXX, XXXX.", "_" * 10_000, "X" * 10_000]
)
def test_t2_nothing_is_nothing(report):
    assert is_empty(report)


@pytest.mark.fault("T2.empty")
@pytest.mark.parametrize("report", ["No.", "XXX", "___ x", "X" * 10_000 + "y"])
def test_t2_something_is_something(report):
    assert not is_empty(report)


@pytest.mark.fault("T2.empty", "T2.underscores", "T2.counted")
def test_t2_empty_reports_are_dropped_and_counted(table, tmp_path):
    path = table(["Clear.", "", "___", "XXXX.", "No edema."])
    assert CsvSource(path).list_records().dropped_empty == 3
    assert build(CsvSource(path), tmp_path / "set", QUICK).manifest.counts["dropped_empty"] == 3
    assert set(stored(tmp_path / "set")) == {"s0", "s4"}


# T3: long reports, reports without entities


@pytest.mark.fault("T3.long")
def test_t3_long_and_odd_reports_are_stored_whole(table, tmp_path):
    long = "There is a small effusion. " * 4000
    reports = [long, "Normal.", "No edema. No effusion.", "The film ends in an effusion", "Clear."]
    build(CsvSource(table(reports)), tmp_path / "set", QUICK)
    assert stored(tmp_path / "set")["s0"]["txt"].decode() == long.strip()
    assert distill("Normal.") == "" and "effusion" in distill(reports[3])


@pytest.mark.fault("T3.long")
def test_t3_texts_are_cut_at_the_limit_and_no_further():
    from ecamp_fast.config import load_recipe

    text = load_recipe("demo", []).text
    code = np.arange(1, 100_000, dtype=np.int32)
    _, offsets, lengths = assemble([code, code[:0]], [code, code[:0]], np.array([1, 2]), text, padded=False)
    assert lengths.tolist() == [text.max_tokens, 1] and offsets[-1] == lengths.sum()


LINES = {
    "100 KB": "There is a small effusion. No edema. " * 2800,
    "100 KB, nothing": "The film is rotated. " * 5000,
    "no entity": "Normal.",
    "only denied": "No edema. There is no effusion. There is no evidence of pneumothorax.",
    "one denied word": "No edema",
    "at the end": "The film shows a small effusion",
    "nothing": "",
}


@pytest.fixture(scope="module")
def codes_of():
    """codes_of(report): its codes."""
    from ecamp_fast.text.reading.annotate import Annotator
    from ecamp_fast.text.wordpiece import train_wordpiece

    return functools.cache(Annotator(train_wordpiece(LINES.values(), 300)).codes)


def worth(codes_of, reports, recipe):
    """Reports as they are trained on: lengths, masked rows, and the text of the batch."""
    import torch

    from ecamp_fast.text.packing.layout import masked_batch
    from ecamp_fast.text.packing.masking import mask_text

    keys = np.arange(len(reports), dtype=np.int64)
    codes = [codes_of(report) for report in reports]
    nothing = [code[:0] for code in codes]
    parts = assemble(codes, nothing, keys, recipe.text, padded=recipe.padded_text)
    tensors = [torch.from_numpy(part) for part in (*parts, keys)]
    return parts[2], mask_text(*tensors, recipe), masked_batch(*tensors, recipe)


def loss_of(text, recipe, batch):
    """The loss of random hidden states, and its gradient."""
    import torch

    from ecamp_fast.objectives import mlm_loss

    torch.manual_seed(0)
    hidden = torch.randn(len(text.rows), 8, requires_grad=True)
    loss = mlm_loss(recipe, hidden, torch.randn(400, 8), torch.zeros(400), text.labels, text.weights, batch=batch)
    loss.backward()
    return loss, hidden.grad


@pytest.mark.fault("T3.long", "T3.no-entity", "T3.denied")
@pytest.mark.parametrize("recipe", ["paper", "official"])
@pytest.mark.parametrize("normaliser", ["budget", "weighted_mean", "sum"])
def test_t3_odd_reports_have_finite_weights_losses_and_gradients(codes_of, recipe, normaliser):
    """Each alone, where a sum over it could be zero, and all together."""
    from ecamp_fast.config import load_recipe

    recipe = load_recipe(recipe, [f"losses.mlm_normaliser={normaliser}"])
    for reports in [*([line] for line in LINES.values()), list(LINES.values())]:
        lengths, masked, text = worth(codes_of, reports, recipe)
        assert lengths.max() <= recipe.text.max_tokens and lengths.min() >= 1
        assert masked.weights.isfinite().all() and (masked.weights >= 0).all()
        loss, gradient = loss_of(text, recipe, len(reports))
        assert loss.isfinite() and loss >= 0 and gradient.isfinite().all()


@pytest.mark.fault("T3.denied")
def test_t3_of_a_report_that_denies_everything_only_descriptors_weigh_little(codes_of):
    from ecamp_fast.config import load_recipe

    recipe = load_recipe("paper", [])
    _, masked, _ = worth(codes_of, [LINES["only denied"]], recipe)
    assert sorted(set(masked.weights.tolist())) == pytest.approx([recipe.lambda_neg, 1.0])


@pytest.mark.fault("T3.at-the-end")
@pytest.mark.parametrize("recipe", ["paper", "official"])
def test_t3_an_entity_that_the_limit_cuts_or_touches(codes_of, recipe):
    """ "effusion" moves over the end of the room, one place at a time."""
    from ecamp_fast.config import load_recipe

    recipe = load_recipe(recipe, [])
    max_tokens = recipe.text.max_tokens
    for before in range(max_tokens - 6, max_tokens + 2):
        lengths, masked, text = worth(codes_of, ["film " * before + "effusion edema"], recipe)
        assert len(masked.ids) == max_tokens or lengths[0] < max_tokens
        assert masked.weights.isfinite().all() and loss_of(text, recipe, 1)[0].isfinite()


# T4: tables that do not fit their images


@pytest.mark.fault("T4.quoted-line-breaks")
def test_t4_quoted_line_breaks_stay_in_their_row(table, tmp_path):
    build(CsvSource(table(['One,\nline "two".', "Next."])), tmp_path / "set", QUICK)
    assert stored(tmp_path / "set")["s0"]["txt"].decode() == 'One,\nline "two".'


def shift(rows, rng):
    rows[rng.randrange(1, len(rows))].insert(0, "extra")


def shorten(rows, rng):
    rows[rng.randrange(1, len(rows))].pop()


def blank_study(rows, rng):
    rows[rng.randrange(1, len(rows))][0] = " "


def blank_image(rows, rng):
    rows[rng.randrange(1, len(rows))][1] = ""


def double(rows, rng):
    rows.append(list(rows[rng.randrange(1, len(rows))]))


def unknown_image(rows, rng):
    rows[rng.randrange(1, len(rows))][1] = "nowhere.png"


def lose_column(rows, rng):
    for row in rows:
        del row[3]


def rename_column(rows, rng):
    rows[0][rng.randrange(4)] += "s"


MUTATIONS = (shift, shorten, blank_study, blank_image, double, unknown_image, lose_column, rename_column)


@pytest.mark.fault("T4.shifted", "T4.missing-id", "T4.extra-row")
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_t4_a_damaged_table_builds_nothing(mutation, table, tmp_path):
    path = table([f"Case {number}." for number in range(6)])
    with open(path, newline="") as file:
        whole = list(csv.reader(file))
    for seed in range(5):
        rows = [list(row) for row in whole]
        mutation(rows, random.Random(seed))
        with open(path, "w", newline="") as file:
            csv.writer(file).writerows(rows)
        with pytest.raises(DataError, match=r"reports\.csv") as caught:
            build(CsvSource(path), tmp_path / "set", QUICK)
        assert caught.value.exit_code == 3 and "Case" not in str(caught.value)
        assert not (tmp_path / "set").exists()


def swap_report_and_image(rows, rng):
    rows[0][1], rows[0][3] = rows[0][3], rows[0][1]


def swap_report_and_patient(rows, rng):
    rows[0][3:] = ["patient_id", "report"]
    for row in rows[1:]:
        row[0] = "s0"
        row.append(f"p{row[3]}")


def swap_report_and_split(rows, rng):
    rows[0][3:] = ["split", "report"]
    for row in rows[1:]:
        row.append("train")


def swap_report_and_study(rows, rng):
    rows[0][0], rows[0][3] = rows[0][3], rows[0][0]
    rows[0].append("split")
    for number, row in enumerate(rows[1:]):
        row[3] = rows[1][3]
        row.append(("train", "test")[number % 2])


def lose_header(rows, rng):
    del rows[0]


def repeat_a_report_in_the_header(rows, rng):
    rows[0] = [rows[1][3]] * 4


MIXED = (
    swap_report_and_image,
    swap_report_and_patient,
    swap_report_and_split,
    swap_report_and_study,
    lose_header,
    repeat_a_report_in_the_header,
)


@pytest.mark.fault("T4.shifted")
@pytest.mark.parametrize("mutation", MIXED, ids=lambda mutation: mutation.__name__)
@pytest.mark.parametrize("report", ["Mr CANARY: no image, report.", "CANARY " * 60, "Größe CANARY"])
def test_t4_columns_mixed_up_repeat_no_report(report, mutation, table, tmp_path):
    """Any column may turn out to hold the reports: no message repeats the first word of one."""
    path = table([f"{report} {number}" for number in range(6)])
    with open(path, newline="") as file:
        rows = list(csv.reader(file))
    mutation(rows, random.Random(0))
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)
    with pytest.raises(DataError, match=r"reports\.csv") as caught:
        build(CsvSource(path), tmp_path / "set", QUICK)
    message = f"{caught.value} {caught.value.hint}"
    assert "CANARY" not in message and "Mr" not in message and "Gr" not in message


@pytest.mark.fault("T4.by-key")
def test_t4_the_order_of_rows_pairs_nothing(table, tmp_path):
    path = table([f"Case {number}." for number in range(6)])
    build(CsvSource(path), tmp_path / "set", QUICK)
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, *rows[::-1]]) + "\n")
    build(CsvSource(path), tmp_path / "turned", QUICK)
    first, second = stored(tmp_path / "set"), stored(tmp_path / "turned")
    assert all(
        first[name]["txt"] == second[name]["txt"] and first[name]["jpg"] == second[name]["jpg"] for name in first
    )


@pytest.mark.fault("T4.by-key")
def test_t4_a_folder_pairs_by_name(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for name in "ab":
        Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(data / f"{name}.png")
        (data / f"{name}.txt").write_text(f"Report {name}.")
    (data / "a.txt").rename(data / "c.txt")
    listing = FolderSource(data).list_records()
    assert [record.report for record in listing.records] == ["Report b."]
    assert sorted(fault.kind for fault in listing.absent) == ["missing", "no-text"]


# T5: tokenizer


@pytest.mark.fault("T5.swapped")
def test_t5_a_swapped_tokenizer_is_refused(table, tmp_path):
    build(CsvSource(table(["Clear.", "Edema."])), tmp_path / "set", QUICK)
    path = tmp_path / "set" / "tokenizer.json"
    path.write_bytes(path.read_bytes().replace(b"clear", b"edema"))
    with pytest.raises(DataError, match="tokenizer") as caught:
        ShardSet(tmp_path / "set")
    assert caught.value.exit_code == 3
