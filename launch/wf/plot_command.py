"""`wf plot`: curves of one or several runs."""

from pathlib import Path

DESCRIPTION = """Draws RUN/metrics.jsonl of one or several runs: training loss, held-out loss (full
precision and ternary), learning rate, quantisation λ, gradient norm, throughput and, where logged,
zero weights, flipped codes and scale drift per layer (thin lines) with their median (thick)."""


def add_to(commands) -> None:
    parser = commands.add_parser("plot", help="draw curves of runs", description=DESCRIPTION)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folder")
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        metavar="FILE.png",
        help="picture to write (default: curves.png in the first run's folder)",
    )
    parser.add_argument(
        "--html",
        type=Path,
        metavar="FILE.html",
        help="also write one self-contained page with the last numbers",
    )
    parser.set_defaults(run=run)


def run(options) -> None:
    from wf.curves import draw  # here because importing matplotlib takes a second
    from wf.metrics import Metrics
    from wf.page import make_page

    runs = [Metrics(path) for path in options.runs]
    figure = draw(runs)
    out = options.out or runs[0].path.parent / "curves.png"
    figure.savefig(out, dpi=150)
    print(out)
    if options.html:
        options.html.write_text(make_page(runs, figure))
        print(options.html)
