"""Whether a set was read by the rules of this version, and the command that builds it again."""

import math
import shlex
from typing import Any

from ecamp_fast.shards.builder.plan import RECORDED, Options
from ecamp_fast.shards.format.manifest import MERGED, Manifest
from ecamp_fast.text.reading.entities import DEFAULT
from ecamp_fast.text.reading.version import RULES_DIGEST

_FLAGS = {"holdout": "--holdout", "split_seed": "--seed", "shard_size": "--shard-size", "vocab_size": "--vocab-size"}
_PHANTOM_SIZE = 512  # of `shard build --size`


def read_by_other_rules(manifest: Manifest) -> bool:
    """Whether another version's rules read its reports; False for a set without any."""
    return manifest.vocab_size > 0 and manifest.rules_digest != RULES_DIGEST


def build_command(manifest: Manifest) -> str:
    """The command that builds such a set anew, options at their defaults left out.

    Of merged sets it is the merge, once each of them is built again.
    Paths of sources are private and are not in a manifest: the source is named as its file or folder is called.
    """
    source = manifest.source
    if MERGED in source:
        return shlex.join(["ecamp-fast", "shard", "merge", *(entry["name"] for entry in source[MERGED]), "NEW_SET"])
    words = ["ecamp-fast", "shard", "build", "--from", source["kind"], str(source.get("studies") or source.get("file"))]
    words += ["NEW_SET", *_options(source)]
    if manifest.short_side != Options().short_side:
        words += ["--short-side", str(manifest.short_side)]
    if manifest.entities != DEFAULT:
        words += ["--entities", "ENTITIES"]
    bad, rows = len(manifest.quarantined), manifest.counts["samples"] + len(manifest.quarantined)
    if bad > int(Options().reject_budget * rows):
        words += ["--reject-budget", f"{math.ceil(1000 * bad / rows) / 1000:g}"]
    return shlex.join(words)


def _options(source: dict[str, Any]) -> list[str]:
    words: list[str] = []
    for name, option in RECORDED.items():
        if name in source and source[name] is not None and source[name] != getattr(Options(), option):
            words += [_FLAGS[name], str(source[name])]
    if source.get("vocab_size", 0) is None:
        words += ["--tokenizer", "TOKENIZER"]
    if source.get("size", _PHANTOM_SIZE) != _PHANTOM_SIZE:
        words += ["--size", str(source["size"])]
    if source.get("empty_reports") == "keep":
        words += ["--empty-reports", "keep"]
    if source.get("use_last"):
        words.append("--use-last")
    if source.get("reports"):
        words += ["--reports", source["reports"]]
    for name, column in source.get("columns", {}).items():
        words += ["--columns", f"{name}={column}"]
    if source.get("views"):
        words += ["--views", ",".join(source["views"])]
    if source.get("distilled"):
        words += ["--distilled", source["distilled"]]
    return words
