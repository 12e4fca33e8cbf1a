"""The documents promise nothing that is not there: settings, commands, names, links, the example of a data set."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from recsys_api.app import create_app
from recsys_api.settings import Settings as ApiSettings
from recsys_assets.cli import dataset_table, settings_table
from recsys_assets.core.dataset import ServedColumns, load_dataset
from recsys_assets.core.file_specs import Model
from recsys_assets.core.generator_registry import BUILT_IN
from recsys_assets.definitions import build_definitions
from recsys_assets.settings import RENAMED, Settings, load_settings

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md"))]
NAMES = [path.relative_to(ROOT).as_posix() for path in DOCUMENTS]
SETTINGS = {f"RECSYS_{name.upper()}" for name in {*Settings.model_fields, *ApiSettings.model_fields}}


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return build_definitions(*load_settings(dataset="retailrocket"))


def blocks(path: Path, language: str) -> list[str]:
    """The code blocks of a document in one language."""
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(), re.DOTALL)


def dataset_example() -> str:
    """The ``dataset.toml`` that is shown."""
    (example,) = blocks(DOCS / "own-data.md", "toml")
    return example


def code(path: Path) -> list[str]:
    """What a document shows as code within its sentences and tables."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL))


def commands() -> list[list[str]]:
    """Every command line that a document shows, as words."""
    shown = [line[2:] for path in DOCUMENTS for block in blocks(path, "console") for line in block.splitlines()]
    told = [
        one for path in DOCUMENTS for one in code(path) if re.match(r"(make|python|dagster|curl|\.\S+/bin/\w+) ", one)
    ]
    return [shlex.split(line, comments=True) for line in [*shown, *told]]


def test_the_table_of_settings_is_made_from_the_settings() -> None:
    """To write it anew: python -m recsys_assets.cli.settings_table."""
    text = settings_table.PAGE.read_text()
    assert text == settings_table.with_table(text), "python -m recsys_assets.cli.settings_table writes the table anew"
    assert all(f"| `{name}` |" in text for name in SETTINGS)
    assert "None" not in settings_table.table()


def test_the_reference_of_data_sets_is_made_from_their_description() -> None:
    """To write it anew: python -m recsys_assets.cli.dataset_table."""
    text = dataset_table.REFERENCE.read_text()
    assert text == dataset_table.with_tables(text), "python -m recsys_assets.cli.dataset_table writes the tables anew"
    described = {model for section in dataset_table.SECTIONS.values() for model in section.__mro__}
    parts = [part for part in Model.__subclasses__() if not issubclass(part, ServedColumns)]
    assert set(parts) <= described, "every table of the file has its section"


def test_variables_that_documents_name_exist() -> None:
    elsewhere = (ROOT / ".ci" / "setup").read_text() + (ROOT / "docker" / "compose.yaml").read_text()
    elsewhere += (ROOT / "Makefile").read_text()
    renamed = {f"RECSYS_{name.upper()}" for name in RENAMED}
    for path in DOCUMENTS:
        old = renamed if path.name == "CHANGELOG.md" else set()
        for name in re.findall(r"\bRECSYS_[A-Z_]+\b", path.read_text()):
            assert name in SETTINGS or name in elsewhere or name in old, f"{path.name}: {name}"


def test_commands_that_documents_show_exist(definitions: dg.Definitions) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assets = {key.to_user_string() for key in definitions.resolve_asset_graph().get_all_asset_keys()}
    key = "an-admin-key-0123456789"
    settings = ApiSettings(storage_uri=ROOT.as_uri(), api_open_writes=True, api_admin_keys=SecretStr(key))
    api = TestClient(create_app(settings), headers={"X-API-Key": key})
    checked = set()
    for words in commands():
        checked.add(words[0])
        if words[0] == "make":
            assert {word for word in words[1:] if "=" not in word} <= targets, words
        if words[0] == "curl":
            path = words[1].removeprefix("localhost:8000")
            implied = "POST" if {"-d", "--data-binary"} & set(words) else "GET"
            method = words[words.index("-X") + 1] if "-X" in words else implied
            posted: dict[str, Any] = {"content": words[words.index("-d") + 1]} if "-d" in words else {}
            found = api.request(method, path, headers={"Content-Type": "application/json"}, **posted)
            # Nothing is released here, which routes of a release answer by 503.
            assert found.status_code in (200, 409, 503) or "does not exist" in found.text, f"{path}: {found.text}"
        if words[0] == "cp":
            assert (ROOT / words[1]).exists(), words
        if "-m" in words:
            assert importlib.util.find_spec(words[words.index("-m") + 1]), words
        if "--select" in words:
            assert words[words.index("--select") + 1].strip("*+") in assets, words
        if "--partition" in words:
            day = words[words.index("--partition") + 1]
            days = definitions.resolve_assets_def("release").partitions_def
            assert days is not None
            assert days.has_partition_key(day)
    assert checked >= {"make", "curl", "dagster", "cp", "python"}


def test_the_table_of_jobs_is_complete(definitions: dg.Definitions) -> None:
    table = (DOCS / "dagster.md").read_text().split("| job | what it does |")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == {job.name for job in definitions.jobs or ()}


def test_the_table_of_groups_says_what_each_reads(definitions: dg.Definitions) -> None:
    table = (DOCS / "dagster.md").read_text().split("| group | reads | gives |")[1].split("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \|", table, re.MULTILINE)
    graph = definitions.resolve_asset_graph()
    reads: dict[str, set[str]] = {}
    for node in map(graph.get, graph.get_all_asset_keys()):
        reads.setdefault(node.group_name, set()).update(graph.get(parent).group_name for parent in node.parent_keys)
    assert {group: set(re.findall(r"`(\w+)`", text)) for group, text in rows} == {
        group: groups - {group} for group, groups in reads.items()
    }


def test_the_table_of_generators_is_complete() -> None:
    table = (DOCS / "generators.md").read_text().split("| generator |")[1].split("\n\n")[0]
    assert tuple(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == BUILT_IN.names


def test_the_picture_of_the_graph_shows_every_asset(definitions: dg.Definitions) -> None:
    (picture,) = blocks(DOCS / "architecture.md", "mermaid")
    words = set(re.findall(r"\w+", picture))
    assert [
        key for key in definitions.resolve_asset_graph().get_all_asset_keys() if key.to_user_string() not in words
    ] == []


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    path = ROOT / name
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        linked = path.parent / file if file else path
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}, target


@pytest.mark.parametrize("name", NAMES)
def test_files_that_documents_name_exist(name: str) -> None:
    """Paths of this repository, as far as they can be told from other words with a slash."""
    folders = {path.name for path in ROOT.iterdir() if path.is_dir()} - {"data", "docs"}
    for one in code(ROOT / name):
        first, slash, _ = one.partition("/")
        if slash and first in folders and re.fullmatch(r"[\w./-]+", one) and not first.startswith(".venv"):
            assert (ROOT / one).exists(), one


def test_the_data_set_that_is_shown_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "dataset.toml"
    path.write_text(dataset_example())
    dataset = load_dataset(path)
    assert dataset.kind_of("events-2025-01.csv.gz") == "events"
    assert set(dataset.defaults) <= set(Settings.model_fields)
    settings, _ = load_settings(dataset=str(path), seed=5)
    assert settings.horizon_days == dataset.defaults["horizon_days"]
    assert load_settings(dataset=str(path), horizon_days=3)[0].horizon_days == 3, "what is stated wins"
