"""The rules of the house, as far as a machine can hold them (docs/contributing.md states them for people)."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("recsys_assets", "recsys_api")
PLATFORM = ROOT / "recsys_assets"
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
TESTS = sorted((ROOT / "recsys_assets_tests").rglob("*.py"))
MOST_LINES = 400
MOST_ASSET_LINES = 40

# Assembled, so that this file does not hold what it looks for.
FOREIGN_TEXT = {
    "an address of a package registry": re.compile(
        "|".join(
            (r"pypi\." + "org", r"files\.python" + "hosted", r"registry\." + "npmjs", r"--(extra-)?index-" + "url")
        )
    ),
    "a path of one machine": re.compile(r"(?<![\w.$}/-])/(?:" + "|".join(("work", "root", "home", "Users")) + r")/\w"),
    "a key": re.compile(
        "|".join(
            (
                r"\bAK" + r"IA[0-9A-Z]{16}\b",
                "-----BEGIN [A-Z ]*PRIVATE " + "KEY-----",
                r"(?i:secret|password|token|api_?key)\w*[\"']?\s*[:=]\s*[\"']?(?=[\w/+-]*\d)(?=[\w/+-]*[a-z])[\w/+-]{20,}",
            )
        )
    ),
}


def test_import_contracts_hold() -> None:
    lint_imports = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run(
        [lint_imports, "--no-logo", "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def fresh_interpreter(code: str) -> str:
    """What a new process prints."""
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


IMPORT_AND_PRINT_DAGSTER = """
import importlib, sys
for name in {modules!r}:
    importlib.import_module(name)
print(*sorted(name for name in sys.modules if name.partition(".")[0] in ("dagster", "dagster_aws", "dagster_shared")))
"""


@pytest.mark.parametrize("entry", ["recsys_api.app", "core", "engines", "ingest", "storage"])
def test_fresh_interpreter_needs_no_dagster(entry: str) -> None:
    package = ROOT / "recsys_assets" / entry
    modules = [entry] if "." in entry else [dotted(path) for path in sorted(package.rglob("*.py"))]
    assert fresh_interpreter(IMPORT_AND_PRINT_DAGSTER.format(modules=modules)) == ""


LOAD_DEFINITIONS = """
import sys
import dagster as dg

def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise RuntimeError(f"import reaches for the network: {arguments}")
    if event == "open" and set(str(arguments[1] or "")) & set("wax+"):
        if "__pycache__" not in str(arguments[0]) and str(arguments[0]) != "/dev/null":
            raise RuntimeError(f"import writes a file: {arguments}")

sys.addaudithook(watch)
from recsys_assets.definitions import defs
dg.Definitions.validate_loadable(defs)
print(len(list(defs.resolve_asset_graph().get_all_asset_keys())))
"""


def test_definitions_load_in_a_fresh_interpreter_and_touch_nothing() -> None:
    assert int(fresh_interpreter(LOAD_DEFINITIONS)) > 10


def dotted(path: Path) -> str:
    """The module name of a source file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_packages_say_what_belongs_there_and_wire_nothing() -> None:
    for path in (path for path in SOURCES if path.name == "__init__.py"):
        body = ast.parse(path.read_text()).body
        if path.parent == PLATFORM:
            # Where `dg` looks for the component, which is loaded when asked for.
            assert [type(node) for node in body[1:]] == [ast.ImportFrom, ast.FunctionDef, ast.FunctionDef]
            continue
        assert len(body) == 1, f"{path} holds more than a docstring"
        assert "Belongs here:" in (ast.get_docstring(ast.parse(path.read_text())) or "")


def test_the_root_holds_what_a_reader_opens_first() -> None:
    assert {path.name for path in PLATFORM.glob("*.py")} == {
        "__init__.py",
        "definitions.py",
        "jobs.py",
        "partitions.py",
        "settings.py",
    }


IMPORTS = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=True, cache_dir=None)
"""Every import between our files, those inside functions too."""


