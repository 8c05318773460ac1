"""A conformal test martingale: the evidence of a change in a sequence of p-values, as the wealth of a gambler.

While the p-values are uniform and independent, no bet gains on average. By Ville's inequality (Ville, 1939) the wealth
then ever reaches 1 / alpha with a probability of at most alpha, however long the sequence is (Vovk, arXiv 2602.13848;
Vovk, Nouretdinov & Gammerman, ICML 2003, "Testing exchangeability on-line").
"""

from __future__ import annotations

import math
from dataclasses import dataclass

ALARM = 100.0  # wealth from which there is an alarm: a sequence without change ever reaches it with 1 % at most
_JUMP = 0.01  # part of the wealth of the jumper that is dealt anew before each bet
_SLOPES = (-1.0, -0.5, 0.0, 0.5, 1.0)  # of the bets 1 + slope (p - 1/2) of the jumper
_POWERS = (0.3, 0.5, 0.7, 0.9)  # of the bets power p^(power - 1)


@dataclass(frozen=True, slots=True)
class Martingale:
    """The wealth after some bets, 1 at the start: the mean of a simple jumper and of bets by powers of p.

    The jumper gains where p-values are small for a while, or large. The powers gain quickly on a few very small ones.

    Example:
        >>> from lmm_classifier.discovery.drift.martingale import Martingale
        >>> wealth = Martingale()
        >>> for _ in range(20):
        ...     wealth = wealth.bet(0.01)
        >>> wealth.is_alarm, Martingale().bet(0.5).bet(0.6).is_alarm
        (True, False)
    """

    jumper: float = 0.0  # natural logarithm of the wealth of the jumper
    parts: tuple[float, ...] = (1 / len(_SLOPES),) * len(_SLOPES)  # how it is dealt among the slopes; the sum is 1
    powers: tuple[float, ...] = (0.0,) * len(_POWERS)  # natural logarithms of the wealth by each power

    def bet(self, p: float) -> Martingale:
        """Return the wealth after one more p-value, 0 < p <= 1; raise ValueError for another number."""
        if not 0 < p <= 1:
            raise ValueError(f"expected a p-value above 0 and at most 1, got {p}")
        dealt = [(1 - _JUMP) * part + _JUMP / len(_SLOPES) for part in self.parts]
        after = [part * (1 + slope * (p - 0.5)) for part, slope in zip(dealt, _SLOPES)]
        factor, log_p = math.fsum(after), math.log(p)
        powers = tuple(log + math.log(power) + (power - 1) * log_p for log, power in zip(self.powers, _POWERS))
        return Martingale(self.jumper + math.log(factor), tuple(part / factor for part in after), powers)

    @property
    def log(self) -> float:
        """Return the natural logarithm of the wealth; the wealth itself may be too large for a number."""
        most = max(self.powers)
        by_powers = most + math.log(math.fsum(math.exp(log - most) for log in self.powers) / len(self.powers))
        high, low = max(self.jumper, by_powers), min(self.jumper, by_powers)
        return high + math.log((1 + math.exp(low - high)) / 2)

    @property
    def is_alarm(self) -> bool:
        """Return whether the wealth is that of an alarm."""
        return self.log >= math.log(ALARM)
