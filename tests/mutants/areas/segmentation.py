"""Segmentation and the patch probe: heads, loss, Dice, what is turned together, what a patch holds."""

from typing import Any

from mutant import mutants


def headed() -> Any:
    import torch

    from ecamp_fast.downstream.heads.dense import SETR, Convolutional, Heads, Linear

    tokens = torch.randn(2, 9, 24, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(2)
    heads = [SETR(24, 3, 20), Linear(24, 3, 20), Convolutional(24, 3, 20), Heads("setr", 2, 24, 3, 20)]
    large = SETR(768, 2, 32)
    return [head(tokens).double().sum().item() for head in heads], sum(one.numel() for one in large.parameters())


def lost() -> Any:
    import torch

    from ecamp_fast.downstream.heads.mask_loss import mask_loss

    generator = torch.Generator().manual_seed(1)
    logits, targets = torch.randn(3, 2, 6, 6, generator=generator), torch.rand(3, 2, 6, 6, generator=generator)
    return mask_loss(logits, targets).item()


def overlapping() -> Any:
    import numpy as np

    from ecamp_fast.scores import auroc_of_parts, dice, mean_over

    generator = np.random.default_rng(1)
    predicted, truth = generator.random((2, 5, 2, 4, 4)) < 0.4
    predicted[0], truth[0], predicted[1], truth[2] = False, False, False, False
    found, chosen = dice(predicted, truth)[:, 0], truth.any((2, 3))[:, 0]
    weights = generator.integers(0, 3, (3, 5)).astype(float)
    owners, levels = np.repeat(np.arange(5), 4), generator.integers(0, 3, (20, 1)).astype(float)
    parts = auroc_of_parts(levels, generator.random((20, 1)) < 0.5, owners, weights)
    return found.tolist(), mean_over(found, chosen, weights).tolist(), parts.tolist()


def turned() -> Any:
    import numpy as np
    import torch

    from ecamp_fast.downstream.data.augment import draw_turns, turn_boxes, turn_images, turn_masks
    from ecamp_fast.downstream.data.box_masks import box_masks

    generator = torch.Generator().manual_seed(1)
    images = torch.randint(256, (6, 1, 16, 16), generator=generator, dtype=torch.uint8)
    masks = (torch.rand(6, 2, 16, 16, generator=generator) < 0.5).float()
    boxes = [torch.tensor([[0.0, 0, 1, 1], [2, 3, 9, 12.5], [5, 3, 12, 7]])] * 6
    labels = [torch.tensor([0, 1, 1])] * 6
    turns = draw_turns(42, np.array([0, 0, 0, 1, 1, 1]), np.arange(6))
    moved, kept = turn_boxes(boxes, labels, turns, 16)
    return (
        turn_images(images, turns).double().std().item(),
        (turn_masks(masks, turns) * torch.arange(16)).tolist(),
        [one.tolist() for one in moved],
        [one.tolist() for one in kept],
        box_masks(boxes, labels, 2, 16).tolist(),
    )


def balanced() -> Any:
    import numpy as np

    from ecamp_fast.downstream.data.labels import Labels
    from ecamp_fast.downstream.tasks.segment import Overlap, balanced, over_positives
    from ecamp_fast.downstream.tasks.splits import TaskPart

    values = np.zeros((30, 2), np.float32)
    values[[3, 5, 8], 1] = 1
    values[[9, 12], 0] = 1
    part = TaskPart("train", Labels(["x", "y"], values, list("p" * 30), []), np.arange(2, 30))
    overlap = Overlap(
        np.array([[1.0, 0.5], [0.2, 1.0], [0.6, 0.1]]), np.array([[False, True], [True, False], [True, True]])
    )
    weights = np.array([[1.0, 1, 1], [2, 1, 0], [0, 1, 2]])
    return balanced(part, ("y",), 1).rows.tolist(), over_positives(overlap, ("x", "y"), weights)


def patched() -> Any:
    import numpy as np
    import torch

    from ecamp_fast.downstream.data.labels import Labels
    from ecamp_fast.downstream.tasks.patches import _Judge, _Patches, held_by, pixels_of
    from ecamp_fast.downstream.tasks.splits import TaskPart, TaskSplits

    labels = Labels([], np.zeros((30, 0), np.float32), [f"p{n // 2}" for n in range(30)], [])
    part = TaskPart("train", labels, np.arange(30))

    def planted(seed: int) -> _Patches:
        generator = torch.Generator().manual_seed(seed)
        prior = torch.linspace(0.05, 0.6, 4)[:, None]
        holds = torch.rand(30, 4, 1, generator=generator) < prior
        features = torch.randn(30, 4, 3, generator=generator) + 5 * prior
        places, owners = torch.arange(4).repeat(30), np.repeat(np.arange(30), 4)
        return _Patches(features.flatten(0, 1), places, holds.flatten(0, 1), owners, features.mean(0))

    judge, train, test = _Judge(TaskSplits(part, part, part), 1), planted(1), planted(2)
    images = torch.arange(36, dtype=torch.uint8).view(1, 1, 6, 6)
    masks = images / 36.0 * (images % 3 > 0)
    return (
        judge.rows("", train, test).resampled[:5].round(6).tolist(),
        judge.place(train, test)[:5].tolist(),
        pixels_of(images, 3).tolist(),
        held_by(masks, 3).tolist(),
    )


def masked() -> Any:
    """Which samples of a set are used, of which every third has masks, and of one whose test split has none."""
    from types import SimpleNamespace

    from ecamp_fast.downstream.tasks.splits import Subset, split_task
    from ecamp_fast.errors import DataError

    def known(split: str) -> Any:
        return SimpleNamespace(
            path="set",
            splits=("train", "val"),
            count={"train": 60, "val": 12}.__getitem__,
            metadata=lambda name, row: {"labels": {}, "study_id": f"{name}{row}"},
            manifest=SimpleNamespace(labels=("x",), source={}),
            has=lambda name, row, _: name != split and row % 3 == 0,
        )

    found = split_task(known(""), Subset(50.0), masked=True)
    try:
        split_task(known("val"), Subset(), masked=True)
    except DataError as error:
        return [part.rows.tolist() for part in (found.train, found.val, found.test)], error.what
    return found


TASKS = "tests/downstream/tasks/"
MUTANTS = [
    *mutants(
        "ecamp_fast/downstream/tasks/splits.py",
        f"{TASKS}test_segment.py",
        masked,
        {
            "samples without masks count as empty": ("    if masked:\n", "    if masked and not len(rows):\n"),
            "validation is carved from those without masks too": (
                "train.rows[choose(train.patients,",
                "np.arange(len(train.labels.patients))[choose(train.labels.patients,",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/downstream/heads/dense.py",
        "tests/downstream/heads/test_dense.py",
        headed,
        {
            "corners are not aligned": ('mode="bilinear", align_corners=True', 'mode="bilinear", align_corners=False'),
            "the first stage is half as wide": ("first >> number", "first >> number + 1"),
            "tokens go to the map without their layer": (
                "as_map(self.embed(tokens), self.grid)",
                "as_map(tokens, self.grid)",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/downstream/trunk.py",
        "tests/downstream/heads/test_dense.py",
        headed,
        {
            "the map is read column by column": (
                "tokens.mT.unflatten(2, (grid, grid))",
                "tokens.mT.unflatten(2, (grid, grid)).mT",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/downstream/heads/mask_loss.py",
        "tests/downstream/heads/test_mask_loss.py",
        lost,
        {
            "focal counts once": ("FOCAL = 10.0", "FOCAL = 1.0"),
            "gamma is 1": ("GAMMA = 2.0", "GAMMA = 1.0"),
            "easy pixels weigh": ("sigmoid(-logits *", "sigmoid(logits *"),
            "dice is added": ("target) - soft_dice(one, target).log()", "target) + soft_dice(one, target).log()"),
            "dice is not smoothed above": ("targets).sum() + 1) /", "targets).sum()) /"),
            "the first mask alone": (
                "zip(logits.unbind(1), targets.unbind(1), strict=True)",
                "[(logits[:, 0], targets[:, 0])]",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/scores.py",
        "tests/test_scores.py",
        overlapping,
        {
            "empty on empty is 0": ("np.maximum(together, 1), 1.0)", "np.maximum(together, 1), 0.0)"),
            "dice is the overlap once": ("2 * shared / np.maximum", "shared / np.maximum"),
            "all images count as positives": ("counts[:, chosen] @ values[chosen]", "counts @ values"),
            "ties of parts count as lost": (
                '(np.searchsorted(own, high, "left") + np.searchsorted(own, high, "right")) / 2',
                'np.searchsorted(own, high, "left")',
            ),
            "parts of one sample are not compared": (
                "for column, sample in enumerate(block):",
                "for column, sample in enumerate(block[1:]):",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/downstream/data/augment.py",
        "tests/downstream/data/test_augment.py",
        turned,
        {
            "pixels turn the other way": (
                "np.stack([cosine, sine, zero], 1), np.stack([-sine,",
                "np.stack([cosine, -sine, zero], 1), np.stack([sine,",
            ),
            "pixels shrink where boxes grow": (
                "np.cos(radians) / self.scales, np.sin(radians) / self.scales",
                "np.cos(radians) * self.scales, np.sin(radians) * self.scales",
            ),
            "the border is repeated": ('padding_mode="zeros"', 'padding_mode="border"'),
            "masks are interpolated": ('turns.pixels(masks, "nearest")', 'turns.pixels(masks, "bilinear")'),
            "an epoch is as the one before": ("sample_keys(seed, epochs, samples)", "sample_keys(seed, 0, samples)"),
            "all samples turn": ("moves = chosen < chance", "moves = chosen < 1"),
            "boxes that left keep their place": (
                "one[kept] for one, kept in zip(moved, inside",
                "one for one, kept in zip(moved, inside",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/downstream/data/box_masks.py",
        "tests/downstream/data/test_box_masks.py",
        turned,
        {
            "boxes of a finding are added": (
                "torch.maximum(out[label], row[:, None] * column)",
                "out[label] + row[:, None] * column",
            ),
            "rows and columns are exchanged": ("row[:, None] * column)", "column[:, None] * row)"),
        },
    ),
    *mutants(
        "ecamp_fast/downstream/tasks/segment.py",
        TASKS + "test_segment.py",
        balanced,
        {
            "twice as many negatives": ("order[: min(int(positive.sum()),", "order[: min(2 * int(positive.sum()),"),
            "negatives by their number": ("uniform(keys, Stream.SPLIT, 1)[:, 0])", "0.0)"),
            "any label is a positive": ("train.values[:, [names.index(name) for name in masks]]", "train.values"),
            "positives are those without a mask": (
                "overlap.positive.T, strict=True)",
                "~overlap.positive.T, strict=True)",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/downstream/tasks/patches.py",
        TASKS + "test_patches.py",
        patched,
        {
            "place is left in": ("part.features - train.means[part.positions]", "part.features"),
            "one mean for all positions": ("train.means[part.positions]", "train.means.mean(0)"),
            "a patch must be covered": ("HOLDS = 0.25", "HOLDS = 0.75"),
            "place by number of patches": (
                "share / count[:, None]",
                "count[:, None].float().repeat(1, share.shape[1])",
            ),
            "pixels of a patch by columns": ("pixel_unshuffle(squares, side)", "pixel_unshuffle(squares.mT, side)"),
        },
    ),
]