def within(module: str, depth: int) -> str:
    """The package that a module lies in, at a depth; the module itself where it lies higher up."""
    return ".".join(module.split(".")[:depth])


@pytest.mark.parametrize("depth", [2, 3, 10], ids=["packages", "packages of packages", "files"])
def test_nothing_imports_itself_through_others(depth: int) -> None:
    graph: dict[str, set[str]] = {}
    for module in IMPORTS.modules:
        imported = {within(other, depth) for other in IMPORTS.find_modules_directly_imported_by(module)}
        graph.setdefault(within(module, depth), set()).update(imported - {within(module, depth)})
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_every_folder_with_modules_is_a_package() -> None:
    lacking = {str(path.parent.relative_to(ROOT)) for path in SOURCES if not (path.parent / "__init__.py").exists()}
    assert lacking == set()


def test_nothing_is_pickled() -> None:
    found: list[str] = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                names = [] if isinstance(node.value, ast.Constant) and node.value.value is False else ["allow_pickle"]
            elif isinstance(node, ast.Attribute) and node.attr in {"to_pickle", "read_pickle"}:
                names = [node.attr]
            banned = {"pickle", "cPickle", "joblib", "dill", "cloudpickle", "shelve", "marshal", "allow_pickle"}
            found += [
                f"{path.relative_to(ROOT)}: {name}"
                for name in names
                if name.partition(".")[0] in banned | {"to_pickle", "read_pickle"}
            ]
    assert found == []


def test_frame_logic_asks_for_no_engine() -> None:
    """Frame logic runs unchanged on every engine: it neither calls one natively nor branches on it."""
    found: list[str] = []
    for path in sorted((ROOT / "recsys_assets/core").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [
                f"{path.relative_to(ROOT)}: {m}"
                for m in modules
                if m.partition(".")[0] in {"polars", "duckdb", "pyspark"}
            ]
    assert found == []


def test_files_stay_readable() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in [*SOURCES, *TESTS]
        if (lines := len(path.read_text().splitlines())) > MOST_LINES
    }
    assert long == {}


DECLARES = ("graph.asset", "graph.multi_asset", "dg.asset", "dg.multi_asset", "dg.op")


def declared_functions(tree: ast.AST) -> list[ast.FunctionDef]:
    """The functions of assets and ops: decorated as such, or passed to what such a call returns."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Call)]
    passed = {
        argument.id
        for call in calls
        if isinstance(call.func, ast.Call) and ast.unparse(call.func.func) in DECLARES
        for argument in call.args
        if isinstance(argument, ast.Name)
    }
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and (
            node.name in passed
            or any(ast.unparse(d.func if isinstance(d, ast.Call) else d) in DECLARES for d in node.decorator_list)
        )
    ]


def test_functions_of_assets_are_declarations() -> None:
    """At most 40 lines, signature and docstring included: what is longer is logic, which belongs to ``core``."""
    long = {
        f"{path.relative_to(ROOT)}: {function.name}": lines
        for path in sorted((PLATFORM / "assets").glob("*.py"))
        for function in declared_functions(ast.parse(path.read_text()))
        if (lines := (function.end_lineno or 0) - function.lineno + 1) > MOST_ASSET_LINES
    }
    assert long == {}


def tracked_texts() -> list[Path]:
    """The text files that git tracks, or would after an add."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    paths = [ROOT / name for name in listed.split("\0") if name]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()[:8192]]


@pytest.mark.parametrize("what", sorted(FOREIGN_TEXT))
def test_tracked_files_hold_nothing_foreign(what: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {match.group()}"
        for path in tracked_texts()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if not line.lstrip().startswith("--hash=sha256:")
        and (match := FOREIGN_TEXT[what].search(line))
        and not ("uv pip compile" in line and "--no-emit-index-" in line)
    ]
    assert found == []


def test_no_data_or_secret_files_are_tracked() -> None:
    names = [str(path.relative_to(ROOT)) for path in tracked_texts()]
    assert [name for name in names if re.search(r"(^|/)\.env$|\.(pem|p12|key)$|^data/", name)] == []
