"""Would a test notice? A sample of small faults in ``core`` and ``storage``, each judged by the tests of its file.

    python -m benchmarks.mutants [--count 300] [--seed 0] [--work FOLDER]

A mutant is one changed operator, constant, condition, result or call. It is made in a copy of the tree; then the tests
of that file run in a process forked from one that has loaded the libraries, and stop at the first failure: those of the
mirrored place, those that import the file, then those that import what imports it. Mutants are taken in the order of
the sample, so that a run that was cut off is a sample too; ``--work`` keeps what was found, and a second call goes on.
"""

from __future__ import annotations

import argparse
import ast
import json
import math
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.report import write_section

PACKAGES = ("recsys_assets/core", "recsys_assets/storage")
TESTS = Path("recsys_assets_tests")
LOADED = (
    *("pytest", "hypothesis", "numpy", "scipy.sparse.linalg", "pyarrow.parquet", "pyarrow.compute", "polars"),
    *("narwhals", "duckdb", "pydantic", "boto3", "sqlalchemy", "dagster", "catboost", "optuna", "implicit.cpu.als"),
)
"""Libraries that are imported once, before the forks."""
NOT_HERE = "not s3_real and not stack and not spark and not spark_all and not graph"
LOCAL = ("-x", "-m", f"{NOT_HERE} and not faults", "-k", "not moto")
NEAR = ("core", "storage")
"""Folders of the tests that come first: what lies elsewhere builds graphs or starts servers, which takes seconds."""
HUNG, SECONDS, LONGEST = "hung", 120, 600.0
"""What is said of a mutant that took so many CPU seconds or seconds."""
NEAREST, FURTHER = 8, 3
"""Most test files beside those that import a file: of ``core`` and ``storage``, and elsewhere."""
_PAIRS = (
    *((ast.Lt, ast.LtE), (ast.Gt, ast.GtE), (ast.Eq, ast.NotEq), (ast.In, ast.NotIn), (ast.Is, ast.IsNot)),
    *((ast.And, ast.Or), (ast.Add, ast.Sub), (ast.Mult, ast.Div), (ast.BitAnd, ast.BitOr)),
)
_OTHERS = ((ast.FloorDiv, ast.Mult), (ast.Mod, ast.Mult), (ast.Pow, ast.Mult), (ast.USub, ast.UAdd))
_SWAPS = dict[type[ast.AST], type[ast.AST]]([*_PAIRS, *((other, one) for one, other in _PAIRS), *_OTHERS])
_LEFT_OUT = ("annotation", "returns", "decorator_list", "type_params", "bases")


