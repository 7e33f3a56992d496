"""Maps against boxes: what each score counts, and who the opponents are."""

from typing import Any

from mutant import mutants

SCORES, STORED = "tests/attend/test_map_scores.py", "tests/attend/test_stored_maps.py"


def scored() -> Any:
    """Random maps of findings of all kinds, two images of a patient now and then."""
    import numpy as np

    from ecamp_fast.attend.map_scores import MapPair, score_maps

    generator, pairs = np.random.default_rng(0), []
    for number in range(40):
        x, y = (number % 3) * 0.3, generator.uniform(0, 0.7)
        mass = np.array([[x, y, x + 0.2, y + 0.01 + 0.2 * (number % 2)]])
        both = np.array([[0.1, 0.3, 0.4, 0.8], [0.6, 0.4 - 0.01 * number, 0.9, 0.8]])
        for name, boxes in (("mass", mass), ("edema", both)):
            pairs.append(MapPair(f"i{number}", name, f"p{number // 2}", generator.integers(0, 6, (5, 5)), boxes))
    found = score_maps(pairs).as_dict()
    numbers: list[Any] = []

    def walk(tree: Any) -> None:
        if isinstance(tree, dict):
            for value in tree.values():
                walk(value)
        else:
            numbers.append(round(tree, 6) if isinstance(tree, float) else tree)

    walk(found)
    return numbers


def read() -> Any:
    """Boxes of maps that cover a part of a phantom."""
    import tempfile
    from pathlib import Path

    import numpy as np

    from ecamp_fast.attend.stored_maps import read_boxed
    from ecamp_fast.shards.builder.build import Options, build_phantoms
    from ecamp_fast.shards.load.read import ShardSet

    with tempfile.TemporaryDirectory() as folder:
        build_phantoms(16, Path(folder) / "set", size=64, options=Options(holdout=0.75))
        shards = ShardSet(Path(folder) / "set")
        rows = [
            (shards.key("val", index), finding, number)
            for index in range(shards.count("val"))
            for finding in sorted({box["finding"] for box in shards.metadata("val", index).get("boxes", ())})
            for number, finding in enumerate((finding, finding.upper()))
        ]
        maps = np.stack([np.full((3, 3), 9 - 5 * number, np.uint8) for _, _, number in rows])
        square, image = [[8, 16, 48, 32]] * len(rows), [[64, 64]] * len(rows)
        held = {"maps": maps, "square": square, "image": image, "peaks": np.ones(len(rows))}
        held |= {"samples": np.array([], str), "windows": np.zeros((0, 2), np.int32)}
        keys, entities, _ = zip(*rows, strict=True)
        np.savez(Path(folder) / "maps-val-000000.npz", keys=keys, entities=entities, **held)
        np.savez(Path(folder) / "maps-valid-000000.npz", keys=["a"], entities=["b"], maps=maps[:1], square=[[0] * 4])
        try:
            found = read_boxed(Path(folder), shards, "val")
        except Exception as error:
            return type(error).__name__
        pairs = [(pair.finding, int(pair.map.sum()), pair.boxes.round(6).tolist()) for pair in found.pairs]
        return [pairs, found.samples, found.unmapped, found.unboxed]


MUTANTS = [
    *mutants(
        "ecamp_fast/attend/map_scores.py",
        SCORES,
        scored,
        {
            "one of several peaks is enough": ("(peaks & boxes).sum(1) / peaks.sum(1)", "1.0 * (peaks & boxes).any(1)"),
            "all places as high as the last are taken": ("part * (level & boxes)", "1.0 * (level & boxes)"),
            "the overlap is over the boxes alone": ("shared / (2 * size - shared)", "shared / size"),
            "a lift is no multiple": ('"lift": share * boxes.shape[1] / size', '"lift": share / size'),
            "a map that is even is on the left": ("np.where(even, 0.5,", "np.where(even, 0.0,"),
            "every box has a side": ("np.abs(where) >= (2 * ONE_SIDE - 1) * size", "np.abs(where) >= 0"),
            "left is right": ("np.sign(leaning) == np.sign(where)", "np.sign(leaning) != np.sign(where)"),
            "a patient is their own other": (
                "owners[:, None] != owners[chosen]",
                "owners[:, None] >= 0 * owners[chosen]",
            ),
            "the usual place knows the own box": ("by_owner.sum(0) - by_owner[owners]", "by_owner[0 * owners] + boxes"),
            "other patients are not drawn": ("reached = drawn @", "drawn = 0 * drawn + 1\n    reached = drawn @"),
            "boxes stay smaller than a place": (
                "at_least(pair.boxes, CELL / grid)",
                "at_least(pair.boxes, 0.9 / grid)",
            ),
            "every finding is one-sided": (".mean() >= OFTEN)", ".mean() >= 0)"),
        },
    ),
    *mutants(
        "ecamp_fast/attend/stored_maps.py",
        STORED,
        read,
        {
            "boxes stay where the image has them": ('(box["y"] - top) / height', 'box["y"] / height'),
            "the last map of a finding counts": ("np.maximum(before.map, pair.map)", "pair.map"),
            "another split is read along": ("split_of(file) == split", "str(split_of(file)).startswith(split)"),
        },
    ),
]
