"""A tiny base and a donor with longer pieces of the same text, as the tests of calibration stages move them."""

from __future__ import annotations

import sys
from pathlib import Path

from tokswap.data_files import data_folder
from tokswap.plan import Plan, make_plan
from tokswap.recipe import make_recipe
from tokswap.sources import open_source

sys.path.insert(0, str(Path(__file__).parent / "evaluation"))

from tiny_models import byte_level, checkpoint

TEXT = (data_folder("data") / "texts" / "calibration" / "english.txt").read_text()[:900]


def tiny_plan(root: Path) -> Plan:
    checkpoint(root / "base", byte_level(merges=60, corpus=[TEXT]), rows=320)
    checkpoint(root / "donor", byte_level(merges=160, corpus=[TEXT]), rows=500, seed=1)
    recipe = make_recipe({"base": str(root / "base"), "donor": str(root / "donor"), "method": "subword"})
    return make_plan(recipe, open_source(recipe.base), open_source(recipe.donor))
