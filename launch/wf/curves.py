"""Draws the curves of runs: a grid of panels, one colour per run."""

from dataclasses import dataclass

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator

from wf.metrics import Metrics, Series

COLORS = ("#2563eb", "#e07a1f", "#15945a", "#b5338a", "#6b4fcf", "#8a6d1d", "#0e8fa3", "#5b6472")
POINTS = 1500  # more than a panel has pixels
COLUMNS = 3
STYLE = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9aa1ab",
    "axes.labelcolor": "#3f4650",
    "xtick.color": "#3f4650",
    "ytick.color": "#3f4650",
    "axes.grid": True,
    "grid.color": "#e6e8ec",
    "legend.fontsize": 11,
    "figure.facecolor": "white",
    "lines.solid_capstyle": "round",
    "svg.fonttype": "none",
}


@dataclass(frozen=True)
class Curve:
    """One value of the records, drawn as a line."""

    kind: str
    key: str
    label: str = ""
    style: dict | None = None


@dataclass(frozen=True)
class Panel:
    title: str
    unit: str
    curves: tuple[Curve, ...]
    limits: tuple[float, float] | None = None
    noisy: bool = False  # a running mean over the raw values
    per_layer: bool = False  # a thin line per layer, a thick one for their median


PANELS = (
    Panel("Training loss", "nats per token", (Curve("train", "loss"),), noisy=True),
    Panel(
        "Held-out loss",
        "nats per token",
        (
            Curve("eval", "loss_ternary", "ternary", {"ls": "-", "marker": "o"}),
            Curve("eval", "loss_full", "full precision", {"ls": (0, (4, 2)), "marker": "s"}),
        ),
    ),
    Panel("Learning rate", "", (Curve("train", "lr"),)),
    Panel("Quantisation λ", "0 full, 1 ternary", (Curve("train", "quant"),), (-0.04, 1.04)),
    Panel("Gradient norm", "", (Curve("train", "grad_norm"),), noisy=True),
    Panel("Throughput", "tokens per second", (Curve("train", "tokens_per_s"),), noisy=True),
    Panel("Zero weights", "share of a layer", (Curve("layers", "zero_fraction"),), per_layer=True),
    Panel("Flipped codes", "share of a layer", (Curve("layers", "flip_rate"),), per_layer=True),
    Panel(
        "Scale drift", "relative to the start", (Curve("layers", "scale_drift"),), per_layer=True
    ),
)


def draw(runs: list[Metrics]) -> plt.Figure:
    """A figure of the panels for which at least one run has values."""
    panels = [panel for panel in PANELS if any(has_values(run, panel) for run in runs)]
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            rows,
            columns,
            figsize=(5.2 * columns, 3.3 * rows + 0.5),
            squeeze=False,
            layout="constrained",
        )
        for axis, panel in zip(axes.flat, panels, strict=False):
            draw_panel(axis, panel, runs)
        for axis in axes.flat[len(panels) :]:
            axis.set_axis_off()
        handles = [Line2D([], [], color=color(i), lw=2.5) for i in range(len(runs))]
        figure.legend(
            handles,
            [run.name for run in runs],
            loc="outside upper left",
            ncols=min(len(runs), 5),
            frameon=False,
        )
    return figure


def has_values(run: Metrics, panel: Panel) -> bool:
    if panel.per_layer:
        return any(run.layer_series(curve.key) for curve in panel.curves)
    return any(run.series(curve.kind, curve.key)[0] for curve in panel.curves)


def draw_panel(axis: plt.Axes, panel: Panel, runs: list[Metrics]) -> None:
    for i, run in enumerate(runs):
        for curve in panel.curves:
            if panel.per_layer:
                draw_layers(axis, run.layer_series(curve.key), color(i))
            else:
                draw_curve(axis, run.series(curve.kind, curve.key), curve, panel.noisy, color(i))
    axis.set_title(panel.title)
    axis.set_xlabel("optimizer step")
    axis.set_ylabel(panel.unit)
    axis.margins(x=0.02)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    axis.yaxis.set_major_formatter(EngFormatter(sep="") if "second" in panel.unit else "{x:.4g}")
    if panel.limits:
        axis.set_ylim(panel.limits)
    if any(curve.label for curve in panel.curves):
        keys = [Line2D([], [], color="#5b6472", ms=4, **c.style) for c in panel.curves]
        axis.legend(keys, [curve.label for curve in panel.curves], frameon=False, handlelength=3)


def draw_curve(axis: plt.Axes, series: Series, curve: Curve, noisy: bool, rgb: str) -> None:
    steps, values = thin(series)
    if not noisy or len(values) < 20:
        axis.plot(steps, values, color=rgb, lw=1.8, ms=4, **(curve.style or {}))
        return
    axis.plot(steps, values, color=rgb, lw=0.8, alpha=0.3)
    axis.plot(steps, running_mean(values), color=rgb, lw=1.8)


def draw_layers(axis: plt.Axes, layers: dict[str, Series], rgb: str) -> None:
    by_step: dict[int, list[float]] = {}
    for steps, values in layers.values():
        axis.plot(*thin((steps, values)), color=rgb, lw=0.7, alpha=0.25)
        for step, value in zip(steps, values, strict=True):
            by_step.setdefault(step, []).append(value)
    if by_step:
        medians = [float(np.median(by_step[step])) for step in sorted(by_step)]
        axis.plot(*thin((sorted(by_step), medians)), color=rgb, lw=2.2)


def thin(series: Series) -> Series:
    """At most about POINTS points, each the mean of its neighbours; the last step is kept."""
    steps, values = np.asarray(series[0]), np.asarray(series[1], dtype=float)
    group = -(-len(steps) // POINTS) if len(steps) else 1
    starts = np.arange(0, len(steps), group)
    if group == 1:
        return steps, values
    sizes = np.diff(np.append(starts, len(steps)))
    return steps[starts + sizes - 1], np.add.reduceat(values, starts) / sizes


def running_mean(values: np.ndarray) -> np.ndarray:
    """Mean over the 4 % of the curve around each point, over fewer at the ends."""
    window = np.ones(max(3, len(values) // 25))
    return np.convolve(values, window, "same") / np.convolve(np.ones(len(values)), window, "same")


def color(run: int) -> str:
    return COLORS[run % len(COLORS)]
