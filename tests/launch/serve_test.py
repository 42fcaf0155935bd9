"""`wf serve` and `wf chat` on loopback, as a person would run them."""

import contextlib
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import pytest
from gguf_model import write_bitnet
from wf.llama import Llama

PROMPT = "the theme: "
TIMEOUT_S = 120


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("serve") / "model.gguf"
    write_bitnet(path)
    return path


@contextlib.contextmanager
def serving(*arguments):
    """The process and its URL, once it says that it serves."""
    command = [sys.executable, "-m", "wf", "serve", *map(str, arguments), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stdout:
            if " at http" in line:
                yield process, line.split(" at ")[1].split(";")[0]
                break
        else:
            pytest.fail(process.stderr.read())
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=TIMEOUT_S)


def greedy_text(model, count):
    with Llama(model) as llama:
        prompt = llama.tokenize(PROMPT)
        tokens = llama.greedy(prompt, count)
        return llama.text(tokens[: tokens.index(0)] if 0 in tokens else tokens)


def test_the_streamed_answer_is_the_greedy_continuation(model, wf):
    with serving(model, "--exact") as (process, url):
        answer = wf("chat", PROMPT, "--raw", "--max-tokens", 24, "--url", url).stdout
        assert answer == greedy_text(model, 24) + "\n"
        assert len(answer) > 9
        wf("chat", "Hello", "--max-tokens", 4, "--url", url)
        events = stream(url, {"prompt": PROMPT, "max_tokens": 8, "temperature": 0, "stream": True})
        assert len(events) >= 8  # a piece at a time
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT_S) == 130
    with pytest.raises(OSError):
        urllib.request.urlopen(url + "/health", timeout=5)


def stream(url, request):
    body = json.dumps(request).encode()
    headers = {"Content-Type": "application/json"}
    answer = urllib.request.urlopen(urllib.request.Request(url + "/v1/completions", body, headers))
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    return [line for line in answer if line.startswith(b"data: {")]


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_the_engine_never_outlives_the_command(model, sent):
    with serving(model) as (process, url):
        process.send_signal(sent)
        process.wait(TIMEOUT_S)
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(url + "/health", timeout=5)
            except OSError:
                return
            time.sleep(0.1)
        pytest.fail("the engine still answers")


def test_a_llama_server_that_is_installed_is_used(model, tmp_path, monkeypatch, wf):
    """The real program's place is taken by a script that shows its command line, then runs ours."""
    program = tmp_path / "llama-server"
    program.write_text(
        f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\n'
        f'sleep 1; exec {sys.executable} -m wf.xllamacpp_server "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with serving(model, "--context", 128, "--parallel", 2, "--exact") as (_, url):
        urllib.request.urlopen(url + "/health", timeout=5)  # by now it answers
        wf("chat", "--raw", "x", "--max-tokens", 2, "--url", url)
    arguments = (tmp_path / "arguments").read_text()
    assert f"--model {model} --host 127.0.0.1" in arguments
    assert "--ctx-size 256" in arguments
    assert "--cache-type-k f32 --cache-type-v f32 --flash-attn off" in arguments


def test_errors_are_one_sentence(model, tmp_path, wf):
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        error = wf("serve", model, "--port", port, expect=1).stderr
        assert f"port {port} of 127.0.0.1: Address already in use; choose another" in error

    def refused(name, content):
        (tmp_path / name).write_bytes(content)
        return wf("serve", tmp_path / name, "--server", "xllamacpp", expect=1).stderr

    whole = model.read_bytes()
    assert "not a GGUF file" in refused("text.gguf", b"hello")
    assert "the engine refuses the file" in refused("cut.gguf", whole[:-400])
    assert "not within the file bounds" in refused("cut.gguf", whole[:-400])
    unknown = whole.replace(b"bitnet", b"bitnot")
    assert "unknown model architecture: 'bitnot'" in refused("unknown.gguf", unknown)
    assert "no such file" in wf("serve", tmp_path / "none.gguf", expect=1).stderr
    assert "no such program" in wf("serve", model, "--server", "/no/where", expect=1).stderr
    assert "--host no.such.host" in wf("serve", model, "--host", "no.such.host", expect=1).stderr
    assert "'99999' is no port" in wf("serve", model, "--port", 99999, expect=2).stderr
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\necho 0.00.005.296 W srv  llama_server: -----\nexit 3\n")
    silent.chmod(0o755)
    said = wf("serve", model, "--port", 0, "--server", silent, expect=1).stderr
    assert "the engine refuses the file: it ended with code 3 and gave no reason" in said


def test_chat_errors_are_one_sentence(wf):
    error = wf("chat", "hello", "--url", "http://127.0.0.1:1", expect=1).stderr
    assert "is `wf serve` running there?" in error
    assert "--raw leaves out" in wf("chat", "x", "--raw", "--system", "y", expect=1).stderr


class Recorder(http.server.BaseHTTPRequestHandler):
    """Answers every prompt with "yes" and remembers what it was sent."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, self.headers["Authorization"], body))
        self.send_response(200)
        self.end_headers()
        for piece in ("y", "es"):
            choice = {"text": piece} if "prompt" in body else {"delta": {"content": piece}}
            self.wfile.write(f"data: {json.dumps({'choices': [choice]})}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, *_):
        pass


def test_chat_sends_the_whole_conversation_and_its_settings():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
    server.seen = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"

    def chat(lines, *options):
        command = [sys.executable, "-m", "wf", "chat", "--url", url, "--max-tokens", "5", *options]
        result = subprocess.run(command, input=lines, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        return result.stdout

    asked = ["--system", "be brief", "--temperature", "0.5", "--seed", "7", "--api-key", "k"]
    assert chat("one\n\ntwo\n", *asked) == "yes\nyes\n"
    assert chat("three\n", "--raw") == "yes\n"
    server.shutdown()
    server.server_close()
    told = [("system", "be brief"), ("user", "one"), ("assistant", "yes"), ("user", "two")]
    messages = [dict(role=role, content=content) for role, content in told]
    settings = dict(stream=True, max_tokens=5, temperature=0.5, seed=7)
    chats = [
        ("/v1/chat/completions", "Bearer k", settings | dict(messages=messages[:n])) for n in (2, 4)
    ]
    plain = settings | dict(temperature=0, seed=0, prompt="three")
    assert server.seen == [*chats, ("/v1/completions", None, plain)]
