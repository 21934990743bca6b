"""How a benchmark reports: progress on stderr, one line of JSON at the end."""

import json
import sys
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Figure:
    """One measured value.  ``baseline`` is the comparison from the same run; ``ratio`` is value to baseline."""

    name: str
    value: float
    unit: str
    baseline: float | None = None
    target: str = ""
    ok: bool | None = None

    @property
    def ratio(self) -> float | None:
        """Value to baseline."""
        return round(self.value / self.baseline, 3) if self.baseline else None


def say(text: str) -> None:
    """Tell whoever waits what is going on."""
    print(text, file=sys.stderr, flush=True)


def at_most(name: str, value: float, unit: str, times: float, baseline: float) -> Figure:
    """Return a figure whose target is at most some times the baseline."""
    return Figure(name, round(value, 4), unit, round(baseline, 4), f"<= {times} x baseline", value <= times * baseline)


def at_least(name: str, value: float, unit: str, times: float, baseline: float) -> Figure:
    """Return a figure whose target is at least some times the baseline."""
    return Figure(name, round(value, 2), unit, round(baseline, 2), f">= {times} x baseline", value >= times * baseline)


def below(name: str, value: float, unit: str, limit: float) -> Figure:
    """Return a figure whose target is a fixed limit."""
    return Figure(name, round(value, 3), unit, None, f"<= {limit} {unit}", value <= limit)


def end(bench: str, figures: list[Figure]) -> None:
    """Print the result."""
    rows = [{**asdict(figure), "ratio": figure.ratio} for figure in figures]
    ok = all(figure.ok is not False for figure in figures)
    print(json.dumps({"bench": bench, "ok": ok, "figures": rows}))
