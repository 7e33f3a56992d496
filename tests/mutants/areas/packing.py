"""The text of a micro-batch: codes, distilled text put in, rows with their place, and the layout."""

from typing import Any

from mutant import mutants


def codes() -> Any:
    from ecamp_fast.text.codes import CLS_ID, MASK_ID, PAD_ID, SEP_ID, UNK_ID, Mark, has, pack, token_ids

    packed = [pack(700_000, int(mark)) for mark in Mark]
    specials = (PAD_ID, UNK_ID, CLS_ID, MASK_ID, SEP_ID)
    return packed, [token_ids(c) for c in packed], [[has(c, mark) for mark in Mark] for c in packed], specials


def texts() -> Any:
    """What becomes of three reports under sixty keys: codes, offsets and lengths."""
    import numpy as np

    from ecamp_fast.config import TextConfig
    from ecamp_fast.keyed_random import sample_keys
    from ecamp_fast.text.codes import Mark, pack
    from ecamp_fast.text.packing.assemble import assemble

    def report(first: int, stops: str) -> np.ndarray:
        """A "." ends a sentence, a "," is a "." that ends none."""
        marks = [Mark.PERIOD * (mark in ".,") | Mark.SENTENCE_START * (before == ".") for before, mark in _pairs(stops)]
        return pack(np.arange(first, first + len(stops), dtype=np.int32), np.array(marks, np.int32))

    def _pairs(stops: str) -> Any:
        return zip("." + stops, stops, strict=False)

    reports = [report(10, "aa.a,a."), report(30, "aa"), report(50, "aaaaaaaaaaa.a.")] * 20
    distilled = [report(90, "aa."), report(110, "a.aa."), report(130, "")] * 20
    keys = sample_keys(2, 0, np.arange(60))
    out = []
    for padded in (False, True):
        for position in ("random", "append"):
            parts = assemble(
                reports, distilled, keys, TextConfig(max_tokens=12, distilled_position=position), padded=padded
            )
            out.append([part.tolist() for part in parts])
    return out


def layouts() -> Any:
    import numpy as np
    import torch

    from ecamp_fast.config import load_recipe
    from ecamp_fast.keyed_random import sample_keys
    from ecamp_fast.text.packing.layout import Capacity, masked_batch

    def parts(lengths: list[int], rows: list[int]) -> list[torch.Tensor]:
        codes = torch.arange(5, 5 + sum(rows), dtype=torch.int32)
        keys = torch.from_numpy(sample_keys(1, 0, np.arange(len(lengths))))
        return [codes, torch.tensor([0, *rows]).cumsum(0).int(), torch.tensor(lengths, dtype=torch.int32), keys]

    paper, official = (load_recipe(name, ["text.max_tokens=16"]) for name in ("paper", "official"))
    packed, padded = parts([9, 16, 4], [9, 16, 4]), parts([9, 16, 4], [16, 16, 16])
    capacities = (None, Capacity(29, 24), Capacity(52, 40), Capacity(20, 9), Capacity(29, 9))
    found = [masked_batch(*packed, paper, capacity) for capacity in capacities] + [masked_batch(*padded, official)]
    return [
        [getattr(text, name).tolist() for name in ("ids", "rows", "labels", "weights", "cu_seqlens", "predicted")]
        + [text.max_seqlen, text.overflow]
        for text in found
    ]


def places() -> Any:
    """Three padded samples with entities at their beginning, middle and end."""
    import torch

    from ecamp_fast.text.codes import Mark, pack
    from ecamp_fast.text.packing.descriptors import released_descriptors
    from ecamp_fast.text.packing.rows import place_rows

    entity, period = int(Mark.PIECE_ENTITY), int(Mark.PERIOD)
    marks = torch.zeros(3, 10, dtype=torch.int32)
    marks[0, [4, 8]], marks[1, [1, 9]], marks[2, [2, 6]], marks[2, 5] = entity, entity, entity, period
    codes = pack(torch.arange(10, 40, dtype=torch.int32), marks.view(-1))
    lengths = torch.tensor([8, 10, 10], dtype=torch.int32)
    rows = place_rows(codes, torch.tensor([0, 10, 20, 30], dtype=torch.int32), lengths)
    starts = rows.last(rows.has(Mark.PIECE_ENTITY))
    return released_descriptors(rows, 10).tolist(), rows.real.tolist(), rows.position.tolist(), starts.tolist()


