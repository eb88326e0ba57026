"""Everything that is decided before the first row is made, and its report: what `--dry-run` shows."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tokswap.align import Alignment, align, silenced
from tokswap.auxiliary import DONOR, NGRAMS, open_space
from tokswap.digits import out_of_use, with_digits_of
from tokswap.draft import align_draft, check_draft, draft_warnings
from tokswap.errors import TokswapError
from tokswap.graft import TokenizerFiles, start_token_id, with_start_token
from tokswap.hypernet.use import find_hypernet, fitting_config, with_everything_new
from tokswap.methods import Method, get_method, no_network, no_parallel_text
from tokswap.plan_auxiliary import planned_auxiliary
from tokswap.plan_time import estimated_seconds
from tokswap.plan_warnings import cut_warnings, require_distinct, vocab_warnings, without_effect
from tokswap.recipe import Recipe
from tokswap.report import Figure, Report
from tokswap.tokenization import load_tokenizer
from tokswap.vocab import Vocab, read_vocab, vocab_of

if TYPE_CHECKING:
    from tokswap.checkpoint import Checkpoint
    from tokswap.evaluation.texts import Text

# Below this many anchors a sparse sum of anchors has too little to choose from.
ENOUGH_ANCHORS = 1000
# Bytes of working memory that methods may take beside the embedding tables.
BUDGET = 512 * 1024**2


@dataclass(frozen=True)
class Plan:
    """A recipe resolved against real files: vocabularies, alignment, method, and the reason for the method."""

    recipe: Recipe
    base: Checkpoint
    donor: Checkpoint
    base_vocab: Vocab
    new_vocab: Vocab
    tokenizer: TokenizerFiles
    alignment: Alignment
    start_id: int | None
    method: Method
    parameters: Mapping[str, Any]
    reason: str
    warnings: tuple[str, ...]
    hypernet: Path | None = None

    @property
    def untied(self) -> bool:
        """Will the new checkpoint store a head of its own?"""
        return self.recipe.untie or not self.base.tied


def make_plan(
    recipe: Recipe, base: Checkpoint, donor: Checkpoint, texts: Mapping[str, Text] | None = None
) -> Plan:
    """Resolve a recipe. Reads configs, tokenizers and headers, no weights; raises TokswapError for what can't be.

    `texts` are asked how many of their bytes are in numbers that the two tokenizers cut differently.
    """
    _check_base(base, untie=recipe.untie)
    if recipe.auxiliary not in (DONOR, NGRAMS):
        open_space(recipe.auxiliary)
    base_vocab = vocab_of(base)
    require_distinct(donor)
    tokenizer = _new_tokenizer(recipe, base, base_vocab, donor)
    new_vocab = _new_vocab(tokenizer, donor)
    alignment = _align(recipe, (base, base_vocab), (donor, new_vocab))
    if tokenizer.tokenizer.get("pre_tokenizer") != donor.tokenizer.get("pre_tokenizer"):
        alignment = silenced(
            alignment, out_of_use(tokenizer.tokenizer, new_vocab, alignment.new_ids.tolist())
        )
    method, parameters, reason = choose_method(recipe, donor, alignment)
    hypernet = _hypernet(method, recipe, base, base_vocab)
    if hypernet is not None and recipe.predict_all:
        alignment = with_everything_new(alignment, new_vocab)
    return Plan(
        recipe=recipe,
        base=base,
        donor=donor,
        base_vocab=base_vocab,
        new_vocab=new_vocab,
        tokenizer=tokenizer,
        alignment=alignment,
        start_id=new_vocab.start_id if recipe.draft else start_token_id(alignment, base_vocab, new_vocab),
        method=method,
        parameters=parameters,
        reason=reason,
        hypernet=hypernet,
        warnings=(
            *vocab_warnings(base, donor, base_vocab, new_vocab, alignment),
            *(draft_warnings(base_vocab, new_vocab, alignment) if recipe.draft else ()),
            *without_effect(recipe, base, method, parameters),
            *cut_warnings(base, base_vocab, tokenizer.tokenizer, new_vocab, texts or {}, draft=recipe.draft),
        ),
    )


def plan_report(plan: Plan) -> Report:
    """Return the plan as a report: counts, bytes, memory, disk and time, each with its unit."""
    from tokswap.device import choose_device

    facts = {
        "base": plan.base.source,
        "donor": plan.donor.source,
        "out": plan.recipe.out,
        "method": plan.method.name,
        "parameters": dict(plan.parameters),
        "auxiliary": plan.recipe.auxiliary,
        "draft": plan.recipe.draft,
        "why_this_method": plan.reason,
        "hypernet": None if plan.hypernet is None else str(plan.hypernet),
        "calibration": plan.recipe.calibrate,
        "tied": not plan.untied,
        "device": str(choose_device(plan.recipe.device)),
        "identical_tokenizers": plan.alignment.identical,
        "start_token": None
        if plan.start_id is None
        else plan.new_vocab.bytes_of(plan.start_id).decode("utf-8", "replace"),
        "start_token_is_added": (plan.new_vocab if plan.recipe.draft else plan.base_vocab).adds_bos,
        "special_tokens": special_rows(plan),
    }
    return Report("plan", facts, alignment_figures(plan) | size_figures(plan), {}, plan.warnings)


def alignment_figures(plan: Plan) -> dict[str, Figure]:
    """Return the rows by origin and the sizes of both vocabularies."""
    counts = plan.alignment.counts()
    return {
        "base_rows": Figure(plan.base_vocab.rows, "rows"),
        "new_rows": Figure(plan.alignment.rows, "rows"),
        "copied_same_bytes": Figure(counts["same_bytes"], "rows"),
        "copied_same_role": Figure(counts["same_role"], "rows"),
        "copied_by_override": Figure(counts["override"], "rows"),
        "new": Figure(counts["new"], "rows", note="made by the method"),
        "silent": Figure(
            counts["silent"], "rows", note="tokens that text never yields: the mean row, which never wins"
        ),
        "unused": Figure(counts["unused"], "rows", note="padding and holes"),
    }


def size_figures(plan: Plan) -> dict[str, Figure]:
    """Return tensors touched, parameters, bytes to write, peak memory, free disk and estimated time."""
    from tokswap.commit import planned_size

    base = plan.base
    shapes = new_shapes(plan)
    written = planned_size(base, new_shapes=shapes, drop=dropped(plan))
    tables = table_bytes(plan)
    old_parameters = sum(int(np.prod(info.shape)) for info in base.tensors.values())
    old_rows = sum(int(np.prod(base.tensors[n].shape)) for n in shapes if n in base.tensors)
    new_rows = sum(int(np.prod(shape)) for _, shape in shapes.values())
    auxiliary = planned_auxiliary(plan) if needs_auxiliary(plan) else None
    compares = _reasons(plan) and plan.method.name != "map"
    free = shutil.disk_usage(_existing(Path(plan.recipe.out or "."))).free
    return {
        "tensors_touched": Figure(len(shapes), "tensors"),
        "tensors_copied": Figure(
            len(base.tensors) - len(set(shapes) & set(base.tensors)) - len(dropped(plan)), "tensors"
        ),
        "base_parameters": Figure(old_parameters, "parameters"),
        "new_parameters": Figure(old_parameters - old_rows + new_rows, "parameters"),
        "bytes_to_write": Figure(written, "bytes"),
        "peak_memory": Figure(
            tables + BUDGET + (auxiliary.memory if auxiliary else 0),
            "bytes",
            note="at most: tables and work block, without calibration and evaluation",
        ),
        "free_disk": Figure(free, "bytes"),
        "estimated_time": Figure(
            round(estimated_seconds(plan, written, compares=compares, auxiliary=auxiliary), 1),
            "seconds",
            note="without calibration and evaluation",
        ),
    }


def new_shapes(plan: Plan) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return tensor name → (dtype, shape) of every tensor that changes."""
    base, rows = plan.base, plan.alignment.rows
    names = [base.input_name, *(n for n in (base.output_name, base.bias_name) if n), *base.per_layer_names]
    names += [n for n in base.roles.copies if n not in dropped(plan)]
    out: dict[str, tuple[str, tuple[int, ...]]] = {
        n: (base.tensors[n].dtype, (rows, *base.tensors[n].shape[1:])) for n in names
    }
    if base.extra_rows:
        out[base.input_name] = (
            base.tensors[base.input_name].dtype,
            (rows + base.extra_rows, base.hidden_size),
        )
    if plan.alignment.unchanged:  # a per-layer table may be shorter than the embedding, and stays so
        out |= {n: (base.tensors[n].dtype, base.tensors[n].shape) for n in base.per_layer_names}
    if plan.recipe.untie and base.tied:
        out[head_name(base)] = out[base.input_name]
    return out


