#!/bin/sh
# Index the emoji of the demo, unless there is an index already: what is there is never touched.
# `make demo` trains a model first; here the pretrained one has to do.  demo_index.sh INDEX
set -eu

[ -e "$1" ] && exit
# Nothing more is done where a server is away, or does not accept the token.
there=$(
    python - "$1" <<'END'
import sys

from siamese.errors import InputError
from siamese.indexes import backend_at

try:
    print(backend_at(sys.argv[1]) or "")
except InputError as error:
    sys.exit(f"error: {error}")
END
)
[ -n "$there" ] && exit
python -m examples.emoji_catalogue demo/emoji
exec siamese index --labeled-data demo/emoji/items.json --output "$1"
