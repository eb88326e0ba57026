"""What a checkpoint has to survive: each test is named after a line of that list, A1 to A26."""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "evaluation"), str(TESTS / "attacks")]
