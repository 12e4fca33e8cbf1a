#!/usr/bin/env bash
# Builds both images without Docker, by buildah on a base made by debootstrap: docker/build_by_buildah.sh FOLDER, as root.
# The base (Debian's Python 3.11) stands in for the pinned Python image, which needs a registry: what is built here shows
# that the Dockerfile works, and is not for production. Where the kernel has no overlay: STORAGE_DRIVER=vfs, with many times
# the disk. Remove FOLDER by the command that is printed.
set -euo pipefail

folder=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$(dirname "$0")/.."
for tool in buildah debootstrap; do
    command -v "$tool" >/dev/null || .ci/apt-install "$tool"
done
store=(--storage-driver "${STORAGE_DRIVER:-overlay}" --root "$folder/store" --runroot "$folder/run")
base=localhost/recsys-base
certificates=/etc/ssl/certs/ca-certificates.crt # of this host: packages may come from a mirror that it trusts

if ! buildah "${store[@]}" inspect --type image "$base" >/dev/null 2>&1; then
    container=$(buildah "${store[@]}" from scratch)
    root=$(buildah "${store[@]}" mount "$container")
    debootstrap --variant=minbase --include=ca-certificates,python3,python3-pip,python3-venv bookworm "$root"
    ln --symbolic python3 "$root/usr/bin/python"
    rm "$root"/usr/lib/python3.*/EXTERNALLY-MANAGED "$root"/var/cache/apt/archives/*.deb
    cp "$certificates" "$root$certificates"
    buildah "${store[@]}" config --env PIP_CERT="$certificates" --env SSL_CERT_FILE="$certificates" "$container"
    buildah "${store[@]}" commit --rm "$container" "$base"
fi
for target in api assets; do
    buildah "${store[@]}" build --isolation chroot --from "$base" --format docker --layers --rm=false \
        --file docker/Dockerfile --ignorefile docker/Dockerfile.dockerignore --target "$target" --tag "recsys-$target:local" .
done
buildah "${store[@]}" images

roots=()
for target in api assets; do
    container=$(buildah "${store[@]}" from "localhost/recsys-$target:local")
    roots+=("recsys-$target=$(buildah "${store[@]}" mount "$container")")
    touch "${roots[-1]#*=}/etc/hosts" # is mounted over
    buildah "${store[@]}" inspect "$container" >"$folder/recsys-$target.json"
done
# A network and mounts of its own: ports are free, and nothing stays mounted.
rm -rf "$folder/services"
unshare --net --mount sh -c 'ip link set lo up && exec .venv/bin/python -m recsys_assets_tests.stack.images "$@"' \
    sh "$folder" "${roots[@]}"
buildah "${store[@]}" umount --all >/dev/null
echo "remove: rm -r $folder"
