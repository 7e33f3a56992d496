"""Checkpoints as others save them, of the sizes of ``TINY`` and with random numbers."""

from pathlib import Path
from typing import TYPE_CHECKING

from journeys.harness import TINY

if TYPE_CHECKING:
    from torch import Tensor

VOCABULARY = 400  # entries of SHARDS


def released() -> "dict[str, Tensor]":
    """The tensors of the authors' model."""
    import torch

    from ecamp_fast.config import load_recipe
    from ecamp_fast.model.ecamp import Ecamp
    from ecamp_fast.weights.released_names import to_released

    recipe = load_recipe("official", TINY)
    tensors = to_released(Ecamp(recipe, VOCABULARY).state_dict(), recipe)
    return {name: 0.02 * torch.randn_like(tensor) for name, tensor in tensors.items()}


def write_bert(folder: Path) -> None:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    BertModel(config).save_pretrained(folder)
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ",", *letters, *(f"##{one}" for one in letters)]
    words += [f"[unused{number}]" for number in range(VOCABULARY - len(words))]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
