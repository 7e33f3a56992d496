"""What a student is fitted to, and how: a large model's answers as tokens, each behind those by which it is asked for.

All that can be refused without a library of the extra ``student`` is refused here.
"""

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ecamp_fast.distill.sft import SPLITS
from ecamp_fast.errors import ConfigError, DataError, EnvironmentFault, StorageError
from ecamp_fast.extras import install_hint
from ecamp_fast.files import missing_folder, sha256_of
from ecamp_fast.strict_json import parse_object

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LORA_RATE, FULL_RATE = 2e-4, 1e-5
IGNORED = -100  # label of a token that is not learned
_NEEDED = ("trl", "peft")
_QUIET = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
}

Message = dict[str, str]
Chat = list[Message]


@dataclass(frozen=True)
class Tuning:
    """How a student is fitted.

    epochs              passes over all conversations
    batch, micro        conversations of a step, and of these how many at once
    rate                learning rate at its height; it warms up for 3 % of the steps and falls to 0 as a cosine
    rank, alpha         of the adapters of all linear layers but the last: their share is alpha / rank
    dropout             before the adapters
    full                all weights are fitted, and there is no adapter
    max_tokens          conversations with more are left out
    seed                of first weights and order
    """

    epochs: int = 3
    batch: int = 16
    micro: int = 4
    rate: float = LORA_RATE
    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    full: bool = False
    max_tokens: int = 2048
    seed: int = 42


class Example(NamedTuple):
    """A conversation as tokens.  labels: those of the answer, ``IGNORED`` before"""

    ids: list[int]
    labels: list[int]


@dataclass(frozen=True)
class Material:
    """What a student is fitted to.  digests: sha256 of the files, by split   too_long: conversations left out"""

    train: list[Example]
    val: list[Example]
    digests: dict[str, str]
    too_long: int


def require() -> None:
    """Raises EnvironmentFault where TRL or PEFT is not installed."""
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        raise EnvironmentFault(f"{' and '.join(missing)} not installed", install_hint("student"))


def stay_at_home() -> None:
    """Tell the libraries of Hugging Face to ask no server: TRL reports what it trains, unless told so.

    They read the environment when they are imported; what already was is told apart.
    """
    os.environ.update(_QUIET)
    if hub := sys.modules.get("huggingface_hub.constants"):
        vars(hub).update(HF_HUB_OFFLINE=True, HF_HUB_DISABLE_TELEMETRY=True)


def check_base(base: Path) -> None:
    """Raises ConfigError where ``base`` is no folder with a model in safetensors."""
    if fault := missing_folder(base):
        hint = "models are never downloaded: name the folder of one, as `hf download NAME --local-dir FOLDER` makes it"
        raise ConfigError(fault, hint)
    if not (base / "config.json").is_file():
        raise ConfigError(f"{base} has no config.json", "name the folder of a Hugging Face causal language model")
    if not any(base.glob("*.safetensors")):
        raise ConfigError(f"{base} has no weights in safetensors", "other formats are pickles, which are not opened")


def check_room(base: Path, folder: Path) -> None:
    """Raises StorageError where ``folder`` has no room for the student of ``base``: its weights are as large."""
    needed = sum(file.stat().st_size for file in base.glob("*.safetensors"))
    if (free := shutil.disk_usage(folder).free) < needed:
        what = f"a student of {base} takes {needed / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB are free in {folder}"
        raise StorageError(what, "free the disk, or name another OUT")


def read_chats(folder: Path) -> dict[str, list[Chat]]:
    """The conversations that ``distill export-sft`` wrote, by split.

    Raises DataError where they are not there, are damaged, or there is none to fit to.
    """
    if fault := missing_folder(folder):
        raise DataError(fault, "name a folder that `ecamp-fast distill export-sft` wrote")
    chats = {split: _read(folder / f"{split}.jsonl") for split in SPLITS}
    if not chats["train"]:
        raise DataError(f"{folder}/train.jsonl has no conversation", "export more answers, or with a lower --val-share")
    return chats


