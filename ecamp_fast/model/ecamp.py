"""The whole model: a micro-batch in, three losses out.

Legend: B samples, N patches, K kept patches, M masked patches, T text rows of the whole batch, V vocabulary.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ecamp_fast.batch import Batch, Sentences, Text
from ecamp_fast.config import Recipe
from ecamp_fast.errors import ConfigError
from ecamp_fast.kernels.low_resolution import low_resolution
from ecamp_fast.kernels.pixels import normalise
from ecamp_fast.keyed_random import Stream, torch_uniform
from ecamp_fast.model.align import Aligner
from ecamp_fast.model.attention_backends import AttentionCase
from ecamp_fast.model.fusion import ContextFusion
from ecamp_fast.model.initialize import initialise
from ecamp_fast.model.sequences import SequenceLayout
from ecamp_fast.model.super_resolution import SuperResolution
from ecamp_fast.model.text_decoder import TextDecoder
from ecamp_fast.model.text_layer import QueryRows
from ecamp_fast.model.vision import Encoder, ImageDecoder, unpatchify
from ecamp_fast.objectives import Losses, align_loss, mim_loss, mlm_loss, super_resolution_loss, total
from ecamp_fast.text.codes import MASK_ID

SCORED_AT_ONCE = 1024  # words whose logits over the whole vocabulary are held together
# Parameters had these names in files of before; their tensors are the same.
FORMER_NAMES = {"text.fusion.globe.": "text.fusion.global_proj."}


@dataclass(frozen=True, slots=True)
class View:
    """What the model sees of a batch and what it must answer, once everything random is drawn but dropout.

    low        (B, 1, H, W) float32   low-resolution image, normalised
    keep       (B, K) int64           patches the encoder sees, in the order it sees them
    masked     (B, M) int64           the others
    high       (B, 1, S, S)           super-resolution target: uint8, or floating and normalised
    attention  (B, C, C) float32      see ``Batch``
    window     (B, 2) integers        see ``Batch``
    text       masked text            see ``Batch``
    lengths    (B,) int32             see ``Batch``
    sentences  see ``Batch``
    """

    low: Tensor
    keep: Tensor
    masked: Tensor
    high: Tensor
    attention: Tensor
    window: Tensor
    text: Text | None
    lengths: Tensor
    sentences: Sentences | None = None


@dataclass(frozen=True, slots=True)
class _Outputs:
    """What the parts that are on say.

    prediction  (B, N, P*P*3)   the predicted patches
    hidden      (R, D)          the text decoder at ``text.rows``
    alike       (B, U) float32  similarity of pictures and sentences
    """

    prediction: Tensor | None
    hidden: Tensor | None
    alike: Tensor | None


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """What the model makes of a batch, for people to look at. Pixels are normalised as ``recipe.image`` says.

    low               (B, 1, H, W) float32        the low-resolution image
    mask              (B, N) bool                 True where the encoder did not see the patch
    prediction        (B, 1, H, W) float32        predicted picture, mean of its channels, visible patches included
    super_resolution  (B, 1, S, S) float32        None without the head
    text              see ``Batch``
    words             (T,) int64                  the masked ids with the model's words in the masked rows, or None
    """

    low: Tensor
    mask: Tensor
    prediction: Tensor | None
    super_resolution: Tensor | None
    text: Text | None
    words: Tensor | None


@dataclass(frozen=True, slots=True)
class WordScores:
    """How well the words of a batch were predicted.

    entries  (P,) int64     which of ``Text.rows`` they are: masked places of samples, no filler
    nats     (P,) float32   of the true word
    hits     (P,) bool      whether the likeliest word was the true one
    """

    entries: Tensor
    nats: Tensor
    hits: Tensor


class Ecamp(nn.Module):
    """Modules exist only for the terms that the recipe turns on, so every parameter takes part in every step."""

    def __init__(self, recipe: Recipe, vocab_size: int) -> None:
        super().__init__()
        self.recipe, self.vocab_size = recipe, vocab_size
        losses = recipe.losses
        self.encoder = Encoder(recipe)
        self.decoder = ImageDecoder(recipe) if losses.mim or losses.sr else None
        self.super_resolution = SuperResolution(recipe.sr.final_relu) if losses.sr else None
        self.text = TextDecoder(recipe, vocab_size) if losses.mlm else None
        initialise(self)
        self.align = Aligner(recipe) if losses.align else None
        if self.align:
            initialise(self.align)  # behind the others, which begin as they do without it
        self.register_load_state_dict_pre_hook(_rename_former)

    def forward(self, batch: Batch) -> Losses:
        """The losses of one micro-batch, patches drawn from ``batch.keys``."""
        view = self.view(batch)
        return replace(self.losses(view), keep=view.keep)

    def view(self, batch: Batch) -> View:
        """Resize, and draw which patches are masked."""
        recipe = self.recipe
        low = low_resolution(
            batch.image, recipe.image.mean, recipe.image.std, antialias=recipe.image.low_res == "antialiased"
        )
        order = torch_uniform(batch.keys, Stream.PATCHES, recipe.patches).argsort(dim=1, stable=True)
        return View(
            low=low,
            keep=order[:, : recipe.kept_patches],
            masked=order[:, recipe.kept_patches :],
            high=batch.image,
            attention=batch.attention,
            window=batch.window,
            text=batch.text,
            lengths=batch.lengths,
            sentences=batch.sentences,
        )

    def losses(self, view: View) -> Losses:
        """The terms that are on."""
        return self._losses(view, self._outputs(view))

    def _outputs(self, view: View) -> _Outputs:
        latent = self.encoder(view.low, view.keep)
        prediction = self.decoder(latent, view.keep) if self.decoder else None
        hidden = self._decoded(self.text, view, view.text, latent) if self.text and view.text is not None else None
        return _Outputs(prediction, hidden, self._alike(latent, view.sentences))

    def _alike(self, latent: Tensor, sentences: Sentences | None) -> Tensor | None:
        """latent: (B, 1+K, D) of the encoder   returns (B, U) float32, None where the term is off"""
        if self.align is None or self.text is None or sentences is None:
            return None
        alike: Tensor = self.align(latent[:, 1:], self.align.sentences(self.text, sentences))
        return alike

    def _losses(self, view: View, outputs: _Outputs) -> Losses:
        recipe, text, prediction, hidden = self.recipe, view.text, outputs.prediction, outputs.hidden
        mim = sr = mlm = None
        if prediction is not None and recipe.losses.mim:
            mim = mim_loss(recipe, prediction, view.low, view.masked)
        if prediction is not None and self.super_resolution:
            low = unpatchify(prediction, recipe.model.vision.patch)
            convolutions = self.super_resolution.convolutions
            sr = super_resolution_loss(recipe, low, convolutions, view.high, view.attention, view.window)
        if hidden is not None and self.text and text is not None:
            head, samples = self.text.head, len(view.low)
            mlm = mlm_loss(recipe, head(hidden), head.vocabulary, head.bias, text.labels, text.weights, samples)
        align = None
        if outputs.alike is not None and view.sentences is not None:
            align = recipe.align.scale * align_loss(outputs.alike / recipe.align.temperature, view.sentences)
        return total(mim, sr, mlm, align)

    def _decoded(self, decoder: TextDecoder, view: View | Batch, text: Text, latent: Tensor) -> Tensor:
        """What the decoder says at ``text.rows``, (R, D)."""
        query_rows = None
        if len(text.rows) < len(text.ids):  # otherwise they are all of them
            query_rows = QueryRows(text.rows, SequenceLayout.packed(text.predicted, len(text.rows), text.max_seqlen))
        return decoder(text.ids, latent, *self._text_layouts(view, text), query_rows)

    @torch.no_grad()
    @torch.compiler.set_stance("force_eager")  # its texts have another shape in every batch
    def reconstruct(self, batch: Batch) -> Reconstruction:
        """What the model predicts for a batch, without dropout."""
        was_training = self.training
        self.eval()
        view = self.view(batch)
        latent = self.encoder(view.low, view.keep)
        picture = unpatchify(self.decoder(latent, view.keep), self.encoder.patch_size) if self.decoder else None
        sharp = self.super_resolution(picture) if self.super_resolution and picture is not None else None
        words = self._words(self.text, view, view.text, latent) if self.text and view.text is not None else None
        self.train(was_training)
        mask = torch.zeros(len(batch), self.recipe.patches, dtype=torch.bool, device=view.low.device)
        return Reconstruction(
            low=view.low,
            mask=mask.scatter(1, view.masked, True),
            prediction=None if picture is None else picture.float().mean(1, keepdim=True),
            super_resolution=None if sharp is None else sharp.float().mean(1, keepdim=True),
            text=view.text,
            words=words,
        )

    @torch.no_grad()
    def losses_and_words(self, batch: Batch) -> tuple[Losses, WordScores | None]:
        """The losses of a batch and its words one by one, of the same masks and in one pass, in the model's mode.

        returns the ``WordScores`` of ``score_words``, or None without a text decoder
        """
        view = self.view(batch)
        outputs = self._outputs(view)
        words = None if outputs.hidden is None else self._scores(batch, outputs.hidden)
        return self._losses(view, outputs), words

    @torch.no_grad()
    def score_words(self, batch: Batch, latent: Tensor | None = None) -> WordScores:
        """Every predicted word by itself, in the mode (``train`` or ``eval``) the model is in.

        batch   with text, of a recipe with a text decoder. Where ``losses.mlm_positions`` is all, masked places alone.
        latent  (B, 1+K, D)   encoded images to read the words from; None: those of the batch, masked
        """
        assert self.text is not None and batch.text is not None
        if latent is None:
            view = self.view(batch)
            latent = self.encoder(view.low, view.keep)
        return self._scores(batch, self._decoded(self.text, batch, batch.text, latent))

    def _scores(self, batch: Batch, hidden: Tensor) -> WordScores:
        """hidden: (R, D), what the text decoder says at ``text.rows``."""
        decoder, text = self.text, batch.text
        assert decoder is not None and text is not None
        entries = torch.arange(int(text.predicted[len(batch)]), device=text.rows.device)
        entries = entries[text.ids[text.rows[entries]] == MASK_ID]
        hidden, labels = hidden[entries], text.labels[entries]
        nats, hits = [], []
        for rows, wanted in zip(hidden.split(SCORED_AT_ONCE), labels.split(SCORED_AT_ONCE), strict=True):
            logits = nn.functional.linear(decoder.head(rows), decoder.head.vocabulary, decoder.head.bias).float()
            nats.append(nn.functional.cross_entropy(logits, wanted, reduction="none"))
            hits.append(logits.argmax(-1) == wanted)
        return WordScores(entries, torch.cat(nats), torch.cat(hits))

    def _words(self, decoder: TextDecoder, view: View, text: Text, latent: Tensor) -> Tensor:
        masked = (text.ids[text.rows] == MASK_ID).nonzero()[:, 0]
        hidden = self._decoded(decoder, view, text, latent)[masked]
        logits = nn.functional.linear(decoder.head(hidden), decoder.head.vocabulary, decoder.head.bias)
        return text.ids.index_copy(0, text.rows[masked], logits.argmax(-1))

    def features(self, image: Tensor, pooling: int = 1) -> Tensor:
        """``image_features`` of this model's encoder."""
        return image_features(self.encoder, self.recipe, image, pooling)

    @torch.no_grad()
    def compare(self, image: Tensor, sentences: Sentences) -> tuple[Tensor, Tensor]:
        """How like each sentence an image is, and each of its patches, all patches seen; ``losses.align`` must be on.

        image      (B, 1, S, S) uint8, as of ``image_tokens``
        sentences  U of them, real ones (``text.packing.single_sentences.pack_sentences``)
        returns    (B, U) and (B, N, U) float32 in [-1, 1]
        """
        assert self.align is not None and self.text is not None
        tokens = image_tokens(self.encoder, self.recipe, image)[:, 1:]
        found: tuple[Tensor, Tensor] = self.align.compare(tokens, self.align.sentences(self.text, sentences))
        return found

    def _text_layouts(self, view: View | Batch, text: Text) -> tuple[SequenceLayout, SequenceLayout]:
        """Of queries and keys. Padded text: every place is a query, real tokens are keys; packed text has no others."""
        if self.recipe.padded_text:
            max_tokens = self.recipe.text.max_tokens
            return SequenceLayout.equal(len(view.lengths), max_tokens), SequenceLayout.padded(view.lengths, max_tokens)
        packed = SequenceLayout.packed(text.cu_seqlens, len(text.ids), text.max_seqlen)
        return packed, packed


