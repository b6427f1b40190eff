"""What embeds files for an `Embedder`: files in, entries out, in no special order."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from siamese.data.remote_files import File
    from siamese.embedding.embedder import Embedder
    from siamese.embedding.store import StoredOutcome

ExecutorName = Literal["local", "ray"]
"""As `--engine` takes it; "local" is the embedder itself."""


class Executor(Protocol):
    """Embeds elsewhere what an `Embedder` would embed in this process.

    Attributes
    ----------
    name : as `--engine` takes it
    ran : the runtime and the precision of the last run, as `Embedded` has them
    """

    name: str
    ran: tuple[str, str]

    def entries(
        self,
        embedder: Embedder,
        files: Mapping[str, File],
        filenames: Sequence[str],
        batch_size: int,
    ) -> Generator[list[StoredOutcome]]:
        """Embed the files of some filenames, as `Embedder.entries` does; each comes once."""
