"""What a step does beyond ``bytes``: passes that no compiler fuses, padding, buffers, launches, ZeRO's copies.

Counted, each in the code that does it; nothing here is a time. Passes and launches of a block are those of the kernels
that Inductor writes for an sm_90 (tests/model/test_unfused_passes.py makes it write them), with attention left closed;
flash attention's are those of its second version, which PyTorch carries.
Legend: n rows of a layer, D its width, H its hidden width, V vocabulary.
"""

from collections.abc import Sequence

from ecamp_fast.bench.roofline.bytes import ELEMENT, KernelGroup, attention_operations
from ecamp_fast.bench.roofline.zero import Weights, Zero, zero_bytes, zero_launches
from ecamp_fast.config import Recipe
from ecamp_fast.model.flops import CHANNELS

# Passes over n x D and n x H numbers, beyond the 16 and 5 of ``bytes``: norms read again for the gradients of their
# weights, sums for biases, query, key and value gradients laid together, dropout's masks
PASSES = {"vision": (33 - 16, 6 - 5), "text": (41 - 16, 6 - 5), "fusion": (64 - 16, 6 - 5)}
PATCH_PASSES, EMBEDDING_PASSES = 9, 14  # of the fusion over patches; of the text embedding over text rows
# Kernels forward and backward of a block, attention's one and three with them
LAUNCHES = {"vision": 37, "text": 39, "fusion": 74, "text embedding": 14, "MLM head": 10}
EAGER_LAUNCHES = 60  # operators between the blocks in a forward pass, counted; the backward is taken to have as many
OWN_LAUNCHES = 12  # of this project's kernels, without the vocabulary's
CHUNK_LAUNCHES, CHUNK_BYTES = 7, 2**28  # of ``weighted_cross_entropy``: kernels of a chunk; kernels/tuning.json
TILE = 128  # rows, and keys, of flash attention's tiles; for heads wider than 64 half the keys, backward half the rows
EXECUTED = 7 / 6  # the backward computes the scores again: seven products for the six that are counted
FLOAT = 4  # bytes


def step_overheads(
    recipe: Recipe, vocab_size: int, lengths: Sequence[int], predicted: int, weights: Weights, zero: Zero
) -> list[KernelGroup]:
    """Every group of a micro-batch, and its part of the end of the optimizer step; arguments as of ``step_bytes``."""
    vision, decoder, text = recipe.model.vision, recipe.model.decoder, recipe.model.text
    batch, seen, tokens = len(lengths), recipe.kept_patches + 1, recipe.patches + 1
    hidden = int(vision.width * vision.mlp_ratio)
    groups = _layers("encoder", "vision", vision.depth, batch * seen, vision.width, hidden)
    groups += _attention("encoder", vision.depth, [seen] * batch, [seen] * batch, vision.width, vision.heads)
    if recipe.losses.mim or recipe.losses.sr:
        hidden = int(decoder.width * decoder.mlp_ratio)
        groups += _layers("decoder", "vision", decoder.depth, batch * tokens, decoder.width, hidden)
        groups += _attention("decoder", decoder.depth, [tokens] * batch, [tokens] * batch, decoder.width, decoder.heads)
    if recipe.losses.mlm:
        if recipe.padded_text:
            lengths = [recipe.text.max_tokens] * batch
            predicted = sum(lengths)
        rows, width, patches = sum(lengths), text.width, batch * recipe.kept_patches
        groups.append(_passes("text embedding", EMBEDDING_PASSES * rows * width, LAUNCHES["text embedding"]))
        groups += _layers("fusion", "fusion", 1, rows, width, text.ffn)
        groups.append(_passes("fusion", PATCH_PASSES * patches * width))
        groups += _attention("fusion", 1, lengths, lengths, width, text.heads)
        if recipe.fusion.use_local:
            groups += _attention("fusion", 1, lengths, [recipe.kept_patches] * batch, width, text.heads)
        groups += _layers("text layers", "text", text.depth, rows, width, text.ffn)
        groups += _attention("text layers", text.depth, lengths, lengths, width, text.heads)
        groups.append(_vocabulary(vocab_size, width, predicted))
    return [*groups, _glue(recipe, batch), *_zero(weights, zero)]


