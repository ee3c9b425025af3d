"""Writes `expected.json`: the change points that the package ruptures finds in series of every kind.

Each result is held against a dynamic programme that prunes nothing, and the best segmentation must be
clearly better than the next best, so that rounding cannot decide between the two.

ruptures' PELT is exact where a segment may be a single value. Where segments have a least length it
drops a candidate as soon as a change at the present position would be better. But that change
cannot be followed by another one for a least length, and until then the candidate may still be
needed. With a usual penalty this seldom matters. Some series are here because it does: they
have `normal_optimum` beside `normal`, which is what ruptures found.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import ruptures
from ruptures.base import BaseCost
from ruptures.costs import CostNormal

_EXPECTED = Path(__file__).with_name("expected.json")

_SEED = 1
_LENGTHS = (20, 60, 150, 300, 600)
_KINDS = (
    "flat",
    "heavy-tails",
    "step",
    "slow-first",
    "slow-first-two",
    "ramp",
    "flipping",
    "drift",
    "variance",
)

# The standard deviation of the noise. The series are like logarithms of times.
_NOISE = 0.02

# Values are whole numbers of this many to the unit, so that sums of squares can be exact.
_SCALE = 10_000

# By how much the best segmentation must beat every other one. Where variances come from running sums,
# that of two values which differ by a ten-thousandth has about six good digits.
_CLEAR = 0.001

# The bounds of the deviation, in deviations of the noise, and the penalty as a + b·ln n: those of the
# detector, and some that cut a series into more pieces.
_SETTINGS = (
    ((1.0, 1.4), (8.0, 4.0)),
    ((1.0, 1.4), (0.0, 3.0)),
    ((0.5, 3.0), (8.0, 4.0)),
    ((0.25, 8.0), (0.0, 3.0)),
)

# The shortest segment where the variance has no bounds. ruptures' own cost demands two values.
_SHORTEST = (2, 3, 5)
_UNBOUNDED = (0.0, math.inf)

# So many series are kept in which ruptures' pruning loses the optimum: short ones, a low penalty.
_PRUNED_TOO_EARLY = 5
_LOW_PENALTY = 5.0


class BoundedNormal(BaseCost):
    """The cost of `change_points`: n·ln v + S/v, where S is the sum of the squared distances from the
    segment's mean, and v the variance S/n, or the bound that it lies beyond."""

    model = "bounded-normal"
    min_size = 1

    def __init__(self, low: float, high: float) -> None:
        self.low = low
        self.high = high

    def fit(self, signal: np.ndarray) -> BoundedNormal:
        self.signal = signal
        return self

    def error(self, start: int, end: int) -> float:
        part = self.signal[start:end]
        scatter = ((part - part.mean()) ** 2).sum()
        variance = np.clip(scatter / len(part), self.low**2, self.high**2)
        return len(part) * np.log(variance) + scatter / variance


