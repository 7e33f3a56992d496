"""The text side of GLoRIA: words and whole sentences of a BERT (SPEC 6.1).

Legend: U sentences, L wordpieces of the longest, W words of it, D width.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ecamp_fast.batch import Sentences
from ecamp_fast.config import Recipe
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.strict_json import parse_object
from ecamp_fast.weights.file import read_checkpoint

TOKENS = 512  # positions of a fresh BERT
FILES = ("model.safetensors", "pytorch_model.bin")  # of weights, in a folder of transformers
FORMER_ENDS = {".gamma": ".weight", ".beta": ".bias"}  # of norms, in files as old as Bio_ClinicalBERT's


class TextSide(nn.Module):
    """A BERT, trained along; of its last layers the sum. No projection and no norm behind it.

    vocab_size: of the shard set, where the recipe names no BERT of its own   fresh: see ``Gloria``
    """

    def __init__(self, recipe: Recipe, vocab_size: int, fresh: bool = False) -> None:
        super().__init__()
        self._layers = recipe.gloria.layers
        self.bert = _read(Path(recipe.gloria.bert), fresh) if recipe.gloria.bert else _fresh(recipe, vocab_size)
        self.width: int = self.bert.config.hidden_size
        self.vocab_size: int = self.bert.config.vocab_size

    def forward(self, sentences: Sentences) -> tuple[Tensor, Tensor, Tensor]:
        """returns words (U, W, D), which of them are real (U, W) bool, and the sentences (U, D).

        A word is the sum of its wordpieces, [CLS] is one and [SEP] is none. A sentence is the mean over its wordpieces,
        [CLS] and [SEP] among them. Filler has one word, so that no sum is empty.
        """
        assert sentences.words is not None
        ids, numbers, inside = _padded(sentences)
        found = self.bert(input_ids=ids, attention_mask=inside.long(), output_hidden_states=True)
        hidden = torch.stack(found.hidden_states[-self._layers :]).sum(0)
        whole = (hidden * inside[:, :, None]).sum(1) / inside.sum(1, keepdim=True)
        # a product, since a sum by index adds in another order at every run on a GPU
        belongs = one_hot(numbers.clamp_min(0), sentences.max_words) * (inside & (numbers >= 0))[:, :, None]
        words = belongs.mT.to(hidden.dtype) @ hidden
        real = belongs.any(1)
        return words, real | (torch.arange(real.shape[1], device=real.device) == 0), whole.to(hidden.dtype)


def _padded(sentences: Sentences) -> tuple[Tensor, Tensor, Tensor]:
    """Wordpieces and the numbers of their words, (U, L) int64, and which places are taken, (U, L) bool."""
    assert sentences.words is not None
    starts, ends = sentences.cu_seqlens[:-1, None].long(), sentences.cu_seqlens[1:, None].long()
    places = starts + torch.arange(sentences.max_seqlen, device=starts.device)
    inside = places < ends
    places = places.clamp_max(len(sentences.ids) - 1)
    ids, numbers = sentences.ids[places] * inside, sentences.words[places].masked_fill(~inside, -1)
    inside[:, 0] = True  # of filler
    return ids, numbers, inside


def _fresh(recipe: Recipe, vocab_size: int) -> Any:
    from transformers import BertConfig, BertModel

    text = recipe.model.text
    config = BertConfig(
        vocab_size=vocab_size,
        hidden_size=text.width,
        num_hidden_layers=text.depth,
        num_attention_heads=text.heads,
        intermediate_size=text.ffn,
        hidden_dropout_prob=text.dropout,
        attention_probs_dropout_prob=text.dropout,
        max_position_embeddings=max(TOKENS, recipe.gloria.max_tokens + 8),
    )
    return BertModel(config, add_pooling_layer=False)


def _read(folder: Path, fresh: bool) -> Any:
    """Nothing is downloaded, and nothing that is in a file is run.

    Raises ConfigError where there is no BERT, DataError where its weights are not read or do not fit.
    """
    from transformers import BertConfig, BertModel

    file = folder / "config.json"
    try:
        told = parse_object(file.read_bytes())
        config = BertConfig.from_dict(told)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"gloria.bert: {file} is not read: {error}", "name a folder with a BERT's files") from None
    if told.get("model_type", "bert") != "bert":
        raise ConfigError(f"gloria.bert: {folder} holds a {told['model_type']}", "name a folder with a BERT's files")
    bert = BertModel(config, add_pooling_layer=False)
    if not fresh:
        weights = next((folder / name for name in FILES if (folder / name).is_file()), None)
        if weights is None:
            raise ConfigError(f"gloria.bert: {folder} has no weights", f"put one of {', '.join(FILES)} there")
        _fill(bert, read_checkpoint(weights), weights)
    return bert


def _fill(bert: nn.Module, tensors: Mapping[str, Tensor], file: Path) -> None:
    """What else is in the file, heads and pooler, is passed over."""
    own, found = bert.state_dict(), {}
    for name, tensor in tensors.items():
        name = name.removeprefix("bert.")
        for before, now in FORMER_ENDS.items():
            name = name.removesuffix(before) + now if name.endswith(before) else name
        if name in own:
            found[name] = tensor
    odd = sorted(name for name in own if name not in found or found[name].shape != own[name].shape)
    if odd:
        raise DataError(f"gloria.bert: {file} lacks {odd[0]} in the shape of config.json", "give the files of one BERT")
    bert.load_state_dict(found)
