#!/bin/sh
# Build an image or run a container: tools/docker.sh {build|test|notebook|bash|index} {cpu|gpu}
# In the container this checkout is /app, the working folder, and the folder DATA is /data. Files
# that it writes belong to the caller. `make help` lists the environment variables it reads.
set -eu
cd "$(dirname "$0")/.."
job=$1 device=$2 target=$1-$2 image=siamese:$2 port=${PORT:-8888}
[ "$target" != notebook-gpu ] || target=notebook

die() {
    echo "make $target: $*" >&2
    exit 2
}

command -v docker >/dev/null ||
    die "Docker is not installed; see https://docs.docker.com/engine/install"
reason=$(docker version 2>&1 >/dev/null) || case $reason in
*'permission denied'*)
    die "you are not allowed to use Docker: run sudo usermod -aG docker \$USER and log in again"
    ;;
*) die "the Docker engine is not running; start it (sudo systemctl start docker, or Docker Desktop)" ;;
esac
[ -z "${DATA:-}" ] || [ -d "$DATA" ] || die "DATA=$DATA: no such folder"
[ "$job" != index ] || [ -n "${DATA:-}" ] ||
    die "DATA is not set; give the folder of the catalogue: DATA=/my/folder make $target"

build() {
    DOCKER_BUILDKIT=1 docker build --file "Dockerfile.$device" "$@" \
        --build-arg VERSION="$(sed -n 's/^__version__ = "\(.*\)"/\1/p' siamese/version.py)" \
        --build-arg REVISION="$(git rev-parse HEAD 2>/dev/null || echo unknown)" .
}

if [ "$job" = build ]; then
    build --tag "$image"
    size=$(docker image inspect --format '{{.Size}}' "$image")
    echo "$image: $((size / 1000000)) MB"
    exit
elif [ "$job" = test ]; then
    build --tag "$image"
    build --tag "$image-test" --target test
    exit
fi
echo "Building $image: a few minutes the first time, then seconds." >&2
build --quiet --tag "$image" >/dev/null

set -- --rm --user "$(id -u):$(id -g)" --volume "$PWD:/app" --workdir /app
[ -z "${DATA:-}" ] || set -- "$@" --volume "$(cd "$DATA" && pwd):/data"
[ "$device" = cpu ] || set -- "$@" --gpus all
[ "$job" != notebook ] || set -- "$@" --publish "127.0.0.1:$port:$port" --env "PORT=$port"

# Start a container that does nothing, to find out in advance what Docker cannot do.
reason=$(docker run "$@" --entrypoint true "$image" 2>&1) || case $reason in
*'could not select device driver'* | *nvidia* | *' CDI '*)
    die "Docker finds no GPU: install the NVIDIA driver and the NVIDIA Container Toolkit" \
        "(https://docs.nvidia.com/datacenter/cloud-native/container-toolkit), or run make $job-cpu"
    ;;
*'already allocated'* | *'already in use'*)
    die "port $port is already in use; choose another: PORT=$((port + 1)) make $target"
    ;;
*) die "$reason" ;;
esac

# `docker run --tty` fails without a terminal.
if [ -t 0 ] && [ -t 1 ]; then set -- "$@" --tty; fi
set -- "$@" --interactive "$image"
case $job in
notebook) set -- "$@" jupyter ;;
bash) set -- "$@" bash ;;
index)
    set -- "$@" --export balltree --labeled-data "${LABELED_DATA:-/data/items.json}"
    [ -z "${IMAGE_DIR:-}" ] || set -- "$@" --image-dir "$IMAGE_DIR"
    [ -z "${KERAS_MODEL:-}" ] || set -- "$@" --keras-model "$KERAS_MODEL"
    ;;
esac
exec docker run "$@"
