"""The digest of the rules that reports are read by: no table is left out, and no change of code goes unnoticed."""

import hashlib
import re
from pathlib import Path
from types import ModuleType

import pytest

from ecamp_fast.text.reading import version
from ecamp_fast.text.reading.annotate import describe
from ecamp_fast.text.reading.cleaning import is_empty, read_text
from ecamp_fast.text.reading.rules import distill
from ecamp_fast.text.reading.sections import cut
from ecamp_fast.text.reading.sentences import sentence_spans
from ecamp_fast.text.reading.version import RULES_VERSION, rules_tables
from ecamp_fast.text.reading.words import word_spans

CORPUS = (
    "There is no pneumothorax. There is no evidence of consolidation. There is mild edema.",
    "FINDINGS: Heart: mild cardiomegaly; lungs clear. A 1.5 cm non-calcified nodule, 5mm granuloma.",
    "No effusion but possible left basilar opacity versus atelectasis. Dr. J. Smith was told at 10:30.",
    "INDICATION: Cough.\nFINDINGS: The aorta is tortuous, the vasculature is not engorged.\n\nIMPRESSION: 1. Edema, "
    "resolved.\n2. Pneumonia cannot be excluded.",
    "No change in the patient's PICC line. Effusion is no longer seen, right para-hilar mass persists.",
    "Lack of edema although hyperinflated; denies fever. Fracture: none. Mildly hyperexpanded lungs with effusions.",
)
READ = {4: "86ad40237abbe3c9665728558b667a32307e59701eff88d7d6505fb278929ddf"}


def test_a_change_of_what_is_read_raises_the_version() -> None:
    found = [
        (word_spans(text), sentence_spans(text), describe(text), distill(text), cut(text), is_empty(text))
        for text in CORPUS
    ]
    digest = hashlib.sha256(repr((found, read_text(b"\xff\xfea\x00"))).encode()).hexdigest()
    assert digest == READ.get(RULES_VERSION), (
        "reports are read differently: where no table changed, raise RULES_VERSION; then record the digest here"
    )


def test_every_module_that_reads_is_in_the_digest() -> None:
    files = {path.stem for path in Path(version.__file__).parent.glob("*.py")} - {"__init__", "version"}
    assert {module.__name__.rpartition(".")[2] for module in version._MODULES} == files


def test_every_pattern_and_table_is_in_the_digest() -> None:
    for module in version._MODULES:
        held = rules_tables(module)
        for name, value in vars(module).items():
            if isinstance(value, re.Pattern | frozenset | dict | tuple) and not name.startswith("__"):
                assert name in held, f"{module.__name__}.{name}"


@pytest.mark.parametrize(
    "change",
    [
        {"A": 2},
        {"_P": re.compile("ab")},
        {"_P": re.compile("a", re.IGNORECASE)},
        {"_S": frozenset("ab")},
        {"_D": {"a": [1, 2.5]}},
        {"_B": b"y"},
    ],
)
def test_a_changed_table_changes_the_digest(change: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("one")
    vars(module).update(A=1, _P=re.compile("a"), _S=frozenset("a"), _D={"a": [1, 2]}, _B=b"x")
    monkeypatch.setattr(version, "_MODULES", (module,))
    before = version._digest()
    assert version._digest() == before
    vars(module).update(change)
    assert version._digest() != before


def test_another_version_of_the_code_changes_the_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version, "RULES_VERSION", RULES_VERSION + 1)
    assert version._digest() != version.RULES_DIGEST


def test_what_is_no_table_is_refused() -> None:
    module = ModuleType("odd")
    module._ODD = object()
    with pytest.raises(TypeError, match="no table"):
        rules_tables(module)
