from __future__ import annotations

import subprocess
import sys


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)


def test_the_import_prints_nothing_and_standard_error_is_back_afterwards():
    done = run(
        "import sys; from siamese.utils.keras_import import import_keras; import_keras()\n"
        "assert 'keras' in sys.modules\n"
        "print('still here', file=sys.stderr)"
    )
    assert done.stderr == "still here\n"
    assert done.stdout == ""


def test_where_the_import_fails_what_was_kept_back_is_shown():
    done = run(
        "import os, sys\n"
        "class Broken:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'tensorflow':\n"
        "            os.write(2, b'a reason from below')\n"
        "            raise ImportError('no tensorflow here')\n"
        "sys.meta_path.insert(0, Broken())\n"
        "from siamese.utils.keras_import import import_keras; import_keras()"
    )
    assert done.returncode == 1
    assert "a reason from below" in done.stderr
    assert "no tensorflow here" in done.stderr


def test_the_names_of_the_package_are_as_quiet():
    done = run(
        "import siamese\n"
        "assert siamese.PairGenerator and siamese.Recipe\n"
        "siamese.Embedder.pretrained(picture_size=32)"
    )
    assert (done.stdout, done.stderr) == ("", "")
