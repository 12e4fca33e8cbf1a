"""Runs the services that have an image of this project in those images, as docker/compose.yaml states them.

    docker/build_by_buildah.sh FOLDER        builds the images, and calls this in namespaces of its own

Each has the image's file system read-only, its volumes and temporary folders, its user, no capabilities, no new
privileges, its environment and its command. Host names are those of the compose file; all ports are of a loopback that
nobody else has. PostgreSQL is Debian's, and the S3 server is moto's. What is not run: limits of CPU and memory.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from recsys_assets.cli.services import Service
from recsys_assets_tests.compose import DOCKER, env_file, resolved
from recsys_assets_tests.stack.loopback import PORTS
from recsys_assets_tests.stack.running import made_up, stack_in

_ONCE = ("check", "bucket")
_STAY = ("mlflow", "code", "metrics", "api", "webserver", "daemon")
_DEVICES = ("null", "zero", "full", "random", "urandom")
_SECONDS = 600


class Container:
    """A service in its image.

    Args:
        name: of the service.
        service: what the compose file says, with variables filled in.
        image: ``root``, where its file system is, and ``config`` of it.
        folder: for mount points, logs and volumes.
    """

    def __init__(self, name: str, service: Mapping[str, Any], image: Mapping[str, Any], folder: Path) -> None:
        self._name, self._service, self._config = name, service, image["config"]
        self._root, self._folder = folder / "roots" / name, folder
        self._root.mkdir(parents=True)
        volumes = [self._volume(volume, image["root"]) for volume in service.get("volumes", [])]
        # Mount points that the image does not have are made before its file system becomes read-only, as Docker does.
        for there in (*service["tmpfs"], *(target for _, target, _ in volumes)):
            Path(image["root"], str(there).lstrip("/")).mkdir(parents=True, exist_ok=True)
        _mount("--bind", image["root"], self._root)
        _mount("-o", "remount,bind,ro", self._root)
        _mount("-t", "proc", "proc", self._root / "proc")
        _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", self._root / "dev")
        for device in _DEVICES:
            (self._root / "dev" / device).touch()
            _mount("--bind", f"/dev/{device}", self._root / "dev" / device)
        shared = self._root / "dev/shm"
        shared.mkdir()
        shared.chmod(0o1777)
        _mount("--bind", folder / "hosts", self._root / "etc/hosts")
        for path in service["tmpfs"]:
            _mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", self._root / str(path).lstrip("/"))
        for source, there, options in volumes:
            _mount("--bind", source, self._root / there.lstrip("/"))
            _mount("-o", options, self._root / there.lstrip("/"))

    def command(self, words: list[str]) -> list[str]:
        """A command in the container."""
        user, group = self._config["User"].split(":")
        files = [DOCKER / one["path"] for one in self._service.get("env_file", [])]
        stated = {key: value for path in files if path.exists() for key, value in env_file(path).items()}
        stated |= {"HOME": "/var/lib/recsys", **self._service.get("environment", {})}
        environment = [*self._config["Env"], *(f"{name}={value}" for name, value in stated.items())]
        become = [f"--reuid={user}", f"--regid={group}", "--clear-groups", "--no-new-privs", "--bounding-set=-all"]
        inside = ["env", "--ignore-environment", f"--chdir={self._config['WorkingDir']}", *environment, *words]
        return ["chroot", str(self._root), "setpriv", *become, *inside]

    def once(self) -> str:
        """Run the command to its end; returns what it says."""
        done = subprocess.run(self.command(self._service["command"]), capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{self._name}: {done.stdout}{done.stderr}")
        return done.stdout.strip()

    def start(self, until: ExitStack) -> None:
        """Start the command, and wait until the health check passes in the container."""
        log = self._folder / f"{self._name}.log"
        service = until.enter_context(Service(self._name, self.command(self._service["command"]), "", log))
        check = self.command(self._service["healthcheck"]["test"][1:])
        deadline = time.monotonic() + _SECONDS
        while (done := subprocess.run(check, capture_output=True, text=True, check=False)).returncode:
            if service.exit_code is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self._name} is not healthy: {done.stderr[-500:]}\n{log.read_text()[-3000:]}")
            time.sleep(1)

    def _volume(self, volume: Any, root: str) -> tuple[Path, str, str]:
        """What is mounted, where, and how: a folder of the host, or a volume with the owner of the image's folder."""
        if isinstance(volume, dict):
            return (DOCKER / volume["source"]).resolve(), str(volume["target"]), "remount,bind,ro"
        name, there = volume.split(":")[:2]
        source = self._folder / "volumes" / name
        source.mkdir(parents=True, exist_ok=True)
        subprocess.run(["chown", f"--reference={root}{there}", str(source)], check=True)
        return source, there, "remount,bind"


def _mount(*words: str | Path) -> None:
    subprocess.run(["mount", *map(str, words)], check=True)


def _serves() -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{PORTS['api']}/recommendations/1?k=3", timeout=10) as answer:
            return len(json.load(answer)["items"]) == 3
    except (URLError, OSError):
        return False


def run(images: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
    """Run all, put the sample in, and wait until the API serves a release that was made of it."""
    variables = made_up()
    services = resolved(variables)["services"]
    folder.mkdir()
    (folder / "hosts").write_text("".join(f"127.0.0.1 {name}\n" for name in ("localhost", *services)))
    with ExitStack() as until:
        until.enter_context(stack_in(folder / "stack", variables, {}, PORTS.__getitem__))

        def container(name: str) -> Container:
            image = services[name]["image"].partition(":")[0]
            return Container(name, services[name], images[image], folder)

        for name in _ONCE:
            _tell(f"{name}: {container(name).once()}")
        for name in _STAY:
            container(name).start(until)
            _tell(f"{name}: healthy")
        _tell(f"sample: {container('sample').once()}")
        deadline = time.monotonic() + 3 * _SECONDS
        while not _serves():
            if time.monotonic() > deadline:
                raise RuntimeError("no release is served")
            time.sleep(2)
        _tell("the API serves a release of the sample")


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _image(folder: Path, stated: str) -> tuple[str, Mapping[str, Any]]:
    """Name and content of an image, which is stated as ``name=root``; its configuration lies in the folder."""
    name, _, root = stated.partition("=")
    return name, {"root": root, "config": json.loads((folder / f"{name}.json").read_text())["OCIv1"]["config"]}


if __name__ == "__main__":
    given = Path(sys.argv[1])
    run(dict(_image(given, stated) for stated in sys.argv[2:]), given / "services")
