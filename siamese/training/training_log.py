"""CSV log of each epoch's metrics."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from siamese.utils.files import atomic_path

TRAINING_LOG = "training_log.csv"


def write_training_log(output: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Write `training_log.csv` to the folder `output`, one row per epoch.

    Parameters
    ----------
    output : Path
        Folder of the training run.
    history : sequence of mappings
        Metrics of each epoch, by name. The columns are all names, in order of first appearance.
    """
    names = list(dict.fromkeys(name for row in history for name in row))
    with atomic_path(output / TRAINING_LOG) as temporary, temporary.open("w") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(history)
