"""A student: a small language model fitted to a large one's answers by TRL, with adapters of PEFT or as a whole.

Nothing is reported, sent or asked for, and nothing is written until the end: TRL's checkpoints hold pickles. What is
imported here takes seconds, and reads the environment that ``lessons.stay_at_home`` sets.
"""

import hashlib
import math
import time
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import datasets
import torch
import transformers
from peft import LoraConfig
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from ecamp_fast.distill.lessons import IGNORED, Example, Material, Tuning, answer_tokens, read_material, stay_at_home
from ecamp_fast.errors import ConfigError, DataError, EnvironmentFault, NumericsError, StorageError
from ecamp_fast.files import new_folder, sha256_of, write_json
from ecamp_fast.shards.builder.notice import write_report_notice

CARD, MODEL, ADAPTER = "student.json", "model", "adapter"
WARMUP = 0.03  # of the steps
CLIP = 1.0  # of the gradient's norm
_TOLD = ("torch", "transformers", "trl", "peft")
_READ = (".safetensors", ".json", ".jinja", ".model", ".txt")  # what of a model's folder is read


@dataclass
class Epoch:
    """train: mean loss of its steps; None before the first   val: over held-out answers' tokens; None without any"""

    epoch: int
    train: float | None
    val: float | None


@contextmanager
def quiet() -> Generator[None]:
    """The libraries print neither warnings nor bars: some of theirs show samples."""
    before = transformers.logging.get_verbosity(), datasets.logging.get_verbosity()
    transformers.logging.set_verbosity(transformers.logging.CRITICAL)
    datasets.logging.set_verbosity(transformers.logging.CRITICAL)
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers.logging.set_verbosity(before[0])
        datasets.logging.set_verbosity(before[1])
        transformers.logging.enable_progress_bar()
        datasets.enable_progress_bars()


class Base:
    """A model in a folder: its tokenizer at once, its weights when they are asked for.

    ends: ids that end an answer   context: tokens that it can read
    Raises ConfigError where transformers cannot open it, or it has no chat template.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with _opening(folder):
            self.config: Any = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            self.tokenizer: Any = self.open_tokenizer()
        if getattr(self.config, "quantization_config", None):
            raise ConfigError(f"{folder} is quantized", "take its weights as they were before")
        if not self.tokenizer.chat_template:
            hint = (
                "take the model's instruction-tuned variant, or put the chat_template.jinja of one that fits beside it"
            )
            raise ConfigError(f"{folder} has no chat template", hint)
        self.ends: list[int] = _ends(folder, self.tokenizer)
        if not self.ends:
            raise ConfigError(
                f"{folder} has no token that ends an answer", "set eos_token in its tokenizer_config.json"
            )
        self.context: int = getattr(self.config, "max_position_embeddings", None) or 2**31

    def open_tokenizer(self) -> Any:
        """As it lies there."""
        return AutoTokenizer.from_pretrained(self.folder, local_files_only=True, trust_remote_code=False)

    def open_model(self, dtype: torch.dtype) -> Any:
        """Raises ConfigError where the weights are not those of its config, DataError where some are missing."""
        with _opening(self.folder):
            opened: Any = AutoModelForCausalLM.from_pretrained(
                self.folder,
                config=self.config,
                dtype=dtype,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
            )
        model, found = opened
        if wrong := [*found["missing_keys"], *found["mismatched_keys"]]:
            raise DataError(f"{self.folder} lacks {len(wrong)} weights of its model", "copy it anew")
        return model


@contextmanager
def _opening(folder: Path) -> Generator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        hint = "name the folder of a Hugging Face causal language model, whole, that needs no code of its own"
        raise ConfigError(f"transformers cannot open {folder} ({type(error).__name__})", hint) from None


def _ends(folder: Path, tokenizer: Any) -> list[int]:
    """The tokenizer's own end first, then those at which a server stops."""
    found = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    if (folder / "generation_config.json").is_file():
        with _opening(folder):
            config = transformers.GenerationConfig.from_pretrained(folder, local_files_only=True)
        more = config.eos_token_id
        found += [more] if isinstance(more, int) else more or []
    return list(dict.fromkeys(found))


