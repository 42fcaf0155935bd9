"""wfconvert on a model that lies in the cloud: `wf fetch` does the fetching."""

import os
import subprocess

import pytest
from conftest import find_programs
from storages import S3, Gcs, Hub, clean_environment
from validate_test import make_model
from wf.llama import Llama


@pytest.mark.parametrize("kind", [S3, Gcs, Hub], ids=lambda kind: kind.scheme)
def test_a_model_in_the_cloud_is_fetched_and_converted(tmp_path, kind):
    model, storage = make_model(tmp_path / "model", True, 0.12), kind(tmp_path)
    for file in model.iterdir():
        storage.put(f"model/{file.name}", file.read_bytes())
    storage.put("model/optimizer.safetensors", b"moments")
    environment = clean_environment() | storage.environment(storage.port)
    environment |= {"HF_HOME": str(tmp_path / "hf"), "PATH": os.environ["PATH"]}

    def convert(url):
        command = [find_programs() / "wfconvert", url, "-o", tmp_path / "out.gguf"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)

    try:
        result = convert(storage.address("model"))
        assert result.returncode == 0, result.stderr
        with Llama(tmp_path / "out.gguf") as llama:
            assert llama.vocab_size > 0
        fetched = {path.name for path in (tmp_path / "out.source").iterdir()}
        assert {"config.json", "model.safetensors"} <= fetched
        assert "optimizer.safetensors" not in fetched
        result = convert(storage.address("nothing"))
        assert result.returncode == 1
        assert "no such" in result.stderr
    finally:
        storage.stop()
