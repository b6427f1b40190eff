"""Creation and update of a catalogue's index."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from siamese.data.check import quick_check
from siamese.embedding.embed_catalogue import Embeddings, embed_catalogue
from siamese.embedding.store import EmbeddingStore
from siamese.errors import InputError
from siamese.indexes.backend import Backend
from siamese.indexes.backends import BACKENDS, choose_backend, find_backend
from siamese.indexes.gallery_augmentation import augment_gallery
from siamese.indexes.index import Index, Metadata
from siamese.indexes.place import COLLECTION, embeddings_folder, is_address, skipped_list
from siamese.indexes.update import Changes, update_index
from siamese.utils.artefacts import INDEXES, require_artefact
from siamese.utils.files import atomic_path

if TYPE_CHECKING:
    from siamese.data.catalogue import Catalogue, Skipped
    from siamese.embedding.embedder import Embedder
    from siamese.embedding.executor import Executor


@dataclass(frozen=True)
class IndexPlan:
    """Plan, made by `prepare_index`, of where and how to write an index."""

    place: Path | str
    collection: str
    backend: Backend
    index: Index | None
    min_recall: float | None
    augment: bool


@dataclass(frozen=True)
class IndexedCatalogue:
    """Result of `index_catalogue`."""

    path: Path | str
    backend: str
    pictures: int
    embedding_size: int
    changes: Changes | None
    skipped: list[Skipped]


def prepare_index(
    output: Path | str | None = None,
    backend: str | None = None,
    *,
    collection: str = COLLECTION,
    update: bool = False,
    min_recall: float | None = None,
    augment: bool = False,
) -> IndexPlan:
    """Plan the writing of an index, checking in advance that it can be written as requested.

    By default, `choose_backend` chooses the backend, and `output` is `Backend.default_place`. If
    options conflict, the `InputError` lists all conflicts.
    """
    chosen = choose_backend(output, backend)
    place = chosen.default_place if output is None else output
    place = place if is_address(place) else Path(place)
    existing = find_backend(place, collection) if update else None
    used = existing or chosen
    problems = []
    if existing is not None and backend not in (None, existing.name):
        problems.append(
            f"--backend {backend}: {place} is an index of {existing.name}; leave out --backend, or "
            "change --output"
        )
    for option, flag, value in (
        ("min_recall", "--min-recall", min_recall is not None),
        ("augment", "--augment-gallery", augment),
    ):
        if value and option not in used.options:
            others = [other.name for other in BACKENDS.values() if option in other.options]
            problems.append(
                f"{flag}: {used.name} does not support it; leave it out, or use --backend "
                f"{' or '.join(others)}"
            )
    if not is_address(place) and not Path(place).name:
        problems.append(
            f"--output {place}: this is a folder; add the name of the index, such as "
            f"{used.default_place}"
        )
    if problems:
        raise InputError(problems)
    index = None
    if existing is not None:
        index = existing.open(place, collection, min_recall=min_recall)
        _require_same_gallery(index, existing, augment)
    require_artefact(place, "an index", *INDEXES)
    used.prepare(place, collection)
    return IndexPlan(place, collection, used, index, min_recall, augment)


def index_catalogue(
    embedder: Embedder,
    catalogue: Catalogue,
    plan: IndexPlan,
    *,
    store: EmbeddingStore | None = None,
    batch_size: int = 32,
    executor: Executor | None = None,
) -> IndexedCatalogue:
    """Embed a catalogue, and build or update its index.

    Unusable pictures are skipped and listed at `skipped_list`. Embeddings are stored, so
    another call, after an interruption or with a larger catalogue, embeds only the pictures that
    are not in the store. Without a `store`, the embeddings go to `embeddings_folder`, and those of
    pictures that are no longer in the catalogue are deleted from it.
    """
    if plan.index is not None:
        _require_model(plan.index, embedder)
    if fatal := quick_check(catalogue).fatal:
        raise InputError(str(problem) for problem in fatal)
    embeddings = embed_catalogue(
        embedder,
        catalogue,
        store=store or EmbeddingStore(embeddings_folder(plan.place, plan.collection)),
        batch_size=batch_size,
        drop_others=store is None,
        executor=executor,
    )
    if not embeddings.pictures:
        raise InputError(
            f"{catalogue.image_dir}: none of the {len(catalogue.pictures)} pictures can be used; "
            "run `siamese check` to see why"
        )
    # Write this list before the index, so that an index that lacks pictures always has a list.
    _write_skipped(embeddings.skipped, skipped_list(plan.place, plan.collection))
    index, changes = _write_index(plan, embeddings, embedder)
    return IndexedCatalogue(
        plan.place,
        plan.backend.name,
        len(index),
        index.embedding_size,
        changes,
        embeddings.skipped,
    )


def _write_index(
    plan: IndexPlan, embeddings: Embeddings, embedder: Embedder
) -> tuple[Index, Changes | None]:
    """Write the embeddings to a new index, or update the existing index with them."""
    # An item may list a picture twice, but the index contains each picture once.
    rows = list(
        {(p.item_id, p.filename): row for row, p in enumerate(embeddings.pictures)}.values()
    )
    vectors = embeddings.vectors
    if len(rows) < len(vectors):
        vectors = vectors[rows]
    if plan.augment:
        vectors = augment_gallery(vectors)
    pictures = [embeddings.pictures[row] for row in rows]
    metadata = [
        Metadata(item_id=p.item_id, filename=p.filename, labels=list(p.labels)) for p in pictures
    ]
    contents = [embeddings.contents[row] for row in rows]
    if plan.index is None:
        index = plan.backend.build(
            plan.place,
            vectors,
            metadata,
            contents,
            embedder.facts,
            collection=plan.collection,
            min_recall=plan.min_recall,
            augmented=plan.augment,
        )
        return index, None
    changes = update_index(plan.index, vectors, metadata, contents)
    if any(changes) or plan.min_recall is not None:
        plan.index.save()
    return plan.index, changes


def _require_same_gallery(index: Index, backend: Backend, augment: bool) -> None:
    """Raise an `InputError` if an update would make the augmentation inconsistent."""
    if augment != index.augmented:
        built, remedy = ("with", "add it") if index.augmented else ("without", "leave it out")
        raise InputError(
            f"{index.name}: built {built} --augment-gallery; {remedy}, or build the index again "
            "without --update"
        )
    # An update skips pictures with unchanged contents, even if new neighbours would change
    # their augmented vectors.
    if augment and backend.stores_contents:
        raise InputError(
            f"{index.name}: built with --augment-gallery, so --update cannot change it; build the "
            "index again without --update"
        )


def _require_model(index: Index, embedder: Embedder) -> None:
    recorded = index.model
    if recorded is None or recorded.fingerprint != embedder.facts.fingerprint:
        maker = "an unknown model" if recorded is None else f"the model {recorded.name!r}"
        raise InputError(
            f"{index.name}: built with {maker}, not with {embedder.facts.name!r} in its present "
            "state; use the same model, or build the index again without --update"
        )


def _write_skipped(skipped: list[Skipped], path: Path) -> None:
    """Write the skipped pictures and the reasons to a file, or delete it if none were skipped."""
    if not skipped:
        path.unlink(missing_ok=True)
        return
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps([asdict(picture) for picture in skipped], indent=2) + "\n")
