"""What real tokenizers say they were trained on: infer-mixture over all the categories that there is text for.

    python benchmarks/real_mixtures.py                    runs those that have no result yet
    python benchmarks/real_mixtures.py --only gpt4o --merges 1000 --bytes 100000
    python benchmarks/real_mixtures.py --table            prints the results of a setting as Markdown

Categories are the languages and programming languages of benchmarks/mixture_texts.py, and its English domains beside
English itself (manuals and help): pages of each, evenly taken, `--bytes` of them in all. Tokenizers are those of
benchmarks/real_tokenizers.py.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mixture_texts
import real_tokenizers

from tokswap.cache import Origin, build_once, cache_folder
from tokswap.mixture.counting import count_words
from tokswap.mixture.infer import infer
from tokswap.mixture.merges import merge_list

OUT = Path(__file__).parent / "results" / "real-mixtures.json"
TOKENIZERS = {
    "gpt4o": "GPT-4o",
    "gpt35turbo": "GPT-3.5, GPT-4",
    "claude": "Claude",
    "llama3": "Llama 3",
    "qwen3": "Qwen 3",
    "deepseek_v3": "DeepSeek V3",
    "gemma3": "Gemma 3",
}
ENGLISH = ("en", "dictionary", "markdown", "stories")
CODE = (*mixture_texts.CODE, "html")
DOMAINS = ("dictionary", "markdown", "stories", "html")  # the others are among the languages and the code
PAGE_BYTES = 4000
MOST_BYTES = 400_000  # the smallest category has hardly more
SHOWN_SHARE, SHOWN_LANGUAGES, SHOWN_SCRIPTS = 0.003, 8, 4


def folders(most_bytes: int) -> dict[str, Path]:
    """Return category → file with pages from all over its text."""
    sources = mixture_texts.texts("languages") | mixture_texts.texts("code")
    sources |= {name: mixture_texts.texts("domains")[name] for name in DOMAINS}
    folder = cache_folder() / "mixture-texts" / f"real-{most_bytes}"

    def build(work: Path) -> Origin:
        (work / "ready").mkdir()
        for name, source in sources.items():
            text = "".join(sampled(source / "text.txt", most_bytes))
            (work / "ready" / f"{name}.txt").write_text(text, encoding="utf-8")
        return Origin("pages of languages, code and domains")

    build_once(folder, build)
    return {name: folder / f"{name}.txt" for name in sources}


def sampled(path: Path, most_bytes: int) -> Iterator[str]:
    """Yield whole lines from places that are evenly spaced, about `PAGE_BYTES` from each."""
    size = path.stat().st_size
    count = min(most_bytes, size) // PAGE_BYTES
    with path.open("rb") as file:
        for place in range(count):
            file.seek(place * size // count)
            _, _, lines = file.read(PAGE_BYTES).partition(b"\n")
            whole, _, _ = lines.rpartition(b"\n")
            yield whole.decode("utf-8") + "\n"


def run(name: str, merges: int, most_bytes: int) -> dict[str, Any]:
    """Return shares and slack of one tokenizer, and what they cost."""
    start = time.process_time()
    tokenizer = real_tokenizers.tokenizer(name)
    learnt = merge_list(tokenizer, skip="auto")
    texts = {category: [path] for category, path in folders(most_bytes).items()}
    counted = count_words(tokenizer, learnt, texts, processes=1)
    read = time.process_time()
    report = infer(TOKENIZERS[name], learnt, counted, steps=merges)
    figures, sections = report.figures, report.sections
    return {
        "tokenizer": TOKENIZERS[name],
        "notes": report.facts["notes"],
        "warnings": list(report.all_warnings()),
        "shares": {key: [_share(one.figures["byte_share"], end) for end in ("value", "low", "high")]
                   for key, one in sections.items()},
        "by_tokens": {key: round(one.figures["classification_share"].value, 5) for key, one in sections.items()},
        "slack_by_script": {key: round(value) for key, value in report.facts["slack_by_script"].items()},
        "missing_by_script": report.facts["missing_by_script"],
        "unexplained": [one["token"] for one in report.facts["unexplained"]],
        **{key: round(figures[key].value, 5)
           for key in ("merges", "skipped", "missing", "slack", "gap", "text", "words", "rows")},
        "cpu_seconds": {"read": round(read - start, 1), "infer": round(time.process_time() - read, 1)},
    }  # fmt: skip


def _share(figure: Any, end: str) -> float:
    return round(getattr(figure, end), 5)


def groups(one: dict[str, Any]) -> dict[str, float]:
    """Return the shares of English, of other languages and of code."""
    shares = {key: value[0] for key, value in one["shares"].items()}
    english = sum(shares[key] for key in ENGLISH)
    code = sum(shares[key] for key in CODE)
    return {"English": english, "other languages": 1 - english - code, "code": code}


def table(results: dict[str, Any]) -> str:
    """Return Markdown: groups, then the largest categories, then the slack."""
    lines = [
        "| tokenizer | merges | skipped | English | other languages | code | lacking | in no text | gap |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in results.values():
        shares = " | ".join(f"{100 * share:.1f} %" for share in groups(one).values())
        lines.append(
            f"| {one['tokenizer']} | {one['merges']:,} | {one['skipped']:,} | {shares} | {100 * one['slack']:.1f} % |"
            f" {one['missing']:,} | {100 * one['gap']:.1f} % |"
        )
    lines += ["", "| tokenizer | languages | code | lacking, by script |", "|---|---|---|---|"]
    for one in results.values():
        shares = {key: value[0] for key, value in one["shares"].items()}
        languages = _largest({key: share for key, share in shares.items() if key not in CODE})
        code = _largest({key: share for key, share in shares.items() if key in CODE})
        total = sum(one["slack_by_script"].values()) or 1
        scripts = list(one["slack_by_script"].items())[:SHOWN_SCRIPTS]
        slack = ", ".join(f"{key} {100 * value / total:.0f} %" for key, value in scripts)
        lines.append(f"| {one['tokenizer']} | {languages} | {code} | {slack} |")
    return "\n".join(lines)


def _largest(shares: dict[str, float]) -> str:
    order = sorted(shares, key=lambda key: -shares[key])[:SHOWN_LANGUAGES]
    return ", ".join(f"{key} {100 * shares[key]:.1f}" for key in order if shares[key] >= SHOWN_SHARE)


def _results(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.is_file() else {}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--only", choices=TOKENIZERS)
    parser.add_argument("--merges", type=int, default=10_000)
    parser.add_argument("--bytes", type=int, default=MOST_BYTES, help="about as many of each category")
    parser.add_argument("--table", action="store_true", help="print the results and run nothing")
    given = parser.parse_args()
    results = _results(given.out)
    for name in [] if given.table else [given.only] if given.only else TOKENIZERS:
        key = f"{name} {given.merges} {given.bytes}"
        if key not in results:
            one = run(name, given.merges, given.bytes)
            results = {**_results(given.out), key: one}  # others may have written meanwhile
            given.out.write_text(json.dumps(results, ensure_ascii=False, indent=1) + "\n")
            print(f"{key}: {results[key]['cpu_seconds']}, gap {results[key]['gap']}", flush=True)
    setting = f" {given.merges} {given.bytes}"
    print(table({key: one for key, one in results.items() if key.endswith(setting)}))


if __name__ == "__main__":
    main()
