#!/usr/bin/env bash
# Installs the extra 'spark' (pyspark, and a Java for machines without one) into a virtual environment, as it is locked.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=${1:-.venv}

# Trust what the system trusts: many companies' networks have a certificate of their own.
if [[ -s /etc/ssl/certs/ca-certificates.crt || -s /etc/pki/tls/certs/ca-bundle.crt ]]; then
    export UV_SYSTEM_CERTS=true
fi
install() { .venv/.uv/bin/uv pip install --quiet --python "$venv/bin/python" --require-hashes --requirements "$@"; }
# pyspark comes as source: what builds it is locked too and comes first.
install <(sed -n '/^setuptools==/,/# via/p' requirements-spark.lock)
install requirements-spark.lock --no-build-isolation
