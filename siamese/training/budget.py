"""Keep a training run within a time budget."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic


@dataclass
class TimeBudget:
    """Seconds that a training has taken, in all its calls.

    Attributes
    ----------
    earlier : seconds of earlier calls
    limit : seconds that it may take; None for as many as it needs
    reserve : seconds that the end of an epoch takes
    """

    earlier: float = 0.0
    limit: float | None = None
    reserve: float = 0.0
    started: float = field(default_factory=monotonic)

    @property
    def seconds(self) -> float:
        """Seconds until now."""
        return self.earlier + monotonic() - self.started

    @property
    def used(self) -> float:
        """Share of the budget that is used up, the end of the last epoch set aside; 0 without."""
        if self.limit is None:
            return 0.0
        return min(1.0, self.seconds / max(self.limit - self.reserve, 1e-3))