def dropped(plan: Plan) -> list[str]:
    """Return stored copies of a tied head: the new checkpoint stores the one matrix once, unless it unties it."""
    base = plan.base
    if not base.tied or plan.recipe.untie:
        return []
    return [
        n for n, original in base.roles.copies.items() if original == base.input_name and n == head_name(base)
    ]


def head_name(base: Checkpoint) -> str:
    """Return the name under which this architecture stores an untied head."""
    if base.config.get("model_type") == "gpt_neox":
        return "embed_out.weight"
    wrapped = base.input_name.startswith("language_model.")
    return "language_model.lm_head.weight" if wrapped else "lm_head.weight"


def table_bytes(plan: Plan) -> int:
    """Return the bytes of the base's, the donor's and the new tables, and of the new rows in fp32."""
    base, donor = plan.base, plan.donor
    old = sum(base.tensors[n].nbytes for n in new_shapes(plan) if n in base.tensors)
    donated = sum(donor.tensors[n].nbytes for n in _names(donor)) if needs_donor(plan) else 0
    fresh = sum(
        int(np.prod(shape))
        * base.tensors[base.input_name].nbytes
        // int(np.prod(base.tensors[base.input_name].shape))
        for _, shape in new_shapes(plan).values()
    )
    return old + donated + fresh + 4 * len(plan.alignment.new_ids) * base.hidden_size * (1 + plan.untied)


