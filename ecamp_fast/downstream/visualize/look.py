"""The cross-attention of a text's rows over a whole image (paper Fig. 4).

The encoder sees every patch, in the order in which they lie in the image, so a map needs no sorting: the released
script reads shuffled patches as if they lay in order. No word is masked.
Legend: B images, S pixels per side, N patches, D width, T rows of a text, H heads.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ecamp_fast.downstream.features import BATCH
from ecamp_fast.downstream.threads import threads_for
from ecamp_fast.downstream.visualize.queries import Query
from ecamp_fast.errors import ConfigError
from ecamp_fast.model.ecamp import Ecamp, image_tokens
from ecamp_fast.model.sequences import SequenceLayout


def require_looks(model: Ecamp) -> None:
    """Raises ConfigError where no text looks at an image: without a language loss, or without the local scale."""
    recipe = model.recipe
    if not recipe.losses.mlm:
        raise ConfigError(
            "the model has no text side (losses.mlm is false): no word looks at the image", "name another"
        )
    if not recipe.fusion.use_local:
        raise ConfigError("fusion.use_local is false: no word looks at single patches", "name another run")


@torch.inference_mode()
def encode_whole(model: Ecamp, images: Tensor) -> Tensor:
    """images: (B, 1, S, S) uint8   returns (B, 1+N, D) float32 on the model's device, all patches seen, in order."""
    device = next(model.parameters()).device
    with threads_for(model.recipe.model.vision.width, device):
        parts = [image_tokens(model.encoder, model.recipe, part.to(device)) for part in images.split(BATCH)]
    return torch.cat(parts).float()


@torch.inference_mode()
def look(model: Ecamp, latent: Tensor, texts: Sequence[Tensor]) -> list[Tensor]:
    """Where each row of some texts looks in one image; the model is in evaluation mode.

    latent   (1+N, D) of ``encode_whole``
    texts    (T,) int64 each, as of ``read_text``
    returns  (T, H, N) float32 each, on the host; those of a row and head sum to one
    """
    assert model.text is not None and not model.training
    counts = [len(ids) for ids in texts]
    with threads_for(model.recipe.model.text.width, latent.device):
        cu_seqlens = torch.tensor([0, *counts]).cumsum(0).to(latent.device, torch.int32)
        layout = SequenceLayout.packed(cu_seqlens, sum(counts), max(counts))
        ids = torch.cat(list(texts)).to(latent.device)
        found = model.text.cross_attention(ids, latent.expand(len(texts), -1, -1), layout, layout)
    return list(found.float().cpu().split(counts))


def map_of(probabilities: Tensor, query: Query) -> Tensor:
    """The rows of a query averaged, a word's pieces alike.  probabilities: (T, H, N)   returns (H, N), sums of one."""
    return probabilities[list(query.rows)].mean(0)
