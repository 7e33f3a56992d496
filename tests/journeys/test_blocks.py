"""Code blocks of all pages: each is found, read, and has a table that says how it runs; the quick ones run."""

from pathlib import Path

import pytest
from journeys import blocks
from journeys.blocks import Block
from journeys.command_lines import faults_of, inline_faults
from journeys.first_day import commands, run_all
from journeys.harness import ROOT, Broken, walking


def every() -> list[Block]:
    return [block for page in blocks.pages() for block in blocks.blocks_of(page)]


def test_every_block_of_every_page_can_be_read() -> None:
    found = every()
    assert len(found) > 20 and {"bash", "python", "yaml"} <= {block.language for block in found}
    assert [fault for block in found for fault in blocks.read_faults(block)] == []


def test_every_command_in_prose_exists() -> None:
    found = [(page, line) for page in blocks.pages() for line in blocks.inline_commands((ROOT / page).read_text())]
    assert len(found) > 50
    assert [f"{page}: {fault}" for page, line in found for fault in inline_faults(line)] == []


def test_no_command_stands_outside_of_a_fence() -> None:
    assert [block.where for block in every() if block.indented] == []


def test_the_table_names_what_there_is() -> None:
    assert blocks.table_faults(blocks.table(), every()) == []
    unread = [block.where for block in every() if block.language in ("yaml", "") and not reader_of(block)]
    assert unread == []


def reader_of(block: Block) -> str:
    told = blocks.table()["pages"].get(block.page) or {}
    return str((told.get("readers") or {}).get(blocks.first_word(block), ""))


def test_the_quick_blocks_run() -> None:
    quick = [page for page, told in blocks.table()["pages"].items() if told.get("quick")]
    assert quick
    with walking(short=True) as walk:  # sockets of workers do not reach into long folders
        for page in quick:
            blocks.run_page(walk, page)
        for page in ("docs/clusters.md", "docs/downstream.md"):
            for block in blocks.blocks_of(page):
                if reader := reader_of(block):
                    blocks.readers[reader](block.text, walk.here)


def test_readme_leads_to_a_first_run_of_ones_own() -> None:
    found = commands((ROOT / "README.md").read_text(encoding="utf-8"))
    assert found[:2] == ["make setup", "make demo"] and "source .venv/bin/activate" in found
    own = [line for line in found if "--from csv reports.csv SHARDS" in line]
    assert own and "--data SHARDS" in found[-1] and "--recipe demo" in found[-1] and "make test" not in found
    with pytest.raises(Broken):
        commands("# A page\n\n```bash\nmake setup\n```\n")


def test_readmes_lines_are_typed_into_one_shell(tmp_path: Path) -> None:
    folder, environment = tmp_path / "clone", {"PATH": "/usr/bin:/bin"}
    folder.mkdir()
    rows = run_all(["PLACE=$(pwd)", "sleep 0.2", "test $PLACE = $PWD"], folder, environment)
    assert [line for line, _ in rows] == ["PLACE=$(pwd)", "sleep 0.2", "test $PLACE = $PWD"]
    assert 0.2 <= rows[1][1] < 5
    (tmp_path / "marks").unlink()
    with pytest.raises(Broken, match="false\nleft with 1"):
        run_all(["true", "false", "true"], folder, environment)


@pytest.mark.parametrize(
    "line",
    [
        "ecamp-fast shard build --from csv reports.csv",
        "ecamp-fast shard build --from table reports.csv OUT",
        "ecamp-fast shard verify SHARDS MORE",
        "ecamp-fast shard verfy SHARDS",
        "ecamp-fast train --dat SHARDS",
        "ecamp-fast export RUN OUT --form timm",
        "ecamp-fast bench roofline --rates H200=790",
        "true && ecamp-fast nothing > file",
        "deepspeed ecamp_fast/train.py --ds_config --recipes paper",
        "deepspeed ecamp_fast/pretrain.py",
        "torchrun --nnodes 2 ecamp_fast/train.py --output RUN",
        "sbatch --nodes=4 docs/clusters/ecamp-fast.sbatch --dta SHARDS",
        "sbatch docs/clusters/other.sbatch --data SHARDS",
        "apptainer run --nv ecamp-fast.sif doctor --hosts hosts",
        "docker run --rm ecamp-fast docter",
        "uvx --from x.whl ecamp-fast demos",
        "make everything",
        "bash bench/no_such.sh",
        ".venv/bin/pip install -e '.[dicom,nothing]'",
        "ecampfast train",
        "A=1 ecamp-fast shard put SET",
    ],
)
def test_a_line_that_cannot_be_meant_is_noticed(line: str) -> None:
    assert len(faults_of(line)) == 1


@pytest.mark.parametrize(
    "line",
    [
        "ecamp-fast shard --from csv reports.csv SHARDS",
        "ecamp-fast shard annotate --from openi SOURCE --json > old.json",
        "ECAMP_IMAGE=$PWD/x.sif sbatch --nodes=4 docs/clusters/ecamp-fast.sbatch --ds_config --data SHARDS --out RUN",
        ".venv/bin/pip install -e '.[dicom,stores]'",
        "make check ARGS=tests/shards",
        "ecamp-fast shard build --help",
    ],
)
def test_lines_that_can_be_meant_pass(line: str) -> None:
    assert faults_of(line) == []


PAGE = """
Text.

    ecamp-fast indented

- An item
  that goes on

  ```bash
  one \\
      two    # comment
  for x in a; do
      echo $x
  done
  ```

```python
x = 1
```
"""


def test_blocks_are_found_as_a_reader_sees_them() -> None:
    found = list(blocks.find_blocks("page.md", PAGE))
    assert [(block.language, block.indented, block.number) for block in found] == [
        ("bash", True, 4),
        ("bash", False, 10),
        ("python", False, 18),
    ]
    assert blocks.logical_lines(found[1].text) == ["one two", "for x in a; do\n echo $x\ndone"]
    assert blocks.inline_commands("a `ecamp-fast x --y` b\n```bash\n`make z`\n```\n") == ["ecamp-fast x --y"]


def test_wrong_blocks_and_entries_are_noticed() -> None:
    for language, text in (("python", "x ="), ("yaml", "a: [1"), ("bash", "if true"), ("brainfuck", "+")):
        assert len(blocks.read_faults(Block("page.md", 1, language, text))) == 1
    whole = Block("page.md", 1, "bash", "ecamp-fast train")
    for entry in ({"insted": "x"}, {"needs": "gpu"}, {"needs": "luck", "parse": "so"}):
        assert len(blocks.table_faults({"pages": {"page.md": {"lines": {"ecamp-fast train": entry}}}}, [whole])) == 1
    assert len(blocks.table_faults({"pages": {"page.md": {"lines": {"gone": {"parse": "so"}}}}}, [whole])) == 1