MUTANTS = (
    mutants(
        "ecamp_fast/text/codes.py",
        "tests/text/test_codes.py tests/text/reading/test_annotate.py::test_codes_of_a_report",
        codes,
        {
            "an id has 19 bits": ("ID_BITS = 20", "ID_BITS = 19"),
            "two marks share a bit": ("PHRASE_START = 1 << 9", "PHRASE_START = 1 << 8"),
            "the bits of two marks are swapped": (
                "NEGATIVE_LEXICON = 1 << 4  # a descriptor in the group of an entity negated by the phrases or the "
                "lexicon\n    NEGATIVE_PHRASE = 1 << 5",
                "NEGATIVE_LEXICON = 1 << 5\n    NEGATIVE_PHRASE = 1 << 4",
            ),
            "[CLS] and [MASK] are swapped": ("CLS_ID, MASK_ID, SEP_ID =", "MASK_ID, CLS_ID, SEP_ID ="),
            "the lowest mark counts as part of the id": ("(1 << ID_BITS) - 1", "(2 << ID_BITS) - 1"),
        },
    )
    + mutants(
        "ecamp_fast/text/packing/assemble.py",
        "tests/text/packing/test_assemble.py",
        texts,
        {
            "distilled text enters with the rest of the probability": ("whether < text", "whether > text"),
            "one draw says whether and where": (
                "_insert(report, extra, where, text",
                "_insert(report, extra, whether, text",
            ),
            "whether and where are drawn from the stream of words": ("Stream.DISTILLED", "Stream.WORDS"),
            "distilled text never stands last": ("(len(starts) + 1)", "len(starts)"),
            "distilled text stands behind the first word of a sentence": (
                "int(starts[chosen])",
                "int(starts[chosen]) + 1",
            ),
            "the longest text lacks a token": ("room = max_tokens\n", "room = max_tokens - 1\n"),
            "padding counts as text": ("lengths[index] = max_tokens - room", "lengths[index] = max_tokens"),
            "released slots are used for packed text": (
                'if padded and position == "random"',
                'if position == "random"',
            ),
            "a released slot stands before its full stop": ("(periods + 1).tolist()", "periods.tolist()"),
            "a report without a last full stop gets none": (
                "[] if ends else _some_period",
                "[] if True else _some_period",
            ),
            "any report gets one more full stop": ("[] if ends else _some_period", "[] if False else _some_period"),
            "the last released slot is one, not two": (", len(report)]\n    ends", "]\n    ends"),
        },
    )
    + mutants(
        "ecamp_fast/text/packing/layout.py",
        "tests/text/packing/test_layout.py::test_two_samples_with_a_masked_descriptor_each "
        "tests/text/packing/test_layout.py::test_a_batch_that_just_fits_has_its_capacity",
        layouts,
        {
            "filler has a weight": ("index_fill(0, extra, 0.0)", "index_fill(0, extra, 1.0)"),
            "too many predictions are no overflow": (" or room > capacity.predicted", ""),
            "a batch that just fits gets more room": ("count <= capacity", "count < capacity"),
            "a larger batch doubles its room": ("-(-count // step) * step", "2 * capacity"),
            "a prediction at the head of a sample belongs to the one before": (
                "searchsorted(rows, cu_seqlens.long())",
                "searchsorted(rows, cu_seqlens.long(), right=True)",
            ),
            "labels are what the model sees": ("labels=masked.labels[rows]", "labels=masked.ids[rows]"),
            "the longest sample is the shortest": ("cu_seqlens.diff().max()", "cu_seqlens.diff().min()"),
            "all rows are predicted": (
                "rows = masked.predicted.nonzero()[:, 0]",
                "rows = torch.ones_like(masked.predicted).nonzero()[:, 0]",
            ),
        },
    )
    + mutants(
        "ecamp_fast/text/packing/rows.py",
        "tests/text/packing/test_rows.py",
        places,
        {
            "a look ahead goes on into the next sample": (
                "values[distance:] & (self.sample[distance:] == self.sample[:-distance])",
                "values[distance:]",
            ),
            "the first row of padding is text": ("position < lengths[sample]", "position <= lengths[sample]"),
            "the latest row is the earliest": ("torch.where(starts, rows, 0)", "torch.where(starts, 0, rows)"),
            "positions go on from sample to sample": (" - cu_seqlens.long()[sample]", ""),
        },
    )
    + mutants(
        "ecamp_fast/text/packing/descriptors.py",
        "tests/text/packing/test_rebalance.py::test_golden_released_descriptors "
        "tests/text/packing/test_rebalance.py::test_released_descriptors_spare_cls_full_stops_and_the_last_place",
        places,
        {
            "one wordpiece before an entity": (" | rows.lookahead(entity, 2)", ""),
            "three wordpieces before an entity": (
                "| rows.lookahead(entity, 2)",
                "| rows.lookahead(entity, 2) | rows.lookahead(entity, 3)",
            ),
            "a full stop describes": (" & ~has(rows.codes, Mark.PERIOD)", ""),
            "[CLS] describes": (
                " & ~has(rows.codes, Mark.PERIOD) & (rows.position > 0)",
                " & ~has(rows.codes, Mark.PERIOD)",
            ),
            "an entity in the last place is described": (
                "rows.position < max_tokens - 1",
                "rows.position < max_tokens",
            ),
        },
    )
)
