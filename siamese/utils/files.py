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


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path for a file or a folder, and move it to `path` after the block.

    If the block raises, `path` is unchanged and nothing temporary remains. The temporary path has
    the name of `path`, because many writers choose the format by its suffix.

    Parameters
    ----------
    path : str or os.PathLike
        The final path. A folder may only replace an empty folder.

    Yields
    ------
    Path
        The temporary path, in a new folder beside `path`.

    Raises
    ------
    InputError
        `require_writable` rejects `path`, or the disk is full.
    """
    path = Path(path)
    require_writable(path)
    # In a private folder, because another process may write to the same path.
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
    """Check before long work that `path` can be written, and create its parent folder.

    Raises
    ------
    InputError
        The parent folder is not writable, or `path` must not be replaced: it is a device, or a
        folder with files in it.
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

    The lock ends with the process: the file ``.lock`` that a killed process leaves in the folder
    does no harm. On a network folder without locks the block runs unlocked.

    Raises
    ------
    InputError
        Another process has the lock, or ``.lock`` cannot be opened or is a symbolic link.
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
        if error.errno not in no_locks:  # a network folder may not support them
            raise InputError(
                f"{path}: cannot be locked ({error.strerror or error}); remove it"
            ) from error
    try:
        yield
    finally:
        lock.release()


def walk_visible_files(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, in no particular order, without hidden ones."""
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(parent, name) for name in files if not name.startswith("."))


def _hdf5_reason(message: str) -> str:
    """Return the operating system's reason, which HDF5 hides in an error of several lines."""
    match = re.search(r"error message = '([^']*)'", message)
    return match[1] if match else message.splitlines()[0]
