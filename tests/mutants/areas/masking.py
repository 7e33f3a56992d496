"""Which words and wordpieces are masked, and with which draws."""

from typing import Any

from mutant import mutants


def masks() -> Any:
    """Sixteen samples: with words of several pieces, with one entity, two and none, with padding and without."""
    import numpy as np
    import torch

    from ecamp_fast.config import load_recipe
    from ecamp_fast.keyed_random import sample_keys
    from ecamp_fast.text.codes import Mark, pack
    from ecamp_fast.text.packing.masking import mask_text

    more, entity = Mark.CONTINUATION, Mark.ENTITY | Mark.PIECE_ENTITY
    told = Mark.DESCRIPTOR | Mark.NEGATIVE_LEXICON
    one = [0, 0, more, told, told | more, entity, Mark.ENTITY | more, 0, Mark.DESCRIPTOR, entity, 0, 0, 0, 0, 0, 0]
    lone = [0, 0, Mark.DESCRIPTOR, entity, more, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    marks = np.array([*one, *[0] * 16, *lone, *one] * 4, np.int32)
    parts = (
        pack(np.arange(10, 10 + len(marks), dtype=np.int32), marks),
        np.arange(0, len(marks) + 1, 16, dtype=np.int32),
        np.array([12, 9, 16, 16] * 4, np.int32),
        sample_keys(4, 0, np.arange(16)),
    )
    ratios = ["text.max_tokens=16", "masking.word_ratio=0.7", "masking.ratio_with_entity=0.3"]
    changes = [[], ["masking.descriptors=random"], ["masking.unit=wordpiece"], ["losses.mlm_positions=all"]]
    out = []
    for name, change in [("official", []), *(("paper", change) for change in changes)]:
        recipe = load_recipe(name, [*ratios, "masking.entity_ratio=0.5", *change])
        masked = mask_text(*map(torch.from_numpy, parts), recipe)
        out.append((masked.ids.tolist(), masked.labels.tolist(), masked.predicted.tolist()))
    return out


HOME = "tests/text/packing/test_masking.py"

MUTANTS = mutants(
    "ecamp_fast/text/packing/masking.py",
    " ".join(
        f"{HOME}::{test}"
        for test in (
            "test_the_released_mask_bit_for_bit",
            "test_draws_are_those_of_the_streams_by_sample_and_position",
            "test_the_last_place_stays_visible_to_the_released_rule",
            "test_an_entity_has_a_draw_of_its_own",
            "test_a_word_has_the_draw_of_its_first_piece",
            "test_padding_is_never_masked",
            "test_true_ids_are_predicted_where_they_are_masked_or_everywhere",
            "test_descriptors_are_always_masked",
            "test_ratios_follow_the_recipe",
        )
    ),
    masks,
    {
        "an entity is masked by the draw of words": (
            "torch.where(entity, entity_draws < masking.entity_ratio, word",
            "torch.where(entity, word_draws < masking.entity_ratio, word",
        ),
        "the pieces of a word are masked apart": ("return chosen[head] &", "return chosen &"),
        "[CLS] can be masked": (
            "return chosen[head] & rows.real & (rows.position > 0)",
            "return chosen[head] & rows.real",
        ),
        "padding can be masked": ("return chosen[head] & rows.real &", "return chosen[head] &"),
        "only denied descriptors are always masked": ("rows.has(Mark.DESCRIPTOR)", "rows.has(Mark.NEGATIVE_LEXICON)"),
        "descriptors are masked when they should be random": (
            'descriptors == "always":\n        chosen = chosen | rows',
            'descriptors != "never":\n        chosen = chosen | rows',
        ),
        "a wordpiece that is an entity has two chances": ("& ~entity & inside", "& inside"),
        "the tail of an entity goes with it": (
            "first[head] & inside",
            "(first | entity & (entity_draws < masking.entity_ratio))[head] & inside",
        ),
        "the last place can be masked": ("rows.position < last)", "rows.position <= last)"),
        "the ratio with an entity needs two of them": ("[rows.sample] > 0", "[rows.sample] > 1"),
        "the ratios with and without an entity are swapped": (
            "masking.ratio_with_entity, masking.word_ratio",
            "masking.word_ratio, masking.ratio_with_entity",
        ),
        "all samples have the draws of the first": ("keys[rows.sample]", "keys[rows.sample * 0]"),
        "a draw depends on the row in the batch": (
            "Stream.WORDS, rows.position)",
            "Stream.WORDS, torch.arange(len(codes)))",
        ),
        "entities draw from the stream of words": ("Stream.ENTITIES", "Stream.WORDS"),
        "what is predicted is swapped between the two rules": ('mlm_positions == "all"', 'mlm_positions != "all"'),
        "labels are taken after masking": (
            "MaskedText(ids, labels,",
            "MaskedText(ids, ids,",
        ),
    },
)
