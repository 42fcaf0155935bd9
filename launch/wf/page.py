"""A self-contained HTML page: the curves as inline SVG and tables of the last numbers."""

import io
from html import escape

from matplotlib.figure import Figure

from wf.metrics import Metrics

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2430; max-width: 1100px;
       margin: 2rem auto; padding: 0 1rem }
svg { width: 100%; min-width: 640px; height: auto }
h1 { font-size: 1.5rem; overflow-wrap: anywhere }
.wide { overflow-x: auto }
table { border-collapse: collapse; margin: 1rem 0; white-space: nowrap;
        font-variant-numeric: tabular-nums }
th, td { padding: .25rem .9rem; text-align: right; border-bottom: 1px solid #e6e8ec }
th:first-child, td:first-child { text-align: left }
th { color: #5b6472; font-weight: 600 }
summary { cursor: pointer; color: #5b6472 }
"""
FINAL = (  # heading, kind, key, format
    ("steps", "train", "step", "{:,.0f}"),
    ("tokens", "train", "tokens", "{:,.0f}"),
    ("training loss", "train", "loss", "{:.4f}"),
    ("held-out, full precision", "eval", "loss_full", "{:.4f}"),
    ("held-out, ternary", "eval", "loss_ternary", "{:.4f}"),
    ("perplexity, ternary", "eval", "perplexity_ternary", "{:.2f}"),
    ("tokens/s", "train", "tokens_per_s", "{:,.0f}"),
    ("seconds", "train", "elapsed_s", "{:,.0f}"),
)
LAYER = (
    ("zero weights", "zero_fraction", "{:.4f}"),
    ("flipped codes", "flip_rate", "{:.5f}"),
    ("scale", "scale", "{:.5g}"),
    ("scale drift", "scale_drift", "{:+.4f}"),
)


def make_page(runs: list[Metrics], figure: Figure) -> str:
    title = "Runs: " + ", ".join(run.name for run in runs)
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style>\n<h1>{escape(title)}</h1>\n{wide(svg(figure))}\n"
        f"<h2>Last numbers</h2>\n{final_table(runs)}\n"
        + "\n".join(layer_table(run) for run in runs if run.layers)
        + "\n</html>\n"
    )


def svg(figure: Figure) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg")
    return text.getvalue()[text.getvalue().index("<svg") :]  # without the XML prologue


def final_table(runs: list[Metrics]) -> str:
    rows = [
        [run.name, *(show(run.last(kind, key), form) for _, kind, key, form in FINAL)]
        for run in runs
    ]
    return table(["run", *(heading for heading, *_ in FINAL)], rows)


def layer_table(run: Metrics) -> str:
    last = run.layers[-1]
    rows = [
        [layer["name"], *(show(layer.get(key), form) for _, key, form in LAYER)]
        for layer in last["layers"]
    ]
    name = escape(run.name)
    summary = f"<summary>{name}: layers at step {last['step']:,}</summary>"
    return f"<details>{summary}{table(['layer', *(h for h, *_ in LAYER)], rows)}</details>"


def show(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def table(headings: list[str], rows: list[list[str]]) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return wide(f"<table><tr>{head}</tr>\n{body}</table>")


def wide(html: str) -> str:
    """Scrolls by itself on a narrow screen, so that the page does not."""
    return f'<div class="wide">{html}</div>'
