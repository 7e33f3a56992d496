"""The picture of the report: rates, measured solid and projected hatched; time by component; memory kept."""

from pathlib import Path
from typing import Any

MEASURED, PROJECTED, BACKWARD = "#3465a4", "#ffffff", "#a9c3e2"
ROW = 0.32  # inches of a bar


def draw(path: Path, rates: list[dict[str, Any]], parts: list[dict[str, Any]], memory: list[dict[str, Any]]) -> bool:
    """Writes ``path`` as PNG, a panel for each of the three that has rows; False where none has."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = [(rows, panel) for rows, panel in ((rates, _rates), (parts, _parts), (memory, _memory)) if rows]
    if not panels:
        return False
    heights = [max(2.0, 1 + ROW * len(rows)) for rows, _ in panels]
    figure, axes = pyplot.subplots(
        len(panels), 1, figsize=(10, sum(heights)), squeeze=False, height_ratios=heights, layout="constrained"
    )
    for axis, (rows, panel) in zip(axes[:, 0], panels, strict=True):
        panel(axis, rows)
        axis.margins(y=0.01)
        axis.invert_yaxis()
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120, metadata={"Software": None})
    pyplot.close(figure)
    return True


def _rates(axis: Any, rows: list[dict[str, Any]]) -> None:
    """One bar a row; a CPU and a GPU lie orders of magnitude apart, hence the logarithmic axis."""
    for row_index, row in enumerate(rows):
        projected = row["kind"] == "projection"
        bar = axis.barh(
            row_index,
            row["images_per_second"],
            color=PROJECTED if projected else MEASURED,
            edgecolor=MEASURED,
            hatch="///" if projected else None,
        )
        axis.bar_label(
            bar,
            fmt=f"{{:,.{1 if row['images_per_second'] < 100 else 0}f}}{' projected' if projected else ''}",
            padding=3,
            fontsize=8,
        )
    axis.set_yticks(range(len(rows)), [f"{row['device']}: {row['what']}" for row in rows], fontsize=8)
    axis.set_xscale("log")
    axis.set_xlabel("images a second (solid: measured, hatched: projected)")
    axis.margins(x=0.2)


def _parts(axis: Any, rows: list[dict[str, Any]]) -> None:
    forward, backward = ([row[phase] * 1e3 for row in rows] for phase in ("forward", "backward"))
    axis.barh(range(len(rows)), forward, color=MEASURED, label="forward")
    axis.barh(range(len(rows)), backward, left=forward, color=BACKWARD, label="backward")
    names = [f"{row['device']}, {row['recipe']} {row['precision']}: {row['component']}" for row in rows]
    axis.set_yticks(range(len(rows)), names, fontsize=8)
    axis.set_xlabel("milliseconds of a micro-batch, measured")
    axis.legend(frameon=False)


def _memory(axis: Any, rows: list[dict[str, Any]]) -> None:
    bar = axis.barh(range(len(rows)), [row["saved_bytes_per_sample"] / 1e6 for row in rows], color=MEASURED)
    axis.bar_label(bar, fmt="{:.0f}", padding=3, fontsize=8)
    axis.set_yticks(range(len(rows)), [f"{row['device']}, {row['recipe']}: {row['what']}" for row in rows], fontsize=8)
    axis.set_xlabel("MB a sample kept for the backward pass, measured")
