"""The checkpoint that an index records, found again where a folder with both has moved."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from siamese.indexes.place import is_address
from siamese.models.facts import ModelFacts


def find_moved_checkpoint(
    model: ModelFacts | None, place: str | os.PathLike[str]
) -> ModelFacts | None:
    """The facts about a model with the path at which its checkpoint is now.

    An index that was made in ``/home/me/project`` records ``/home/me/project/checkpoints/a.hdf5``.
    Where that is not there, as much as possible of the path's end is looked for, first beside the
    index, then in the working folder: ``/app/checkpoints/a.hdf5`` before ``/app/a.hdf5``. Whether
    it is the model that made the index is for its fingerprint to say; see `siamese.Searcher`.

    Parameters
    ----------
    model : what the index records
    place : where the index lies, see `siamese.open_index`

    Returns
    -------
    The same facts where the checkpoint is where it was, or is nowhere to be found.
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
