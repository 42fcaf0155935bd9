"""The README's commands, in their order, with a small model: from texts to a served answer."""

import re
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
from conftest import ROOT, find_programs
from safetensors.numpy import load_file, save_file
from stages_test import TINY
from wf.llama import Llama
from wf.server import free_port

TIMEOUT_S, PROMPT = 300, "Once upon a time"  # the README's
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
            stop(server)
    with Llama(tmp_path / "mine.gguf") as llama:
        tokens = llama.greedy(llama.tokenize(PROMPT), 32)
        expected = llama.text(tokens[: tokens.index(0)] if 0 in tokens else tokens)
    assert answer.startswith(expected[:20]), (answer, expected)
    expect_our_own_answer(tmp_path)


def expect_our_own_answer(folder):
    """What a file of F32 is served as is our own greedy continuation, computed by wfforward."""
    programs, wf = find_programs(), [sys.executable, "-m", "wf"]

    def run(*words):
        result = subprocess.run(
            words, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    said = run(
        programs / "wfconvert", "run/mine2", "-o", "exact.gguf", "--outtype", "f32", "--validate"
    )
    assert "64 of llama.cpp's next 64 tokens are ours too" in said, said
    with Llama(folder / "exact.gguf") as llama:
        prompt = list(llama.tokenize(PROMPT))
        tokens = llama.greedy(prompt, 32)
        text = llama.text(tokens[: tokens.index(0)] if 0 in tokens else tokens)
    save_file({"tokens": np.array(prompt + tokens[:-1])}, folder / "tokens.safetensors")
    run(
        programs / "wfforward", "run/mine_hf", "tokens.safetensors", "ours.safetensors", "--ternary"
    )
    ours = load_file(folder / "ours.safetensors")["logits"].argmax(1)
    assert ours[len(prompt) - 1 :].tolist() == tokens
    server = start([*wf, "serve", "exact.gguf", "--exact", "--port", "0"], folder)
    try:
        answer = run(*wf, "chat", "--raw", PROMPT, "--max-tokens", "32", "--url", server.url)
    finally:
        stop(server)
    assert answer == text + "\n"


def start(words, folder):
    server = subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        line = server.stdout.readline()
        assert line, "wf serve ended"
        if " at http" in line:
            server.url = line.split(" at ")[1].split(";")[0]
            return server
    raise AssertionError("wf serve did not start")


def stop(server):
    server.send_signal(signal.SIGINT)
    assert server.wait(60) == 130
