"""Tables of a leaderboard: one ranking over all pairs, then for each pair what the rows cost and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tokswap.display.tables import Table, pairs
from tokswap.display.text import amount, escape, label, with_interval, words
from tokswap.report import Figure, Report

BASE, BORDERS = "base, own tokenizer", "base, at the new borders"
PARTS = (
    ("difference", "new − base"),
    ("segmentation_difference", "from the segmentation"),
    ("rows_difference", "from the rows"),
    ("bits_under_new_tokens", "under new tokens"),
    ("base_bits_under_new_tokens", "base's"),
    ("bits_under_shared_tokens", "under shared tokens"),
    ("base_bits_under_shared_tokens", "base's"),
)
MASS = (
    ("new_token_mass", "probability of new tokens"),
    ("new_token_share", "their share of the text"),
    ("new_token_mass_ratio", "one over the other"),
    ("new_token_top1", "likeliest where right"),
    ("shared_token_top1", "the same, shared tokens"),
)
PROBE = (
    ("greedy_text_new_share", "new tokens"),
    ("base_greedy_text_new_share", "in the base's text"),
    ("greedy_text_repetition", "repeated"),
    ("base_greedy_text_repetition", "the base's text"),
    ("greedy_text_bits", "base's bits per byte of it"),
    ("base_greedy_text_bits", "of its own text"),
    ("always_emitted_tokens", "always emitted"),
)
CONDITIONS = ("window_bytes", "stride_bytes", "interval", "device", "dtype", "note")
COST = (("seconds", "time"), ("cpu_seconds", "CPU time"), ("peak_memory", "peak memory"))


def leaderboard_tables(report: Report) -> list[Table]:
    """Return the ranking, the tables of each pair, and the cells that have no result."""
    out = [_ranking(report)]
    for pair in pairs_of(report):
        cells = ranked(report, pair)
        if cells:
            out += [_bits(pair, cells), _ratios(pair, cells), *_whys(pair, cells), _cost(pair, cells)]
    return [table for table in [*out, _to_do(report), _without(report), _conditions(report)] if table.rows]


def pairs_of(report: Report) -> list[str]:
    """Return the names of the pairs, in the recipe's order."""
    return list(dict.fromkeys(str(cell.facts["pair"]) for cell in report.sections.values()))


def ranked(report: Report, pair: str) -> list[Report]:
    """Return the cells of a pair that were measured, fewest bits per byte over all texts first."""
    cells = [c for c in report.sections.values() if c.facts["pair"] == pair and c.facts["state"] == "done"]
    return sorted(cells, key=lambda cell: evaluation_of(cell).figures["bits_per_byte"].value)


def evaluation_of(cell: Report) -> Report:
    """Return a measured cell's evaluation."""
    return cell.sections["evaluation"]


def cell_line(cell: Report) -> str:
    """Return a cell's outcome in one line, to be shown when it is known."""
    name = f"{row_name(cell)} on {escape(str(cell.facts['pair']))}"
    if cell.facts["state"] != "done":
        return f"{name}: {label(str(cell.facts['state']))}: {words(cell.facts.get('reason'))}"
    figures = evaluation_of(cell).figures
    took = f", made in {amount(cell.figures['seconds'])}" if "seconds" in cell.figures else ""
    return f"{name}: {amount(figures['bits_per_byte'])} bits per byte, {amount(figures['ratio'])} × the base's{took}"


def row_name(cell: Report) -> str:
    """Return a cell's row, escaped."""
    return escape(str(cell.facts["row"]))


def _ranking(report: Report) -> Table:
    """Rows by their mean ratio over the pairs that they were measured on; those on all pairs come first."""
    names = pairs_of(report)
    by_row: dict[str, dict[str, Figure]] = {}
    for pair in names:
        for cell in ranked(report, pair):
            by_row.setdefault(row_name(cell), {})[pair] = evaluation_of(cell).figures["ratio"]

    def order(row: str) -> tuple[int, float]:
        values = [figure.value for figure in by_row[row].values()]
        return -len(values), sum(values) / len(values)

    rows = tuple(
        (row, *(with_interval(by_row[row].get(p)) for p in names)) for row in sorted(by_row, key=order)
    )
    columns = ("row", *map(escape, names))
    note = "bits per byte over the base's, all texts; 95 %, paired bootstrap over chunks of bytes"
    return Table("New / base", columns, rows, "l" + "r" * len(names), note=note)


def _bits(pair: str, cells: Sequence[Report]) -> Table:
    first = evaluation_of(cells[0])
    texts = list(first.sections)
    rows = [(BASE, *_by_text(first, texts, "base_bits_per_byte"))]
    # A folder that somebody else made may have a tokenizer of its own.
    ours = sorted(cells, key=lambda cell: "folder" in cell.facts)
    borders = [e for e in map(evaluation_of, ours) if "segmentation_difference" in e.figures]
    rows += [(BORDERS, *_by_text(e, texts, "segmentation_bits_per_byte")) for e in borders[:1]]
    rows += [(row_name(cell), *_by_text(evaluation_of(cell), texts, "bits_per_byte")) for cell in cells]
    columns = ("row", *map(escape, texts), "all texts")
    return Table(f"{escape(pair)}: bits per byte", columns, tuple(rows), "l" + "r" * (len(texts) + 1))


