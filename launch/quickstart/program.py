"""Runs the programs of this repository, as a person would type them."""

import os
import shlex
import signal
import subprocess
from collections.abc import Sequence


class ProgramFailed(Exception):
    """A program ended with an exit code other than 0; it has said why."""

    def __init__(self, command: Sequence[str], code: int):
        super().__init__(f"{shlex.join(command)} ended with exit code {code}; see its message")
        self.code = code


# Threads that wait sleep: on a busy machine spinning costs a run most of its time.
PATIENT = {"OMP_WAIT_POLICY": "passive"}


def run_program(command: Sequence[str]) -> None:
    print(f"    $ {shlex.join(command)}", flush=True)
    # Ctrl-C reaches the program, too: it saves and ends by itself, which may take a moment.
    previous = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        code = subprocess.Popen(command, env=PATIENT | os.environ).wait()
    finally:
        signal.signal(signal.SIGINT, previous)
    if code:
        raise ProgramFailed(command, code)
