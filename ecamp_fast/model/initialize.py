"""How a fresh model starts: the released code's distributions.

Every linear layer, text included, is xavier-uniform with zero bias; matrices that are fused here are drawn one by one.
Tokens and embedding tables are normal with 0.02. What is not named keeps PyTorch's default: the bias of the patch
embedding, the convolutions of super-resolution, layer norms.
"""

import torch
from torch import Tensor, nn

from ecamp_fast.model.fusion import ContextFusion
from ecamp_fast.model.text_decoder import Embeddings, MlmHead
from ecamp_fast.model.text_layer import SelfAttention
from ecamp_fast.model.vision import Encoder, ImageDecoder, PatchEmbedding
from ecamp_fast.text.codes import PAD_ID

DEVIATION = 0.02


@torch.no_grad()
def initialise(model: nn.Module) -> None:
    """Draw every weight anew, from torch's global generator."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    for module in model.modules():
        if isinstance(module, PatchEmbedding):
            nn.init.xavier_uniform_(module.weight.view(module.weight.shape[0], -1))
        elif isinstance(module, Encoder):
            nn.init.normal_(module.class_token, std=DEVIATION)
        elif isinstance(module, ImageDecoder):
            nn.init.normal_(module.mask_token, std=DEVIATION)
        elif isinstance(module, SelfAttention):
            _xavier_parts(module.qkv.weight, 3)
        elif isinstance(module, ContextFusion) and module.use_local:
            _xavier_parts(module.key_value.weight, 2)
        elif isinstance(module, MlmHead):
            nn.init.xavier_uniform_(module.vocabulary)
            nn.init.zeros_(module.bias)
    for module in model.modules():
        if isinstance(module, Embeddings):  # last: a tied vocabulary keeps the embedding's distribution
            _normal_tables(module)


def _xavier_parts(fused: Tensor, parts: int) -> None:
    for part in fused.chunk(parts):
        nn.init.xavier_uniform_(part)


def _normal_tables(embeddings: Embeddings) -> None:
    for table in (embeddings.word, embeddings.position, embeddings.token_type):
        nn.init.normal_(table, std=DEVIATION)
    embeddings.word[PAD_ID].zero_()
