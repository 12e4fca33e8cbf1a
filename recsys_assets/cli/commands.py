"""The command ``recsys``: everything that is done on a console, one word each."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module

Main = Callable[[list[str]], int | str]


@dataclass(frozen=True)
class Command:
    """A command and its module, whose ``main`` takes the arguments and returns an exit code or what failed.

    Args:
        module: below this package.
        about: one line for people.
        given: arguments before those of the caller.
    """

    module: str
    about: str
    given: tuple[str, ...] = ()


COMMANDS = {
    "run": Command("__main__", "build what is new, serve it, take in new files; stays until Ctrl-C", ("run",)),
    "smoke": Command("__main__", "the same without staying: ask the API, show the answers, stop", ("smoke",)),
    "rebuild": Command("__main__", "build again what was made with other settings, and the release", ("rebuild",)),
    "home": Command("__main__", "where Dagster keeps the history of this store, for DAGSTER_HOME", ("home",)),
    "check": Command("check", "what event files hold, a dataset.toml that reads them, and what would be rejected"),
    "as-of": Command("as_of", "make as-of days of the past, oldest first, with the examples that they lack"),
    "landing": Command("landing", "what of the landing zone waits for a person, and what the person decides"),
    "releases": Command("releases", "what is served; roll back, pin and unpin, without Dagster's queue"),
    "metrics": Command("metrics", "figures of the pipeline for Prometheus; alerts to the channels of the settings"),
    "store": Command("store", "what storage holds and how large it is; show rows, drop old releases"),
    "sql": Command("sql", "DuckDB over the assets"),
    "mlflow": Command("mlflow_ui", "MLflow's UI on the runs, models and plots that were recorded"),
}


def main(arguments: Sequence[str] | None = None) -> int | str:
    """Entry point of ``recsys``."""
    asked = list(sys.argv[1:] if arguments is None else arguments)
    if not asked or asked[0] in ("-h", "--help"):
        sys.stdout.write(usage())
        return 0
    command = COMMANDS.get(asked[0])
    if command is None:
        return f"recsys: no command {asked[0]!r}; recsys --help lists them"
    # Not at the top: some take seconds to import.
    run: Main = import_module(f"{__package__}.{command.module}").main
    return run([*command.given, *asked[1:]])


def usage() -> str:
    """All commands, a line each."""
    lines = [f"  {name:<8} {command.about}" for name, command in COMMANDS.items()]
    return "\n".join(["usage: recsys COMMAND [...]; recsys COMMAND --help says more", "", *lines, ""])


if __name__ == "__main__":
    sys.exit(main())
