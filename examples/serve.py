"""Serve the index that the demo made, and open its page where there is a screen.

    python -m examples.serve

The port is 8000, or PORT in the environment.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import urllib.request
import webbrowser
from pathlib import Path

from examples.demo import EMOJI
from siamese.cli.main import cli

INDEX = Path("demo/search_index.pkl")


def main() -> None:
    """Serve from the folder of the project."""
    if not INDEX.is_file():
        sys.exit(f"{INDEX}: not there; make it with: make demo")
    port = os.environ.get("PORT") or "8000"  # make hands on an empty one
    url = f"http://127.0.0.1:{port}"
    threading.Thread(target=open_page, args=[url], daemon=True).start()
    cli(["serve", "--index", str(INDEX), "--image-dir", str(EMOJI), "--port", port])


def open_page(url: str) -> None:
    """Open the page as soon as the server answers; without a screen, only say where it is."""
    while True:
        try:
            with urllib.request.urlopen(f"{url}/ready"):
                break
        except OSError:
            time.sleep(0.2)
    if has_screen():
        webbrowser.open(url)
    else:
        print(f"open {url}", file=sys.stderr)


def has_screen() -> bool:
    """Whether a window can be opened here."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


if __name__ == "__main__":
    main()
