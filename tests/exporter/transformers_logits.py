"""What transformers makes of an exported folder: `logits` of `tokens` [N], and the class it chose.

Usage: transformers_logits.py FOLDER TOKENS.safetensors OUT.safetensors
"""

import os
import sys

os.environ["TORCHDYNAMO_DISABLE"] = "1"  # BitNet's packing helpers would compile for 20 s

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

folder, tokens_file, out = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(
    folder, trust_remote_code=True, dtype="auto", attn_implementation="eager"
)
tokens = load_file(tokens_file)["tokens"]
with torch.no_grad():
    logits = model(tokens[None]).logits[0]
save_file({"logits": logits.float()}, out, metadata={"class": type(model).__name__})
