"""Writing so that nothing half-made ever stands under a final name."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from siamese.errors import InputError

_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
"""Errors of a network folder whose server keeps no locks."""


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what is written there is moved into place at the end.

    Works for a file and for a folder (a folder is only moved where none stands yet). When the
    block raises, the temporary is removed and `path` stays as it was. The temporary keeps the
    suffix of `path`, because many writers choose their format by it.

    Raises
    ------
    InputError
        If the folder of `path` cannot be written to, the disk is full, or what stands under
        `path` must not be replaced: a folder that is not empty, a device.
    """
    path = Path(path)
    require_writable(path)
    # A private folder, not a mere name: two processes at once never meet in it.
    workspace = Path(tempfile.mkdtemp(prefix=".", suffix=".tmp", dir=path.parent))
    temporary = workspace / path.name
    try:
        yield temporary
        if temporary.is_file():
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or _of_hdf5(str(error))
        if isinstance(error.filename, str) and workspace not in Path(error.filename).parents:
            reason += f": {error.filename}"  # a file that the block needed, not ours
        raise InputError(f"{path}: cannot be written ({reason})") from error
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def require_writable(path: str | os.PathLike[str]) -> None:
    """Make the folder of `path` and prove that a file can be created there.

    Called before long work, so that an unwritable output is said at once.

    Raises
    ------
    InputError
        One line naming the path and the reason.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
        if path.is_dir():
            if any(path.iterdir()):
                raise InputError(f"{path}: a folder with files in it stands there; choose another")
        elif path.exists() and not path.is_file():  # replacing /dev/null would harm the machine
            raise InputError(f"{path}: is no regular file; choose another place")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); choose another place"
        ) from error


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keep other processes from writing to a folder while the block runs.

    The lock belongs to the process, not to the file ``.lock`` in the folder: a file that a killed
    process left behind does no harm. On a network folder without locks the block runs unlocked.

    Parameters
    ----------
    folder : Path
        An existing folder.

    Raises
    ------
    InputError
        If another process has the lock, or ``.lock`` cannot be opened or is a symbolic link.
    """
    import filelock

    path = folder / ".lock"
    if path.is_symlink():
        raise InputError(f"{path}: is a symbolic link, which a lock must not be; remove it")
    lock = filelock.FileLock(path, blocking=False, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise InputError(f"{folder}: another run is writing it; wait for it to end") from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            reason = error.strerror or error
            raise InputError(f"{path}: cannot be locked ({reason}); remove it") from error
    try:
        yield
    finally:
        lock.release()


def _of_hdf5(text: str) -> str:
    """The system's own words in the several lines that HDF5 makes of an error."""
    words = re.search(r"error message = '([^']*)'", text)
    return words[1] if words else text.splitlines()[0]


def walk_visible_files(folder: Path) -> Iterator[Path]:
    """Walk over all files below a folder but hidden ones, in no special order."""
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(parent, name) for name in files if not name.startswith("."))
