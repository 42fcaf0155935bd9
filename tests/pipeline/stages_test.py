"""From random weights to a ternary model that transformers loads; and what goes wrong."""

import os
import re

import pytest
from conftest import shown_on_terminal

TINY = dict(
    batch__rows=4,
    batch__sequence_length=64,
    log__every=5,
    evaluate__every=20,
    evaluate__tokens=2048,
    checkpoint__every=100,
    device="cpu",
)


@pytest.fixture
def base(trainer):
    trainer.run("pretrain", name="pretrain", steps=60, **TINY)
    return trainer


def test_the_stages_follow_one_another_and_transformers_loads_the_result(base):
    os.environ["TORCHDYNAMO_DISABLE"] = "1"
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base.model = base.folder / "pretrain"
    insert = TINY | dict(insert__calibration_rows=8, insert__calibration_steps=20)
    base.run("stage1", name="stage1", **insert)
    before = {record["model"]: record for record in base.metrics("stage1", "eval")}
    gap = before["gains trained"]["loss_full"] - before["original"]["loss_full"]
    assert gap < before["SubLN with gains of one"]["loss_full"] - before["original"]["loss_full"]
    assert gap < 0.05

    base.model = base.folder / "stage1"
    base.run("stage2", name="stage2", steps=60, **TINY)
    evaluations = base.metrics("stage2", "eval")
    assert evaluations[-1]["loss_ternary"] < evaluations[0]["loss_ternary"]
    layers = base.metrics("stage2", "layers")[-1]["layers"]
    assert len(layers) == 14
    assert all(0.05 < layer["zero_fraction"] < 0.7 for layer in layers)
    assert all(0 < layer["flip_rate"] < 0.5 for layer in layers)  # since the start
    assert all(0 < abs(layer["scale_drift"]) < 0.5 for layer in layers)

    base.model = base.folder / "stage2"
    for kind in ("hf_latent", "hf_packed"):
        base.run("export", name=kind, exporter__kind=kind)
        model = AutoModelForCausalLM.from_pretrained(base.folder / kind, dtype="auto")
        tokenizer = AutoTokenizer.from_pretrained(base.folder / kind)
        assert type(model).__name__ == "BitNetForCausalLM"
        # What went into the first stage has come through all of them.
        assert model.generation_config.max_new_tokens == 7
        assert (model.config.bos_token_id, model.config.eos_token_id) == (None, 0)
        chat = [{"role": "user", "content": "Why?"}]
        assert tokenizer.apply_chat_template(chat, tokenize=False) == "Why?<|end|>"
        text = "def dumps(obj, *, skipkeys=False, ensure_ascii=True, check_circular=True,"
        tokens = tokenizer(text, return_tensors="pt").input_ids
        with torch.no_grad():
            loss = model(tokens, labels=tokens).loss.item()
        assert loss < 5.77  # ln 320: better than no model


def test_weights_and_activations_have_a_strength_each(trainer):
    settings = TINY | dict(steps=1, lr__warmup_steps=0, log__every=1, evaluate__path='""')
    losses = set()
    for weights, activations in ((0, 0), (0, 1), (1, 0), (1, 1)):
        name = f"weights{weights}_activations{activations}"
        quant = dict(quant__weights__value=weights, quant__activations__value=activations)
        trainer.run("pretrain", name=name, **settings, **quant)
        losses.add(trainer.losses(name)[1])
    assert len(losses) == 4


def test_a_terminal_shows_one_live_line_that_fits_it(trainer):
    command = trainer.command("pretrain", name="live", **(TINY | dict(steps=25)))
    shown = shown_on_terminal(command, size=(24, 60))
    lives = [text.split("\r")[0] for text in shown.split("\r\033[K") if "step" in text]
    lives = [text for text in lives if text.startswith("  4 %  step 1/25  loss ")]
    assert len(lives) == 1
    assert re.search(r"loss \d\.\d{4}  \S+ tok/s", lives[0])
    assert len(lives[0]) == 59  # a longer one would wrap and could not be rewritten


def test_dry_run_checks_and_writes_nothing(trainer):
    output = trainer.run("pretrain", "--dry-run", name="dry", steps=60, **TINY)
    assert "memory: about" in output
    assert "WARNING" not in output
    assert not (trainer.folder / "dry").exists()


def test_a_run_that_needs_more_memory_than_there_is_is_warned(trainer):
    with open("/proc/meminfo") as file:
        total = next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemTotal"))
    rows = total // (64 * 2048)  # a token takes far more than 2 kB in this model
    settings = TINY | dict(steps=60, batch__rows=rows, batch__sequence_length=64)
    output = trainer.run("pretrain", "--dry-run", name="huge", **settings)
    assert re.search(r"WARNING: that is more than the [0-9.]+ GB within reach", output)


@pytest.mark.parametrize("flags", [(), ("--dry-run",)])
def test_a_target_that_cannot_load_the_model_is_refused_before_training(base, flags):
    base.model = base.folder / "pretrain"
    output = base.run("stage1", *flags, name="refused", target="microsoft", expect=1, **TINY)
    assert "i2_s stores blocks of 128 weights, which do not divide a matrix of 64 inputs" in output
    assert not (base.folder / "refused").exists()


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (dict(learning_rate=1), "unknown key"),
        (dict(lr__valu=1), "did you mean"),
        (dict(steps="many"), "expected"),
        (dict(model__path="/nowhere"), "/nowhere"),
        (dict(data__sources="[{path: /nowhere}]"), "/nowhere"),
        (dict(lr__value='{"a'), "not to be read as YAML"),
        (dict(objective__kind="logits_kl"), "teacher"),
    ],
)
def test_wrong_input_is_one_clear_message(trainer, overrides, expected):
    output = trainer.run("pretrain", name="wrong", expect=1, **(TINY | overrides))
    assert expected in output
    assert "internal error" not in output
    assert "frame #" not in output


def test_the_folder_above_the_prepared_ones_is_answered_with_one_of_them(trainer):
    sources = f"[{{path: {trainer.data}}}]"
    output = trainer.run("pretrain", name="wrong", data__sources=sources, expect=1, **TINY)
    assert f"name one of them: {trainer.data}/train" in output


def test_an_unknown_flag_is_answered_with_the_help(trainer):
    assert "--dryrun; see wftrain --help" in trainer.run("pretrain", "--dryrun", expect=2)


def test_held_out_data_that_is_trained_on_is_refused(trainer):
    output = trainer.run(
        "pretrain", name="leak", evaluate__path=trainer.data / "train", expect=1, **TINY
    )
    assert "held-out" in output


def test_a_loss_that_is_not_finite_stops_before_the_update(base):
    from safetensors.torch import load_file, save_file

    (checkpoint,) = sorted((base.folder / "pretrain" / "checkpoints").iterdir())[-1:]
    broken = base.folder / "broken"
    broken.mkdir()
    for file in checkpoint.iterdir():
        if file.name.startswith(("config", "tokenizer")):
            (broken / file.name).write_bytes(file.read_bytes())
    weights = load_file(checkpoint / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][3, 5] = float("nan")
    save_file(weights, broken / "model.safetensors")
    base.model = broken
    settings = TINY | dict(evaluate__path='""', model__init="weights", lr__warmup_steps=0)
    output = base.run("pretrain", name="nan", expect=1, steps=5, **settings)
    assert "step 0" in output
    assert "not finite" in output
