"""Time budget of a training run."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic


@dataclass
class TimeBudget:
    """Time limit of a training run, and the time taken, including before it was resumed.

    Attributes
    ----------
    limit : float or None
        Maximum time in seconds; None means no limit.
    earlier : float
        Seconds taken before the run was resumed.
    reserve : float
        Seconds set aside for measuring and calibrating the model after the last step.
    started : float
        Value of `time.monotonic` when the run was started or resumed.
    """

    limit: float | None = None
    earlier: float = 0.0
    reserve: float = 0.0
    started: float = field(default_factory=monotonic)

    @property
    def seconds(self) -> float:
        """Seconds taken so far."""
        return self.earlier + monotonic() - self.started

    @property
    def used(self) -> float:
        """Used fraction of `limit - reserve`, from 0 to 1; 0 if there is no limit."""
        if self.limit is None:
            return 0.0
        return min(1.0, self.seconds / max(self.limit - self.reserve, 1e-3))
