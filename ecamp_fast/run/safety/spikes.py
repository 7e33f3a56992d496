"""Spikes: values far above the last ones, by a z that spikes among those do not move (median and MAD)."""

import math
from collections import deque
from ctypes import c_float
from statistics import median

ARMED = 16  # values before any is judged
_SIGMA = 1.4826  # of a normal distribution, in median absolute deviations
_FLOOR = 0.05  # of the median: a smooth curve has almost no deviation, and its next value may be a little higher


class Spikes:
    """Judges a quantity by its last values; spikes are among them, so a level that lasts becomes the rule.

    window  so many values
    z       above which a value is a spike

    Values are rounded to float32, in which a record of the run keeps them: read back, they give the same limits.
    """

    def __init__(self, window: int, z: float) -> None:
        self._values: deque[float] = deque(maxlen=window)
        self._z = z

    @property
    def limit(self) -> float:
        """The largest value that is no spike; infinite as long as too few are known."""
        if len(self._values) < ARMED:
            return math.inf
        middle, scale = self._spread()
        return middle + self._z * scale

    def is_spike(self, value: float) -> bool:
        """Whether ``value`` is above ``limit``; most are so near the median that the deviation need not be known."""
        if len(self._values) < ARMED or value <= (1 + self._z * _FLOOR) * median(self._values):
            return False
        return value > self.limit

    def z(self, value: float) -> float:
        """How far ``value`` lies above the median, in robust standard deviations; 0 as long as too few are known."""
        if len(self._values) < ARMED:
            return 0.0
        middle, scale = self._spread()
        return (value - middle) / scale if scale else math.copysign(math.inf, value - middle)

    def add(self, value: float) -> None:
        """The next value; one that is not finite tells nothing and is left out."""
        rounded = c_float(value).value
        if math.isfinite(rounded):
            self._values.append(rounded)

    def _spread(self) -> tuple[float, float]:
        middle = median(self._values)
        deviation = median(abs(value - middle) for value in self._values)
        return middle, max(_SIGMA * deviation, _FLOOR * abs(middle))
