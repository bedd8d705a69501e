# SPDX-License-Identifier: Apache-2.0
"""Measuring sides that take turns.

What else goes on in the machine, or beside it where that is a virtual one, changes how fast it is
for seconds at a time.  So each side is measured for a moment only, then the next one, and so on, and
what is compared are turns that follow each other: whatever slows the machine meets both.
"""

from dataclasses import dataclass, field
from statistics import median, quantiles

# Half of the turns lie within this of each other, relative to their median; beyond it the machine was
# too busy to say.
TOO_WIDE = 0.25


@dataclass
class Figure:
    """One figure of each side, with a value for each turn."""

    case: str
    variant: dict
    unit: str
    values: dict = field(default_factory=dict)  # By side.
    missing: dict = field(default_factory=dict)  # Why a side has none.
    lower_is_better: bool = True

    def add(self, side, value):
        self.values.setdefault(side, []).append(float(value))

    def median(self, side):
        return median(self.values[side])

    def ratio(self, of, to):
        """The median of what each turn of one side is beside the turn of the other."""
        return median(self.ratios(of, to))

    def ratios(self, of, to):
        pairs = zip(self.values[of], self.values[to], strict=False)
        return [a / b for a, b in pairs if b]

    def spread(self, of, to):
        """How far half of the ratios lie apart, relative to their median; 0 for fewer than three."""
        ratios = self.ratios(of, to)
        if len(ratios) < 3:
            return 0.0
        low, middle, high = quantiles(ratios, n=4)
        return (high - low) / middle

    def peers(self):
        """The sides that the first one is compared with."""
        first, *others = self.values
        return first, [side for side in others if self.ratios(first, side)]

    def lines(self):
        """What is printed: a line a peer, or one without a ratio where there is none."""
        words = " ".join([self.case, *(f"{key}={value}" for key, value in self.variant.items())])
        if not self.values:
            return [f"bench: {words} {self.unit}: nothing was measured"]
        first, others = self.peers()
        mine = f"bench: {words} {self.unit} {first}={number(self.median(first))}"
        lines = []
        for other in others:
            spread = self.spread(first, other)
            doubt = " (too busy to say)" if spread > TOO_WIDE else ""
            lines.append(
                f"{mine} {other}={number(self.median(other))} "
                f"ratio={self.ratio(first, other):.3f} spread={spread:.3f}{doubt}"
            )
        return lines or [mine]

    def as_json(self):
        first, others = self.peers() if self.values else (None, [])
        return {
            "case": self.case,
            "variant": self.variant,
            "unit": self.unit,
            "lower_is_better": self.lower_is_better,
            "sides": {
                side: {
                    "median": self.median(side),
                    "min": min(values),
                    "max": max(values),
                    "values": values,
                }
                for side, values in self.values.items()
            },
            "ratios": {
                other: {"median": self.ratio(first, other), "spread": self.spread(first, other)}
                for other in others
            },
            "missing": self.missing,
        }


def number(value):
    """Four digits are more than these figures have."""
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"
