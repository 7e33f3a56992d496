"""The view of a picture, and the attention map, the window and the text that go with it."""

from typing import Any

from mutant import mutants


def boxes() -> Any:
    import numpy as np

    from ecamp_fast.shards.load import crop

    heights, widths = np.array([700, 31, 1000, 90, 512] * 6), np.array([901, 77, 100, 1000, 512] * 6)
    keys = np.arange(30) * 7919
    return [
        crop.random_boxes(heights, widths, keys, (0.2, 1.0), (0.75, 4 / 3)).tolist(),
        crop.random_boxes(heights, widths, keys, (0.95, 1.0), (0.75, 4 / 3)).tolist(),
        crop.whole_boxes(heights, widths).tolist(),
        crop.flips(keys, 0.5).tolist(),
    ]


def maps() -> Any:
    """Seventy pictures, mirrored by turns, every third without a map; and the windows over them."""
    import numpy as np

    from ecamp_fast.geometry import window_size
    from ecamp_fast.shards.load import crop

    draw, count = np.random.default_rng(1), 105
    stored = [None if n % 3 == 0 else draw.integers(0, 256, (19 - n % 4, 7 + n % 5), np.uint8) for n in range(count)]
    heights, widths = draw.integers(60, 900, count), draw.integers(60, 900, count)
    views = crop.random_boxes(heights, widths, np.arange(count), (0.2, 1.0), (0.75, 4 / 3))
    seen = crop.sample_maps(stored, views, np.arange(count) % 2 == 1, heights, widths)
    flat = np.concatenate((seen, np.zeros((1, 28, 28), np.float32)))
    return (
        np.round((seen * np.arange(1, 29) * np.arange(1, 29)[:, None] ** 2).sum((1, 2)), 0).tolist(),
        [crop.windows(flat, grid).tolist() for grid in (7, 14, 16)],
        crop.centre_map().sum(0).tolist(),
        [window_size(grid) for grid in (7, 14, 16, 28)],
    )


def collated() -> Any:
    """Micro-batches of six pictures of odd sizes, half of them with a map, for each guidance."""
    import io
    from concurrent.futures import ThreadPoolExecutor
    from types import SimpleNamespace

    import numpy as np
    from PIL import Image

    from ecamp_fast.config import parse_recipe
    from ecamp_fast.shards.format.manifest import ATTENTION, IMAGE, TOKENS
    from ecamp_fast.shards.format.tokens import pack_tokens
    from ecamp_fast.shards.images.encode import pgm
    from ecamp_fast.shards.load.collate import Collator, jpeg_size
    from ecamp_fast.shards.load.read import Sample

    def members(number: int) -> dict[str, bytes]:
        file, draw = io.BytesIO(), np.random.default_rng(number)
        Image.new("L", (60 + 9 * number, 90 - 7 * number)).save(file, "JPEG")
        report, distilled = (np.arange(5, 5 + n, dtype=np.int32) for n in (8 + number, number))
        out = {IMAGE: file.getvalue(), TOKENS: pack_tokens(report, distilled)}
        grain = draw.integers(0, 256, (19, 19), np.uint8)
        return out | ({ATTENTION: pgm(Image.fromarray(grain))} if number % 2 else {})

    stored: Any = SimpleNamespace(
        read=lambda split, index, extensions: Sample(f"s{index}", "x.tar", members(index)),
        store=SimpleNamespace(readers=1),
        locate=lambda name: name,
    )
    out: list[Any] = []
    with ThreadPoolExecutor(1) as pool:
        for guidance in ("window_aligned", "window_fixed", "soft"):
            image, text = {"high_size": 448, "low_size": 224}, {"max_tokens": 16}
            recipe = parse_recipe({"image": image, "text": text, "sr": {"guidance": guidance}}, "test")
            for train in (True, False):
                one = Collator(stored, "train", recipe, train=train)(pool, np.arange(6), np.arange(6))
                views = one.boxes.tolist(), one.flipped.tolist(), np.round(one.attention.sum((1, 2))).tolist()
                out.append((views, one.window.tolist(), one.keys.tolist(), one.lengths.tolist()))
    cut = members(1)[IMAGE][:-2]
    try:
        out.append(jpeg_size(cut))
    except ValueError:
        out.append("refused")
    return out


CROP = "tests/shards/load/test_crop.py"
LOADER = "tests/shards/load/test_loader.py"

