#!/bin/sh
# What a container does with the words after the image's name:
#   --export …     as `python utilities.py --export …`
#   jupyter        JupyterLab with the training notebook
#   anything else  that command: siamese, bash, python
set -eu

case ${1-} in
-*)
    case " $* " in
    *' --output'*) ;;
    *' --export'*)
        # Said here, because only here is it known what is wrong: Docker's own settings.
        [ -w . ] || {
            echo "error: results go to $PWD, where user id $(id -u) may not write: mount a folder" \
                "of yours (-v /my/data:/data) and run as its owner (-u \"\$(id -u):\$(id -g)\")," \
                "or name another place with --output" >&2
            exit 2
        }
        ;;
    esac
    exec python /app/utilities.py "$@"
    ;;
jupyter)
    [ $# -gt 1 ] || set -- jupyter lab
    python -m siamese.models.devices >&2 || true
    ;;
bash)
    python -m siamese.models.devices >&2 || true
    ;;
esac
exec "$@"