def image_tokens(encoder: Encoder, recipe: Recipe, image: Tensor) -> Tensor:
    """All tokens of an encoder that sees every patch, after its final norm.

    image    (B, 1, S, S) uint8 at high or at low resolution
    returns  (B, 1 + N, D) in the dtype of the weights, the class token first
    """
    pixels = recipe.image
    if image.shape[-1] == pixels.high_size:
        low = low_resolution(image, pixels.mean, pixels.std, antialias=pixels.low_res == "antialiased")
    elif image.shape[-1] == pixels.low_size:
        low = normalise(image, pixels.mean, pixels.std)
    else:
        raise ValueError(f"image of {image.shape[-1]} pixels, must have {pixels.high_size} or {pixels.low_size}")
    every = torch.arange(recipe.patches, device=image.device).expand(len(image), -1)
    tokens: Tensor = encoder(low, every)
    return tokens


def image_features(encoder: Encoder, recipe: Recipe, image: Tensor, pooling: int = 1) -> Tensor:
    """Means of the encoded patch tokens, all patches seen: what probes and classifiers read.

    image    as of ``image_tokens``
    pooling  a mean for each of pooling x pooling parts of the image, one after the other; 1: of all
    returns  (B, pooling * pooling * D) in the dtype of the weights

    Raises ConfigError where a side has fewer patches than parts: some would be told twice.
    """
    if pooling > recipe.grid:
        raise ConfigError(f"means of {pooling} parts a side, of {recipe.grid} patches", "ask for fewer parts")
    tokens = image_tokens(encoder, recipe, image)[:, 1:]
    if pooling == 1:
        return tokens.mean(1)
    parts = tokens.mT.unflatten(2, (recipe.grid, recipe.grid))
    return nn.functional.adaptive_avg_pool2d(parts, pooling).flatten(2).mT.flatten(1)


def attention_cases(recipe: Recipe, cuda: bool) -> dict[str, AttentionCase]:
    """What each part of the model asks of attention when it is trained, as far as the parts are on."""
    losses, cases = recipe.losses, {"encoder": Encoder.attention_case(recipe, cuda)}
    if losses.mim or losses.sr:
        cases["decoder"] = ImageDecoder.attention_case(recipe, cuda)
    if losses.mlm:
        cases["text"] = TextDecoder.attention_case(recipe, cuda)
    if losses.mlm and recipe.fusion.use_local:
        cases["fusion"] = ContextFusion.attention_case(recipe, cuda)
    return cases


def current_name(name: str) -> str:
    """The name that a parameter of a file has today."""
    for former, current in FORMER_NAMES.items():
        if name.startswith(former):
            return current + name.removeprefix(former)
    return name


def _rename_former(module: nn.Module, state: dict[str, Tensor], prefix: str, *rest: Any) -> None:
    """In place, as a hook must.  prefix: of every name in ``state``"""
    for name in list(state):
        state[prefix + current_name(name.removeprefix(prefix))] = state.pop(name)
