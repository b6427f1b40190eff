"""Serve the index of the demo and open its web page.

    python -m examples.serve

The port is 8000, or the environment variable PORT.
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
    """Start the server in the folder of the project."""
    if not INDEX.is_file():
        sys.exit(f"{INDEX}: no such file; create it with make demo")
    port = os.environ.get("PORT") or "8000"  # make sets it to an empty string
    url = f"http://127.0.0.1:{port}"
    threading.Thread(target=open_page, args=[url], daemon=True).start()
    cli(["serve", "--index", str(INDEX), "--image-dir", str(EMOJI), "--port", port])


def open_page(url: str) -> None:
    """Open the page once the server is ready; without a display, print its address."""
    while True:
        try:
            with urllib.request.urlopen(f"{url}/ready"):
                break
        except OSError:
            time.sleep(0.2)
    if has_display():
        webbrowser.open(url)
    else:
        print(f"open {url}", file=sys.stderr)


def has_display() -> bool:
    """Return whether a browser window can be opened."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


if __name__ == "__main__":
    main()
