# SPDX-License-Identifier: Apache-2.0
"""What was measured, as JSON and as a table."""

import json

from turns import number


def write(directory, figures, machine):
    """results.json and table.md."""
    directory.mkdir(parents=True, exist_ok=True)
    results = {"machine": machine, "figures": [figure.as_json() for figure in figures]}
    (directory / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (directory / "table.md").write_text(table(figures))


def name_of(figure):
    return " ".join([figure.case, *(f"{k}={v}" for k, v in figure.variant.items())])


def table(figures):
    """Medians; in brackets, the first side's share of the other's."""
    sides = []
    for figure in figures:
        sides += [side for side in figure.values if side not in sides]
    rows = [["case", "unit", *sides], ["---"] * (2 + len(sides))]
    for figure in figures:
        first, others = figure.peers()
        cells = []
        for side in sides:
            cell = number(figure.median(side)) if side in figure.values else ""
            if side in others:
                cell += f" ({figure.ratio(first, side):.2f})"
            cells.append(cell)
        rows.append([name_of(figure), figure.unit, *cells])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
