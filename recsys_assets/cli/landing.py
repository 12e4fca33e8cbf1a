"""``recsys landing``: what of the landing zone waits for a person, and what the person decides."""

from __future__ import annotations

import argparse

import dagster as dg

from recsys_assets.automation.decisions import Decision, carry_out
from recsys_assets.automation.runs import InProcessRunner, MaterializeError
from recsys_assets.cli.home import enter_home
from recsys_assets.cli.progress import Progress
from recsys_assets.definitions import build_definitions, build_resources
from recsys_assets.ingest.quarantine import waiting
from recsys_assets.resources.naming import Names
from recsys_assets.settings import load_settings


def main(arguments: list[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="recsys landing", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    acknowledge = commands.add_parser("acknowledge", help="go on without files that are set aside")
    acknowledge.add_argument("files", nargs="+", metavar="FILE")
    take = commands.add_parser("take", help="take days that are held because they are far from the others")
    take.add_argument("days", nargs="+", metavar="DAY")
    commands.add_parser("delete", help="let go of the files that vanished, and of the rows that files lost")
    parser.set_defaults(files=[], days=[])
    asked = parser.parse_args(arguments)
    progress = Progress()
    try:
        settings, dataset = load_settings()
        resources = build_resources(settings, dataset)
        landing, store = resources["landing"].zone(), resources["store"]
        if asked.command is None:
            for name, why in waiting(landing.accepted()).items() or {"nothing": "waits for a person"}.items():
                print(f"{name}: {why}")  # noqa: T201
            return 0
        enter_home(settings.storage_uri)
        with dg.DagsterInstance.get() as instance:
            definitions = build_definitions(settings, dataset)
            runner = InProcessRunner(definitions, instance, settings.storage_uri, Names.of(settings))
            decision = Decision(files=asked.files, days=asked.days, deletions=asked.command == "delete")
            carry_out(decision, landing, store, settings, dataset, runner.rebuild, progress.note)
    except (ValueError, OSError, MaterializeError) as error:
        progress.note(f"failed: {error}")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