def needs_donor(plan: Plan) -> bool:
    """Does the method look at the donor's rows, and are there tokens to make?"""
    return _reasons(plan) and plan.recipe.auxiliary == DONOR


def needs_auxiliary(plan: Plan) -> bool:
    """Does the method look at auxiliary vectors, and are there tokens to make?"""
    return _reasons(plan) and plan.recipe.auxiliary != DONOR


def _reasons(plan: Plan) -> bool:
    return plan.method.space == "donor" and len(plan.alignment.new_ids) > 0


def special_rows(plan: Plan) -> dict[str, str | None]:
    """Return the new special tokens that have a role → the base token whose row they hold, or None."""
    out: dict[str, str | None] = {}
    for token_id, roles in plan.new_vocab.roles.items():
        if not roles or token_id >= plan.alignment.rows:
            continue
        source = int(plan.alignment.source[token_id])
        name = plan.new_vocab.texts[plan.new_vocab.position[token_id]]
        rows = plan.alignment.composed.get(token_id, (source,))
        held = [
            plan.base_vocab.texts[plan.base_vocab.position[i]] for i in rows if i in plan.base_vocab.position
        ]
        out[name] = " + ".join(held) or None
    return out


def _names(checkpoint: Checkpoint) -> list[str]:
    return [n for n in (checkpoint.input_name, checkpoint.output_name) if n]


def _check_base(base: Checkpoint, *, untie: bool) -> None:
    if untie and base.tied and base.bias_name:
        raise TokswapError(
            f"{base.source}: --untie can't store a head of its own beside the bias {base.bias_name}",
            "masked language models (BERT, RoBERTa) tie head and bias together: leave --untie out",
        )
    if base.output_name and base.tensors[base.output_name].shape != (base.rows, base.hidden_size):
        raise TokswapError(
            f"{base.source}: the head has the shape {base.tensors[base.output_name].shape} and the embedding "
            f"{base.tensors[base.input_name].shape}",
            "a head of another width, or with more rows than the embedding, can't be moved",
        )


def _new_vocab(tokenizer: TokenizerFiles, donor: Checkpoint) -> Vocab:
    rows = donor.rows if donor.tensors else donor.vocab_size
    return read_vocab(tokenizer.tokenizer, tokenizer.config, donor.config, donor.generation_config, rows=rows)


