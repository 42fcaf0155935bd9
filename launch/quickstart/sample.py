"""Text from the exported model, through transformers: whoever gets the folder can do the same."""

import os
from pathlib import Path

PROMPT = "# "  # how every document of the corpus starts; the model goes on with a file's name
TOKENS = 120


def write_sample(folder: Path) -> str:
    os.environ["TORCHDYNAMO_DISABLE"] = "1"  # compiling takes longer than all of this
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokens = model.generate(
        **tokenizer(PROMPT, return_tensors="pt", return_token_type_ids=False),
        max_new_tokens=TOKENS,
        do_sample=True,
        temperature=0.7,
        top_k=40,
        pad_token_id=tokenizer.eos_token_id,
    )
    return tokenizer.decode(tokens[0], skip_special_tokens=True)
