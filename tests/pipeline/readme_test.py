"""The README's commands, in their order, with a small model: from texts to a served answer."""

import re
import shlex
import signal
import subprocess
import sys
import time

from conftest import ROOT, find_programs
from stages_test import TINY
from wf.llama import Llama
from wf.server import free_port

TIMEOUT_S = 300
SMALL = {key.replace("__", "."): value for key, value in TINY.items()} | {
    "insert.calibration_rows": 8,
    "insert.calibration_steps": 20,
    "steps": 60,
}


def readme_commands() -> list[str]:
    section = (ROOT / "README.md").read_text().split("## With your own model and text")[1]
    block = section.split("```bash\n")[1].split("```")[0]
    lines = re.sub(r"\\\n\s*", "", block).splitlines()
    return [line for line in lines if not line.startswith("P=")]


def test_every_command_works_and_the_answer_is_llama_cpps(trainer, source, tmp_path):
    trainer.run("pretrain", name="base", **(TINY | dict(steps=60)))
    model, _ = source
    port = str(free_port("127.0.0.1", 0))
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    replaced = {
        "--tokenizer SmolLM2-135M": f"--tokenizer {model}",
        "SmolLM2-135M": str(trainer.folder / "base"),
        "my_texts.jsonl": str(model.parent / "corpus.jsonl"),
        "--held-out 0.005": "--held-out 0.1",
        "30000": port,
        "$P/": f"{find_programs()}/",
        ".venv/bin/wf": f"{sys.executable} -m wf",
    }
    server, answer = None, None
    try:
        for line in readme_commands():
            for old, new in replaced.items():
                line = line.replace(old, new)
            words = shlex.split(line.rstrip("& "))
            if words[0].endswith("/wftrain"):
                words = [word for word in words if not word.startswith(("steps=", "lr."))]
                wanted = dict(SMALL)
                if "stage1" in line:
                    del wanted["steps"]
                if "stage1" not in line:
                    wanted = {k: v for k, v in wanted.items() if not k.startswith("insert")}
                if "export" in line:
                    wanted = {"device": "cpu"}
                words += [f"{key}={value}" for key, value in wanted.items()]
            if line.endswith("&"):
                server = start(words, tmp_path)
                continue
            result = subprocess.run(
                words, cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT_S
            )
            assert result.returncode == 0, f"{line}\n{result.stdout}{result.stderr}"
            answer = result.stdout
    finally:
        if server:
            server.send_signal(signal.SIGINT)
            assert server.wait(60) == 130
    with Llama(tmp_path / "mine.gguf") as llama:
        tokens = llama.greedy(llama.tokenize("Once upon a time"), 32)
        expected = llama.text(tokens[: tokens.index(0)] if 0 in tokens else tokens)
    assert answer.startswith(expected[:20]), (answer, expected)


def start(words, folder):
    server = subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        line = server.stdout.readline()
        assert line, "wf serve ended"
        if " at http" in line:
            return server
    raise AssertionError("wf serve did not start")
