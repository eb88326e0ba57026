"""Drafts for speculative decoding: what a target sees of them, turn by turn and token by token."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf

import tokswap
from tokswap.chat_turns import place_texts
from tokswap.checkpoint import open_checkpoint

sys.path.insert(0, str(Path(__file__).parent / "evaluation"))

from tiny_models import byte_level, sentencepiece
from tokenizer_families import added, with_start
from transplants import SMALL, llama, saved, table_of

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role)"
    " + '\n' + m.content | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
NAMED = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|over|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
INST = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + '[/INST]' }}"
    "{% else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}"
)
ALWAYS_OPEN = (
    "{% for m in messages %}{{ '<|head|>' + m.role + '<|/head|>\n\n' + m.content + '<|eot|>' }}{% endfor %}"
    "{{ '<|head|>assistant<|/head|>\n\n' }}"
)
HEADERS = (
    "{% for m in messages %}{{ '<|head|>' + m.role + '<|/head|>\n\n' + m.content + '<|eot|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|head|>assistant<|/head|>\n\n' }}{% endif %}"
)


def chat_model(
    folder: Path,
    tokenizer: dict[str, Any],
    template: str | None,
    specials: tuple[str, ...] = (),
    **config: Any,
) -> Path:
    """Save a tiny model whose tokenizer has further special tokens and a chat template."""
    first = len(tokenizer["model"]["vocab"])
    more = [added(first + i, text) for i, text in enumerate(specials)]
    tokenizer = {**tokenizer, "added_tokens": [*tokenizer["added_tokens"], *more]}
    torch.manual_seed(3)
    model = tf.LlamaForCausalLM(
        tf.LlamaConfig(**SMALL | {"vocab_size": 328, "initializer_range": 0.2} | config)
    )
    saved(model, folder, tokenizer)
    if template is not None:
        settings = {"bos_token": "<s>", "eos_token": "<s>", "chat_template": template}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def draft_of(base: Path, target: Path, out: Path, **more: Any) -> tuple[Path, tokswap.Report]:
    how: dict[str, Any] = {"method": "subword", "calibrate": "none", "evaluate": False} | more
    return out, tokswap.transplant(base, target, out=out, draft=True, **how)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "base"
    corpus = ["user\nassistant\nsaid the wall\n"] * 4
    return chat_model(
        folder, byte_level(60, corpus), CHATML, ("<|im_start|>", "<|im_end|>"), tie_word_embeddings=True
    )


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A target that puts a start token before a text, has more rows than tokens and other ids for everything."""
    folder = tmp_path_factory.mktemp("models") / "target"
    specials = ("<start_of_turn>", "<end_of_turn>")
    return chat_model(folder, with_start(sentencepiece(), "<s>"), GEMMA, specials, eos_token_id=[0, 294])


def test_ids_size_and_tokenizer_are_the_targets(base: Path, target: Path, tmp_path: Path) -> None:
    out, report = draft_of(base, target, tmp_path / "out")
    draft, aim = open_checkpoint(out), open_checkpoint(target)
    assert draft.tokenizer == aim.tokenizer
    assert draft.vocab_size == aim.vocab_size == draft.rows == 328
    for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
        assert draft.config.get(key) == aim.config.get(key)
    assert draft.config["eos_token_id"] == draft.generation_config["eos_token_id"] == [0, 294]
    theirs, ours = (tf.AutoTokenizer.from_pretrained(f) for f in (target, out))
    said = [{"role": "user", "content": "the wall"}, {"role": "assistant", "content": "a wall"}]
    assert ours.apply_chat_template(said) == theirs.apply_chat_template(said)
    assert ours("the wall").input_ids == theirs("the wall").input_ids
    assert report.facts["draft"] and report.facts["start_token_is_added"]
    assert tokswap.verify(out, against=base, run=False).facts["sound"]


def test_a_token_of_the_target_without_a_row_gets_none(base: Path, tmp_path: Path) -> None:
    specials = tuple(f"<|{i}|>" for i in range(40))  # of 303 + 40 tokens, 328 have a row
    target = chat_model(tmp_path / "target", sentencepiece(), None, specials)
    draft = open_checkpoint(draft_of(base, target, tmp_path / "out")[0])
    assert draft.rows == 328 and max(t["id"] for t in draft.tokenizer["added_tokens"]) >= 328
    plain = tokswap.transplant(base, target, dry_run=True, method="subword")
    assert plain.figures["new_rows"].value > 328  # any other transplant gives each token a row


def test_turns_take_the_rows_that_both_templates_say(base: Path, target: Path, tmp_path: Path) -> None:
    out, report = draft_of(base, target, tmp_path / "out")
    held = report.facts["special_tokens"]
    assert held["<start_of_turn>"] == "<|im_start|>" and held["<end_of_turn>"] == "<|im_end|>"
    old, new = table_of(base, "embed_tokens.weight"), table_of(out, "embed_tokens.weight")
    ids = [{t["content"]: t["id"] for t in open_checkpoint(f).tokenizer["added_tokens"]} for f in (base, out)]
    assert torch.equal(new[ids[1]["<end_of_turn>"]], old[ids[0]["<|im_end|>"]])


