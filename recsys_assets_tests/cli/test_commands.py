"""The command ``recsys``."""

from __future__ import annotations

import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from recsys_assets.cli.commands import COMMANDS, main


def test_help_lists_all_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == main([]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_takes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith("usage: recsys")


def test_an_unknown_command_is_told() -> None:
    assert main(["chek"]) == "recsys: no command 'chek'; recsys --help lists them"


def test_the_package_installs_it() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
    module, _, name = project["scripts"]["recsys"].partition(":")
    assert getattr(import_module(module), name) is main