@dataclass(frozen=True)
class Mutant:
    """One fault: a node's place in the walk over a file, what is done to it, and its line."""

    file: str
    place: int
    kind: str
    line: int


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node whose change can change what the code does: no annotations, no decorators."""
    yield tree
    if isinstance(tree, ast.If) and "TYPE_CHECKING" in ast.unparse(tree.test):
        return
    for name, value in ast.iter_fields(tree):
        if name in _LEFT_OUT:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from nodes(child)


def faults_of(node: ast.AST) -> Iterator[tuple[str, Callable[[], ast.AST]]]:
    """The kinds of faults of a node, and the node that each makes of a copy."""
    match node:
        case ast.Compare(ops=[one]) if type(one) in _SWAPS:
            yield "operator", lambda: _with(node, ops=[_SWAPS[type(one)]()])
        case ast.BinOp(op=one) | ast.BoolOp(op=one) | ast.UnaryOp(op=one) if type(one) in _SWAPS:
            yield "operator", lambda: _with(node, op=_SWAPS[type(one)]())
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield "not", lambda: operand
        case ast.Constant(value=bool() as value):
            yield "constant", lambda: ast.Constant(not value)
        case ast.Constant(value=int() | float() as value):
            yield "constant", lambda: ast.Constant(value + 1)
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test):
            yield "condition", lambda: _with(node, test=ast.UnaryOp(ast.Not(), test))
        case ast.Return(value=ast.AST() as value) if not (isinstance(value, ast.Constant) and value.value is None):
            yield "result", lambda: ast.Return(ast.Constant(None))
        case ast.Expr(value=ast.Call()) | ast.Raise():
            yield "left out", ast.Pass
        case ast.Break() | ast.Continue():
            yield "jump", ast.Continue if isinstance(node, ast.Break) else ast.Break
        case _:
            pass


def _with(node: ast.AST, **fields: ast.AST | list[ast.AST]) -> ast.AST:
    return type(node)(**{**dict(ast.iter_fields(node)), **fields})


def mutants_of(file: str) -> list[Mutant]:
    """All mutants of a file."""
    found: list[Mutant] = []
    line = 0
    for place, node in enumerate(nodes(ast.parse(Path(file).read_text()))):
        line = getattr(node, "lineno", line)
        found += [Mutant(file, place, kind, line) for kind, _ in faults_of(node)]
    return found


def applied(mutant: Mutant) -> tuple[str, str, str]:
    """The source with a fault, and the changed node before and after."""
    tree = ast.parse(Path(mutant.file).read_text())
    target = next(node for place, node in enumerate(nodes(tree)) if place == mutant.place)
    changed = dict(faults_of(target))[mutant.kind]()

    class Replace(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            return changed if node is target else self.generic_visit(node)

    before = ast.unparse(target)
    return ast.unparse(ast.fix_missing_locations(Replace().visit(tree))), before, ast.unparse(changed)


@cache
def _imports(file: Path) -> frozenset[str]:
    """Names of modules that a file may import, and of what it imports from them."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(names)


def _module(file: Path) -> str:
    return ".".join(file.with_suffix("").parts)


