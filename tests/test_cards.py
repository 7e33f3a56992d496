"""Cards of models and data: the templates in docs/ are what the program renders, and tell nothing of a patient."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from ecamp_fast.commands import shard
from ecamp_fast.config import load_recipe
from ecamp_fast.errors import ConfigError
from ecamp_fast.phantom import phantom
from ecamp_fast.shards.builder.build import Options, build, build_phantoms
from ecamp_fast.shards.describe.card import RARE, data_card
from ecamp_fast.shards.describe.stats import stats
from ecamp_fast.shards.sources.csv_file import CsvSource
from ecamp_fast.weights.export.card import PAPER, Origin, card, template

DOCS = Path(__file__).resolve().parents[1] / "docs/cards"


def headings(text: str) -> list[str]:
    return re.findall(r"^##+ .*$", text, re.MULTILINE)


def test_the_templates_are_what_is_rendered() -> None:
    assert f"\n````markdown\n{template()}````\n" in (DOCS / "model-card.md").read_text(encoding="utf-8")
    assert f"\n```markdown\n{data_card()}```\n" in (DOCS / "data-card.md").read_text(encoding="utf-8")


def test_an_exported_card_has_the_sections_of_the_template() -> None:
    exported = card("timm", load_recipe("demo"), Origin("x", 7, {"source": "mimic-cxr", "samples": 3}), "0" * 64)
    assert headings(exported) == headings(template())
    assert headings(exported) == ["## Data and licence", "## Measured", "## Limits", "## To cite"]
    assert "credentialed users alone" in exported and "credentialed users alone" in template()
    assert "Nothing yet" in exported and PAPER in exported and PAPER in template()


def test_a_data_card_has_the_numbers_of_the_set(tmp_path: Path) -> None:
    build_phantoms(24, tmp_path / "set", size=64)
    file = tmp_path / "card.md"
    invoked = CliRunner().invoke(shard.command, ["stats", str(tmp_path / "set"), "--card", str(file), "--json"])
    assert invoked.exit_code == 0, invoked.output
    text, numbers = file.read_text(), stats(tmp_path / "set")
    assert headings(text) == headings(data_card())
    for line in (
        f"samples 24, studies 24, patients {numbers['patients']}\n",
        f"by split: train {numbers['splits']['train']}, val {numbers['splits']['val']}\n",
        "source: phantom\n",
        "images: short side 64 to 64 pixels, median 64\n",
        f"mean {numbers['text']['tokens_mean']:.0f} tokens, at most {numbers['text']['tokens_max']}; 0 samples without",
        f"attention maps of {numbers['attention_maps']} samples, masks of {numbers['masks']['samples']}\n",
    ):
        assert line in text
    assert not re.search(r"\b(SAMPLES|KIND|VIEWS|TOKENS|BAD)\b", text) and "PLACES" in text
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_card_that_is_filled_in_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "card.md").write_text("filled in")
    with pytest.raises(ConfigError, match=r"card\.md exists"):
        CliRunner().invoke(
            shard.command, ["stats", "nowhere", "--card", str(tmp_path / "card.md")], catch_exceptions=False
        )
    assert (tmp_path / "card.md").read_text() == "filled in"


def test_a_data_card_tells_nothing_of_a_patient(tmp_path: Path) -> None:
    rows = ["study_id,image_path,report,view,patient_id,labels"]
    for number in range(8):
        name, label = f"Mr-Miller-{number}.png", "Mass" if number > 2 else "Often"
        Image.fromarray(phantom(7, number, 96 + number).image).save(tmp_path / name)
        rows.append(f"s77{number},{name},Effusion of Miller.,PA,p99{number},{label}")
    rows[1] = rows[1].replace(",PA,", ",Miller lying,")
    (tmp_path / "miller.csv").write_text("\n".join(rows) + "\n")
    build(CsvSource(tmp_path / "miller.csv"), tmp_path / "set", Options(workers=1))
    text = data_card(stats(tmp_path / "set"))
    assert not re.search(r"[Mm]iller|s77|p99|\.png|\.csv|Often", text)
    assert (
        "short side 96 to 103 pixels" in text
        and "Mass 5, 1 rarer ones 3" in text
        and "samples 8, studies 8, patients 8" in text
        and RARE == 5
    )
