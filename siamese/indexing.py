"""From a catalogue to an index file, and the list of what could not be indexed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from siamese.check import quick_check
from siamese.embedding_store import EmbeddingStore
from siamese.errors import InputError
from siamese.files import atomic_path, require_writable
from siamese.indexes import BallTreeIndex
from siamese.reranking import augmented_gallery

if TYPE_CHECKING:
    from siamese.catalogue import Catalogue
    from siamese.embedding import Embedder, Skipped

SEARCH_INDEX = Path("search_index.pkl")


@dataclass(frozen=True)
class Indexed:
    """What indexing left behind: the index, its size, and what is not in it."""

    path: Path
    pictures: int
    embedding_size: int
    skipped: list[Skipped]


def index_catalogue(
    embedder: Embedder,
    catalogue: Catalogue,
    output: Path = SEARCH_INDEX,
    *,
    batch_size: int = 32,
    store: EmbeddingStore | None = None,
    augment: bool = False,
) -> Indexed:
    """Embed a catalogue and write its BallTree to `output`, whole or not at all.

    Pictures that cannot be used are skipped and listed in `<output stem>.skipped.json` beside it.
    The embeddings are kept in `store`, by default `<output stem>.embeddings/`: indexing again,
    after a stop or with more pictures, embeds only what is not there. From the default store, what
    is no longer in the catalogue goes. With `augment`, the index holds the `augmented_gallery` of
    these; the embeddings that are kept stay as they are.

    Raises
    ------
    InputError
        Something is wrong that no skipping helps: listing every such problem.
    """
    require_writable(output)
    if fatal := quick_check(catalogue).fatal:
        raise InputError(str(problem) for problem in fatal)
    embeddings = embedder.embed_catalogue(
        catalogue,
        batch_size=batch_size,
        store=store or EmbeddingStore(kept_embeddings(output)),
        drop_others=store is None,
    )
    if not embeddings.pictures:
        raise InputError(
            f"none of the {len(catalogue.pictures)} pictures in {catalogue.image_dir} can be "
            "used; `siamese check` says why"
        )
    index = BallTreeIndex.build(
        augmented_gallery(embeddings.vectors) if augment else embeddings.vectors,
        [
            {"item_id": p.item_id, "filename": p.filename, "labels": list(p.labels)}
            for p in embeddings.pictures
        ],
        embedder.facts.as_dict(),
    )
    # The list first: an index that lacks pictures never stands there without it.
    _list_skipped(embeddings.skipped, skipped_list(output))
    index.save(output)
    return Indexed(output, len(index), index.embedding_size, embeddings.skipped)


def kept_embeddings(output: Path) -> Path:
    """Where the embeddings are kept for an index at `output`."""
    return output.with_name(f"{output.stem}.embeddings")


def skipped_list(output: Path) -> Path:
    """Where the list of skipped pictures stands for an index at `output`."""
    return output.with_name(f"{output.stem}.skipped.json")


def _list_skipped(skipped: list[Skipped], path: Path) -> None:
    """Write the skipped pictures with their reasons; where there are none, an old list goes."""
    if not skipped:
        path.unlink(missing_ok=True)
        return
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps([asdict(one) for one in skipped], indent=2) + "\n")
