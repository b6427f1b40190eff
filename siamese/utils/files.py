"""Utilities to write files atomically, lock folders, and list files."""

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


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path to write a file or folder to, then move the result to `path`.

    If the block raises an exception, `path` is left unchanged and the temporary path is deleted.

    Parameters
    ----------
    path : str or os.PathLike
        The final path. A folder may only replace an empty folder.

    Yields
    ------
    Path
        The temporary path. It has the same filename as `path`, because many libraries infer the
        format from the suffix.

    Raises
    ------
    InputError
        If `require_writable` rejects `path`, or writing fails, for example on a full disk.
    """
    path = Path(path)
    require_writable(path)
    # Use a private folder, because another process may be writing to the same path.
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
            reason += f": {error.filename}"  # the block failed on a file outside `workspace`
        raise InputError(f"{path}: cannot be written ({reason})") from error
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def require_writable(path: str | os.PathLike[str]) -> None:
    """Create the parent folder of `path`, and check that `path` can be written.

    Raises
    ------
    InputError
        If the parent folder cannot be created or written to, or if `path` exists and is neither a
        regular file nor an empty folder.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
        if path.is_dir():
            if any(path.iterdir()):
                raise InputError(f"{path}: is a folder with files in it; choose another path")
        elif path.exists() and not path.is_file():  # never replace a device such as /dev/null
            raise InputError(f"{path}: is not a regular file; choose another path")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); choose another path"
        ) from error


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold a lock on a folder while the block runs, so that only one process writes to it.

    The lock is released when the process ends, so a leftover ``.lock`` file does no harm. If the
    file system does not support locks, as on some network drives, the block runs without one.

    Raises
    ------
    InputError
        If another process holds the lock, or ``.lock`` cannot be opened or is a symbolic link.
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
        no_locks = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
        if error.errno not in no_locks:  # some network file systems do not support locks
            raise InputError(
                f"{path}: cannot be locked ({error.strerror or error}); remove it"
            ) from error
    try:
        yield
    finally:
        lock.release()


def walk_visible_files(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder and its subfolders, unsorted, except hidden files and folders."""
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(parent, name) for name in files if not name.startswith("."))


def _hdf5_reason(message: str) -> str:
    """Extract the operating system's error message from HDF5's multi-line message."""
    match = re.search(r"error message = '([^']*)'", message)
    return match[1] if match else message.splitlines()[0]
