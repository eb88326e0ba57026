"""`--report out.html`: refused before the work when it can't be written, written when the work is done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tokswap_cli import output

if TYPE_CHECKING:
    from tokswap.report import Report


def check_page(page: str | None) -> None:
    """Raise TokswapError now for a page that couldn't be written after minutes of work."""
    if page is not None:
        from tokswap.html_report import check_html

        check_html(Path(page).expanduser())


def write_page(report: Report, page: str | None) -> None:
    """Write the page that was asked for, and say where it is."""
    if page is not None:
        from tokswap.html_report import write_html

        path = Path(page).expanduser()
        write_html(report, path)
        output.message(f"report: {path}")
