"""``recsys metrics``: figures of the pipeline for Prometheus; alerts of Alertmanager to the channels of the settings.

Reads Dagster's instance (``DAGSTER_HOME``, or the one of the store) and the store; writes nothing. Stays until Ctrl-C.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading

from recsys_assets.cli.home import enter_home
from recsys_assets.settings import load_settings

_NO_CHANNEL = "alerts reach nobody: RECSYS_NOTIFY_WEBHOOK_URL and RECSYS_TELEGRAM_TOKEN are not set"


def main(arguments: list[str] | None = None) -> int:
    """Entry point; 1 if a setting, the store or the address is at fault."""
    parser = argparse.ArgumentParser(prog="recsys metrics", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; default %(default)s")
    parser.add_argument("--port", type=int, default=9300, help="port to listen at, 0 for any; default %(default)s")
    parser.add_argument("--seconds", type=float, default=15, help="between two looks at the runs; default %(default)s")
    given = parser.parse_args(arguments)
    if given.seconds <= 0:
        parser.error("--seconds has to be above 0")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        settings, dataset = load_settings()
        enter_home(settings.storage_uri)
        # Not at the top: the graph is built when it is imported, and faults of settings are to be told in one line.
        import dagster as dg

        from recsys_assets.definitions import build_resources, defs
        from recsys_assets.monitoring.pipeline import Watched, pipeline_collector
        from recsys_assets.monitoring.server import serve
        from recsys_assets.resources.notifier import notifier_of

        notifier = notifier_of(settings)
        with dg.DagsterInstance.get() as instance:
            partitions = build_resources(settings, dataset)["store"].partitions()
            collector = pipeline_collector(Watched.of(defs, instance, partitions, settings, dataset), given.seconds)
            with serve(collector, notifier, given.host, given.port) as server:
                sys.stdout.write(f"http://{given.host}:{server.server_port}/metrics\n")
                if not notifier.channels:
                    sys.stdout.write(f"{_NO_CHANNEL}\n")
                sys.stdout.flush()
                stop = threading.Event()
                signal.signal(signal.SIGTERM, lambda *_: stop.set())
                collector.refresh()
                threading.Thread(target=server.serve_forever, daemon=True).start()
                while not stop.wait(max(0.1, collector.refresh())):
                    pass
                server.shutdown()
    except (ValueError, OSError) as error:
        sys.stderr.write(f"failed: {error}\n")
        return 1
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