def _levels(kind: str, n: int, random: np.random.Generator) -> np.ndarray:
    """The series without its noise."""
    at = np.arange(n)
    match kind:
        case "step":
            return np.where(at < random.integers(n // 5, 4 * n // 5), 0.0, random.choice([-0.1, 0.1]))
        case "slow-first":
            return np.where(at == 0, math.log(1.3), 0.0)
        case "slow-first-two":
            return np.select([at == 0, at == 1], [math.log(8), math.log(5)])
        case "ramp":
            return np.log1p(np.exp(-at / 3))
        case "flipping":
            dwells = random.integers(5, 16, size=n)
            return np.repeat(np.arange(n) % 2, dwells)[:n] * math.log(1.2)
        case "drift":
            return np.log1p(0.2 * at / n)
        case _:
            return np.zeros(n)


def _series(kind: str, n: int, random: np.random.Generator) -> np.ndarray:
    """In ten-thousandths. No two neighbours are equal: where the variance has no bounds they would be
    a segment of variance 0, whose cost is minus infinity."""
    heavy = kind == "heavy-tails"
    noise = random.standard_t(3, n) / math.sqrt(3) if heavy else random.standard_normal(n)
    if kind == "variance":
        noise[n // 2 :] *= 4
    values = np.rint((_levels(kind, n, random) + _NOISE * noise) * _SCALE).astype(np.int64)
    for before in range(n - 1):
        values[before + 1] += values[before + 1] == values[before]
    return values


def _optimum(
    values: np.ndarray, bounds: tuple[float, float], penalty: float, shortest: int
) -> tuple[list[int], float]:
    """The best segmentation by definition, and how much worse the next best is.

    The sums are of integers and exact; nothing is pruned.
    """
    n = len(values)
    sums, squares = (np.concatenate([[0], np.cumsum(v)]) for v in (values, values**2))
    best, second = np.full(n + 1, np.inf), np.full(n + 1, np.inf)
    best[0] = -penalty
    start = np.zeros(n + 1, dtype=int)
    for end in range(shortest, n + 1):
        begins = np.arange(end - shortest + 1)
        size = end - begins
        scatter = size * (squares[end] - squares[begins]) - (sums[end] - sums[begins]) ** 2
        scatter = scatter / (size * _SCALE**2)
        variance = np.clip(scatter / size, bounds[0] ** 2, bounds[1] ** 2)
        costs = size * np.log(variance) + scatter / variance + penalty
        totals = best[begins] + costs
        start[end] = totals.argmin()
        best[end], *others = np.partition(totals, range(min(2, len(totals))))[:2]
        second[end] = min([*others, *(second[begins] + costs)])
    found = [int(start[n])]
    while found[-1] > 0:
        found.append(int(start[found[-1]]))
    return found[-2::-1], float(second[n] - best[n])


def _pelt(cost: BaseCost, values: np.ndarray, penalty: float, shortest: int) -> list[int]:
    pelt = ruptures.Pelt(custom_cost=cost, min_size=shortest, jump=1)
    # The last is the end of the series.
    return [int(at) for at in pelt.fit(values / _SCALE).predict(penalty)[:-1]]


def _case(name: str, values: np.ndarray, setting: int, normal_penalty: float | None = None) -> dict:
    """What is expected of a series."""
    bounds, (constant, per_log) = _SETTINGS[setting % len(_SETTINGS)]
    low, high = (round(_NOISE * bound, 6) for bound in bounds)
    shortest = _SHORTEST[setting % len(_SHORTEST)]
    penalty = round(constant + per_log * math.log(len(values)), 4)
    normal_penalty = normal_penalty or penalty

    pelt = _pelt(BoundedNormal(low, high), values, penalty, shortest=1)
    optimum, clearance = _optimum(values, (low, high), penalty, shortest=1)
    if pelt != optimum:
        raise RuntimeError(f"{name}: {pelt} is not {optimum}, though nothing keeps PELT from it")

    # Without its bias, which adds a millionth to each variance: with it segments of a few values that
    # are nearly equal cost more than their likelihood says, and some series have fewer changes.
    normal = _pelt(CostNormal(add_small_diag=False), values, normal_penalty, shortest)
    normal_optimum, normal_clearance = _optimum(values, _UNBOUNDED, normal_penalty, shortest)
    if min(clearance, normal_clearance) < _CLEAR:
        raise RuntimeError(f"{name}: nearly a tie, by {clearance} and {normal_clearance}")

    case = {
        "name": name,
        "series": (values / _SCALE).tolist(),
        "low": low,
        "high": high,
        "penalty": penalty,
        "pelt": pelt,
        "normal_penalty": normal_penalty,
        "normal_min_size": shortest,
        "normal": normal,
    }
    return case if normal == normal_optimum else case | {"normal_optimum": normal_optimum}


def _cases() -> Iterator[dict]:
    random = np.random.default_rng(_SEED)
    # The lengths, the settings and the least lengths are 5, 4 and 3: they meet in all ways.
    names = [(kind, n) for kind in _KINDS for n in _LENGTHS]
    for setting, (kind, n) in enumerate(names):
        yield _case(f"{kind}-{n}", _series(kind, n, random), setting)

    kept = 0
    for setting in itertools.count():
        kind = _KINDS[setting % len(_KINDS)]
        values = _series(kind, 40, random)
        case = _case(f"pruned-too-early-{kind}-{setting}", values, setting, _LOW_PENALTY)
        if "normal_optimum" in case:
            yield case
            kept += 1
        if kept == _PRUNED_TOO_EARLY:
            return


def main() -> None:
    # A series is a line.
    lines = ",\n".join(json.dumps(case) for case in _cases())
    _EXPECTED.write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