def _ratios(pair: str, cells: Sequence[Report]) -> Table:
    texts = list(evaluation_of(cells[0]).sections)
    rows = tuple(
        (row_name(cell), *_by_text(evaluation_of(cell), texts, "ratio", interval=True)) for cell in cells
    )
    columns = ("row", *map(escape, texts), "all texts")
    title = f"{escape(pair)}: new / base"
    return Table(title, columns, rows, "l" + "r" * (len(texts) + 1), note="95 %, paired")


def _by_text(evaluation: Report, texts: Sequence[str], name: str, *, interval: bool = False) -> list[str]:
    figures = [*(evaluation.sections[t].figures.get(name) for t in texts), evaluation.figures.get(name)]
    return [with_interval(figure) if interval else amount(figure) for figure in figures]


def _whys(pair: str, cells: Sequence[Report]) -> list[Table]:
    titles = ("where the loss is, bits per byte", "new tokens, all texts", "greedy text")
    out: list[Table] = []
    for title, wanted in zip(titles, (PARTS, MASS, PROBE), strict=True):
        chosen = [
            (name, head)
            for name, head in wanted
            if any(name in evaluation_of(cell).figures for cell in cells)
        ]
        rows = tuple(
            (row_name(c), *(amount(evaluation_of(c).figures.get(name)) for name, _ in chosen)) for c in cells
        )
        if chosen:
            columns = ("row", *(head for _, head in chosen))
            out.append(Table(f"{escape(pair)}: {title}", columns, rows, "l" + "r" * len(chosen)))
    return out


def _cost(pair: str, cells: Sequence[Report]) -> Table:
    healed = ("healing",) * any("healing" in cell.facts for cell in cells)
    rows = tuple(
        (
            row_name(cell),
            *_how(cell.facts),
            *(words(cell.facts.get(name, "–")) for name in healed),
            *(amount(cell.figures.get(name)) for name, _ in COST),
        )
        for cell in cells
    )
    columns = ("row", "method", "parameters", "calibration", *healed, *(head for _, head in COST))
    note = "the whole process of a transplant: start, rows, calibration, writing and verifying"
    note += "; of a healing too, where a row has one" * len(healed)
    return Table(
        f"{escape(pair)}: what it took", columns, rows, "llll" + "l" * len(healed) + "rrr", note=note
    )


def _how(facts: Mapping[str, object]) -> tuple[str, str, str]:
    """Return a row's method, parameters and kind of calibration."""
    if "folder" in facts:
        return f"folder {words(facts['folder'])}", "–", "–"
    calibration = facts.get("calibration")
    kind = calibration.get("kind") if isinstance(calibration, dict) else calibration
    return words(facts.get("method")), words(facts.get("parameters")), words(kind)


def _conditions(report: Report) -> Table:
    """Return what was compared and how, as far as it is the same for all cells."""
    facts = report.facts
    rows = [
        (escape(name), f"{words(its['base'])} onto {words(its['donor'])}")
        for name, its in facts["pairs"].items()
    ]
    measured = [evaluation_of(c) for c in report.sections.values() if c.facts["state"] == "done"]
    if measured:
        its = measured[0]
        rows.append(("texts", f"{words(list(its.sections))}: {words(its.facts['bytes'])} bytes"))
        rows += [(label(name), words(its.facts[name])) for name in CONDITIONS]
    threads = facts["settings"].get("threads")
    rows += [
        ("threads", words(threads or "as many as the machine gives")),
        ("machine", words(facts["machine"])),
    ]
    return pairs("How it was measured", [*rows, ("tokswap", words(facts["tokswap"]))])


def _to_do(report: Report) -> Table:
    """Rows by pairs with the state of each cell, where a dry run has some that are to do."""
    names = pairs_of(report)
    by_row: dict[str, list[Report]] = {}
    for cell in report.sections.values():
        by_row.setdefault(row_name(cell), []).append(cell)
    rows = tuple(
        (row, *(_state_on(pair, cells) for pair in names))
        for row, cells in by_row.items()
        if any(cell.facts["state"] == "to do" for cell in cells)
    )
    return Table("To do", ("row", *map(escape, names)), rows)


def _state_on(pair: str, cells: Sequence[Report]) -> str:
    return next((label(str(cell.facts["state"])) for cell in cells if cell.facts["pair"] == pair), "–")


def _without(report: Report) -> Table:
    rows = tuple(
        (
            escape(str(cell.facts["pair"])),
            row_name(cell),
            label(str(cell.facts["state"])),
            words(cell.facts.get("reason")),
            words(cell.facts.get("hint")),
        )
        for cell in report.sections.values()
        if cell.facts["state"] not in ("done", "to do")
    )
    return Table("Cells without a result", ("pair", "row", "state", "why", "what to do"), rows)
