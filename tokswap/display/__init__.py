"""What a person sees of a report: escaped texts, numbers with units, tables. The same for terminal and page."""

from tokswap.display.tables import Table, tables_of
from tokswap.display.text import amount, escape, one_line, safe, safe_json, words

__all__ = ["Table", "amount", "escape", "one_line", "safe", "safe_json", "tables_of", "words"]
