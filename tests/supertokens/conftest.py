"""Modules of this folder, of the tests and of the evaluation tests can be imported by its tests."""

import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(Path(__file__).parent), str(TESTS), str(TESTS / "evaluation")]
