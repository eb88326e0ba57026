"""Hostile input: what each attack may cost, and how it's run where it can do no harm."""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "evaluation")]
