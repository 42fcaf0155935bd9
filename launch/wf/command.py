"""`wf`: parses the command line, runs one subcommand, turns its outcome into an exit code."""

import argparse
import os
import sys

from wf import (
    chat_command,
    fetch_command,
    inspect_command,
    logits_command,
    plot_command,
    prepare_command,
    profile_command,
    serve_command,
)
from wf.error import Error

EXIT_CODES = "exit codes: 0 done, 1 error, 2 usage, 130 interrupted"


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wf", description="Tools around the WrinkleFree trainer.", epilog=EXIT_CODES
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    data = commands.add_parser("data", help="make and check training data")
    data_commands = data.add_subparsers(title="commands", metavar="COMMAND", required=True)
    prepare_command.add_to(data_commands)
    inspect_command.add_to(data_commands)
    plot_command.add_to(commands)
    profile_command.add_to(commands)
    fetch_command.add_to(commands)
    serve_command.add_to(commands)
    chat_command.add_to(commands)
    logits_command.add_to(commands)
    return parser


def main(arguments: list[str] | None = None) -> int:
    options = make_parser().parse_args(arguments)
    try:
        options.run(options)
        sys.stdout.flush()
    except (Error, OSError) as error:
        if isinstance(error, BrokenPipeError):  # `wf data inspect ... | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        print(f"wf: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as interrupt:
        print(f"\nwf: interrupted{interrupt}", file=sys.stderr)
        return 130
    return 0
