"""Count words for mixture inference on Dask's workers: here two processes, elsewhere a cluster.

    pip install 'tokswap[cluster]'
    python count_with_dask.py qwen.json en=texts/en zh=texts/zh

Tasks name files and leave tables in the cache folder, which are then merged: on several machines both must be folders
that all of them see (set TOKSWAP_DATA). Any other `concurrent.futures` executor does the same. What is counted stays in
the cache: `tokswap infer-mixture` on the same texts then counts nothing.
"""

from __future__ import annotations

import sys

from dask.distributed import Client

from tokswap.mixture.counting import count_words
from tokswap.mixture.merges import merge_list
from tokswap.mixture.types import WordCounts
from tokswap.sources import open_source


def count(client: Client, source: str, *categories: str) -> WordCounts:
    """Count the folders of `name=folder` arguments, as the tokenizer `source` cuts text."""
    tokenizer = open_source(source, only_tokenizer=True).tokenizer
    named = {name: [folder] for name, _, folder in (text.partition("=") for text in categories)}
    return count_words(tokenizer, merge_list(tokenizer), named, executor=client.get_executor())


def main(source: str, *categories: str) -> None:
    """Start two workers, count, and say how much there is."""
    with Client(n_workers=2, threads_per_worker=1) as client:  # Client("tcp://scheduler:8786") for a cluster
        counts = count(client, source, *categories)
    sys.stdout.write(f"{len(counts.words):,} words, {counts.text_bytes.sum():,} bytes\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