def _passes(component: str, numbers: float, launches: float = 0) -> KernelGroup:
    return KernelGroup(component, "pointwise", 0, ELEMENT * numbers, launches=launches, extra=True)


def _layers(component: str, kind: str, depth: int, rows: int, width: int, hidden: int) -> list[KernelGroup]:
    over_width, over_hidden = PASSES[kind]
    numbers = rows * (over_width * width + over_hidden * hidden)
    return [_passes(component, depth * numbers, depth * LAUNCHES[kind])]


def _attention(
    component: str, depth: int, queries: Sequence[int], keys: Sequence[int], width: int, heads: int
) -> list[KernelGroup]:
    """Tiles are computed whole, and scores twice; the gradient to the queries is summed in float32.

    That buffer is written zero, added to for every tile of keys, and read, all in whole tiles of queries.
    """
    short = TILE if width // heads <= 64 else TILE // 2
    meeting = list(zip(queries, keys, strict=True))
    needed = attention_operations(sum(q * k for q, k in meeting), width)
    pairs = sum(_up(q, TILE) * _up(k, short) for q, k in meeting)
    operations = depth * (EXECUTED * attention_operations(pairs, width) - needed)
    buffer = depth * FLOAT * width * sum(_up(q, short) * (2 + 2 * _up(k, TILE) // TILE) for q, k in meeting)
    again = depth * ELEMENT * width * sum(queries)  # the gradient to the output is read by a kernel of its own first
    return [
        KernelGroup(component, "attention", operations, 0, extra=True),
        KernelGroup(component, "pointwise", 0, buffer + again, extra=True),
    ]


def _up(rows: int, tile: int) -> int:
    return -(-rows // tile) * tile


def _vocabulary(vocab_size: int, width: int, predicted: int) -> KernelGroup:
    """Of every chunk of logits: a product in float32 and its sum; logits once more for the bias, the table twice."""
    logits, table = predicted * vocab_size, vocab_size * width
    chunks = -(-logits * ELEMENT // CHUNK_BYTES)
    moved = chunks * 4 * FLOAT * table + 2 * ELEMENT * (chunks - 1) * table + ELEMENT * logits
    moved += (2 * FLOAT + 3 * ELEMENT) * table + 2 * ELEMENT * predicted * width  # zeros, rounding, times the cotangent
    return KernelGroup(
        "MLM head", "pointwise", 0, moved, launches=LAUNCHES["MLM head"] + CHUNK_LAUNCHES * chunks, extra=True
    )


def _glue(recipe: Recipe, batch: int) -> KernelGroup:
    """Eager passes between the blocks: final norms (8), class token and positions (10), sums of two gradients (5)."""
    vision, width = recipe.model.vision, recipe.model.decoder.width
    seen, tokens = recipe.kept_patches + 1, recipe.patches + 1
    numbers = 23 * seen * vision.width
    if recipe.losses.mim or recipe.losses.sr:
        numbers += 12 * tokens * width  # norm, without the class token, and back
        numbers += 8 * recipe.patches * CHANNELS * vision.patch**2  # the prediction as a picture and back, sums
        if recipe.share_projections:  # laid out for every sample, taken apart again
            numbers += 4 * (tokens + seen) * 3 * width
    return _passes("eager glue", batch * numbers, 2 * EAGER_LAUNCHES + OWN_LAUNCHES)


def _zero(weights: Weights, zero: Zero) -> list[KernelGroup]:
    """Copies of gradients and the end of the update, of one rank, without what travels between ranks."""
    hooks, added, launches = zero_launches(weights, zero)
    moved = zero_bytes(zero) * weights.numbers
    return [
        KernelGroup("ZeRO", "pointwise", 0, moved, launches=added, extra=True),
        KernelGroup("ZeRO", "pointwise", 0, 0, launches=launches, hooks=hooks, extra=True),
    ]
