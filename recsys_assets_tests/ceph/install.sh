#!/usr/bin/env bash
# Installs what the tests need of Ceph (a monitor, an OSD, the S3 gateway) from Debian or Ubuntu, if it is not there yet.
set -euo pipefail

missing=()
for tool in radosgw ceph-mon ceph-osd; do
    command -v "$tool" >/dev/null || missing+=("$tool") # each package has the name of its program
done
if ((${#missing[@]} == 0)); then
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    echo "install.sh: ${missing[*]} not found, and no apt-get to install them: install Ceph's ${missing[*]} by hand" >&2
    exit 1
fi
as_root=()
if ((EUID != 0)); then
    as_root=(sudo)
fi
echo "installing ${missing[*]} …"
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
