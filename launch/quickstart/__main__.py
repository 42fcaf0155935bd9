import argparse
import shlex
import shutil
import sys
import time
from pathlib import Path

import quickstart
from quickstart.corpus import write_corpus
from quickstart.model_folder import make_model
from quickstart.program import ProgramFailed, run_program
from quickstart.sample import write_sample
from quickstart.stages import Stage, make_stages
from quickstart.step import Step, Steps
from quickstart.verdict import judge

FOLDER = Path("run/quickstart")
CONFIG = Path(__file__).with_name("config.json")
WF = [".venv/bin/wf"]

GOODBYE = """
What it did: took the Python standard library as text (1), trained a tokenizer on it (2), cut the
text into tokens and set some aside (3), trained a small model in full precision (4), prepared it
for ternary weights (5), trained it on with them (6), and wrote a folder for transformers (7).

  {folder}/curves.png, curves.html   how the losses fell
  {folder}/export                    the ternary model, a Hugging Face folder

With your own model and text, repeat 3, 5, 6 and 7. `head -n 1 {folder}/finished/*`
shows the commands: the folder of your model (config.json, safetensors, tokenizer.json) takes the
place of {folder}/model in 3 and of {folder}/pretrain in 5, your text that of corpus.jsonl.
recipes/ has settings for larger models, `wftrain --help` explains every one."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="quickstart", description=quickstart.__doc__)
    parser.add_argument("--programs", type=Path, required=True, help="folder of wftrain")
    parser.add_argument("--again", action="store_true", help="do finished steps again, too")
    options = parser.parse_args()
    started = time.monotonic()
    try:
        if options.again and FOLDER.exists():
            shutil.rmtree(FOLDER)
        steps = Steps(FOLDER)
        for step in plan(FOLDER, options.programs):
            steps.run(step)
        return conclude(FOLDER, started)
    except ProgramFailed as failure:
        if failure.code in (130, 143):
            print("\nquickstart: interrupted; ./quickstart continues", file=sys.stderr)
            return 130
        print(f"\nquickstart: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nquickstart: interrupted; ./quickstart continues", file=sys.stderr)
        return 130


def plan(folder: Path, programs: Path) -> list[Step]:
    corpus, model, data = folder / "corpus.jsonl", folder / "model", folder / "data"
    prepare = [*WF, "data", "prepare", str(corpus), "--tokenizer", str(model)]
    prepare += ["-o", str(data), "--held-out", "0.02"]
    config = CONFIG.read_text()
    return [
        Step("corpus", "collect text", sys.version, lambda: write_corpus(corpus), whole=True),
        Step(
            "model",
            "train a tokenizer",
            config,
            lambda: make_model(corpus, config, model),
            whole=True,
        ),
        Step(
            "data",
            "cut the text into tokens",
            shlex.join(prepare),
            lambda: run_program(prepare),
            whole=True,
        ),
        *(trainer_step(stage, programs, folder) for stage in make_stages(folder)),
    ]


def trainer_step(stage: Stage, programs: Path, folder: Path) -> Step:
    command = stage.command(programs, folder)
    recipe = f"{shlex.join(command)}\n{Path(stage.config).read_text()}"
    return Step(stage.name, stage.what, recipe, lambda: run_program(command), stage.whole)


def conclude(folder: Path, started: float) -> int:
    runs = [str(folder / name) for name in ("pretrain", "stage2")]
    pictures = ["-o", str(folder / "curves.png"), "--html", str(folder / "curves.html")]
    print("\nDraw the curves")
    run_program([*WF, "plot", *runs, *pictures])
    print("\nThe ternary model, loaded by transformers, writes:\n")
    print("    " + write_sample(folder / "export").replace("\n", "\n    "))
    verdict = judge(folder / "data" / "held_out", folder / "pretrain", folder / "stage2")
    print(f"\n{verdict}")
    if problem := verdict.problem():
        print(f"\nquickstart: learning failed: {problem}", file=sys.stderr)
        return 1
    print(GOODBYE.format(folder=folder))
    print(f"\nDone in {time.monotonic() - started:.0f} s.")
    return 0


raise SystemExit(main())
