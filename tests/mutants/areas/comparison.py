"""The paper's tables, grids, and ours beside theirs."""

from typing import Any

from mutant import mutants

ROOM = "ecamp_fast/downstream/tables"
TESTS = "tests/downstream/tables"


def readings() -> Any:
    """S4 in both readings, and what Tables 1 to 5 say beside tasks."""
    from ecamp_fast.downstream.tables.published import beside, published_by_disease

    table = published_by_disease("S4")
    read = [[table.reading(row, printed) for row in table.rows] for printed in (True, False)]
    return read, [(cell.row.method, cell.value) for f in (1, 10) for cell in beside("classify", "CXR14", f)]


def rows_of_the_ablation() -> Any:
    from ecamp_fast.downstream.tables.ablations import ablations, beside_row

    known = [one for one in ablations() if one.trained]
    resolved = [(one.name, one.recipe(base).digest) for base in ("paper", "worth") for one in known]
    maps = [one.reads_raw_maps("paper") for one in known]
    return resolved, maps, [(cell.row.method, cell.value) for cell in beside_row("5", "classify", "CXR14", 1)]


def chosen() -> Any:
    from ecamp_fast.downstream.tables.evaluate import choose

    nan = float("nan")
    trials = ({0.3: 0.7, 1.0: 0.8, 3.0: 0.75}, {0.3: 0.8, 1.0: 0.8}, {0.3: nan, 1.0: 0.1}, {1.0: nan, 0.3: nan})
    return [choose(one) for one in trials]


def compared() -> Any:
    """A row and what it gains, of fits that are known."""
    from ecamp_fast.downstream.result import TaskResult
    from ecamp_fast.downstream.tables import rows
    from ecamp_fast.downstream.tables.cells import Group
    from ecamp_fast.downstream.tables.evaluate import GroupResult

    def one(score: float) -> TaskResult:
        return TaskResult("t", "auroc", score, score - 0.1, score + 0.2, {}, {}, "", "", 1.0, 1, {})

    ours = GroupResult(
        Group("t", "k", "ours", ("a", "b"), 1.0),
        {("a", 1): one(0.8), ("b", 1): one(0.5), ("a", 2): None},
        3.0,
        {1.0: 0.1, 2.0: 0.2, 3.0: 0.3},
    )
    base = GroupResult(
        Group("t", "k", "untrained", ("u", "v"), 1.0, True),
        {("u", 1): one(0.4), ("v", 1): one(0.3), ("u", 2): one(0.1)},
        1.0,
        {},
    )
    return vars(rows._ours(ours, base, ""))


def paired() -> Any:
    from ecamp_fast.downstream.result import TaskResult
    from ecamp_fast.downstream.tables.cells import Group
    from ecamp_fast.downstream.tables.differences import differences
    from ecamp_fast.downstream.tables.evaluate import GroupResult
    from ecamp_fast.downstream.tables.registry import TASKS

    def row(kind: str, name: str, scores: dict[tuple[str, int], float]) -> GroupResult:
        sources = tuple(dict.fromkeys(source for source, _ in scores))
        draws = {key: {"resampled": [score, score + 0.01, score - 0.02]} for key, score in scores.items()}
        results = {
            key: TaskResult("t", "auroc", score, 0, 1, {}, {}, "", "", 1.0, 1, {"test": 9}, draws[key])
            for key, score in scores.items()
        }
        return GroupResult(Group("t", kind, name, sources, 1.0, name == "pixels"), results, 1.0, {})

    ours = {("a", 1): 0.8, ("a", 2): 0.7, ("b", 1): 0.9, ("b", 2): 0.6}
    one = {("a", 1): 0.8, ("a", 2): 0.7}
    pixels = {("p", 1): 0.5, ("p", 2): 0.6}
    return [
        [vars(found) for found in differences([row(kind, "ours", mine), row(kind, "pixels", pixels)], TASKS)]
        for kind, mine in (("probe", ours), ("probe", one), ("classify", one))
    ]


def over_seeds() -> Any:
    import numpy as np

    from ecamp_fast import scores

    draws = np.random.default_rng(1).normal(size=(4, 301)) + np.arange(4.0)[:, None]
    return [vars(scores.over_seeds(part)) for part in (draws, draws[:1])]


