"""Reports on disk: absent or complete."""

from __future__ import annotations

import json
from pathlib import Path

from tokswap.report import Report
from tokswap.whole_file import write_whole


def stored(file: Path) -> Report | None:
    """Return a report on disk, or None: what can't be read is measured again."""
    try:
        return Report.from_dict(json.loads(file.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def store(file: Path, report: Report) -> None:
    """Write a report in one piece. Raises OSError."""
    write_whole(file, report.to_json().encode("utf-8", "backslashreplace"))
