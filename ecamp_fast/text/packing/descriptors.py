"""The released code's descriptors, found at step time: the two wordpieces before an entity, whatever they are.

The paper's descriptors, whole words within the sentence, are marked when shards are built (``annotate``).
"""

from torch import Tensor

from ecamp_fast.text.codes import Mark, has
from ecamp_fast.text.packing.rows import Rows


def released_descriptors(rows: Rows, max_tokens: int) -> Tensor:
    """The two wordpieces before an entity piece, whatever they are, but "." and [CLS]. Returns (T,) bool."""
    inside = (rows.position > 0) & (rows.position < max_tokens - 1)
    entity = rows.has(Mark.PIECE_ENTITY) & inside
    before = rows.lookahead(entity, 1) | rows.lookahead(entity, 2)
    return before & ~has(rows.codes, Mark.PERIOD) & (rows.position > 0)