MUTANTS = (
    mutants(
        "shards/load/crop.py",
        " ".join(
            f"{CROP}::{test}"
            for test in (
                "test_boxes_are_torchvisions_and_inside",
                "test_images_too_narrow_for_any_try_get_the_largest_allowed_box",
                "test_whole_boxes_are_centred_squares",
                "test_flips_are_drawn_from_a_stream_of_their_own",
            )
        ),
        boxes,
        {
            "the aspect is uniform, not its logarithm": (
                "low, high = np.log(aspect)\n    ratio = np.exp(low + uniforms[..., 1] * (high - low))",
                "low, high = aspect\n    ratio = low + uniforms[..., 1] * (high - low)",
            ),
            "the aspect is height over width": (
                "np.sqrt(target / ratio)).astype(np.int64)\n    box_w = np.rint(np.sqrt(target * ratio))",
                "np.sqrt(target * ratio)).astype(np.int64)\n    box_w = np.rint(np.sqrt(target / ratio))",
            ),
            "no box touches the lower edge": ("(heights - height + 1)", "(heights - height)"),
            "a try that fails is taken": ("fits.argmax(1)", "fits.argmin(1)"),
            "a picture too wide gets the narrowest box": (
                "np.rint(heights * aspect[1])",
                "np.rint(heights * aspect[0])",
            ),
            "the view of evaluation is the upper left square": (
                "np.stack(((heights - side) // 2, (widths - side) // 2, side, side), 1)",
                "np.stack((0 * side, 0 * side, side, side), 1)",
            ),
            "flips are drawn from the stream of crops": ("Stream.FLIP", "Stream.CROP"),
        },
    )
    + mutants(
        "shards/load/crop.py",
        f"{CROP}::test_maps_of_any_size_are_sampled_together_as_alone",
        maps,
        {
            "the map is mirrored where the view is not": (
                "np.where(flipped[:, None], axis[:, ::-1], axis)",
                "np.where(flipped[:, None], axis, axis[:, ::-1])",
            ),
            "the weight between two columns is not mirrored": (
                "x0, x1, fx = (np.where(flipped[:, None], axis[:, ::-1], axis) for axis in (x0, x1, fx))",
                "x0, x1 = (np.where(flipped[:, None], axis[:, ::-1], axis) for axis in (x0, x1))",
            ),
            "the map follows the place of the view, not its size": (
                "length[:, None] * centres",
                "side[:, None] * centres",
            ),
            "cells are sampled at their corners": (
                "(np.arange(ATTENTION_GRID) + 0.5) / ATTENTION_GRID",
                "np.arange(ATTENTION_GRID) / ATTENTION_GRID",
            ),
            "the map lies half a cell too far up and left": ("[:, None] - 0.5\n", "[:, None]\n"),
            "maps behind the first 64 of a batch are left out": (
                "range(0, len(with_map), CHUNK)",
                "range(0, min(len(with_map), CHUNK), CHUNK)",
            ),
            "pictures without a map shift the sizes of those with one": (
                "flipped[part], sizes[part])",
                "flipped[part], sizes[start : start + len(part)])",
            ),
        },
    )
    + mutants(
        "shards/load/crop.py",
        " ".join(
            f"{CROP}::{test}"
            for test in (
                "test_windows_hold_the_most_attention",
                "test_windows_name_row_and_column_of_a_grid_that_does_not_divide",
                "test_ties_and_nothing_positive_give_the_middle_window",
                "test_the_centre_map_is_the_middle_window",
            )
        ),
        maps,
        {
            "a window's row and column are swapped": (
                "np.stack(np.divmod(leading.argmax(1), places), 1)",
                "np.stack(np.divmod(leading.argmax(1), places)[::-1], 1)",
            ),
            "attention is summed over one patch too few": ("first : first + size]", "first : first + size - 1]"),
            "the first of equal windows stands, not the middle one": (
                "leading.sum(1, keepdims=True) == 1",
                "leading.sum(1, keepdims=True) >= 1",
            ),
            "the centre map lacks both margins of a side": (
                "(ATTENTION_GRID - window_size(ATTENTION_GRID)) // 2",
                "ATTENTION_GRID - window_size(ATTENTION_GRID)",
            ),
        },
    )
    + mutants(
        "ecamp_fast/geometry.py",
        f"{CROP}::test_the_window_is_12_of_14_patches_or_less_in_proportion",
        maps,
        {
            "the window is 13 of 14 patches": ("grid * 12 // 14", "grid * 13 // 14"),
            "the window is rounded up": ("grid * 12 // 14", "-(-grid * 12 // 14)"),
        },
    )
    + mutants(
        "shards/load/collate.py",
        " ".join(
            (
                f"{LOADER}::test_evaluation_shows_each_sample_once_whole_and_in_order",
                f"{LOADER}::test_windows_follow_the_guidance",
                f"{LOADER}::test_batches_are_as_batch_says",
                "tests/shards/load/test_collate.py",
            )
        ),
        collated,
        {
            "height and width of a JPEG are swapped": (
                'return int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 7 : at + 9], "big")',
                'return int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")',
            ),
            "a JPEG that was cut is taken": (r' and data.endswith(b"\xff\xd9")', ""),
            "evaluation crops and flips": ("if not self._train:", "if False:"),
            "the fixed window is looked for in the view": ("crop.windows(seen, grid)", "crop.windows(attention, grid)"),
            "the fixed window is mirrored with the view": (
                "whole, np.zeros(count, bool), heights",
                "whole, flipped, heights",
            ),
            "draws of an epoch are those of the first": (
                "sample_keys(self._recipe.seed, epochs, samples)",
                "sample_keys(self._recipe.seed, 0, samples)",
            ),
        },
    )
)
