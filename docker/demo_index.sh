#!/bin/sh
# Index the emoji of the demo, unless there is an index already. `make demo` trains a model first;
# here the pretrained one has to do.  demo_index.sh INDEX
set -eu

[ -e "$1" ] && exit
python -m examples.emoji_catalogue demo/emoji
case $1 in
*://*) set -- --backend milvus --update --output "$1" ;;
*) set -- --output "$1" ;;
esac
exec siamese index --labeled-data demo/emoji/items.json "$@"
