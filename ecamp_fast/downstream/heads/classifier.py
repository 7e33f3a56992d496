"""The paper's classifier: the mean of patch tokens, a new norm, a linear layer (SPEC 7.1).

Legend: B images, F classes, S pixels per side.
"""

from torch import Tensor, nn

from ecamp_fast.downstream.trunk import Trunk

HEAD_STD = 2e-5  # of the head's first weights: SPEC 7.1


class Classifier(nn.Module):
    """Trunk, mean over patches, LayerNorm (of a ViT), linear head; the trunk's own final norm is not used."""

    def __init__(self, trunk: Trunk, classes: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.norm: nn.Module = nn.LayerNorm(trunk.width, 1e-6) if trunk.is_vit else nn.Identity()
        self.head = nn.Linear(trunk.width, classes)
        nn.init.trunc_normal_(self.head.weight, std=HEAD_STD)
        nn.init.zeros_(self.head.bias)

    def freeze_trunk(self) -> None:
        """All but the head, as a linear probe has it: the norm stays at weight 1 and bias 0."""
        self.trunk.freeze()
        self.norm.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """images: (B, 1, S, S) uint8   returns logits (B, F)"""
        logits: Tensor = self.head(self.norm(self.trunk(images).mean(1)))
        return logits
