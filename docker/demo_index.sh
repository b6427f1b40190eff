#!/bin/sh
# Index the demo's emoji with the pretrained model, unless INDEX exists: demo_index.sh INDEX
# (`make demo` trains a model first.)
set -eu

[ -e "$1" ] && exit
# Stop with an error if a Milvus server does not answer or does not accept the token.
backend=$(
    python - "$1" <<'END'
import sys

from siamese.errors import InputError
from siamese.indexes import find_backend

try:
    print("yes" if find_backend(sys.argv[1]) else "")
except InputError as error:
    sys.exit(f"error: {error}")
END
)
[ -n "$backend" ] && exit
python -m examples.emoji_catalogue demo/emoji
exec siamese index --labeled-data demo/emoji/items.json --output "$1"
