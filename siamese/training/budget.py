"""Keep a training run within a time budget."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic


@dataclass
class TimeBudget:
    """Seconds that a training run has taken, over all its calls, and may take.

    Attributes
    ----------
    limit : float or None
        Seconds that the run may take; None means no limit.
    earlier : float
        Seconds taken by earlier calls.
    reserve : float
        Seconds set aside for the end of the last epoch, when the model is measured and calibrated.
    started : float
        When this call began, on the clock of `time.monotonic`.
    """

    limit: float | None = None
    earlier: float = 0.0
    reserve: float = 0.0
    started: float = field(default_factory=monotonic)

    @property
    def seconds(self) -> float:
        """Seconds taken until now."""
        return self.earlier + monotonic() - self.started

    @property
    def used(self) -> float:
        """Share of the budget that is used up, from 0 to 1; 0 if there is no limit."""
        if self.limit is None:
            return 0.0
        return min(1.0, self.seconds / max(self.limit - self.reserve, 1e-3))