class Student:
    """A fitted model, and how it came about.

    epochs: the first is the base as it was   kept: the epoch whose weights these are   parameters: trained, and all
    """

    def __init__(self, base: Base, model: Any, epochs: list[Epoch], kept: int, seconds: float) -> None:
        self._base, self._model = base, model
        self.epochs, self.kept, self.seconds = epochs, kept, seconds
        self.device = model.device.type
        numbers = [(p.numel(), p.requires_grad) for p in model.parameters()]
        self.parameters = {"trained": sum(n for n, trained in numbers if trained), "all": sum(n for n, _ in numbers)}

    def save(self, model: Path, adapter: Path | None) -> None:
        """Write the whole model, and its adapter beside it where it has one; as safetensors, without a pickle.

        Weights have the type of BASE's.
        Raises NumericsError where some of the merged ones are not finite, StorageError where the disk refuses.
        """
        try:
            self._save(model, adapter)
        except SafetensorError as error:  # no OSError, also where the disk is full
            raise StorageError(f"cannot write the student's weights: {error}", "free the disk of OUT") from None

    def _save(self, model: Path, adapter: Path | None) -> None:
        whole = self._model
        if adapter is not None:
            whole.save_pretrained(str(adapter), save_embedding_layers=False)
            (adapter / "README.md").unlink(missing_ok=True)  # a card to fill in
            try:
                whole = whole.merge_and_unload(safe_merge=True)
            except ValueError:
                raise NumericsError("merged weights are not finite", "lower --rate") from None
        whole = whole.to(self._base.config.dtype or torch.float32)
        whole.config.use_cache = True  # training turns it off
        whole.save_pretrained(str(model))
        self._base.open_tokenizer().save_pretrained(str(model))


def fit(
    base: Base, material: Material, tuning: Tuning, tick: Callable[[int, int], None], say: Callable[[str], None]
) -> Student:
    """The weights of the epoch with the lowest loss on held-out answers; of the last, where none are held out.

    Raises DataError as ``Base.open_model``, NumericsError where a loss is not finite, EnvironmentFault out of memory.
    """
    began = time.monotonic()
    gpu = torch.cuda.is_available()
    model = base.open_model(torch.bfloat16 if gpu and not tuning.full else torch.float32)
    with TemporaryDirectory(prefix="ecamp-fast-student-") as empty:
        arguments = _arguments(empty, material, tuning, gpu)
        follow = _Follow(material, tuning, tick, say)
        try:
            trainer = SFTTrainer(  # it puts the model on the GPU
                model,
                arguments,
                train_dataset=_dataset(material.train),
                processing_class=base.open_tokenizer(),
                peft_config=None if tuning.full else _lora(tuning),
                callbacks=[follow],
            )
            trainer.remove_callback(PrinterCallback)
            follow.trainer = trainer
            trainer.train()
        except torch.OutOfMemoryError:
            first = "leave --full out" if tuning.full else "lower --micro or --max-tokens"
            raise EnvironmentFault("the GPU's memory is too small", f"{first}, or take a smaller BASE") from None
    follow.restore()
    return Student(base, trainer.model, follow.epochs, follow.kept, time.monotonic() - began)


def _dataset(examples: Sequence[Example]) -> Any:
    return datasets.Dataset.from_dict({"input_ids": [e.ids for e in examples], "labels": [e.labels for e in examples]})