MUTANTS = [
    *mutants(
        f"{ROOM}/published.py",
        f"{TESTS}/test_published.py",
        readings,
        {
            "rows in the data set's order stay as printed": ('row.order == "dataset" and not printed', "False"),
            "rows under their own headings are re-ordered": ('row.order == "dataset" and not printed', "not printed"),
            "two classes of the data set are swapped": ('"Effusion", "Infiltration"', '"Infiltration", "Effusion"'),
            "cells move by a column": (
                "for one in self.columns for fraction",
                "for one in self.columns[::-1] for fraction",
            ),
        },
    ),
    *mutants(
        f"{ROOM}/table_4.yaml",
        f"{TESTS}/test_ablations.py",
        rows_of_the_ablation,
        {"a part of a row is lost": ("CD DM RF - G L", "CD DM - - - L")},
    ),
    *mutants(
        f"{ROOM}/ablations.py",
        f"{TESTS}/test_ablations.py",
        rows_of_the_ablation,
        {
            "distillation is halved": ('"text.distilled_probability", "0.0"', '"text.distilled_probability", "0.4"'),
            "what the base has off stays off": ("elif str(keys[part.key]).lower() == part.off:", "elif False:"),
            "the global scale is the local one": ('"fusion.use_global", "false"', '"fusion.use_local", "false"'),
            "maps come from distilled reports": ('"CD" in (self.off or ()) and', "False and"),
            "CNN rows stand beside the ViT": ('cell.row.backbone in (None, "ViT")', "True"),
        },
    ),
    *mutants(
        f"{ROOM}/evaluate.py",
        f"{TESTS}/test_evaluate.py",
        chosen,
        {
            "the worst rate is taken": ("(-known[factor], factor)", "(known[factor], factor)"),
            "of equal rates the largest": ("(-known[factor], factor)", "(-known[factor], -factor)"),
            "a fit that diverged is best": ("if not math.isnan(score)}", "}"),
        },
    ),
    *mutants(
        f"{ROOM}/rows.py",
        f"{TESTS}/test_rows.py",
        compared,
        {
            "gains are not paired": (
                "theirs[pair].score) for pair",
                "fmean(t.score for t in theirs.values())) for pair",
            ),
            "gains are losses": ("(ours[pair].score - theirs[pair].score)", "(theirs[pair].score - ours[pair].score)"),
            "fits that diverged are not told": ("diverged=len(one.results) - len(known)", "diverged=0"),
            "a rate at the end is not noted": ("chosen = one.trials and", "chosen = False and"),
            "the interval's ends are swapped": ("low=_mean([100 * result.low", "low=_mean([100 * result.high"),
        },
    ),
    *mutants(
        f"{ROOM}/differences.py",
        f"{TESTS}/test_differences.py",
        paired,
        {
            "subsets of one model are trainings": ("if is_fitted and len(one.group.sources) == 1:", "if True:"),
            "fine-tunings with other seeds are averaged": (
                "if is_fitted and len(one.group.sources) == 1:",
                "if False:",
            ),
            "the first subset counts alone": ("np.mean(of_seeds, axis=0)", "of_seeds[0]"),
            "pixels stand against the first pre-training": (
                "else sources[0] if len(sources) == 1",
                'else "" if len(sources) == 1',
            ),
            "differences have the other sign": (
                "np.array(mine.extra[RESAMPLED]) - np.array(theirs.extra[RESAMPLED])",
                "np.array(theirs.extra[RESAMPLED]) - np.array(mine.extra[RESAMPLED])",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/scores.py",
        "tests/test_over_seeds.py",
        over_seeds,
        {
            "seeds are all drawn once": (
                "between = (own[chosen, 0] - value).mean(0)",
                "between = 0 * (own[chosen, 0] - value).mean(0)",
            ),
            "few seeds are too sure": ("np.sqrt(seeds / (seeds - 1))", "1.0"),
            "patients are sure": (
                "within = np.take_along_axis(drawn - own,",
                "within = 0 * np.take_along_axis(drawn - own,",
            ),
        },
    ),
]
