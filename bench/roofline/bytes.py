"""Counted bytes of a training step: what it moves to and from a GPU's memory, beside the operations of ``flops``.

A model of the step as fused kernels could do it at best in bfloat16, not a measurement; what real kernels do beyond it
is in ``overheads``. A product reads its inputs and writes its output once, backward twice as much; its weights count
once a micro-batch. Attention never writes its scores. Norms take the residual sum along; an activation is a pass of its
own; pixels and text codes are small and counted. What fits a cache and what a kernel reads twice are not in it.
Legend: B samples, T text rows of the whole batch, R rows where a word is predicted, V vocabulary, n rows, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ecamp_fast.config import Recipe
from ecamp_fast.geometry import ATTENTION_GRID
from ecamp_fast.model.flops import CHANNELS, step_work

ELEMENT = 2  # bytes of a bfloat16
ADAMW = 30  # bytes a parameter: float32 weight and two moments read and written, gradient read and cleared, weight out
KINDS = ("product", "attention", "pointwise", "vector")  # vector: float32 arithmetic outside the matrix units


@dataclass(frozen=True, slots=True)
class KernelGroup:
    """Kernels of one component that are bound alike: operations and bytes of a micro-batch, forward and backward.

    component   as ``flops.step_work`` names it
    kind        one of ``KINDS``
    operations  that are counted
    bytes       to and from memory
    launches    kernels that are started
    hooks       parameter tensors that ZeRO's Python takes in hand, launches included
    pixels      of low resolution, which say how many instructions ``sr_loss`` issues
    extra       whether it is beyond what a step needs
    """

    component: str
    kind: str
    operations: float
    bytes: float
    launches: float = 0
    hooks: float = 0
    pixels: float = 0
    extra: bool = False


def step_bytes(
    recipe: Recipe, vocab_size: int, lengths: Sequence[int], predicted: int, parameters: int, micro_steps: int = 1
) -> list[KernelGroup]:
    """Every group of a micro-batch, and its part of the optimizer step.

    lengths      (B,) real tokens of each sample
    predicted    R
    parameters   of the model
    micro_steps  of an optimizer step
    Operations of a component sum to those of ``flops.step_work``.
    """
    work = step_work(recipe, vocab_size, lengths, predicted)
    parts = _Parts(recipe, len(lengths), {name: done.total for name, done in work.items()})
    groups = [*parts.encoder()]
    if "decoder" in work:
        groups += parts.decoder()
    if "super-resolution" in work:
        groups += parts.super_resolution()
    if "text layers" in work:
        if recipe.padded_text:
            lengths = [recipe.text.max_tokens] * len(lengths)
            predicted = sum(lengths)
        groups += [*parts.fusion(lengths), *parts.text_layers(lengths, predicted), *parts.head(vocab_size, predicted)]
    return [*groups, KernelGroup("optimizer", "pointwise", 0, ADAMW * parameters / micro_steps)]


@dataclass(frozen=True, slots=True)
class _Parts:
    """operations: of each component, as counted"""

    recipe: Recipe
    batch: int
    operations: dict[str, int]

    def encoder(self) -> list[KernelGroup]:
        recipe, vision = self.recipe, self.recipe.model.vision
        kept, image = self.batch * recipe.kept_patches, recipe.image
        resized = self.batch * (image.high_size**2 + ELEMENT * image.low_size**2)
        patches = _product_bytes(kept, vision.patch**2, vision.width)
        groups = [
            KernelGroup("patch embedding", "pointwise", 0, resized + 2 * ELEMENT * kept * vision.patch**2),
            KernelGroup("patch embedding", "product", self.operations["patch embedding"], patches),
        ]
        tokens = recipe.kept_patches + 1
        hidden = int(vision.width * vision.mlp_ratio)
        pairs = self.batch * tokens**2
        return groups + self._layers("encoder", vision.depth, self.batch * tokens, vision.width, hidden, pairs)

    def decoder(self) -> list[KernelGroup]:
        recipe, vision, width = self.recipe, self.recipe.model.vision, self.recipe.model.decoder.width
        seen, tokens, pixels = recipe.kept_patches + 1, recipe.patches + 1, CHANNELS * vision.patch**2
        hidden = int(width * recipe.model.decoder.mlp_ratio)
        ends = _product_bytes(self.batch * seen, vision.width, width)
        ends += _product_bytes(self.batch * recipe.patches, width, pixels)
        rows, pairs = self.batch * tokens, self.batch * tokens**2
        layers = self._layers("decoder", recipe.model.decoder.depth, rows, width, hidden, pairs, products=ends)
        unshuffled = 2 * ELEMENT * self.batch * (seen + tokens) * width
        masked = self.batch * (recipe.patches - recipe.kept_patches)
        # the loss: prediction and target of masked patches in, its gradient, zeros included, out
        loss = ELEMENT * (2 * masked * pixels + 2 * masked * vision.patch**2 + self.batch * recipe.patches * pixels)
        return [
            *layers,
            KernelGroup("decoder", "pointwise", 0, unshuffled),
            KernelGroup("image loss", "pointwise", 0, loss),
        ]

    def super_resolution(self) -> list[KernelGroup]:
        """One kernel forward, one backward; both read the prediction and the picture."""
        image = self.recipe.image
        prediction, picture = ELEMENT * CHANNELS * image.low_size**2, image.high_size**2
        moved = self.batch * (3 * prediction + 2 * picture + 2 * 4 * ATTENTION_GRID**2)
        pixels = self.batch * image.low_size**2
        return [KernelGroup("super-resolution", "vector", self.operations["super-resolution"], moved, pixels=pixels)]

    def fusion(self, lengths: Sequence[int]) -> list[KernelGroup]:
        recipe, text, fusion = self.recipe, self.recipe.model.text, self.recipe.fusion
        rows, width, patches = sum(lengths), text.width, self.batch * recipe.kept_patches
        products = _product_bytes(patches, recipe.model.vision.width, width)
        pairs = sum(length * length for length in lengths)
        crossed = 0.0
        if fusion.use_local:
            products += _product_bytes(rows, width, width) + _product_bytes(patches, width, 2 * width)
            crossed = _attention_bytes(rows, patches, width)
            pairs += rows * recipe.kept_patches
        if fusion.use_global:
            products += _product_bytes(self.batch, width, width)
        if fusion.use_local or fusion.projection == "shared":
            products += _product_bytes(rows, width, width)
        embedded = 4 * ELEMENT * rows * width  # rows of the table in and out, their gradients likewise
        layer = self._layers("fusion", 1, rows, width, text.ffn, pairs, products=products, attention=crossed)
        return [KernelGroup("text embedding", "pointwise", 0, embedded), *layer]

    def text_layers(self, lengths: Sequence[int], predicted: int) -> list[KernelGroup]:
        """In the last layer only predicted rows ask; its bytes are counted in full."""
        text, rows = self.recipe.model.text, sum(lengths)
        query_rows = (text.depth - 1 + predicted / rows) / max(text.depth, 1)
        pairs = round(query_rows * sum(length * length for length in lengths))
        return self._layers("text layers", text.depth, rows, text.width, text.ffn, pairs)

    def head(self, vocab_size: int, predicted: int) -> list[KernelGroup]:
        """Logits exist a chunk at a time: written by a product, turned into their gradient, read by two products."""
        width = self.recipe.model.text.width
        logits = ELEMENT * predicted * vocab_size
        hidden, table = ELEMENT * predicted * width, ELEMENT * vocab_size * width
        products = _product_bytes(predicted, width, width) + 3 * logits + 3 * hidden + 3 * table
        pointwise = 2 * logits + 8 * hidden
        operations = self.operations["MLM head"]
        return [
            KernelGroup("MLM head", "product", operations, products),
            KernelGroup("MLM head", "pointwise", 0, pointwise),
        ]

    def _layers(
        self,
        component: str,
        depth: int,
        rows: int,
        width: int,
        hidden: int,
        pairs: int,
        products: float = 0,
        attention: float = 0,
    ) -> list[KernelGroup]:
        """``depth`` transformer layers.  pairs: of query and key in one   products, attention: further bytes"""
        mixing = depth * attention_operations(pairs, width)
        sizes = ((width, 3 * width), (width, width), (width, hidden), (hidden, width))
        products += depth * sum(_product_bytes(rows, inner, outer) for inner, outer in sizes)
        attention += depth * _attention_bytes(rows, rows, width)
        # two norms that take the sum along: two in, two out, backward the same; the activation: 2 forward, 3 backward
        pointwise = depth * ELEMENT * (2 * 8 * rows * width + 5 * rows * hidden)
        return [
            KernelGroup(component, "product", self.operations[component] - mixing, products),
            KernelGroup(component, "attention", mixing, attention),
            KernelGroup(component, "pointwise", 0, pointwise),
        ]


def attention_operations(pairs: int, width: int) -> int:
    """Scores and mixing, forward and backward, all heads; what a flash kernel computes again is not counted."""
    return 3 * 2 * 2 * pairs * width


def _product_bytes(rows: int, inner: int, outer: int) -> float:
    """Forward and the two products of the backward pass of rows x inner by inner x outer."""
    forward = rows * inner + inner * outer + rows * outer
    return ELEMENT * 3 * forward


def _attention_bytes(queries: int, keys: int, width: int) -> float:
    """Query, output; key, value: forward once; backward all of them, the gradient to the output, and three out."""
    return ELEMENT * width * (2 * queries + 2 * keys + 4 * queries + 4 * keys)
