"""A student of a few thousand weights, fitted to a few answers: what it learns, what it leaves, and whom it tells."""

import importlib.util
import json
import math
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from click.testing import CliRunner
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from ecamp_fast import cli
from ecamp_fast.distill import lessons
from ecamp_fast.distill.lessons import Tuning, read_material, tokenize
from ecamp_fast.distill.table_s2 import TableS2Distiller
from ecamp_fast.errors import ConfigError, DataError, EnvironmentFault, StorageError

ROOT = Path(__file__).resolve().parents[2]
PLAIN = TableS2Distiller(structured=False)
INSTALLED = all(importlib.util.find_spec(name) for name in ("trl", "peft"))
with_extra = pytest.mark.skipif(not INSTALLED, reason="needs the extra student")

CANARY = "zqcanary"
TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
# Report and answer; the last two patients are held out
PAIRS = [
    ("Small left effusion. No edema.", "There is small left effusion.\nThere is no edema."),
    ("Possible pneumonia. No mass.", "There may be pneumonia.\nThere is no mass."),
    ("Large pneumothorax on the right.", "There is large pneumothorax on the right."),
    ("Mild cardiomegaly. No effusion.", "There is mild cardiomegaly.\nThere is no effusion."),
    ("No edema. No mass.", "There is no edema.\nThere is no mass."),
    ("Small effusion.", "There is small effusion."),
]
QUICK = Tuning(epochs=2, batch=4, micro=2, rate=1e-2, rank=4, alpha=8, max_tokens=400)


def chats(pairs: list[tuple[str, str]]) -> list[list[dict[str, str]]]:
    """Short questions: the prompt of Table S2 would take a tiny model minutes."""
    system = [{"role": "user", "content": "Write one sentence for each entity."}]
    return [
        [*system, {"role": "user", "content": f"{CANARY} {report}"}, {"role": "assistant", "content": answer}]
        for report, answer in pairs
    ]


def write_sft(folder: Path, train: list, val: list) -> Path:
    folder.mkdir()
    for name, lines in (("train", train), ("val", val)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in lines))
    return folder


