"""Is a checkpoint folder sound? One check, one function; each says in a sentence what it found.

    verify(open_checkpoint(Path("gemma3-smollm2")), base=open_source("gemma3"))

Runs on any folder in Hugging Face's layout, whichever tool wrote it. `check` holds what a check is, `subject` what
it looks at; `files`, `ids`, `rows`, `texts`, `body` and `running` hold the checks, from the cheapest to the dearest.
"""

from tokswap.verification.check import Finding, Outcome
from tokswap.verification.checks import verify, verify_folder
from tokswap.verification.subject import Subject

__all__ = ["Finding", "Outcome", "Subject", "verify", "verify_folder"]