def _lora(tuning: Tuning) -> LoraConfig:
    return LoraConfig(
        r=tuning.rank,
        lora_alpha=tuning.alpha,
        lora_dropout=tuning.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def _arguments(folder: str, material: Material, tuning: Tuning, gpu: bool) -> SFTConfig:
    steps = tuning.epochs * math.ceil(len(material.train) / tuning.batch)
    arguments = SFTConfig(
        output_dir=folder,
        report_to="none",
        push_to_hub=False,
        save_strategy="no",
        eval_strategy="no",
        logging_strategy="epoch",
        logging_nan_inf_filter=False,  # a loss that is not finite is to be seen
        disable_tqdm=True,
        log_level="critical",
        num_train_epochs=tuning.epochs,
        per_device_train_batch_size=tuning.micro,
        gradient_accumulation_steps=tuning.batch // tuning.micro,
        learning_rate=tuning.rate,
        lr_scheduler_type="cosine",
        warmup_steps=int(WARMUP * steps),
        weight_decay=0.0,
        max_grad_norm=CLIP,
        seed=tuning.seed,
        data_seed=tuning.seed,
        max_length=None,  # what is too long is left out, not cut
        packing=False,
        bf16=gpu,
        use_cpu=not gpu,
        gradient_checkpointing=gpu,
        dataloader_pin_memory=gpu,
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # several would each be given a part of the batch, slowly
    return arguments


class _Follow(TrainerCallback):
    """Counts steps, measures held-out answers after each epoch, and keeps the best weights.

    trainer: to be set once it is there   kept: the epoch whose weights are the best so far
    """

    def __init__(
        self, material: Material, tuning: Tuning, tick: Callable[[int, int], None], say: Callable[[str], None]
    ) -> None:
        self._val, self._micro = material.val, tuning.micro
        self._tick, self._say = tick, say
        self._best: dict[str, Tensor] = {}
        self.trainer: Any = None
        self.epochs: list[Epoch] = []
        self.kept = tuning.epochs

    def on_train_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self._note(None)

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self._tick(state.global_step, state.max_steps)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **others: Any) -> None:
        if logs and "loss" in logs:  # of an epoch; what it logs at the end has none
            self._note(float(logs["loss"]))

    def restore(self) -> None:
        """Give the model its best weights."""
        for name, value in self.trainer.model.named_parameters():
            if name in self._best:
                value.data.copy_(self._best[name])

    def _note(self, train: float | None) -> None:
        epoch = Epoch(len(self.epochs), train, self._held_out())
        if not all(math.isfinite(loss) for loss in (epoch.train, epoch.val) if loss is not None):
            raise NumericsError(f"the loss of epoch {epoch.epoch} is not finite", "lower --rate")
        self.epochs.append(epoch)
        told = [f"{name} {loss:.4f}" for name, loss in (("loss", train), ("held out", epoch.val)) if loss is not None]
        self._say(f"epoch {epoch.epoch}: {', '.join(told)}" if told else f"epoch {epoch.epoch}")
        if epoch.epoch and epoch.val is not None and epoch.val <= min(e.val or 0.0 for e in self.epochs[1:]):
            self.kept = epoch.epoch
            learned = ((n, p) for n, p in self.trainer.model.named_parameters() if p.requires_grad)
            self._best = {name: value.detach().to("cpu", copy=True) for name, value in learned}

    def _held_out(self) -> float | None:
        """Mean over all tokens of the held-out answers."""
        model = self.trainer.model
        was = model.training
        model.eval()
        total = tokens = 0.0
        for start in range(0, len(self._val), self._micro):
            rows = self._val[start : start + self._micro]
            batch = self.trainer.data_collator([{"input_ids": e.ids, "labels": e.labels} for e in rows])
            count = int((batch["labels"][:, 1:] != IGNORED).sum())
            with torch.no_grad(), self.trainer.compute_loss_context_manager():
                loss = self.trainer.compute_loss(model, {name: x.to(model.device) for name, x in batch.items()})
            total, tokens = total + float(loss) * count, tokens + count
        model.train(was)
        return total / tokens if tokens else None


def folder_digest(folder: Path) -> str:
    """sha256 over what is read of a model's folder, by name and content."""
    files = sorted(file for file in folder.iterdir() if file.suffix in _READ)
    told = "".join(f"{file.name} {sha256_of(file)}\n" for file in files)
    return hashlib.sha256(told.encode()).hexdigest()


def train_student(
    sft: Path,
    base: Path,
    out: Path,
    tuning: Tuning,
    *,
    tick: Callable[[int, int], None] = lambda done, total: None,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Fit ``base`` to the conversations of ``sft`` and write the new folder ``out``; returns what its card says.

    tick: called with steps done and in all   say: with a line for each epoch
    Raises ConfigError for a base that cannot be used, DataError for conversations, EnvironmentFault where a library or
    memory is missing, NumericsError where the loss is not finite, StorageError where the disk refuses.
    """
    stay_at_home()
    with quiet():
        opened = Base(base)
        material = read_material(sft, opened.tokenizer, opened.ends, tuning.max_tokens, opened.context)
        fitted = fit(opened, material, tuning, tick, say)
        return _write(out, sft, base, material, fitted, tuning)


def _write(out: Path, sft: Path, base: Path, material: Material, fitted: Student, tuning: Tuning) -> dict[str, Any]:
    with new_folder(out) as folder:
        fitted.save(folder / MODEL, None if tuning.full else folder / ADAPTER)
        digest = folder_digest(folder / MODEL)
        card = {
            "schema": 1,
            "name": f"student-{digest[:8]}",
            "digest": digest,
            "base": {"name": base.resolve().name, "digest": folder_digest(base)},
            "sft": material.digests,
            "conversations": {"train": len(material.train), "val": len(material.val), "too_long": material.too_long},
            "answer_tokens": answer_tokens(material.train),
            "settings": asdict(tuning),
            "epochs": [asdict(epoch) for epoch in fitted.epochs],
            "kept_epoch": fitted.kept,
            "parameters": fitted.parameters,
            "device": fitted.device,
            "seconds": round(fitted.seconds, 1),
            "versions": {name: version(name) for name in _TOLD},
        }
        write_json(folder / CARD, card)
        write_report_notice(folder)
    return card
