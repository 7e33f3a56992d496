"""Where words look, and whether that is where the findings are: a map in the wrong place, a game that is too easy."""

from typing import Any

from mutant import mutants

CLAIMS = "tests/downstream/visualize/test_claims.py"
LOOK = "tests/downstream/visualize/test_look.py"
QUERIES = "tests/downstream/visualize/test_queries.py"


def probabilities() -> Any:
    import torch

    from ecamp_fast.config import load_recipe
    from ecamp_fast.model.fusion import ContextFusion
    from ecamp_fast.model.sequences import SequenceLayout

    recipe = load_recipe("demo")
    torch.manual_seed(0)
    module = ContextFusion(recipe.model.text, recipe.fusion).eval()
    generator = torch.Generator().manual_seed(1)
    text, patches = (torch.randn(*shape, 64, generator=generator) for shape in ((5,), (1, 6)))
    layout = SequenceLayout.equal(1, 5)
    return module.cross_attention(text, patches, layout, layout).round(decimals=4).tolist()


def looked() -> Any:
    import torch

    from ecamp_fast.config import load_recipe
    from ecamp_fast.downstream.visualize.look import encode_whole, look, map_of
    from ecamp_fast.downstream.visualize.queries import Query
    from ecamp_fast.model.ecamp import Ecamp

    torch.manual_seed(0)
    model = Ecamp(load_recipe("demo"), 30).eval()
    image = torch.randint(256, (1, 1, 128, 128), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    (found,) = look(model, encode_whole(model, image)[0], [torch.tensor([2, 9, 8, 7])])
    return (map_of(found, Query("w", (1, 3))) * 1e4).round().tolist()


def read() -> Any:
    from ecamp_fast.downstream.visualize.queries import entity_query, read_text, word_query
    from ecamp_fast.text.wordpiece import Wordpiece, build_tokenizer

    words = ["[PAD]", "[UNK]", "[CLS]", "[MASK]", "[SEP]", "no", "eff", "##usion", "small", "."]
    wordpiece = Wordpiece(build_tokenizer({word: number for number, word in enumerate(words)}), b"")
    text = read_text("No effusion. Small effusion.", wordpiece, 8)
    found = [word_query(text, "Effusion"), entity_query(text, "effusion")]
    return text.ids.tolist(), [query and (query.rows, query.denied) for query in found]


def game() -> Any:
    import numpy as np

    from ecamp_fast.downstream.visualize.boxes import boxes_in_view
    from ecamp_fast.downstream.visualize.claims import Pair, compare_peaks, point

    generator = np.random.default_rng(0)
    corners = generator.uniform(0, 0.8, (30, 2))
    boxes = np.concatenate([corners, corners + generator.uniform(0.01, 0.3, (30, 2))], 1)
    pairs = [Pair(number, "ab"[number % 2], box[None]) for number, box in enumerate(boxes)]
    patients = [f"p{number // 2}" for number in range(30)]
    maps = generator.random((30, 25))
    maps[:9] = 1.0
    ill = generator.random((30, 2)) < 0.4
    peaks = generator.random((30, 2)) + 0.3 * ill
    about = {"height": 50, "width": 80, "boxes": [{"finding": "a", "x": 20, "y": 5, "width": 30, "height": 9}]}
    found = compare_peaks(peaks, [peaks], ill, ~ill.any(1), ["a", "b"], patients)
    flat = compare_peaks(peaks, [1 - peaks], ill, ~ill.any(1), ["a", "b"], patients)
    seen = {name: box.tolist() for name, box in boxes_in_view(about).items()}
    return point(pairs, maps, patients, [maps[::-1]]).as_dict(), found.as_dict(), flat.as_dict(), seen


MUTANTS = [
    *mutants(
        "ecamp_fast/model/fusion.py",
        "tests/model/test_fusion.py",
        probabilities,
        {
            "maps are of values, not of keys": ("-1))[:, :, 0]", "-1))[:, :, 1]"),
            "maps are not scaled by the width of a head": ("/ q.shape[-1] ** 0.5", "/ q.shape[-1]"),
            "maps sum to one over heads": ("scores.softmax(-1)", "scores.softmax(-2)"),
        },
    ),
    *mutants(
        "ecamp_fast/model/text_decoder.py",
        LOOK,
        looked,
        {"maps begin with the class token": ("latent.narrow(1, 1,", "latent.narrow(1, 0,")},
    ),
    *mutants(
        "ecamp_fast/downstream/visualize/look.py",
        LOOK,
        looked,
        {"the first piece of a word alone counts": ("list(query.rows)].mean(0)", "list(query.rows)[:1]].mean(0)")},
    ),
    *mutants(
        "ecamp_fast/downstream/visualize/queries.py",
        QUERIES,
        read,
        {
            "denied mentions count beside stated ones": ("one in stated or about]", "one in about]"),
            "pieces that begin a word alone count": (
                "if any(first < end",
                "if any(first >= start and first < end and last < end",
            ),
            "a long text is cut one too late": ("[: max_tokens - 1]", "[:max_tokens]"),
        },
    ),
    *mutants(
        "ecamp_fast/downstream/visualize/claims.py",
        CLAIMS,
        game,
        {
            "a patient tells of their own finding": (" & (owners != owners[number])", ""),
            "all findings are usually in one place": (
                "(names == names[number]) & (owners",
                "(names == names) & (owners",
            ),
            "the share of boxes is that of one place": ("CHANCE: covered.mean(1)", "CHANCE: covered.max(1) / grid**2"),
            "small boxes stay as they are": ("at_least(pair.boxes, 1 / grid)", "at_least(pair.boxes, 0)"),
            "healthy images are all that lack the finding": (
                "ill[:, column] | healthy",
                "ill[:, column] | ~ill[:, column]",
            ),
            "random weights are not asked": (" and self.above.positive", ""),
            "the centre is the upper left": ("[[0.5, 0.5]]", "[[0.1, 0.1]]"),
        },
    ),
    *mutants(
        "ecamp_fast/downstream/visualize/boxes.py",
        CLAIMS,
        game,
        {
            "boxes stay in pixels of the whole image": ('(box["x"] - left) / side', 'box["x"] / side'),
            "a box is as high as it is wide": ('y + box["height"] / side', 'y + box["width"] / side'),
        },
    ),
    *mutants(
        "ecamp_fast/scores.py",
        "tests/test_scores.py",
        game,
        {
            "a flat map points at its first place": (
                "maps == maps.max(1, keepdims=True)",
                "np.eye(maps.shape[1], dtype=bool)[maps.argmax(1)]",
            )
        },
    ),
]
