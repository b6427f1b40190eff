#!/bin/sh
# Make .venv from requirements-dev.txt, with this project in it, unless that is done already.
# It takes uv where there is one (UV= for pip), and the first fit Python or the one in PYTHON.
set -eu
cd "$(dirname "$0")/.."

die() {
    echo "set-up: $*" >&2
    exit 1
}

# Written to .venv/made-for last of all: an interrupted set-up, new requirements and a folder
# that was moved or copied all lead to a new .venv.
wanted() {
    pwd -P
    cksum requirements-dev.txt
}

is_done() {
    [ -x .venv/bin/python ] && [ "$(cat .venv/made-for 2>/dev/null)" = "$(wanted)" ]
}

# One set-up at a time, where the system has the means.
if command -v flock >/dev/null; then
    exec 9<tools/setup.sh
    flock -n 9 || { echo "Waiting for another set-up to end." >&2 && flock 9; }
fi
is_done && exit

# A name that is on the PATH need not run (pyenv), and may lack venv (Debian).
fit='import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'
if [ -n "${PYTHON:-}" ]; then
    set -- "$PYTHON"
else
    set -- python3.12 python3.11 python3.13 python3 python
fi
for python in "$@" ''; do
    "$python" -c "$fit" 2>/dev/null && break
done
[ -n "$python" ] || die "no Python 3.11, 3.12 or 3.13 with venv among: $*. Install one" \
    "(Debian: apt install python3 python3-venv), or name one: make setup PYTHON=/path/to/python"

uv=${UV-$(command -v uv || true)}
echo "Setting up .venv with $python and ${uv:-pip}: about 1 GB to fetch, a few minutes, once." >&2
rm -rf .venv
if [ -n "$uv" ]; then
    "$uv" venv --quiet --seed --python "$("$python" -c 'import sys; print(sys.executable)')" .venv
    "$uv" pip install --quiet --python .venv/bin/python --requirement requirements-dev.txt
else
    "$python" -m venv .venv
    .venv/bin/python -m pip install -qq --disable-pip-version-check \
        --requirement requirements-dev.txt
fi || die "not done, for the reason above; the next make begins anew"
.venv/bin/python -m pip install -qq --no-deps --no-build-isolation --editable . ||
    die "this project could not be installed into .venv, for the reason above"
wanted >.venv/made-for
