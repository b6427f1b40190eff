"""Find the checkpoint of an index after the folder that holds both was moved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from siamese.indexes.place import Place, is_address
from siamese.models.facts import ModelFacts


def find_moved_checkpoint(model: ModelFacts | None, place: Place) -> ModelFacts | None:
    """Replace the path of a model by the present path of its checkpoint, if that is found.

    An index that was built in ``/home/me/project`` records ``/home/me/project/checkpoints/a.hdf5``.
    If this file is missing, ever shorter ends of the path are tried, ``checkpoints/a.hdf5`` before
    ``a.hdf5``, first next to the index, then in the working folder. `siamese.Searcher` checks the
    fingerprint of what is found.
    """
    if model is None or model.path is None or Path(model.path).is_file():
        return model
    folders = [Path.cwd()]
    if not is_address(place):
        folders.insert(0, Path(place).absolute().parent)
    parts = Path(model.path).parts
    for start in range(1, len(parts)):
        for folder in folders:
            path = folder.joinpath(*parts[start:])
            if path.is_file():
                return replace(model, path=str(path))
    return model
