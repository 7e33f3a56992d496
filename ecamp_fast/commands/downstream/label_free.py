"""What ``ecamp-fast evaluate --label-free`` does: a report card of one run or two on a shard set, without any label."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ecamp_fast.commands.downstream.task_options import open_device
from ecamp_fast.errors import ConfigError

HTML, MARKDOWN = "label-free.html", "label-free.md"
_PREFERRED = ("val", "test", "train")


def report_card(
    runs: Sequence[Path],
    data: str,
    *,
    split: str | None = None,
    count: int | None = None,
    out: Path | None = None,
    device: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Measure one run, or two on the same samples, hidden alike where their recipes hide alike.

    split   None: val, else test, else train
    count   samples at most; None: ``evidence.label_free.COUNT``
    out     folder that gets ``label-free.html`` and ``label-free.md``, which hold numbers alone; None: no files
    say     gets lines of progress
    returns ``cards`` by run, ``better`` (of the first, by measure; null for one run), ``files``; ready for JSON

    Raises ConfigError for none or three runs, DataError as ``label_free``, StorageError where ``out`` is none.
    """
    from ecamp_fast.files import require_folder, write_atomically
    from ecamp_fast.run.rundir import require_run
    from ecamp_fast.shards.storage.store import require_set_at

    if not 1 <= len(runs) <= 2:
        raise ConfigError(f"--label-free names {len(runs)} runs", "name one, or two to compare")
    if out:
        require_folder(out)
    for run in runs:
        require_run(run)
    require_set_at(data)
    from ecamp_fast.report.card_page import card_html, card_markdown

    cards = _measure(_named(runs), data, split, count, device, say)
    first, *others = cards.values()
    files = []
    if out:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in ((HTML, card_html(cards)), (MARKDOWN, card_markdown(cards))):
            write_atomically(out / name, text.encode())
            files.append(str(out / name))
    better = {name: one.as_dict() for name, one in first.better_than(others[0]).items()} if others else None
    return {"cards": {name: card.as_dict() for name, card in cards.items()}, "better": better, "files": files}


def _measure(
    runs: dict[str, Path],
    data: str,
    split: str | None,
    count: int | None,
    device: str | None,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """``LabelFree`` by run."""
    from ecamp_fast.evidence.label_free import COUNT, label_free
    from ecamp_fast.run.trained import load_trained, tokenizer_fault
    from ecamp_fast.shards.load.read import ShardSet

    where = open_device(device)
    shards, seed, cards = ShardSet(data), None, {}
    split = split or next(name for name in _PREFERRED if name in shards.splits)
    for name, run in runs.items():
        model = load_trained(run, where)
        seed = model.recipe.seed if seed is None else seed
        fault = tokenizer_fault(run, model, shards.manifest.tokenizer_digest, shards.manifest.vocab_size)

        def told(line: str, name: str = name) -> None:
            say(f"{name}: {line}")

        cards[name] = label_free(model, shards, split, count or COUNT, seed=seed, words_fault=fault, say=told)
    return cards


def _named(runs: Sequence[Path]) -> dict[str, Path]:
    """By the folder's name; by the whole path where two have the same."""
    names = [run.resolve().name for run in runs]
    whole = len(set(names)) < len(names)
    named = {str(run) if whole else name: run for name, run in zip(names, runs, strict=True)}
    if len(named) < len(runs):
        raise ConfigError(f"--label-free names {runs[0]} twice", "name another run")
    return named
