"""The model card of a transplanted checkpoint."""

from __future__ import annotations

from tokswap import __version__
from tokswap.calibration_kinds import calibration_stages
from tokswap.plan import Plan
from tokswap.sources import public_name

LOAD_IT = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained(".")
tokenizer = AutoTokenizer.from_pretrained(".")
```
"""
"""How a card ends: what to do with the folder."""
SHIFTED = "Output rows of new tokens were shifted so that they draw the probability of their share of text."
STAGES = {
    "lexicon": "Input rows of new tokens were read off the base's states at their last pieces.",
    "chain": "Output rows of new tokens were regressed on what the base says of their pieces.",
    "fit": "Output rows of new tokens were fitted to text by softmax regression.",
    "fit-all": "Output rows of all tokens were fitted to text by softmax regression: copied ones have moved.",
}


def model_card(plan: Plan, calibration: str) -> str:
    """Return the text of README.md: what the model is made of and how to use it.

    `calibration` is the kind that was carried out.
    """
    counts = plan.alignment.counts()
    copied = counts["same_bytes"] + counts["same_role"] + counts["override"]
    parameters = ", ".join(f"{k} = {v}" for k, v in plan.parameters.items()) or "no parameters"
    start = "" if plan.start_id is None else plan.new_vocab.texts[plan.new_vocab.position[plan.start_id]]
    begins = (
        f"begins with `{start}`, which the tokenizer here adds"
        if start and plan.base_vocab.adds_bos
        else "begins without a start token, and the tokenizer here adds none"
    )
    base, donor = public_name(plan.base.source), public_name(plan.donor.source)
    return f"""---
library_name: transformers
tags: [tokswap, tokenizer-transplant]
---

# {model_name(base)} with the tokenizer of {model_name(donor)}

The body of `{base}`, unchanged, under the tokenizer of `{donor}`.
Made by tokswap {__version__} with the method `{plan.method.name}` ({parameters}; {plan.method.paper}).

| rows of the embedding | |
|---|---|
| copied from the base | {copied:,} |
| made by `{plan.method.name}` | {counts["new"]:,} |
| never emitted (no counterpart, or shadowed) | {counts["silent"]:,} |
| unused | {counts["unused"]:,} |
| all | {plan.alignment.rows:,} |

{calibration_sentences(calibration)}

As with the base, a text {begins}.
`recipe.yaml` repeats the run; `tokswap.json` lists every file with its sha256 and what was proved when it was
written. The licences of the base and of the donor apply.

{LOAD_IT}"""


def calibration_sentences(kind: str) -> str:
    """Return what a card says of a kind of calibration."""
    if kind == "none":
        return "Output rows were not calibrated."
    return " ".join([SHIFTED, *(STAGES[stage] for stage in calibration_stages(kind))])


def model_name(source: str) -> str:
    """Return the last part of where a model came from."""
    return source.split(" (")[0].rstrip("/").rsplit("/", 1)[-1]