def test_names_that_no_list_knows_are_matched_by_what_they_do(base: Path, tmp_path: Path) -> None:
    specials = ("<|user|>", "<|assistant|>", "<|over|>")
    target = chat_model(tmp_path / "target", byte_level(30), NAMED, specials)
    out, _ = draft_of(base, target, tmp_path / "out")
    ids = {t["content"]: t["id"] for t in open_checkpoint(out).tokenizer["added_tokens"]}
    old, new = table_of(base, "embed_tokens.weight"), table_of(out, "embed_tokens.weight")
    reader = open_checkpoint(base).tokenizer
    spoken = {**reader["model"]["vocab"], **{t["content"]: t["id"] for t in reader["added_tokens"]}}
    assert torch.equal(new[ids["<|over|>"]], old[spoken["<|im_end|>"]])
    for name, role in (("<|user|>", "user"), ("<|assistant|>", "assistant")):
        mean = (old[spoken["<|im_start|>"]] + old[spoken[role]]) / 2
        assert torch.allclose(new[ids[name]], mean, atol=1e-6), name
    mapped = draft_of(base, target, tmp_path / "mapped", map={"<|user|>": "<|im_end|>"})[0]
    assert torch.equal(table_of(mapped, "embed_tokens.weight")[ids["<|user|>"]], old[spoken["<|im_end|>"]])


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (CHATML, ("<|im_end|>\n", "<|im_start|>assistant\n", "<|im_start|>user\n", "<|im_end|>\n")),
        (GEMMA, ("<end_of_turn>\n", "<start_of_turn>model\n", "<start_of_turn>user\n", "<end_of_turn>\n")),
        (NAMED, ("<|over|>\n", "<|assistant|>\n", "<|user|>\n", "<|over|>\n")),
        (INST, ("</s>", "[/INST]", "[INST] ", "")),
        (
            HEADERS,
            ("<|eot|>", "<|head|>assistant<|/head|>\n\n", "<|head|>user<|/head|>\n\n", "<|eot|>"),
        ),
        (
            ALWAYS_OPEN,
            ("<|eot|>", "<|eot|><|head|>assistant<|/head|>\n\n", "<|head|>user<|/head|>\n\n", ""),
        ),
    ],
)
def test_a_template_is_taken_apart(template: str, expected: tuple[str, ...]) -> None:
    config = {"chat_template": template, "bos_token": {"content": "<s>"}, "eos_token": "</s>"}
    assert tuple(place_texts(config).values()) == expected


@pytest.mark.parametrize(
    "template",
    [
        None,
        "",
        "{{ raise_exception('no') }}",
        "{% for m in messages %}{{ m.nothing.at_all }}{% endfor %}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{{ i }}{% endfor %}{% endfor %}",
        "the same whatever is said",
        "{{ messages[0].content }}",
    ],
)
def test_a_template_that_says_nothing_leaves_roles_to_their_names(template: str | None) -> None:
    assert place_texts({"chat_template": template}) == {}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"pad_vocab_to": 512}, "--pad-vocab-to"),
        ({"pad_to_multiple_of": 64}, "--pad-to-multiple-of"),
        ({"keep_digits": "base"}, "--keep-digits"),
    ],
)
def test_what_makes_another_vocabulary_is_refused(
    more: dict[str, Any], said: str, base: Path, target: Path, tmp_path: Path
) -> None:
    with pytest.raises(tokswap.TokswapError, match=said):
        draft_of(base, target, tmp_path / "out", **more)
    assert not (tmp_path / "out").exists()


def test_a_tokenizer_alone_is_no_target(base: Path, target: Path, tmp_path: Path) -> None:
    with pytest.raises(tokswap.TokswapError, match="how many rows"):
        draft_of(base, target / "tokenizer.json", tmp_path / "out")


def test_a_base_with_padded_rows_shrinks_to_its_targets_size(tmp_path: Path) -> None:
    base = saved(llama(rows=320), tmp_path / "base", byte_level())
    target = saved(llama(rows=304), tmp_path / "target", byte_level())
    out, _ = draft_of(base, target, tmp_path / "out")
    assert open_checkpoint(out).rows == 304
    assert torch.equal(table_of(out, "embed_tokens.weight"), table_of(base, "embed_tokens.weight")[:304])


@pytest.mark.parametrize("same", [False, True], ids=["a draft", "the target itself"])
def test_transformers_takes_the_draft_and_writes_the_targets_text(
    same: bool, base: Path, target: Path, tmp_path: Path
) -> None:
    out = target if same else draft_of(base, target, tmp_path / "out")[0]
    aim, draft = (tf.LlamaForCausalLM.from_pretrained(f).eval() for f in (target, out))
    ids = tf.AutoTokenizer.from_pretrained(target)("the wall of the harbour", return_tensors="pt").input_ids
    how: dict[str, Any] = {"max_new_tokens": 24, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    alone = aim.generate(ids, attention_mask=torch.ones_like(ids), **how)
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    handle = aim.register_forward_hook(count)
    assisted = aim.generate(ids, attention_mask=torch.ones_like(ids), assistant_model=draft, **how)
    handle.remove()
    assert torch.equal(alone, assisted)
    assert alone.shape[1] == ids.shape[1] + 24
    if same:  # all that it proposes is kept: fewer calls than tokens
        assert calls <= 12
