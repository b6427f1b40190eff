#!/bin/sh
# Build an image and start a container of it: tools/docker.sh {build|notebook|bash|index} {cpu|gpu}.
# The checkout is the container's /app, where it works, and the folder DATA its /data; all that it
# writes belongs to the caller. Reads the settings that `make help` names from the environment.
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
    die "you may not use Docker: sudo usermod -aG docker \$USER, then log in again"
    ;;
*) die "Docker's engine does not answer; start it (sudo systemctl start docker, or Docker Desktop)" ;;
esac
[ -z "${DATA:-}" ] || [ -d "$DATA" ] || die "DATA=$DATA: no such folder"
[ "$job" != index ] || [ -n "${DATA:-}" ] ||
    die "where is the catalogue? DATA=/my/folder make $target"

build() {
    DOCKER_BUILDKIT=1 docker build --file "Dockerfile.$device" "$@" \
        --build-arg VERSION="$(sed -n 's/^__version__ = "\(.*\)"/\1/p' siamese/__init__.py)" \
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
echo "Building $image: minutes the first time, then seconds." >&2
build --quiet --tag "$image" >/dev/null

set -- --rm --user "$(id -u):$(id -g)" --volume "$PWD:/app" --workdir /app
[ -z "${DATA:-}" ] || set -- "$@" --volume "$(cd "$DATA" && pwd):/data"
[ "$device" = cpu ] || set -- "$@" --gpus all
[ "$job" != notebook ] || set -- "$@" --publish "127.0.0.1:$port:$port" --env "PORT=$port"

# A container that does nothing tells what Docker cannot do.
reason=$(docker run "$@" --entrypoint true "$image" 2>&1) || case $reason in
*'could not select device driver'* | *nvidia* | *' CDI '*)
    die "Docker has no GPU to give: install NVIDIA's driver and its Container Toolkit" \
        "(https://docs.nvidia.com/datacenter/cloud-native/container-toolkit), or make $job-cpu"
    ;;
*'already allocated'* | *'already in use'*)
    die "port $port is taken; choose another: PORT=$((port + 1)) make $target"
    ;;
*) die "$reason" ;;
esac

# `docker run --tty` fails where there is no terminal.
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
