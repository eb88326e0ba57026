"""Complete a prompt that ends anywhere, by one model or by several with different tokenizers.

python docs/examples/next_bytes.py smollm2 --prompt 'import numpy as np
x = np.ara'
python docs/examples/next_bytes.py smollm2 gemma3 --prompt 'The harbour wall was bui'
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tokswap.bytewise import END, Ensemble, byte_model, continue_bytes
from tokswap.sources import open_source


def main(arguments: Sequence[str] | None = None) -> bytes:
    """Print the likeliest next bytes and a greedy continuation, and return the latter."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", help="folders, aliases or Hub ids; several vote on each byte")
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--bytes", type=int, default=12, help="length of the continuation")
    given = parser.parse_args(arguments)
    models = [byte_model(open_source(name)) for name in given.models]
    model = models[0] if len(models) == 1 else Ensemble(models)
    prompt = given.prompt.encode()
    chances = model.next_byte(prompt).probabilities
    for outcome in chances.argsort()[::-1][:4]:
        shown = "the end" if outcome == END else repr(bytes([outcome]))[1:]
        sys.stdout.write(f"{shown:10} {chances[outcome]:.3f}\n")
    written = continue_bytes(model, prompt, most_bytes=given.bytes, temperature=0)
    sys.stdout.write(f"{given.prompt}|{written.decode(errors='replace')}\n")
    return written


if __name__ == "__main__":
    main()
