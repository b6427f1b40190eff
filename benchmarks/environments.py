"""Python environments of the libraries that the benchmarks compare this project with."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from siamese.errors import InputError


def create_environment(folder: Path, packages: Sequence[str], python: str = sys.executable) -> Path:
    """Create an environment unless it exists with the same packages, and return its Python.

    Parameters
    ----------
    folder : Path
        Folder of the environment. The log is beside it, with the suffix ``.txt``.
    packages : sequence of str
        Packages to install, with pinned versions.
    python : str
        Python to create the environment with.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        If a command fails.
    """
    pins, made_for = "\n".join(packages), folder / "made-for.txt"
    environment_python = folder / "bin" / "python"
    if not made_for.is_file() or made_for.read_text() != pins:
        print(f"setting up {folder.name}: {', '.join(packages)} …", file=sys.stderr, flush=True)
        log = folder.with_suffix(".txt")
        log.parent.mkdir(parents=True, exist_ok=True)
        run_logged([python, "-m", "venv", "--clear", folder], log)
        run_logged([environment_python, "-m", "pip", "install", *packages], log)
        made_for.write_text(pins)
    return environment_python


def run_logged(
    command: Sequence[object],
    log: Path,
    *,
    python_path: Sequence[Path] = (),
    timeout: float | None = None,
) -> None:
    """Run a command on the CPU, and append its output to a log.

    Parameters
    ----------
    command : sequence of object
        Words of the command.
    log : Path
        File of the output.
    python_path : sequence of Path, optional
        Folders to import from.
    timeout : float, optional
        Largest duration in seconds.

    Raises
    ------
    InputError
        If the command fails or takes too long. The message names the log and quotes its last line.
    """
    variables = {
        "CUDA_VISIBLE_DEVICES": "",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": os.pathsep.join(map(str, python_path)),
    }
    with log.open("a") as file:
        try:
            process = subprocess.run(
                [str(word) for word in command],
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, **variables},
                timeout=timeout,
            )
        except subprocess.TimeoutExpired:
            raise InputError(f"stopped after {timeout:,.0f} s") from None
    if process.returncode:
        last = (log.read_text(errors="replace").strip().splitlines() or ["no output"])[-1]
        raise InputError(f"{log}: {last}")
