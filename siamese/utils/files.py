"""Write files atomically, lock folders, and list files."""

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
    """Yield a temporary path beside `path`, and move what was written there into place at the end.

    Works for a file and for a folder, which may only replace an empty one. If the block raises,
    the temporary file is removed and `path` is unchanged. The temporary path has the suffix of
    `path`, because many writers choose the format by it.

    Parameters
    ----------
    path : str or os.PathLike
        The final path.

    Yields
    ------
    Path
        The temporary path.

    Raises
    ------
    InputError
        The folder of `path` is not writable, the disk is full, or `path` must not be replaced: it
        is a folder with files in it, or a device.
    """
    path = Path(path)
    require_writable(path)
    # A private folder, not only a unique name: no two processes share it.
    workspace = Path(tempfile.mkdtemp(prefix=".", suffix=".tmp", dir=path.parent))
    temporary = workspace / path.name
    try:
        yield temporary
        if temporary.is_file():
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or _hdf5_reason(str(error))
        if isinstance(error.filename, str) and workspace not in Path(error.filename).parents:
            reason += f": {error.filename}"  # a file that the block needed, not ours
        raise InputError(f"{path}: cannot be written ({reason})") from error
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def require_writable(path: str | os.PathLike[str]) -> None:
    """Create the folder of `path` and check that a file can be written there.

    Call this before long work, so that an unwritable output fails at once.

    Parameters
    ----------
    path : str or os.PathLike
        The file or folder to be written.

    Raises
    ------
    InputError
        The path cannot be written, or must not be replaced.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
        if path.is_dir():
            if any(path.iterdir()):
                raise InputError(f"{path}: is a folder with files in it; choose another path")
        elif path.exists() and not path.is_file():  # replacing /dev/null would harm the machine
            raise InputError(f"{path}: is not a regular file; choose another path")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); choose another path"
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
        raise InputError(
            f"{folder}: another run is writing to it; wait until it has finished"
        ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            reason = error.strerror or error
            raise InputError(f"{path}: cannot be locked ({reason}); remove it") from error
    try:
        yield
    finally:
        lock.release()


def walk_visible_files(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder except hidden ones, in no particular order.

    Parameters
    ----------
    folder : Path
        The folder.

    Yields
    ------
    Path
        A file; its path starts with `folder`.
    """
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(parent, name) for name in files if not name.startswith("."))


def _hdf5_reason(message: str) -> str:
    """Return the system's reason in the several lines of an HDF5 error."""
    match = re.search(r"error message = '([^']*)'", message)
    return match[1] if match else message.splitlines()[0]
