"""The one exception that a person is meant to read."""


class Error(Exception):
    """A sentence: what is wrong, where, and what to do. `wf` prints it and exits with 1."""
