from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from tokenizer_families import added, byte_level, sentencepiece, with_start
from tokenizers import Tokenizer

from tokswap.align import Alignment, align
from tokswap.graft import (
    STALE_GENERATION_KEYS,
    TokenizerFiles,
    as_json,
    new_config,
    new_generation_config,
    new_tokenizer,
    new_tokenizer_config,
    start_token_id,
    terminators,
    with_start_token,
)
from tokswap.vocab import Vocab, read_vocab

TEXT = "The harbour wall — 42 œufs"
TEMPLATE = (
    "{{ bos_token or '' }}{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PLAIN = byte_level(330, ("<s>", "</s>"))
BASES = {True: with_start(PLAIN, "<s>"), False: PLAIN}
BASE_CONFIG = {"bos_token": "<s>", "eos_token": "</s>"}


def donor(*, adds: bool) -> TokenizerFiles:
    """A SentencePiece donor with `<s>`, and a post-processor that puts it before a text or not."""
    tokenizer = sentencepiece()
    config = {"bos_token": {"content": "<s>", "special": True}, "eos_token": "</s>", "unk_token": "<unk>"}
    return TokenizerFiles(
        with_start(tokenizer, "<s>") if adds else tokenizer, config | {"add_bos_token": adds}
    )


def chat_donor() -> TokenizerFiles:
    """A donor without bos, whose turns and documents end apart, as Qwen's do."""
    names = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool>")
    config = {
        "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "chat_template": TEMPLATE,
        "additional_special_tokens": [{"content": "<tool>"}, "<|im_start|>"], "tokenizer_class": "Qwen2Tokenizer",
        "auto_map": {"x": "y"}, "model_max_length": 9,
    }  # fmt: skip
    return TokenizerFiles(byte_level(340, names), config)


def graft(
    base: dict[str, Any], files: TokenizerFiles, folder: Path | None = None
) -> tuple[dict[str, Any], Vocab, int | None]:
    """Do what a transplant does with the tokenizer, and write it where a folder is given."""
    old = read_vocab(base, BASE_CONFIG)
    files = with_start_token(files, old, read_vocab(files.tokenizer, files.config))
    new = read_vocab(files.tokenizer, files.config)
    start = start_token_id(align(old, new), old, new)
    tokenizer = new_tokenizer(files, old, new, start)
    if folder is not None:
        (folder / "tokenizer.json").write_bytes(as_json(tokenizer))
        config = new_tokenizer_config(files, {"max_position_embeddings": 77}, old, new, start)
        (folder / "tokenizer_config.json").write_bytes(as_json(config))
        (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    return tokenizer, new, start


def loaded(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("donor_adds", [True, False])
@pytest.mark.parametrize("base_adds", [True, False])
def test_the_start_token_is_the_bases_habit(base_adds: bool, donor_adds: bool, tmp_path: Path) -> None:
    files = donor(adds=donor_adds)
    tokenizer, new, start = graft(BASES[base_adds], files, tmp_path)
    assert start == new.role_id("bos")
    body = Tokenizer.from_str(json.dumps(files.tokenizer)).encode(TEXT, add_special_tokens=False).ids
    expected = [start, *body] if base_adds else body
    engine = Tokenizer.from_str(json.dumps(tokenizer))
    assert engine.encode(TEXT).ids == expected
    assert engine.encode(TEXT, TEXT).ids == expected * 2
    assert loaded(tmp_path)(TEXT).input_ids == expected
    assert loaded(tmp_path).encode(TEXT, add_special_tokens=False) == body


@pytest.mark.parametrize("base_adds", [True, False])
def test_a_donor_without_start_token_gets_one_where_the_base_expects_it(
    base_adds: bool, tmp_path: Path
) -> None:
    files = chat_donor()
    _, new, start = graft(BASES[base_adds], files, tmp_path)
    before = read_vocab(files.tokenizer, files.config)
    assert start is not None
    expected = Tokenizer.from_str(json.dumps(files.tokenizer)).encode(TEXT).ids
    if base_adds:
        assert start == before.max_id + 1 and new.roles[start] == ("bos",) and len(new) == len(before) + 1
        expected = [start, *expected]
    else:
        assert len(new) == len(before) and new.texts[start] == "<|endoftext|>"
    tokenizer = loaded(tmp_path)
    assert tokenizer(TEXT).input_ids == expected and tokenizer.bos_token_id == start
    assert tokenizer.decode(expected, skip_special_tokens=True) == TEXT


def test_the_added_start_token_holds_the_row_of_the_bases() -> None:
    old = read_vocab(BASES[True], BASE_CONFIG)
    _, new, start = graft(BASES[True], chat_donor())
    assert start is not None and align(old, new).source[start] == old.role_id("bos")


def test_a_start_token_is_added_behind_holes() -> None:
    files = chat_donor()
    tokenizer = copy.deepcopy(dict(files.tokenizer))
    first = max(tokenizer["model"]["vocab"].values()) + 1
    tokenizer["model"]["vocab"]["farther"] = first + 50
    grafted, _, start = graft(BASES[True], TokenizerFiles(tokenizer, files.config))
    assert start == first + 51
    assert Tokenizer.from_str(json.dumps(grafted)).encode("a").ids[0] == start


def test_a_taken_name_is_not_taken_twice() -> None:
    files = chat_donor()
    first = len(files.tokenizer["model"]["vocab"])
    tokenizer = {
        **files.tokenizer,
        "added_tokens": [*files.tokenizer["added_tokens"], added(first, "<|bos|>", special=False)],
    }
    _, new, start = graft(BASES[True], TokenizerFiles(tokenizer, files.config))
    assert start == first + 1 and new.texts[new.position[start]] != "<|bos|>"


def test_a_lone_tokenizer_file_loses_its_start_token_too() -> None:
    """No tokenizer_config says what `<s>` is: the template itself does."""
    files = TokenizerFiles(donor(adds=True).tokenizer, {})
    tokenizer, _, _ = graft(BASES[False], files)
    assert Tokenizer.from_str(json.dumps(tokenizer)).encode(TEXT).tokens[0] != "<s>"
    assert tokenizer["post_processor"] is None


def test_other_steps_of_a_post_processor_stay() -> None:
    files = donor(adds=True)
    trims = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
    ends = copy.deepcopy(files.tokenizer["post_processor"])
    ends["single"].append({"SpecialToken": {"id": "</s>", "type_id": 0}})
    ends["special_tokens"]["</s>"] = {"id": "</s>", "ids": [2], "tokens": ["</s>"]}
    sequence = {"type": "Sequence", "processors": [trims, ends]}
    for base_adds, expected in ((False, ["a", "</s>"]), (True, ["<s>", "a", "</s>"])):
        tokenizer, _, _ = graft(
            BASES[base_adds], TokenizerFiles({**files.tokenizer, "post_processor": sequence}, files.config)
        )
        assert tokenizer["post_processor"]["processors"][0] == trims
        tokens = Tokenizer.from_str(json.dumps(tokenizer)).encode("a").tokens
        assert [t.strip("▁") for t in tokens if t != "▁"] == expected


def test_truncation_and_padding_are_switched_off_and_the_donor_is_left_alone() -> None:
    files = donor(adds=True)
    cut = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    tokenizer = {**files.tokenizer, "truncation": cut}
    before = copy.deepcopy(tokenizer)
    grafted, _, _ = graft(BASES[True], TokenizerFiles(tokenizer, files.config))
    assert len(Tokenizer.from_str(json.dumps(grafted)).encode(TEXT).ids) > 5 and tokenizer == before


def test_the_tokenizer_config_holds_names_and_the_bases_length(tmp_path: Path) -> None:
    graft(BASES[False], chat_donor(), tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert config == {
        "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "bos_token": "<|endoftext|>",
        "chat_template": TEMPLATE,
        "additional_special_tokens": ["<tool>", "<|im_start|>"], "model_max_length": 77, "add_bos_token": False,
        "add_eos_token": False, "clean_up_tokenization_spaces": False, "tokenizer_class": "PreTrainedTokenizerFast",
    }  # fmt: skip
    tokenizer = loaded(tmp_path)
    assert tokenizer.model_max_length == 77 and tokenizer.eos_token == "<|im_end|>"
    assert {"<tool>", "<|im_start|>"} <= set(tokenizer.all_special_tokens)


def test_the_length_of_a_wrapped_model_is_its_text_models() -> None:
    old = read_vocab(PLAIN, BASE_CONFIG)
    config = new_tokenizer_config(
        TokenizerFiles(PLAIN, {}), {"text_config": {"max_position_embeddings": 5}}, old, old, None
    )
    assert config["model_max_length"] == 5 and "bos_token" not in config


@pytest.mark.parametrize("base_adds", [True, False])
def test_a_conversation_of_two_turns_is_rendered(base_adds: bool, tmp_path: Path) -> None:
    _, new, start = graft(BASES[base_adds], chat_donor(), tmp_path)
    tokenizer = loaded(tmp_path)
    turns = [("user", "Wall?"), ("assistant", "Yes."), ("user", "Why?")]
    messages = [{"role": role, "content": content} for role, content in turns]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text.startswith(new.texts[start]) and text.endswith("<|im_start|>assistant\n")
    assert text.count("<|im_end|>") == 3 and all(content in text for _, content in turns)
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert ids.count(new.role_id("turn_end")) == 3 and ids.count(new.role_id("turn_start")) == 4
    assert b"".join(map(new.bytes_of, ids)) == text.encode()


def both(files: TokenizerFiles, **generation: Any) -> tuple[Vocab, Alignment]:
    new = read_vocab(files.tokenizer, files.config, {}, generation)
    return new, align(read_vocab(PLAIN, BASE_CONFIG), new)


def test_every_terminator_stops_generation_and_none_of_the_old() -> None:
    files = chat_donor()
    new, _ = both(files, eos_token_id=[2, 0, 3])  # the donor's own list names <tool>, too
    names = [new.texts[new.position[i]] for i in terminators(new)]
    assert names[0] == "<|im_end|>"
    assert set(names) == {"<|im_end|>", "<|endoftext|>", "<tool>"}
    base = {
        "eos_token_id": [999, 998],
        "bos_token_id": 997,
        "pad_token_id": 996,
        "temperature": 0.6,
        "max_new_tokens": 5,
    }
    generation, warnings = new_generation_config(base, new, None)
    assert generation == {
        "eos_token_id": terminators(new), "pad_token_id": new.role_id("pad"), "temperature": 0.6, "max_new_tokens": 5
    }  # fmt: skip
    assert not warnings and base["eos_token_id"] == [999, 998]


def test_terminators_have_rows() -> None:
    files = chat_donor()
    new = read_vocab(files.tokenizer, files.config, rows=2)
    assert [new.texts[i] for i in terminators(new)] == ["<|endoftext|>"]


def test_ids_of_the_old_tokenizer_go_with_a_word() -> None:
    new, _ = both(chat_donor())
    stale = {key: [1] for key in STALE_GENERATION_KEYS}
    generation, warnings = new_generation_config(stale, new, 7)
    assert not set(generation) & set(stale) and generation["bos_token_id"] == 7
    assert len(warnings) == 1 and all(key in warnings[0] for key in stale)


def test_a_plain_config_gets_the_new_size_and_ids() -> None:
    new, alignment = both(chat_donor())
    base = {
        "vocab_size": 330, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 5, "hidden_size": 8,
        "auto_map": {"a": "b"}, "nothing_token_id": None,
        "tie_word_embeddings": False, "sep_token_id": 1, "image_token_id": PLAIN["model"]["vocab"]["e"],
    }  # fmt: skip
    config, warnings = new_config(base, alignment, new, 4, tied=True)
    assert config == {
        "vocab_size": alignment.rows, "bos_token_id": 4, "eos_token_id": new.role_id("eos"), "hidden_size": 8,
        "pad_token_id": new.role_id("pad"), "tie_word_embeddings": True, "sep_token_id": 0, "nothing_token_id": None,
        "image_token_id": new.id_of_text["e"],
    }  # fmt: skip
    assert not warnings
    assert base["vocab_size"] == 330


@pytest.mark.parametrize("tied", [True, False])
def test_a_wrapped_config_is_changed_in_both_places(tied: bool) -> None:
    new, alignment = both(chat_donor())
    base = {
        "image_token_id": 1, "video_token_index": 9999, "eos_token_id": [1, 2], "vision_config": {"vocab_size": 3},
        "text_config": {"vocab_size": 330, "eos_token_id": 1, "tie_word_embeddings": True},
    }  # fmt: skip
    config, warnings = new_config(base, alignment, new, None, tied=tied)
    assert "vocab_size" not in config and config["vision_config"] == {"vocab_size": 3}
    assert config["text_config"]["vocab_size"] == alignment.rows
    assert config["tie_word_embeddings"] is config["text_config"]["tie_word_embeddings"] is tied
    assert config["eos_token_id"] == config["text_config"]["eos_token_id"] == new.role_id("eos")
    assert config["image_token_id"] == 0  # the row of the base's id 1 is there now
    assert "video_token_index" not in config and "video_token_index = 9999" in warnings[0]


def test_half_a_surrogate_pair_is_written() -> None:
    value = {"vocab": {"\ud83d": 1, "水": 2}}
    with pytest.raises(UnicodeEncodeError):
        json.dumps(value, ensure_ascii=False).encode()
    assert json.loads(as_json(value).decode("utf-8", "surrogatepass")) == value


@pytest.mark.parametrize("key", ["llm_config", "language_config", "thinker_config"])
def test_a_config_wrapped_under_another_name_is_changed_too(key: str) -> None:
    new, alignment = both(chat_donor())
    text = {"vocab_size": 9, "tie_word_embeddings": True, "eos_token_id": 1, "max_position_embeddings": 77}
    inner = {"text_config": text} if key == "thinker_config" else text
    config, _ = new_config({"model_type": "x", key: inner}, alignment, new, None, tied=False)
    changed = config[key].get("text_config", config[key])
    assert changed["vocab_size"] == alignment.rows and changed["tie_word_embeddings"] is False
    assert "vocab_size" not in config and changed["eos_token_id"] == config["eos_token_id"]
