from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from siamese.errors import InputError
from siamese.utils.files import atomic_path, lock_folder, require_writable


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_file_appears_only_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "new" / "model.hdf5"
    with atomic_path(path) as temporary:
        temporary.write_text("done")
        assert temporary.suffix == ".hdf5"
        assert temporary.parent.parent == path.parent
        assert not path.exists()
    assert path.read_text() == "done"
    assert names(path.parent) == ["model.hdf5"]


def test_file_is_replaced_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")
    with atomic_path(path) as temporary:
        temporary.write_text("after")
        assert path.read_text() == "before"
    assert path.read_text() == "after"


def test_folder_is_moved_into_place(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "model") as temporary:
        temporary.mkdir()
        (temporary / "weights").write_text("1")
    assert (tmp_path / "model" / "weights").read_text() == "1"
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize("stop", [ValueError, KeyboardInterrupt])
def test_failure_changes_nothing(tmp_path: Path, stop: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")
    with pytest.raises(stop), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise stop
    assert path.read_text() == "before"
    assert names(tmp_path) == ["a.txt"]


def test_longest_filename(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 255)
    with atomic_path(path) as temporary:
        temporary.write_text("done")
    assert path.read_text() == "done"


def test_two_writers_do_not_share_files(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with atomic_path(path) as first, atomic_path(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"
    assert names(tmp_path) == ["a.txt"]


def test_full_disk_raises_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    if not Path("/dev/full").is_char_device():
        pytest.skip("no /dev/full on this system")
    with (
        pytest.raises(InputError, match=r"a\.txt: cannot be written \(No space left on device\)"),
        atomic_path(path) as temporary,
    ):
        temporary.symlink_to("/dev/full")
        temporary.write_text("too much")
    assert names(tmp_path) == []


def test_error_of_another_file_names_it(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match=r"out: cannot be written \(No such file .*gone\.txt\)"),
        atomic_path(tmp_path / "out"),
    ):
        (tmp_path / "gone.txt").read_text()


@pytest.mark.parametrize("use", [require_writable, lambda path: atomic_path(path).__enter__()])
@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("file/out.txt", "out.txt: cannot be written (File exists); choose another path"),
        ("full", "full: is a folder with files in it; choose another path"),
        ("pipe", "pipe: is not a regular file; choose another path"),
        ("x" * 300, "x: cannot be written (File name too long); choose another path"),
    ],
)
def test_unwritable_path_fails_before_the_work(
    tmp_path: Path,
    use: object,
    name: str,
    line: str,
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "work").write_text("important")
    os.mkfifo(tmp_path / "pipe")
    before = names(tmp_path)
    with pytest.raises(InputError) as raised:
        use(tmp_path / name)  # type: ignore[operator]
    assert len(raised.value.lines) == 1
    assert raised.value.lines[0].endswith(line)
    assert names(tmp_path) == before
    assert (tmp_path / "full" / "work").read_text() == "important"


def test_empty_folder_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with atomic_path(tmp_path / "model") as temporary:
        temporary.mkdir()
        (temporary / "weights").write_text("1")
    assert names(tmp_path / "model") == ["weights"]


def test_hdf5_error_becomes_one_line(tmp_path: Path) -> None:
    words = "Can't close file (time = now\n, error message = 'No space left on device', 7)"
    with (
        pytest.raises(InputError, match=r"cannot be written \(No space left on device\)") as raised,
        atomic_path(tmp_path / "x.hdf5"),
    ):
        raise OSError(words)
    assert len(raised.value.lines[0].splitlines()) == 1


HOLD_LOCK = """
import sys
from pathlib import Path
from siamese.utils.files import lock_folder
with lock_folder(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_lock_excludes_other_processes_until_the_holder_ends(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as first:
        assert first.stdout is not None and first.stdout.readline() == "locked\n"
        with (
            pytest.raises(InputError, match=f"{tmp_path}: another run is writing to it; wait"),
            lock_folder(tmp_path),
        ):
            pass
        first.kill()  # its lock file remains
        first.wait()
        assert names(tmp_path) == [".lock"]
        with lock_folder(tmp_path):
            pass


def test_lock_excludes_this_process_too(tmp_path: Path) -> None:
    with lock_folder(tmp_path), pytest.raises(InputError, match="another run is writing to it"):
        lock_folder(tmp_path).__enter__()


@pytest.mark.parametrize("target", ["precious.txt", "missing.txt"])
def test_lock_does_not_follow_a_link(tmp_path: Path, target: str) -> None:
    (tmp_path / "precious.txt").write_text("important")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / ".lock").symlink_to(tmp_path / target)
    with pytest.raises(InputError, match=r"\.lock: is a symbolic link"), lock_folder(folder):
        pass
    assert (tmp_path / "precious.txt").read_text() == "important"
    assert not (tmp_path / "missing.txt").exists()


def test_lock_does_not_follow_a_link_made_while_locking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "precious.txt").write_text("important")
    (tmp_path / ".lock").symlink_to("precious.txt")
    monkeypatch.setattr(Path, "is_symlink", lambda path: False)
    with pytest.raises(InputError, match=r"\.lock: cannot be locked"), lock_folder(tmp_path):
        pass
    assert (tmp_path / "precious.txt").read_text() == "important"


def test_stale_lock_file_is_reused(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("of an earlier version")
    with lock_folder(tmp_path):
        pass
    assert (tmp_path / ".lock").read_text() == "of an earlier version"


def test_folder_on_a_filesystem_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", fail)
    with lock_folder(tmp_path), lock_folder(tmp_path):
        pass
