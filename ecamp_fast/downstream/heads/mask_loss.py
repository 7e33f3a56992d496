"""The loss of the paper's segmentation: 10 focal - ln(soft Dice) (SPEC 7.2)."""

from torch import Tensor, sigmoid
from torch.nn.functional import binary_cross_entropy_with_logits

FOCAL = 10.0  # weight of the focal term
GAMMA = 2.0


def focal(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each pixel times (1 - p)^2, p the probability of what is there; the mean over pixels.

    Targets between 0 and 1, of masks that were made smaller, count as in the released code: 1 - p is the sigmoid of
    -logit (2 target - 1).

    logits, targets: one shape, floating   returns ()
    """
    wrong = sigmoid(-logits * (2 * targets - 1))
    return (wrong**GAMMA * binary_cross_entropy_with_logits(logits, targets, reduction="none")).mean()


def soft_dice(logits: Tensor, targets: Tensor) -> Tensor:
    """(2 sum(p t) + 1) / (sum p + sum t + 1) over all pixels of the batch together.  returns ()"""
    probabilities = sigmoid(logits)
    return (2 * (probabilities * targets).sum() + 1) / (probabilities.sum() + targets.sum() + 1)


def mask_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """10 focal - ln(soft Dice) of each mask, and their mean.  logits, targets: (B, M, S, S) float32   returns ()"""
    of_masks = [
        FOCAL * focal(one, target) - soft_dice(one, target).log()
        for one, target in zip(logits.unbind(1), targets.unbind(1), strict=True)
    ]
    return sum(of_masks[1:], of_masks[0]) / len(of_masks)
