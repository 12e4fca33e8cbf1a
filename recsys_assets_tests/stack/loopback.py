"""Turns a service of docker/compose.yaml into a process of this machine: the same command, files and environment.

Host names and ports become addresses of loopback, and the container's folders become folders of one work folder.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsys_assets_tests.compose import DOCKER, env_file, resolved

PORTS = {
    "postgres": 5432,
    "s3": 8333,
    "code": 4000,
    "webserver": 3000,
    "mlflow": 5000,
    "api": 8000,
    "metrics": 9300,
    "prometheus": 9090,
    "alertmanager": 9093,
}
"""What listens, and where within its container."""
_HOME = "/var/lib/recsys"
_IN_THE_IMAGE = (
    "dagster.yaml",
    "workspace.yaml",
    "check_env.py",
    "create_bucket.py",
    "end_lost_runs.py",
    "put_sample.py",
)
_NAMED_OTHERWISE = {"alertmanager": "prometheus-alertmanager"}
"""Programs that Debian calls otherwise."""
_PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
_HOSTS = "|".join(PORTS)
_ADDRESS = re.compile(rf"(?<![\w.-])(?P<host>{_HOSTS}|0\.0\.0\.0|127\.0\.0\.1):(?P<port>\d+)(?!\d)")
_PORT = re.compile(r"(?P<option>^|--port[ =])(?P<port>\d+)(?= |$)")


@dataclass(frozen=True)
class Loopback:
    """The services as processes below one folder.

    Attributes:
        services: of the compose file, with variables filled in.
        ports: where each service listens on this machine.
        folder: for everything that containers would keep.
        more: environment of all services of the platform, beyond what the compose file says.
    """

    services: Mapping[str, Any]
    ports: Mapping[str, int]
    folder: Path
    more: Mapping[str, str]

    @classmethod
    def make(
        cls, folder: Path, variables: Mapping[str, str], port: Callable[[str], int], more: Mapping[str, str]
    ) -> Loopback:
        """Lay out the folders, with configuration files that hold addresses of loopback.

        Args:
            folder: empty, or one of an earlier time.
            variables: of the compose file.
            port: chooses where a service listens.
            more: see above.
        """
        stack = cls(resolved(variables)["services"], {name: port(name) for name in PORTS}, folder, more)
        stack.home.mkdir(parents=True, exist_ok=True)
        for name in _IN_THE_IMAGE:
            shutil.copy(DOCKER / name, stack.home)
        for name in stack.services:
            for source, target, _ in stack._mounts(name):
                if source is None:
                    target.mkdir(parents=True, exist_ok=True)
                else:
                    stack._copy(source, target)
        return stack

    @property
    def home(self) -> Path:
        """What is the working folder in the images."""
        return self.folder / "home"

    def address(self, name: str) -> str:
        """Where a service answers."""
        return f"http://127.0.0.1:{self.ports[name]}"

    def command(self, name: str) -> list[str]:
        """The command of a service."""
        service = self.services[name]
        words: list[str] = [*service.get("entrypoint", []), *service["command"]]
        first, *rest = words
        return [_NAMED_OTHERWISE.get(first, first), *(self._here(name, word) for word in rest)]

    def health(self, name: str) -> list[str]:
        """The health check of a service."""
        return [self._here(name, word) for word in self.services[name]["healthcheck"]["test"][1:]]

    def depends_on(self, name: str) -> list[str]:
        """The services that have to be there before a service is started."""
        return list(self.services[name].get("depends_on", {}))

    def environment(self, name: str) -> dict[str, str]:
        """The environment of a service, beside that of this process."""
        service = self.services[name]
        files = [DOCKER / entry["path"] for entry in service.get("env_file", [])]
        settings = {key: value for path in files if path.exists() for key, value in env_file(path).items()}
        stated = {**settings, **(self.more if files else {}), **service.get("environment", {})}
        home = str(self.home)
        here = {
            key: "127.0.0.1" if key.endswith("_HOST") and value in PORTS else self._here(name, value)
            for key, value in stated.items()
        }
        # Clients of PostgreSQL on its own machine look for it at the usual port.
        usual = {"PGPORT": str(self.ports["postgres"])} if name == "postgres" else {}
        return {**here, **usual, "PATH": _PATH, "HOME": home, "DAGSTER_HOME": home}

    def absent(self, name: str) -> str | None:
        """Why a service cannot run here; None if it can."""
        if "command" not in self.services[name]:
            return "its program comes with its image only"
        program, *words = self.command(name)
        if shutil.which(program, path=_PATH) is None:
            return f"{program} is not installed"
        files = [Path(word.partition("=")[2]) for word in words if word.startswith("--config.file=")]
        missing = [str(path.relative_to(self.folder)) for path in files if not path.exists()]
        return f"{missing[0]} is missing" if missing else None

    def _mounts(self, name: str) -> list[tuple[Path | None, Path, str]]:
        """Folders of a container: what is mounted (None for a volume), where it is here, where it is there."""
        found: list[tuple[Path | None, Path, str]] = []
        for volume in self.services[name].get("volumes", []):
            if isinstance(volume, dict):
                source, there = str(volume["source"]), str(volume["target"])
            else:
                source, there = volume.split(":")[:2]
            bound = (DOCKER / source).resolve() if source.startswith((".", "/")) else None
            here = self.folder / ("mounts" if bound else "volumes") / (there.strip("/") if bound else source)
            found.append((bound, here, there))
        return found

    def _copy(self, source: Path, target: Path) -> None:
        """Copy a folder of configuration files, with addresses of loopback in them."""
        shutil.copytree(source, target, dirs_exist_ok=True)
        for path in target.rglob("*"):
            if path.suffix in (".yml", ".yaml", ".json"):
                path.write_text(self._here("", path.read_text("utf-8")), "utf-8")

    def _here(self, name: str, text: str) -> str:
        """A word of a service, or a file, with what is so on this machine."""
        for _, here, there in [*self._mounts(name), (None, self.home, _HOME)] if name else []:
            text = re.sub(rf"(?<!\w){re.escape(there)}(?=/|$)", str(here), text)

        def replaced(match: re.Match[str]) -> str:
            host = match["host"]
            outside = self._outside(host if host in PORTS else name, int(match["port"]))
            return f"127.0.0.1:{outside}" if outside else match[0]

        def at_port(match: re.Match[str]) -> str:
            return f"{match['option']}{self._outside(name, int(match['port'])) or match['port']}"

        text = _PORT.sub(at_port, text)
        return _ADDRESS.sub(replaced, text).replace("0.0.0.0", "127.0.0.1")

    def _outside(self, name: str, port: int) -> int | None:
        """The port here of a port there: that of the service, else that of the only one which has it."""
        if PORTS.get(name) == port:
            return self.ports[name]
        others = [other for other, inside in PORTS.items() if inside == port]
        return self.ports[others[0]] if others else None