@cache
def tests_of(file: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Test files that reach a file, near and far: the mirrored one, importers, then importers of importers."""
    source, tests = Path(file), sorted(TESTS.rglob("test_*.py"))
    beside = TESTS / Path(*source.parts[1:-1])
    mirrored = [test for test in tests if test == beside / f"test_{source.name}"]
    direct = [test for test in tests if _module(source) in _imports(test)]
    importers = [one for one in Path("recsys_assets").rglob("*.py") if _module(source) in _imports(one)]
    helpers = [one for one in TESTS.rglob("*.py") if _module(source) in _imports(one)]
    reached = {_module(one) for one in [*importers, *helpers]}
    further = [test for test in tests if reached & _imports(test)]
    known = dict.fromkeys([*mirrored, *direct, *sorted(further, key=lambda test: test.parent != beside)])
    near = [test for test in known if set(NEAR) & set(test.parts)]
    far = [test for test in known if test not in near]
    within = max(NEAREST, sum(test in direct for test in near))
    return tuple(map(str, near[:within])), tuple(map(str, far[:FURTHER]))


class Failures:
    """A plugin of pytest that writes down which tests fail, or which files cannot be imported."""

    def __init__(self, path: Path):
        self._path = path

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Of a test, its setup or its end."""
        if report.failed:
            with self._path.open("a") as stream:
                stream.write(f"{report.nodeid}\n")

    pytest_collectreport = pytest_runtest_logreport


def run(tests: Sequence[str], *options: str) -> str:
    """What failed in a fork that ran tests, a line each; :data:`HUNG` if it did not end, nothing if all passed."""
    import pytest

    if not tests:
        return ""
    told = Path("failures.txt")
    told.unlink(missing_ok=True)
    child = os.fork()
    if not child:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        with Path(os.devnull).open("w") as nothing:
            os.dup2(nothing.fileno(), 1)
            os.dup2(nothing.fileno(), 2)
        quiet = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
        os._exit(int(pytest.main([*quiet, *options, *tests], plugins=[Failures(told.absolute())])))
    deadline, done, status = time.monotonic() + LONGEST, 0, 0
    while not done and time.monotonic() < deadline:
        time.sleep(0.05)
        done, status = os.waitpid(child, os.WNOHANG)
    if not done:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
    failed = told.read_text().strip() if told.exists() else ""
    return failed or ("" if done and os.waitstatus_to_exitcode(status) in (0, 5) else HUNG)  # 5: none was selected


def judge(mutant: Mutant, stamp: int) -> dict[str, str | float]:
    """Run the tests of a mutant's file on it, in the tree of the current folder."""
    path, start = Path(mutant.file), time.monotonic()
    near, far = tests_of(mutant.file)
    original = path.read_text()
    changed, before, after = applied(mutant)
    path.write_text(changed)
    os.utime(path, (stamp, stamp))  # else a compiled file of the same second and size would count
    try:
        failed = run(near, *LOCAL)
        if not failed and (elsewhere := run(far, *LOCAL)) != HUNG:  # graphs that are built may take longer
            failed = elsewhere
        if not failed and "storage" in path.parts:
            failed = run(near, "-x", "-m", NOT_HERE, "-k", "moto or faults")
    finally:
        path.write_text(original)
        os.utime(path, (stamp + 1, stamp + 1))
    return {"mutant": str(mutant), "failed": failed, "before": before, "after": after, "s": time.monotonic() - start}


def wilson(caught: int, count: int) -> tuple[float, float]:
    """95 % interval of a share."""
    z, share = 1.96, caught / count
    centre, spread = share + z * z / (2 * count), z * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    return (centre - spread) / (1 + z * z / count), (centre + spread) / (1 + z * z / count)


def main() -> None:
    """Take the sample, judge it, write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after so many")
    parser.add_argument("--work", type=Path, help="folder for the copy of the tree and what was found")
    asked = parser.parse_args()
    files = sorted(str(path) for package in PACKAGES for path in Path(package).rglob("*.py"))
    every = [mutant for file in files for mutant in mutants_of(file)]
    sample = random.Random(asked.seed).sample(every, asked.count)
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        work: Path = (asked.work or Path(scratch)).resolve()
        kept, here = work / f"seed-{asked.seed}.jsonl", Path.cwd()
        _copy(work / "tree")
        found = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
        known = {one["mutant"] for one in found}
        for library in LOADED:
            __import__(library)
        os.chdir(work / "tree")
        sys.path.insert(0, str(work / "tree"))
        until, stamp = time.monotonic() + 60 * asked.minutes, int(time.time())
        for number, mutant in enumerate(sample):
            if str(mutant) in known or time.monotonic() > until:
                continue
            one = judge(mutant, stamp + 2 * number)
            found.append(one)
            with kept.open("a") as stream:
                stream.write(json.dumps(one) + "\n")
            sys.stderr.write(f"{number + 1}: {json.dumps(one)}\n")
        # A test that fails without a fault has caught nothing.
        tests = sorted({name for one in found for name in str(one["failed"]).splitlines() if name != HUNG})
        always = run(tests).splitlines()
        os.chdir(here)
        report([one for one in found if str(one["failed"]) not in always], len(every), asked)


def _copy(tree: Path) -> None:
    """The tree as it is now, without what git does not know."""
    shutil.rmtree(tree, ignore_errors=True)
    listed = subprocess.run(["git", "ls-files"], check=True, capture_output=True, text=True).stdout.splitlines()
    for name in filter(os.path.exists, listed):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(name, tree / name)


def report(found: Sequence[Mapping[str, str | float]], every: int, asked: argparse.Namespace) -> None:
    """Write the section."""
    caught = sum(one["failed"] != "" for one in found)
    low, high = wilson(caught, len(found))
    hung = sum(one["failed"] == HUNG for one in found)
    text = f"""\
{len(found)} of {every:,} mutants of `core/` and `storage/`, at random with seed {asked.seed}: {caught} were caught,
{caught / len(found):.0%} [{low:.0%}, {high:.0%}] ({hung} of them hung). Only tests of the default suite count that
import the file, or what imports it: at most {FURTHER} files of those outside of `core/` and `storage/`. Those that live
are read in [Contributing](contributing.md#mutants)."""
    write_section("mutants", "Mutants", f"python -m benchmarks.mutants --seed {asked.seed}", ("pytest",), text)


if __name__ == "__main__":
    main()
