# SPDX-License-Identifier: Apache-2.0
"""What was measured, as SVG files: one for each case with several sides."""

from collections import defaultdict

import matplotlib
from matplotlib import pyplot as plt

matplotlib.use("svg")


def write(directory, figures):
    """CASE.svg in `directory` for each."""
    by_case = defaultdict(list)
    for figure in figures:
        if len(figure.values) > 1:
            by_case[figure.case].append(figure)
    for case, group in by_case.items():
        plot(directory / f"{case}.svg", case, group)


def plot(path, case, figures):
    """Bars of medians, with lines from the lowest to the highest turn."""
    # The same results give the same file.
    matplotlib.rcParams["svg.hashsalt"] = case
    matplotlib.rcParams["svg.fonttype"] = "none"
    sides = list(dict.fromkeys(side for figure in figures for side in figure.values))
    width = 0.8 / len(sides)
    drawing, axes = plt.subplots(figsize=(8, 4))
    for i, side in enumerate(sides):
        places, medians, errors = [], [], [[], []]
        for x, figure in enumerate(figures):
            if side in figure.values:
                values, middle = figure.values[side], figure.median(side)
                places.append(x + (i - (len(sides) - 1) / 2) * width)
                medians.append(middle)
                errors[0].append(middle - min(values))
                errors[1].append(max(values) - middle)
        axes.bar(places, medians, width, label=side, yerr=errors, capsize=2)
    labels = [" ".join(f"{k}={v}" for k, v in figure.variant.items()) for figure in figures]
    axes.set_xticks(range(len(figures)), labels)
    better = "less" if figures[0].lower_is_better else "more"
    axes.set_ylabel(f"{figures[0].unit} ({better} is better)")
    axes.set_title(case)
    axes.legend()
    drawing.tight_layout()
    rights = "SPDX-License-Identifier: Apache-2.0"
    drawing.savefig(path, metadata={"Date": None, "Rights": rights})
    plt.close(drawing)
