"""The YAML files we ship: each is read, and one of them shows every key."""

import subprocess

import pytest
from conftest import ROOT, find_programs

FILES = sorted([*ROOT.glob("configs/*.yaml"), *ROOT.glob("recipes/*/*.yaml")])


def keys_of(lines: list[str]) -> list[str]:
    """Dotted keys of block-style YAML, in order; comments and list items are passed over."""
    path, keys = [], []
    for line in lines:
        text = line.split("#")[0].rstrip()
        if not text or text.lstrip().startswith("-") or ":" not in text:
            continue
        depth = (len(text) - len(text.lstrip())) // 2
        path[depth:] = [text.split(":")[0].strip()]
        keys.append(".".join(path))
    return keys


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_is_read_without_a_complaint(file):
    command = [str(find_programs() / "wftrain"), "--config", str(file), "--print-config"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_pretrain_shows_every_key():
    file = ROOT / "configs" / "pretrain.yaml"
    command = [str(find_programs() / "wftrain"), "--config", str(file), "--print-config"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    expected = [key for key in keys_of(printed.splitlines()) if not key.startswith("data.sources.")]
    shown = [key for key in keys_of(file.read_text().splitlines()) if key.count(".") < 9]
    assert sorted(expected) == sorted(key for key in shown if not key.startswith("data.sources."))
