from __future__ import annotations

import sys
from pathlib import Path

import torch

for folder in (Path(__file__).parents[1] / "evaluation", Path(__file__).parent):
    sys.path.insert(0, str(folder))

torch.set_num_threads(1)
