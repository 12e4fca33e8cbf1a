#!/usr/bin/env bash
# Installs what the stack needs beside this project's environment, if it is not there yet.
set -euo pipefail

missing=()
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql)
for tool in prometheus prometheus-alertmanager caddy nginx; do
    command -v "$tool" >/dev/null || missing+=("$tool") # each package has the name of its program
done
if ((${#missing[@]})); then
    "$(dirname "$0")/../../.ci/apt-install" "${missing[@]}"
fi
