"""From a catalogue to an index, or to one brought up to date, and what could not be indexed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from siamese.data.check import quick_check
from siamese.embedding.store import EmbeddingStore
from siamese.errors import InputError
from siamese.indexes import (
    BACKENDS,
    COLLECTION,
    Index,
    Metadata,
    backend_at,
    backend_for,
    build_index,
    open_index,
)
from siamese.indexes.faiss.folder import require_index_folder
from siamese.indexes.faiss.index import FaissIndex
from siamese.indexes.gallery_augmentation import augment_gallery
from siamese.indexes.milvus.connection import is_address
from siamese.indexes.update import Changes, bring_up_to_date
from siamese.utils.files import atomic_path, require_writable

if TYPE_CHECKING:
    from siamese.data.catalogue import Catalogue, Skipped
    from siamese.embedding.embedder import Embedder


@dataclass(frozen=True)
class Indexed:
    """What indexing left behind: where, by which engine, its size, and what is not in it.

    `changes` tells what was added, changed and removed; None where the index was made anew.
    """

    path: Path | str
    backend: str
    pictures: int
    embedding_size: int
    changes: Changes | None
    skipped: list[Skipped]


def index_catalogue(
    embedder: Embedder,
    catalogue: Catalogue,
    output: Path | str | None = None,
    *,
    backend: str | None = None,
    collection: str = COLLECTION,
    update: bool = False,
    min_recall: float | None = None,
    store: EmbeddingStore | None = None,
    augment: bool = False,
    batch_size: int = 32,
) -> Indexed:
    """Embed a catalogue and write its index, whole or not at all.

    Pictures that cannot be used are skipped and listed in `<output stem>.skipped.json` beside it.
    The embeddings are kept in `store`, by default `<output stem>.embeddings/`: indexing again,
    after a stop or with more pictures, embeds only what is not there. From the default store, what
    is no longer in the catalogue goes.

    Parameters
    ----------
    output : a file, a folder, or the URI of a Milvus server; None for `BACKENDS`' own
    backend : one of `BACKENDS`; None for what suits `output`
    collection : milvus: its name
    update : where there is an index, change in it only what is not as in the catalogue
    min_recall : faiss: the share of the nearest pictures to be found; None for its usual one
    augment : index the `augment_gallery`; the embeddings that are kept stay as they are

    Raises
    ------
    InputError
        Something is wrong that no skipping helps: listing every such problem.
    """
    place, engine, before = prepare_index(
        output,
        backend,
        collection=collection,
        update=update,
        min_recall=min_recall,
        augment=augment,
    )
    if before is not None:
        _require_model(before, embedder)
    if fatal := quick_check(catalogue).fatal:
        raise InputError(str(problem) for problem in fatal)
    embeddings = embedder.embed_catalogue(
        catalogue,
        batch_size=batch_size,
        store=store or EmbeddingStore(kept_embeddings(place, collection)),
        drop_others=store is None,
    )
    if not embeddings.pictures:
        raise InputError(
            f"none of the {len(catalogue.pictures)} pictures in {catalogue.image_dir} can be "
            "used; `siamese check` says why"
        )
    # A picture that an item lists twice is found once.
    once = list(
        {(p.item_id, p.filename): row for row, p in enumerate(embeddings.pictures)}.values()
    )
    vectors, contents = embeddings.vectors, [embeddings.contents[row] for row in once]
    if len(once) < len(vectors):
        vectors = vectors[once]
    if augment:
        vectors = augment_gallery(vectors)
    metadata = [
        Metadata(item_id=p.item_id, filename=p.filename, labels=list(p.labels))
        for p in (embeddings.pictures[row] for row in once)
    ]
    # The list first: an index that lacks pictures never stands there without it.
    _list_skipped(embeddings.skipped, skipped_list(place, collection))
    changes = None
    if before is None:
        index = build_index(
            engine,
            place,
            vectors,
            metadata,
            contents,
            embedder.facts,
            collection=collection,
            min_recall=min_recall,
            augmented=augment,
        )
    else:
        index = before
        changes = bring_up_to_date(index, vectors, metadata, contents)
        if isinstance(index, FaissIndex) and min_recall is not None:
            index.min_recall = min_recall
        if any(changes) or min_recall is not None:
            index.save()
    return Indexed(place, engine, len(index), index.embedding_size, changes, embeddings.skipped)


def prepare_index(
    output: Path | str | None,
    backend: str | None = None,
    *,
    collection: str = COLLECTION,
    update: bool = False,
    min_recall: float | None = None,
    augment: bool = False,
) -> tuple[Path | str, str, Index | None]:
    """Prove before long work that an index can be made so.

    Returns
    -------
    where it is written, by which engine, and the index that is to be changed, if any

    Raises
    ------
    InputError
        Listing everything that does not go together.
    """
    wanted = backend_for(output, backend)
    place = BACKENDS[wanted] if output is None else output
    place = place if is_address(place) else Path(place)
    there = backend_at(place, collection) if update else None
    engine = wanted if there is None else there
    problems = []
    if there is not None and backend not in (None, there):
        problems.append(f"--backend {backend}: {place} is of {there}; leave one of the two out")
    if min_recall is not None and engine != "faiss":
        problems.append(f"--min-recall is for --backend faiss; {engine} has nothing to set")
    if augment and engine == "milvus":
        problems.append("--augment-gallery: not with milvus, where pictures come and go")
    if not is_address(place) and not Path(place).name:
        problems.append(f"--output {place}: a folder; name the index in it, {BACKENDS[engine]}")
    if problems:
        raise InputError(problems)
    before = None if there is None else open_index(place, collection)
    if before is not None:
        _require_same_gallery(before, engine, augment)
    if engine == "milvus":
        from siamese.indexes.milvus.index import require_place

        require_place(place, collection)
    elif engine == "faiss":
        require_index_folder(Path(place))
    else:
        require_writable(place)
    return place, engine, before


def _require_same_gallery(index: Index, engine: str, augment: bool) -> None:
    """Which vectors are mixed into which, nobody knows afterwards; a balltree is made anew."""
    if augment != index.augmented:
        made = "with" if index.augmented else "without"
        raise InputError(
            f"{index.name}: made {made} --augment-gallery; update it so, or make it anew without "
            "--update"
        )
    if augment and engine == "faiss":
        raise InputError(
            f"{index.name}: made with --augment-gallery, which --update cannot go on with; make it "
            "anew without --update"
        )


def kept_embeddings(place: Path | str, collection: str = COLLECTION) -> Path:
    """Where the embeddings are kept for an index."""
    return _beside(place, collection, ".embeddings")


def skipped_list(place: Path | str, collection: str = COLLECTION) -> Path:
    """Where the list of skipped pictures stands for an index."""
    return _beside(place, collection, ".skipped.json")


def _beside(place: Path | str, collection: str, suffix: str) -> Path:
    """Beside a file or a folder; in this folder for what lies on a server."""
    if isinstance(place, Path):
        of_collection = "" if collection == COLLECTION else f".{collection}"
        return place.with_name(f"{place.stem}{of_collection}{suffix}")
    return Path(f"{collection}{suffix}")


def _require_model(index: Index, embedder: Embedder) -> None:
    recorded = index.model
    if recorded is None or recorded.fingerprint != embedder.facts.fingerprint:
        maker = "an unknown model" if recorded is None else f"the model {recorded.name!r}"
        raise InputError(
            f"{index.name}: made by {maker}, not by {embedder.facts.name!r} as it is now; give "
            "that one, or make the index anew without --update"
        )


def _list_skipped(skipped: list[Skipped], path: Path) -> None:
    """Write the skipped pictures with their reasons; where there are none, an old list goes."""
    if not skipped:
        path.unlink(missing_ok=True)
        return
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps([asdict(one) for one in skipped], indent=2) + "\n")
