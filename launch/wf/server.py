"""A llama.cpp server in a process of its own, from its start to its end."""

import collections
import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from wf.error import Error
from wf.llama import good_threads

POLL_S, STOP_S = 0.1, 10.0
PR_SET_PDEATHSIG = 1
# How the engine writes an error: with its level, or as the abort of a failed assertion.
COMPLAINT = re.compile(r"^(?:[\d.]+ E (?:\w+:\s+)?|\S+:\d+: (?=GGML_ASSERT))(.*)$")
REMARK = re.compile(r"^[\d.]+ [A-Z] ")


class Server:
    """Runs while the `with` block does. Entering waits until the server answers; throws Error with
    the engine's reason when it ends before, and when it ends by itself later."""

    def __init__(
        self,
        file: Path,
        program: str | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        context: int | None = None,
        parallel: int = 1,
        threads: int | None = None,
        exact: bool = False,
        verbose: bool = False,
    ):
        check_file(file)
        self.file, self.verbose = file, verbose
        self.port = free_port(host, port)
        at = "127.0.0.1" if host == "0.0.0.0" else host
        self.url = f"http://{f'[{at}]' if ':' in at else at}:{self.port}"
        engine = [program] if program else [sys.executable, "-m", "wf.xllamacpp_server"]
        threads = str(threads or good_threads(file))
        self.command = [*engine, "--model", str(file), "--host", host, "--port", str(self.port)]
        self.command += ["--parallel", str(parallel)]
        self.command += ["--threads", threads, "--threads-batch", threads]
        if context:
            self.command += ["--ctx-size", str(context * parallel)]
        if exact:
            self.command += [
                "--cache-type-k",
                "f32",
                "--cache-type-v",
                "f32",
                "--flash-attn",
                "off",
            ]
        self.last_lines = collections.deque(maxlen=200)

    def __enter__(self):
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=os.environ | {"GGML_NO_BACKTRACE": "1"},
            start_new_session=True,  # the terminal's Ctrl-C comes here, and is passed on once
            preexec_fn=end_with_parent,
        )
        self.reader = threading.Thread(target=self.read_lines, daemon=True)
        self.reader.start()
        try:
            while not self.answers():
                if self.process.poll() is not None:
                    raise Error(f"{self.file}: the engine refuses the file: {self.reason()}")
                time.sleep(POLL_S)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def wait(self) -> None:
        self.process.wait()
        raise Error(f"the server ended by itself (code {self.process.returncode}): {self.reason()}")

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):  # not listening yet, or 503 while it loads
            return False

    def read_lines(self) -> None:
        for line in self.process.stdout:
            self.last_lines.append(line.strip())
            if self.verbose:
                sys.stderr.write(line)

    def reason(self) -> str:
        self.reader.join(2)
        for line in self.last_lines:
            if complaint := COMPLAINT.match(line):
                return complaint[1]
        # llama-server may end before its log is written.
        others = [line for line in self.last_lines if line and not REMARK.match(line)]
        silent = f"it ended with code {self.process.returncode} and gave no reason"
        return others[-1] if others else silent


def end_with_parent() -> None:
    """Even where the parent is killed and can stop nothing."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def check_file(file: Path) -> None:
    if not file.is_file():
        raise Error(f"{file}: no such file; wfconvert writes GGUF files")
    with file.open("rb") as opened:
        if opened.read(4) != b"GGUF":
            raise Error(f"{file}: not a GGUF file; wfconvert makes one of a model folder")


def free_port(host: str, port: int) -> int:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise Error(f"--host {host}: {error.strerror}") from error
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise Error(
                f"cannot listen on port {port} of {host}: {error.strerror}; choose another with "
                "--port (0: a free one)"
            ) from error
        return probe.getsockname()[1]