def _read(path: Path) -> list[Chat]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        hint = "name a folder that `ecamp-fast distill export-sft` wrote"
        raise DataError(f"cannot read {path}: {error.strerror}", hint) from None
    return [_chat(line, f"{path} line {number}") for number, line in enumerate(lines, 1)]


def _chat(line: bytes, place: str) -> Chat:
    """The messages of a line, the answer last. Its words are in no message of an error."""
    try:
        found = parse_object(line).get("messages")
    except ValueError:
        found = None
    if not isinstance(found, list) or len(found) < 2 or not all(map(_is_message, found)):
        raise DataError(f"{place} is no conversation", "write the folder anew with `ecamp-fast distill export-sft`")
    if found[-1]["role"] != "assistant" or not found[-1]["content"].strip():
        raise DataError(f"{place} does not end with an answer", "write the folder anew")
    return found


def _is_message(found: Any) -> bool:
    return isinstance(found, dict) and all(isinstance(found.get(key), str) for key in ("role", "content"))


def read_material(
    folder: Path, tokenizer: "PreTrainedTokenizerBase", ends: Sequence[int], max_tokens: int, context: int = 2**31
) -> Material:
    """The conversations of ``folder`` as tokens.  ends: ids that end an answer   context: tokens that BASE can read

    Raises DataError as ``read_chats`` and where all are too long, ConfigError as ``tokenize``.
    """
    chats = read_chats(folder)
    examples = {split: [tokenize(chat, tokenizer, ends) for chat in chats[split]] for split in SPLITS}
    short = {split: [one for one in examples[split] if len(one.ids) <= min(max_tokens, context)] for split in SPLITS}
    if not short["train"]:
        least = min(len(one.ids) for one in examples["train"])
        if least > context:
            what = f"no conversation has at most {context:,} tokens, which are all that BASE can read"
            raise DataError(what, f"the shortest has {least:,}: take a BASE of a longer context")
        what = f"no conversation has at most {max_tokens:,} tokens"
        raise DataError(what, f"the shortest has {least:,}: --max-tokens")
    return Material(
        short["train"],
        short["val"],
        {split: sha256_of(folder / f"{split}.jsonl") for split in SPLITS},
        sum(len(examples[split]) - len(short[split]) for split in SPLITS),
    )


def tokenize(chat: Chat, tokenizer: "PreTrainedTokenizerBase", ends: Sequence[int]) -> Example:
    """A conversation as tokens: what a server makes of the question, then the answer and what ends it.

    Both are tokenized apart, as they are when the student is asked. What a template puts between them, as an empty
    train of thought, is left out: a server does not put it there.
    Raises ConfigError where the template takes no such conversation.
    """
    *asked, answer = chat
    text = answer["content"].strip()
    try:
        question = str(tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True))
        whole = str(tokenizer.apply_chat_template([*asked, {**answer, "content": text}], tokenize=False))
    except Exception as error:  # templates are programs of others; what they say may hold words of the report
        hint = (
            "the prompt of Table S2 is several messages of the user in a row; take a model whose template allows them"
        )
        raise ConfigError(f"BASE's chat template refuses a conversation ({type(error).__name__})", hint) from None
    at = whole.rfind(text)
    if at < 0:
        raise ConfigError("BASE's chat template changes answers", "take a model whose template writes them as they are")
    before, ids = (tokenizer(part, add_special_tokens=False)["input_ids"] for part in (question, whole[at:]))
    ids = list(ids) if set(ids) & set(ends) else [*ids, *ends[:1]]
    return Example([*before, *ids], [IGNORED] * len(before) + ids)


def answer_tokens(examples: Sequence[Example]) -> int:
    """How many tokens are learned."""
    return sum(label != IGNORED for one in examples for label in one.labels)
