from __future__ import annotations

import csv

from siamese.training.training_log import TRAINING_LOG, write_training_log


def test_each_epoch_is_a_row_with_the_columns_of_all(tmp_path):
    history = [{"epoch": 0, "val_map@r": 0.1}, {"epoch": 1, "val_map@r": 0.2, "loss": 1 / 3}]
    write_training_log(tmp_path, history)
    text = (tmp_path / TRAINING_LOG).read_text()
    assert text.splitlines()[0] == "epoch,val_map@r,loss"
    rows = [
        {name: float(value) for name, value in row.items() if value}
        for row in csv.DictReader(text.splitlines())
    ]
    assert rows == history
    assert [path.name for path in tmp_path.iterdir()] == [TRAINING_LOG]
