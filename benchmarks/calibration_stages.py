"""Bits per byte of one transplant under several kinds of calibration, on texts that none of them saw.

    python benchmarks/calibration_stages.py --base smollm2 --donor qwen3-tokenizer --kinds shift chain lexicon

The rows are made once and the base is read once; every kind goes on from there as `tokswap transplant --calibrate KIND`
does, and the model is scored in memory as `tokswap evaluate` scores it (windows of 2,048 bytes, in strides of half).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tokswap.calibration import shift_new_rows
from tokswap.calibration_kinds import calibration_stages
from tokswap.calibration_stages import Carried, carry_out, read_base
from tokswap.evaluation.arm import Tokenized, document_windows
from tokswap.evaluation.language_model import load_language_model
from tokswap.evaluation.score import score_documents
from tokswap.evaluation.texts import Text, default_texts
from tokswap.initialise import Embeddings
from tokswap.judging import Judge, with_rows
from tokswap.pipeline import _initialise, _new_tokenizer
from tokswap.plan import Plan, make_plan
from tokswap.recipe import make_recipe
from tokswap.sources import open_source
from tokswap.states import collect_states, encoder

KINDS = ["shift", "chain", "lexicon", "fit", "fit-all", "lexicon+chain+fit-all"]
WINDOW = 2048
DOCUMENT = (
    1000  # characters that are read at once while calibrating: one window, so that nothing is read twice
)


def main() -> None:
    arguments = _arguments()
    recipe = make_recipe(
        {"base": arguments.base, "donor": arguments.donor, "method": arguments.method, "out": "-"}
    )
    base, donor = open_source(recipe.base), open_source(recipe.donor, weights=False)
    plan = make_plan(recipe, base, donor)
    tokenizer = _new_tokenizer(plan)
    seen = _beginnings("calibration", arguments.texts, arguments.calibration_bytes, DOCUMENT)
    judged = _beginnings("evaluation", arguments.texts, arguments.max_bytes)
    start = time.process_time()
    made = _initialise(plan, None, None).rows
    lm = load_language_model(base.folder, known_ids=plan.base_vocab.ids)
    sides = (base.tokenizer, plan.base_vocab), (tokenizer, plan.new_vocab)
    states = collect_states(lm, *sides, plan.base_vocab.start_id, seen.values())
    every = {stage for kind in arguments.kinds for stage in calibration_stages(kind)}
    readings = read_base(plan, lm, seen, tokenizer, every)
    read = time.process_time() - start
    rows = _copy(made)
    shift = partial(shift_new_rows, plan, states=states)
    begin = Carried(rows, shift(rows), {})
    found: dict[str, Any] = {}
    for kind in arguments.kinds:
        start = time.process_time()
        judge = Judge(plan, lm, seen, tokenizer)
        done = carry_out(judge, calibration_stages(kind), readings, begin, _copy(made), shift)
        seconds = round(time.process_time() - start, 1)
        stages = {n: [j.reason, j.setting, j.before, j.after] for n, j in done.stages.items()}
        found[kind] = {"bits_per_byte": _bits(plan, lm, done.rows, tokenizer, judged), "stages": stages}
        found[kind]["cpu_s"] = seconds
        print(kind, found[kind], file=sys.stderr, flush=True)
    result = {
        "command": " ".join(["python", *sys.argv]),
        "pair": f"{arguments.base} <- {arguments.donor}",
        "method": plan.method.name,
        "cpu_s_of_the_rows_and_of_reading": round(read, 1),
        "kinds": found,
    }
    print(json.dumps(result, indent=1))
    if arguments.out:
        Path(arguments.out).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _copy(rows: Embeddings) -> Embeddings:
    return replace(
        rows, input=rows.input.clone(), output=None if rows.output is None else rows.output.clone()
    )


def _beginnings(kind: Any, names: list[str], most: int, size: int | None = None) -> dict[str, Text]:
    """The beginnings of the texts, cut into documents of `size` characters where that is given."""
    texts = {name: default_texts(kind)[name].first(most) for name in names}
    if size is None:
        return texts
    return {
        name: Text(name, tuple(d[at : at + size] for d in text.documents for at in range(0, len(d), size)))
        for name, text in texts.items()
    }


def _bits(plan: Plan, lm: Any, rows: Embeddings, tokenizer: Any, texts: dict[str, Text]) -> dict[str, float]:
    """Bits per byte of each text under the model with these rows."""
    model, encode = with_rows(lm, rows, plan), encoder(tokenizer, plan.new_vocab)
    out: dict[str, float] = {}
    for name, text in texts.items():
        documents = [Tokenized(*encode(document)) for document in text.documents]
        windows = [document_windows(d, WINDOW, WINDOW // 2) for d in documents]
        assert plan.start_id is not None
        scored = score_documents(model, documents, windows, start_id=plan.start_id)
        nats = sum(float(s.nll.sum()) for s in scored)
        out[name] = round(nats / (sum(d.spans.length for d in documents) * float(np.log(2))), 4)
    return out


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", default="smollm2")
    parser.add_argument("--donor", default="qwen3-tokenizer")
    parser.add_argument("--method", default="auto")
    parser.add_argument("--kinds", nargs="*", default=KINDS)
    parser.add_argument("--texts", nargs="*", default=["english", "code", "french"])
    parser.add_argument("--calibration-bytes", type=int, default=8000, help="of each text")
    parser.add_argument("--max-bytes", type=int, default=2500, help="of each text that is scored")
    parser.add_argument("--out", help="a file for the JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
