"""Check a transplanted folder with transformers alone: it loads, keeps its start token, generates, and round-trips."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

NASTY = [
    "Hello, world!\n",
    "  two\n\n\tlines ",
    "naïve café – “quotes”",
    "x = [1, 22, 333]  # done",
    "日本語 и русский",
]


def main(folder: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    rows = model.get_input_embeddings().weight.shape[0]
    assert rows == model.config.get_text_config().vocab_size >= len(tokenizer)
    assert model.get_output_embeddings().weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()
    for text in NASTY:
        ids = tokenizer(text).input_ids
        assert ids[0] == tokenizer.bos_token_id, "the base's start token must travel"
        assert tokenizer.decode(ids[1:]) == text, (text, tokenizer.decode(ids[1:]))
    assert set(model.generation_config.eos_token_id) >= {tokenizer.eos_token_id}
    prompt = tokenizer("Once upon a time, there was", return_tensors="pt")
    out = model.generate(**prompt, max_new_tokens=12, do_sample=False)
    said = tokenizer.decode(out[0, prompt.input_ids.shape[1] :])
    assert said.startswith(" a little girl") and "\ufffd" not in said, said
    manifest = json.loads((Path(folder) / "tokswap.json").read_text(encoding="utf-8"))
    assert manifest["untouched"]["tensors"] > 200
    print(f"{folder}: {rows} rows, {sum(p.numel() for p in model.parameters()):,} parameters, said {said!r}")


if __name__ == "__main__":
    main(sys.argv[1])
