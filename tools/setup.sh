#!/bin/sh
# Create .venv from requirements-dev.txt and install this project in it, unless this is done already.
# Uses uv if it is installed (set UV= to use pip), and the Python that PYTHON names, by default the
# first suitable one.
set -eu
cd "$(dirname "$0")/.."

die() {
    echo "setup: $*" >&2
    exit 1
}

# Written to .venv/made-for as the last step, so that an interrupted setup, new requirements and a
# moved or copied folder all lead to a new .venv.
fingerprint() {
    pwd -P
    cksum requirements-dev.txt
}

is_done() {
    [ -x .venv/bin/python ] && [ "$(cat .venv/made-for 2>/dev/null)" = "$(fingerprint)" ]
}

# Run one setup at a time, if the system has flock.
if command -v flock >/dev/null; then
    exec 9<tools/setup.sh
    flock -n 9 || { echo "Waiting for another setup to finish." >&2 && flock 9; }
fi
is_done && exit

# A Python on the PATH may not run (pyenv) or may lack venv (Debian), so try each.
check='import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'
if [ -n "${PYTHON:-}" ]; then
    set -- "$PYTHON"
else
    set -- python3.12 python3.11 python3.13 python3 python
fi
for python in "$@" ''; do
    "$python" -c "$check" 2>/dev/null && break
done
[ -n "$python" ] || die "found no Python 3.11, 3.12 or 3.13 with venv among: $*. Install one" \
    "(Debian: apt install python3 python3-venv) or give its path: make setup PYTHON=/path/to/python"

uv=${UV-$(command -v uv || true)}
echo "Creating .venv with $python and ${uv:-pip}: downloads about 1 GB, takes a few minutes." >&2
rm -rf .venv
if [ -n "$uv" ]; then
    "$uv" venv --quiet --seed --python "$("$python" -c 'import sys; print(sys.executable)')" .venv
    "$uv" pip install --quiet --python .venv/bin/python --requirement requirements-dev.txt
else
    "$python" -m venv .venv
    .venv/bin/python -m pip install -qq --disable-pip-version-check \
        --requirement requirements-dev.txt
fi || die "failed for the reason above; the next make starts over"
.venv/bin/python -m pip install -qq --no-deps --no-build-isolation --editable . ||
    die "could not install this project in .venv, for the reason above"
fingerprint >.venv/made-for