def _new_tokenizer(recipe: Recipe, base: Checkpoint, base_vocab: Vocab, donor: Checkpoint) -> TokenizerFiles:
    """Return the donor's tokenizer, cutting numbers and starting texts as the recipe and the base need it."""
    if recipe.draft:
        return TokenizerFiles(donor.tokenizer, donor.tokenizer_config)
    given = TokenizerFiles(_digits(recipe, base, donor), donor.tokenizer_config)
    return with_start_token(given, base_vocab, vocab_of(donor))


def _align(recipe: Recipe, base_side: tuple[Checkpoint, Vocab], side: tuple[Checkpoint, Vocab]) -> Alignment:
    overrides = {new_text: parts.split() for new_text, parts in recipe.map.items()}
    if recipe.draft:
        return align_draft(base_side, side, overrides, check_draft(recipe, side[0]))
    base, new = base_side[1], side[1]
    first = align(base, new, overrides=overrides)
    if first.identical:  # on its own tokenizer a model keeps its rows, however many the donor's model has
        new = replace(new, rows=base.rows)
    needed = base.rows if first.identical else max(new.rows, new.max_id + 1)
    rows = recipe.pad_vocab_to or needed
    if rows < needed:
        raise TokswapError(
            f"--pad-vocab-to {rows} is below the {needed:,} rows that the new vocabulary needs",
            f"give {needed} or more",
        )
    if recipe.pad_to_multiple_of:
        rows = -(-rows // recipe.pad_to_multiple_of) * recipe.pad_to_multiple_of
    return first if rows == first.rows else align(base, new, overrides=overrides, rows=rows)


def choose_method(
    recipe: Recipe, donor: Checkpoint, alignment: Alignment
) -> tuple[Method, Mapping[str, Any], str]:
    """Return the method, its parameters and why; raises TokswapError for a method that lacks what it looks at."""
    if recipe.method != "auto":
        method = get_method(recipe.method)
        if method.parallel and not recipe.parallel_texts:
            raise no_parallel_text(method.name)
        lacking = method.space == "donor" and not donor.tensors and recipe.auxiliary == DONOR
        if lacking and len(alignment.new_ids):
            raise TokswapError(
                f"method {method.name!r} needs the donor's embeddings, and {donor.source} is a tokenizer alone",
                "give a donor with weights, or --auxiliary ngrams, or --method subword, which needs only the tokenizer",
            )
        return method, recipe.parameters, "asked for"
    if recipe.hypernet is not None:
        name, reason = "hypernet", "a hypernetwork was given"
    elif not donor.tensors:
        name, reason = "subword", "the donor is a tokenizer without weights"
    elif len(alignment.anchor_ids) < ENOUGH_ANCHORS:
        name, reason = "subword", f"the two share only {len(alignment.anchor_ids):,} tokens"
    else:
        name, reason = (
            "kriging",
            f"the donor has weights, and {len(alignment.anchor_ids):,} tokens are shared",
        )
    method = get_method(name)
    return method, method.checked({}), reason


def _hypernet(method: Method, recipe: Recipe, base: Checkpoint, vocab: Vocab) -> Path | None:
    """Return the folder of the hypernetwork that the method takes, checked against the base."""
    if not method.network:
        return None
    if recipe.hypernet is None:
        raise no_network(method.name)
    if recipe.untie and base.tied:
        raise TokswapError(
            "a hypernetwork for tied embeddings makes one row a token, and --untie asks for two",
            "leave --untie out",
        )
    folder = find_hypernet(recipe.hypernet, base, vocab)
    fitting_config(folder, base, vocab)
    return folder


def _digits(recipe: Recipe, base: Checkpoint, donor: Checkpoint) -> Mapping[str, Any]:
    """Return the donor's tokenizer.json, cutting numbers as the recipe says."""
    if recipe.keep_digits == "donor" or base.tokenizer == donor.tokenizer:
        return donor.tokenizer
    engine = load_tokenizer(base.tokenizer, f"the tokenizer of {base.source}")
    return with_digits_of(
        (engine, vocab_of(base)), donor.tokenizer, vocab_of(donor), f"the tokenizer of {donor.source}"
    )


def _existing(path: Path) -> Path:
    path = path.expanduser().absolute()
    while not path.exists():
        path = path.parent
    return path
