"""wf plot: what the trainer logs becomes a picture and a page."""

import json
import math
from html.parser import HTMLParser

import matplotlib.image
import pytest
from wf.metrics import Metrics


def train(step: int, loss: float | None = None) -> dict:
    loss = 3 + 4 * math.exp(-step / 200) if loss is None else loss
    speed = {"tokens_per_s": 9000.0, "tflops": 0.1, "memory_gb": 1.5, "elapsed_s": step * 0.5}
    values = {"loss": loss, "lr": 1e-3, "quant": min(1, step / 300), "grad_norm": 0.7}
    return {"kind": "train", "step": step, "tokens": step * 4096, **values, **speed}


def evaluation(step: int) -> dict:
    loss = 3.1 + 4 * math.exp(-step / 200)
    values = {"loss_full": loss, "loss_ternary": loss + 0.2, "perplexity_ternary": 30.0}
    return {"kind": "eval", "step": step, "tokens": step * 4096, **values}


def layers(step: int) -> dict:
    values = {"flip_rate": 0.01, "scale": 0.02, "scale_drift": step / 1e5}
    names = [f"model.layers.{i}.mlp.up_proj" for i in range(3)]
    records = [{"name": n, "zero_fraction": 0.3 + i / 50, **values} for i, n in enumerate(names)]
    return {"kind": "layers", "step": step, "layers": records}


def write_run(folder, records, ending="\n"):
    folder.mkdir()
    lines = [json.dumps(record) for record in records]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + ending)
    return folder


@pytest.fixture
def run(tmp_path):
    records = [{"kind": "start", "seed": 1}, *(train(step) for step in range(0, 600, 5))]
    records += [evaluation(step) for step in range(0, 600, 100)]
    records += [layers(step) for step in range(0, 600, 100)]
    return write_run(tmp_path / "stage2", records)


class Tags(HTMLParser):
    """Collects tags, and whatever a browser would have to fetch."""

    def __init__(self):
        super().__init__()
        self.tags, self.fetched = [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if name in ("src", "href", "xlink:href") and not value.startswith(("#", "data:")):
                self.fetched.append(value)


def test_draws_a_picture_and_a_page(wf, tmp_path, run):
    wf("plot", run, "-o", tmp_path / "curves.png", "--html", tmp_path / "curves.html")
    picture = matplotlib.image.imread(tmp_path / "curves.png")
    assert picture.shape[0] > 1000 and picture.shape[1] > 1000 and picture.std() > 0.05
    page = (tmp_path / "curves.html").read_text()
    tags = Tags()
    tags.feed(page)
    assert "svg" in tags.tags and not tags.fetched and "script" not in tags.tags
    for text in ("Held-out loss", "Zero weights", "model.layers.2.mlp.up_proj", "2,437,120"):
        assert text in page


def test_compares_runs_with_different_values(wf, tmp_path, run):
    base = write_run(tmp_path / "base", [train(step) for step in range(0, 300, 10)])
    wf("plot", run, base, "-o", tmp_path / "both.png", "--html", tmp_path / "both.html")
    page = (tmp_path / "both.html").read_text()
    assert "stage2" in page and "base" in page


def test_the_picture_lies_in_the_run_by_default(wf, run):
    assert wf("plot", run).stdout.strip() == str(run / "curves.png")
    assert (run / "curves.png").stat().st_size > 10_000


def test_a_step_logged_twice_counts_as_logged_last(tmp_path):
    records = [train(1, 5.0), train(2, 4.0), train(3, 3.0), train(2, 4.5), train(3, 3.5)]
    metrics = Metrics(write_run(tmp_path / "run", records))
    assert metrics.series("train", "loss") == ([1, 2, 3], [5.0, 4.5, 3.5])


def test_half_written_lines_are_skipped(tmp_path, capsys):
    whole = json.dumps(train(1))
    run = write_run(tmp_path / "run", [train(1), train(2)], ending="\n" + whole[:40])
    assert Metrics(run).series("train", "step")[0] == [1, 2]
    assert not capsys.readouterr().err  # the end of the file: a run that is still writing
    run = write_run(tmp_path / "torn", [train(1)], ending="\n" + whole[:40] + whole + "\n" + whole)
    assert Metrics(run).series("train", "step")[0] == [1]
    assert "metrics.jsonl:2: half-written line skipped" in capsys.readouterr().err


def test_values_that_are_not_finite_are_left_out(tmp_path):
    run = write_run(tmp_path / "run", [train(1), {**train(2), "loss": None}, train(3)])
    assert Metrics(run).series("train", "loss")[0] == [1, 3]


def test_missing_and_empty_runs_are_errors(wf, tmp_path):
    assert "no such file" in wf("plot", tmp_path, expect=1).stderr
    empty = write_run(tmp_path / "empty", [{"kind": "start"}])
    assert "no training, evaluation" in wf("plot", empty, expect=1).stderr
