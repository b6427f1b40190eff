#!/bin/sh
# Run the arguments of `docker run IMAGE`:
#   --export …     python utilities.py --export …
#   jupyter        JupyterLab with the training notebook
#   anything else  that command, such as siamese, bash or python
set -eu

case ${1-} in
-*)
    case " $* " in
    *' --output'*) ;;
    *' --export'*)
        # Checked here because the remedy is in the options of `docker run`.
        [ -w . ] || {
            echo "error: $PWD: user id $(id -u) cannot write the results here; mount a folder of" \
                "yours (-v /my/data:/data) and run as its owner (-u \"\$(id -u):\$(id -g)\")," \
                "or choose another place with --output" >&2
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
