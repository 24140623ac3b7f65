"""How often a caller may ask: a token bucket for each, in the memory of one server process."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

_MOST_CALLERS: Final = 10_000


class Rates:
    """Buckets that fill at ``rate`` a second up to ``burst``; a request takes one.

    The callers seen least recently are forgotten beyond 10,000: their buckets had filled again long before.

    Args:
        rate: Requests a second; 0 for no limit.
        burst: Requests that may come at once.
        clock: Seconds that only go forward.
    """

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, max(burst, 1), clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, caller: str) -> int:
        """Take one from a caller's bucket; return 0, or where it is empty the whole seconds until there is one."""
        return 0 if not self._rate else self._take(caller)

    def _take(self, caller: str) -> int:
        now = self._clock()
        level, since = self._buckets.get(caller, (float(self._burst), now))
        level = min(self._burst, level + (now - since) * self._rate)
        is_there = level >= 1
        self._buckets[caller] = (level - 1 if is_there else level, now)
        self._buckets.move_to_end(caller)
        while len(self._buckets) > _MOST_CALLERS:
            self._buckets.popitem(last=False)
        return 0 if is_there else max(1, math.ceil((1 - level) / self._rate))