def write_base(folder: Path, texts: list[str], template: str | None = TEMPLATE, width: int = 32) -> Path:
    marks = ["<|end|>", "<|user|>", "<|assistant|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=marks, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")
    fast.chat_template = template
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        bos_token_id=None,
        eos_token_id=fast.eos_token_id,
        initializer_range=0.2,  # adapters leave the last layer as it is: a smaller one could say nothing for sure
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def sft(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sft(tmp_path_factory.mktemp("sft") / "sft", chats(PAIRS[:4]), chats(PAIRS[4:]))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base") / "tiny", [text for pair in PAIRS for text in pair] * 3)


class Done(NamedTuple):
    """A training by the command.  left: what lay in the working and the temporary folder afterwards"""

    out: Path
    printed: str
    card: dict[str, Any]
    left: list[str]


@pytest.fixture(scope="module")
def done(sft: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Eight epochs of one step each, of all four conversations."""
    folder = tmp_path_factory.mktemp("done")
    (folder / "tmp").mkdir()
    options = "--epochs 8 --batch 4 --micro 1 --rate 0.05 --rank 8 --alpha 16 --json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder / "tmp"))
        patch.chdir(folder)
        ran = run(sft, base, folder / "out", *options.split())
    assert ran.exit_code == 0, ran.output
    left = sorted(str(path.relative_to(folder)) for path in (*folder.iterdir(), *(folder / "tmp").iterdir()))
    return Done(folder / "out", ran.output, json.loads(ran.output.splitlines()[-1]), left)


def run(*arguments: object) -> Any:
    return CliRunner().invoke(cli.command, ["distill", "train-student", *map(str, arguments)])


def train(sft: Path, base: Path, out: Path, tuning: Tuning = QUICK) -> dict[str, Any]:
    from ecamp_fast.distill.student import train_student

    return train_student(sft, base, out, tuning)


# What is learned


def by_hand(model: Any, tokenizer: Any, conversations: list) -> float:
    """Mean cross-entropy over the tokens of the answers and of what ends them, one conversation at a time."""
    total = count = 0.0
    for chat in conversations:
        asked = tokenizer.apply_chat_template(chat[:-1], add_generation_prompt=True, tokenize=False)
        answer = chat[-1]["content"] + "<|end|>\n"
        question, learned = (tokenizer.encode(text, add_special_tokens=False) for text in (asked, answer))
        with torch.no_grad():
            logits = model(torch.tensor([question + learned])).logits[0]
        rows = logits[len(question) - 1 : -1]
        total += float(cross_entropy(rows, torch.tensor(learned), reduction="sum"))
        count += len(learned)
    return total / count


def test_the_answer_alone_is_learned_behind_what_a_server_would_send(base: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    for chat in chats(PAIRS):
        example = tokenize(chat, tokenizer, [tokenizer.eos_token_id])
        asked = tokenizer.apply_chat_template(chat[:-1], add_generation_prompt=True, return_dict=False)
        cut = len(asked)
        assert example.ids[:cut] == asked
        assert example.labels == [-100] * cut + example.ids[cut:]
        assert tokenizer.decode(example.ids[cut:]) == chat[-1]["content"] + "<|end|>\n"


def test_what_a_template_puts_before_an_answer_is_not_learned_and_an_end_is(base: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    (chat,) = chats(PAIRS[:1])
    tokenizer.chat_template = TEMPLATE.replace("{{ m['content'] }}<|end|>", "<think></think>{{ m['content'] }}")
    example = tokenize(chat, tokenizer, [tokenizer.eos_token_id])
    learned = [label for label in example.labels if label != -100]
    assert tokenizer.decode(learned) == chat[-1]["content"] + "\n<|end|>"


@with_extra
def test_the_loss_is_the_one_by_hand_and_falls(base: Path, done: Done) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    before, after = (AutoModelForCausalLM.from_pretrained(folder) for folder in (base, done.out / "model"))
    epochs, kept = done.card["epochs"], done.card["kept_epoch"]
    assert epochs[0]["val"] == pytest.approx(by_hand(before, tokenizer, chats(PAIRS[4:])), rel=1e-5)
    assert epochs[kept]["val"] == pytest.approx(by_hand(after, tokenizer, chats(PAIRS[4:])), rel=1e-4)
    # The first step sees the base, and counts tokens as one does by hand
    assert epochs[1]["train"] == pytest.approx(by_hand(before, tokenizer, chats(PAIRS[:4])), rel=1e-4)
    assert epochs[-1]["train"] < 0.8 * epochs[1]["train"] and epochs[kept]["val"] < epochs[0]["val"]
    assert epochs[kept]["val"] == min(epoch["val"] for epoch in epochs[1:])


@with_extra
def test_the_best_epoch_is_kept(base: Path, tmp_path: Path) -> None:
    """What is held out is nothing like what is learned: it gets worse and worse."""
    strange = chats([("Small effusion.", "~ ^ " * 20 + "~")])
    sft = write_sft(tmp_path / "sft", chats(PAIRS[:4]), strange)
    card = train(sft, base, tmp_path / "out", replace(QUICK, epochs=4, rate=2e-2, full=True))
    losses = [epoch["val"] for epoch in card["epochs"]]
    assert losses[card["kept_epoch"]] == min(losses[1:]) < losses[4], losses
    after = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "model")
    assert by_hand(after, AutoTokenizer.from_pretrained(base), strange) == pytest.approx(min(losses[1:]), rel=1e-5)


@with_extra
def test_merged_weights_answer_as_base_and_adapter_do(base: Path, done: Done) -> None:
    from peft import PeftModel

    merged = AutoModelForCausalLM.from_pretrained(done.out / "model")
    apart = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), done.out / "adapter")
    tokenizer = AutoTokenizer.from_pretrained(done.out / "model")
    assert tokenizer.chat_template == TEMPLATE and tokenizer.pad_token is None and merged.config.use_cache
    question = chats(PAIRS)[0][:-1]
    asked = torch.tensor([tokenizer.apply_chat_template(question, add_generation_prompt=True, return_dict=False)])
    with torch.no_grad():
        logits = [model.eval()(asked).logits for model in (merged, apart)]
        untouched = AutoModelForCausalLM.from_pretrained(base)(asked).logits
    torch.testing.assert_close(logits[0], logits[1], rtol=1e-4, atol=1e-4)
    assert (logits[0] - untouched).abs().max() > 0.1


@with_extra
def test_the_same_seed_gives_the_same_weights(sft: Path, base: Path, tmp_path: Path) -> None:
    cards = [train(sft, base, tmp_path / str(n), replace(QUICK, seed=n % 2)) for n in range(3)]
    assert cards[0]["digest"] == cards[2]["digest"] != cards[1]["digest"]
    assert cards[0]["epochs"] == cards[2]["epochs"] != cards[1]["epochs"]


# What is left behind


@with_extra
def test_what_is_written_holds_no_pickle_and_no_word_of_a_report(done: Done) -> None:
    files = [path for path in done.out.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".jinja", ".txt"}
    assert {path.name for path in done.out.iterdir()} == {"model", "adapter", "student.json", "NOTICE.txt"}
    assert done.left == ["out", "tmp"]
    for path in files:
        assert path.read_bytes()[:4] != b"PK\x03\x04" and not re.match(rb"\x80[\x02-\x05]", path.read_bytes())
        if path.name != "tokenizer.json":  # the base's, which was made of these reports
            assert CANARY.encode() not in path.read_bytes()
    for path in (done.out, *done.out.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
    card = json.loads((done.out / "student.json").read_text())
    assert {**card, "out": str(done.out)} == done.card
    assert card["parameters"]["trained"] < card["parameters"]["all"]
    assert "Data Use Agreement" in (done.out / "NOTICE.txt").read_text()


@with_extra
def test_progress_is_all_that_is_said(done: Done) -> None:
    *lines, _ = done.printed.splitlines()
    assert len(lines) == 9 and lines[0].startswith("epoch 0: held out ")
    assert all(re.fullmatch(r"epoch \d: loss \d\.\d{4}, held out \d\.\d{4}", line) for line in lines[1:])


@with_extra
def test_all_weights_are_fitted_where_that_is_asked_for(sft: Path, base: Path, tmp_path: Path) -> None:
    card = train(sft, base, tmp_path / "out", replace(QUICK, full=True, epochs=1))
    assert card["parameters"]["trained"] == card["parameters"]["all"]
    assert not (tmp_path / "out" / "adapter").exists()
    before, after = (AutoModelForCausalLM.from_pretrained(f).state_dict() for f in (base, tmp_path / "out" / "model"))
    assert any(not torch.equal(before[name], after[name]) for name in before if "norm" in name)


@with_extra
def test_weights_are_of_the_bases_type(sft: Path, base: Path, tmp_path: Path) -> None:
    AutoModelForCausalLM.from_pretrained(base).bfloat16().save_pretrained(tmp_path / "half")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(base / name, tmp_path / "half" / name)
    train(sft, tmp_path / "half", tmp_path / "out", replace(QUICK, epochs=1))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "model", dtype="auto")
    assert {value.dtype for value in model.state_dict().values()} == {torch.bfloat16}


@with_extra
@pytest.mark.slow
def test_a_kill_leaves_nothing_that_counts_and_the_same_command_begins_anew(
    sft: Path, base: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "ecamp_fast.cli", "distill", "train-student", str(sft), str(base), "out"]
    child = subprocess.Popen(
        [*command, *["--epochs", "5000", "--batch", "4", "--micro", "2"]],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stderr
    for line in child.stderr:
        if line.startswith("epoch 1"):
            break
    child.kill()
    child.wait()
    child.stderr.close()
    assert list(tmp_path.iterdir()) == []
    assert train(sft, base, tmp_path / "out", replace(QUICK, epochs=1))["kept_epoch"] == 1


@with_extra
def test_a_disk_that_refuses_leaves_nothing(
    sft: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ecamp_fast.distill import student

    def full(path: Path, value: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(student, "write_json", full)
    done = run(sft, base, tmp_path / "out", "--epochs", "1")
    assert getattr(done.exception, "exit_code", 0) == 5
    assert list(tmp_path.iterdir()) == []


@with_extra
@pytest.mark.parametrize("which", ["adapter", "model"])
def test_weights_that_a_full_disk_refuses_are_a_foreseen_fault(
    which: str, sft: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers
    from peft import PeftModel
    from safetensors import SafetensorError

    def full(*_: Any, **__: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    kind = PeftModel if which == "adapter" else transformers.PreTrainedModel
    monkeypatch.setattr(kind, "save_pretrained", full)
    done = run(sft, base, tmp_path / "out", "--epochs", "1")
    assert getattr(done.exception, "exit_code", 0) == 5, done.exception
    assert "No space left" in str(done.exception) and "free the disk" in str(done.exception)
    assert list(tmp_path.iterdir()) == []


@with_extra
@pytest.mark.parametrize(("full", "hint"), [(False, "lower --micro"), (True, "leave --full out")])
@pytest.mark.parametrize("where", ["__init__", "train"])
def test_a_gpu_that_is_too_small_is_told_with_what_helps(
    where: str, full: bool, hint: str, sft: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is put there before the first step."""
    from ecamp_fast.distill import student

    def too_large(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(student.SFTTrainer, where, too_large)
    with pytest.raises(EnvironmentFault, match="memory is too small") as caught:
        train(sft, base, tmp_path / "out", replace(QUICK, full=full))
    assert hint in caught.value.hint and "smaller BASE" in caught.value.hint
    assert not list(tmp_path.iterdir())


GUARDED = """
import json, socket, sys
asked = []
def refuse(*place, **others):
    asked.append(repr(place[:2]))
    raise OSError("no network here")
socket.getaddrinfo = refuse
for name in ("connect", "connect_ex", "sendto", "sendmsg"):
    setattr(socket.socket, name, refuse)
if sys.argv.pop(1) == "late":
    import transformers
from ecamp_fast import cli
try:
    cli.main()
finally:
    import time
    time.sleep(0.5)  # telemetry is sent by a thread
    open("asked.json", "w").write(json.dumps(asked))
"""


@with_extra
@pytest.mark.slow
@pytest.mark.parametrize("imported", ["first", "late"])
def test_nobody_is_told(imported: str, sft: Path, base: Path, tmp_path: Path) -> None:
    """Nothing is resolved and nothing connected to, whatever the environment says of those who would like to know."""
    keys = ("WANDB_API_KEY", "WANDB_PROJECT", "COMET_API_KEY", "MLFLOW_TRACKING_URI", "HF_TOKEN", "TRACKIO_PROJECT")
    environment = {**os.environ, **dict.fromkeys(keys, "x" * 40), "WANDB_MODE": "online", "HF_HUB_OFFLINE": "0"}
    environment |= {"HF_HUB_DISABLE_TELEMETRY": "0", "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-c", GUARDED, imported, "distill", "train-student", sft, base, "out", "--epochs", "1"],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "asked.json").read_text()) == []
    assert CANARY not in done.stdout + done.stderr


# What is refused


def test_without_the_extra_it_says_how_to_get_it(
    sft: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lessons, "find_spec", lambda name: None)
    done = run(sft, base, tmp_path / "out")
    assert isinstance(done.exception, EnvironmentFault)
    assert "trl and peft not installed" in str(done.exception)
    assert "install -e '.[student]'" in str(done.exception)


@pytest.fixture
def extra(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if it was installed: what is refused before it is needed."""
    monkeypatch.setattr(lessons, "find_spec", lambda name: object())
    yield


@pytest.mark.usefixtures("extra")
@pytest.mark.parametrize(
    ("what", "code", "told"),
    [
        ("no-sft", 3, "no such folder"),
        ("no-val", 3, "cannot read"),
        ("no-train", 3, "has no conversation"),
        ("no-json", 3, "line 1 is no conversation"),
        ("no-messages", 3, "line 1 is no conversation"),
        ("no-answer", 3, "line 1 does not end with an answer"),
        ("name", 2, "models are never downloaded"),
        ("no-config", 2, "has no config.json"),
        ("pickles", 2, "has no weights in safetensors"),
        ("micro", 2, "no multiple of --micro 3"),
        ("full", 2, "--alpha is of the adapters, and --full has none"),
        ("there", 5, "exists"),
    ],
)
def test_what_cannot_be_fitted_is_refused_at_once(
    what: str, code: int, told: str, sft: Path, base: Path, tmp_path: Path
) -> None:
    mine, model, out, options = tmp_path / "sft", tmp_path / "base", tmp_path / "out", ["--epochs", "1"]
    shutil.copytree(sft, mine)
    shutil.copytree(base, model)
    question = {"role": "user", "content": CANARY}
    lines = {"no-train": "", "no-json": f"{{{CANARY}\n", "no-messages": json.dumps({"messages": CANARY})}
    lines["no-answer"] = json.dumps({"messages": [question, question]})
    if what in lines:
        (mine / "train.jsonl").write_text(lines[what])
    elif what == "no-sft":
        shutil.rmtree(mine)
    elif what == "no-val":
        (mine / "val.jsonl").unlink()
    elif what == "name":
        model = Path("meta-llama/Llama-3.1-8B-Instruct")
    elif what == "no-config":
        (model / "config.json").unlink()
    elif what == "pickles":
        (model / "model.safetensors").rename(model / "pytorch_model.bin")
    elif what == "micro":
        options += ["--micro", "3"]
    elif what == "full":
        options += ["--full", "--alpha", "32"]
    elif what == "there":
        out.mkdir()
    done = run(mine, model, out, *options)
    assert getattr(done.exception, "exit_code", 0) == code
    assert told in str(done.exception) and CANARY not in str(done.exception)
    assert out.exists() is (what == "there")


@pytest.mark.usefixtures("extra")
def test_a_disk_without_room_for_the_weights_is_refused_before_the_fit(
    sft: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = (base / "model.safetensors").stat().st_size
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(size, 1, size - 1))
    monkeypatch.setitem(sys.modules, "ecamp_fast.distill.student", None)
    done = run(sft, base, tmp_path / "out")
    assert isinstance(done.exception, StorageError), done.exception
    assert "are free in" in str(done.exception) and not list(tmp_path.iterdir())


@with_extra
@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("template", "has no chat template"),
        ("quantized", "is quantized"),
        ("weights", "lacks"),
        ("model", "cannot open"),
    ],
)
def test_a_base_that_is_no_chat_model_is_refused(what: str, told: str, sft: Path, base: Path, tmp_path: Path) -> None:
    model = shutil.copytree(base, tmp_path / "base")
    config = json.loads((model / "config.json").read_text())
    if what == "template":
        (model / "chat_template.jinja").unlink()
    elif what == "quantized":
        config["quantization_config"] = {"quant_method": "awq"}
    elif what == "weights":
        config["num_hidden_layers"] = 3
    else:
        config["model_type"] = "none-such"
    (model / "config.json").write_text(json.dumps(config))
    done = run(sft, model, tmp_path / "out", "--epochs", "1")
    assert getattr(done.exception, "exit_code", 0) in (2, 3), done.exception
    assert told in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_a_template_that_refuses_or_changes_answers_is_named_without_their_words(sft: Path, base: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    for template, told in (
        ("{{ raise_exception(messages[1]['content']) }}", "refuses a conversation"),
        ("{% for m in messages %}{{ m['content'] | upper }}{% endfor %}", "changes answers"),
    ):
        tokenizer.chat_template = template
        with pytest.raises(ConfigError, match=told) as caught:
            read_material(sft, tokenizer, [0], 400)
        shown = "".join(traceback.format_exception(caught.value))
        assert CANARY not in shown


def test_what_is_too_long_is_left_out_whole_and_counted(sft: Path, base: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    every = read_material(sft, tokenizer, [0], 10_000)
    lengths = sorted(len(example.ids) for example in (*every.train, *every.val))
    some = read_material(sft, tokenizer, [0], lengths[3])
    kept = [*some.train, *some.val]
    assert [len(every.train), len(every.val), every.too_long] == [4, 2, 0]
    assert some.too_long == 6 - len(kept) > 0 and all(example in (*every.train, *every.val) for example in kept)
    with pytest.raises(DataError, match="--max-tokens"):
        read_material(sft, tokenizer, [0], 10)
    for asked in (5, 10_000):  # where BASE cannot read the shortest, no option helps
        with pytest.raises(DataError, match="at most 10 tokens, which are all that BASE can read") as caught:
            read_material(sft, tokenizer, [0], asked, 10)
        assert "longer context" in caught.value.hint and "--max-tokens" not in str(caught.value)
    assert read_material(sft, tokenizer, [0], 10_000, lengths[3]) == some


# The whole way


@with_extra
@pytest.mark.slow
def test_a_student_that_learned_by_heart_is_taken_by_the_judge(tmp_path: Path) -> None:
    """With the prompt of Table S2, and answers judged as those of any model."""
    pairs = PAIRS[:3]
    conversations = [[*PLAIN.messages(r), {"role": "assistant", "content": answer}] for r, answer in pairs]
    texts = [message["content"] for chat in conversations for message in chat]
    base = write_base(tmp_path / "base", texts * 2, width=64)
    sft = write_sft(tmp_path / "sft", conversations, [])
    card = train(sft, base, tmp_path / "out", Tuning(epochs=120, batch=3, micro=1, rate=4e-3, full=True))
    assert card["epochs"][-1]["train"] < 0.1 and math.isfinite(card["seconds"])
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out" / "model")
    for report, _ in pairs:
        asked = tokenizer.apply_chat_template(
            PLAIN.messages(report), add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        found = model.generate(**asked, max_new_tokens=64, do_sample=False)[0, asked["input_ids"].shape[1] :]
        answer = tokenizer.decode(found, skip_special_tokens=True)
        verdict = PLAIN.judge(report, answer, "stop")
        assert not verdict.fault, (report, answer, verdict)
        assert found[-1] != tokenizer.pad_token_id and tokenizer.eos_token_id in found  # it knows when to stop
