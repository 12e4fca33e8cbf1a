"""What is in the landing zone now: the regular files that are asked for, and what is left out and why.

Others write there, so anything may be: links that lead in circles or out of the zone, FIFOs, names that no other system
can keep. Nothing is opened here, and what is not asked for is not even looked at. Local folders and S3 behave alike.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from recsys_assets.storage.local import LocalStore
from recsys_assets.storage.objects import InvalidKey, NotFound, ObjectStore, check_key

Wanted = Callable[[str], bool]
"""Whether a file is asked for, by its path below the landing zone."""

_HIDDEN = "its name begins with a dot"
_NAME = "its name cannot be kept (not UTF-8, a control character, a backslash or an empty part); rename it"


@dataclass(frozen=True)
class LandingFile:
    """A file in the landing zone.

    Args:
        uri: where it is.
        name: path below the landing zone, as :func:`shown`; the ``source_file`` of its rows.
        size: bytes; 0 where that is not known.
        fingerprint: changes when the content does, or the fault.
        fault: why it must not be read; empty for a file that may.
    """

    uri: str
    name: str
    size: int
    fingerprint: str
    fault: str = ""


@dataclass(frozen=True)
class Listing:
    """The files that were asked for, and what was skipped.

    Args:
        files: in no order; some may have a fault.
        skipped: name to reason: hidden files that were asked for, and folders that are not looked into, which end
            with a slash.
    """

    files: tuple[LandingFile, ...]
    skipped: dict[str, str]


ListFiles = Callable[[Wanted, str], Listing]
"""Lists the files that are asked for below a folder ("" is the whole landing zone)."""


def shown(name: str) -> str:
    """A name as printable text that a terminal and JSON can take: other characters are escaped as Python does."""
    return "".join(c if c.isprintable() and c != "\\" else c.encode("unicode_escape").decode() for c in name)


def list_landing(landing: ObjectStore, wanted: Wanted, under: str = "") -> Listing:
    """The files of a landing zone that are asked for; ``under`` is a folder of it."""
    if isinstance(landing, LocalStore):
        return _list_folder(landing, wanted, f"{under}/" if under else "")
    return list_keys(((meta.key, meta.size, meta.etag) for meta in landing.list(under)), landing.uri(), wanted)


def list_keys(objects: Iterable[tuple[str, int, str]], uri: str, wanted: Wanted) -> Listing:
    """The files among the objects of a bucket.

    Args:
        objects: key below the landing zone, size and etag.
        uri: of the landing zone.
        wanted: which files are asked for.
    """
    files: list[LandingFile] = []
    skipped: dict[str, str] = {}
    for key, size, etag in objects:
        *folders, base = key.split("/")
        hidden = next((at for at, folder in enumerate(folders, start=1) if folder.startswith(".")), 0)
        if hidden:
            skipped[shown("/".join(folders[:hidden])) + "/"] = _HIDDEN
        elif (not base and not size) or not wanted(key.rstrip("/")):  # an empty object may stand for a folder
            continue
        elif base.startswith("."):
            skipped[shown(key)] = _HIDDEN
        else:
            files.append(LandingFile(f"{uri}/{key}", shown(key), size, etag, _fault_of_name(key)))
    return Listing(tuple(files), skipped)


def _list_folder(landing: LocalStore, wanted: Wanted, under: str) -> Listing:
    """The files of a folder and of the folders in it."""
    files: list[LandingFile] = []
    skipped: dict[str, str] = {}
    root = os.path.realpath(landing.uri())
    waiting = [under]
    while waiting:
        prefix = waiting.pop()
        try:
            with os.scandir(Path(root, prefix)) as scanned:
                entries = list(scanned)
        except FileNotFoundError:  # removed since its parent was read, or there is no landing zone yet
            continue
        except OSError as error:
            skipped[shown(prefix) or "/"] = f"cannot be read: {error.strerror}"
            continue
        for entry in entries:
            name = prefix + entry.name
            if _is_folder(entry):
                if entry.name.startswith("."):
                    skipped[shown(name) + "/"] = _HIDDEN
                elif entry.is_symlink():
                    skipped[shown(name) + "/"] = "links to folders are not followed; move or mount the folder here"
                else:
                    waiting.append(f"{name}/")
            elif wanted(name):
                if entry.name.startswith("."):
                    skipped[shown(name)] = _HIDDEN
                elif file := _local_file(landing, root, entry, name):
                    files.append(file)
    return Listing(tuple(files), skipped)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _local_file(landing: LocalStore, root: str, entry: os.DirEntry[str], name: str) -> LandingFile | None:
    """A file of a folder, with its fault if it has one; None if it was deleted meanwhile."""
    uri, size = f"{landing.uri()}/{shown(name)}", 0
    fault = _fault_of_name(name)
    try:
        found = entry.stat()
        size = found.st_size
        fault = fault or _fault_of_file(root, entry, found.st_mode)
        if not fault:
            meta = landing.head(name)
            return LandingFile(landing.uri(name), name, meta.size, meta.etag)
    except (FileNotFoundError, NotFound):
        if not entry.is_symlink():
            return None
        fault = fault or "it is a link to a file that does not exist"
    except OSError as error:
        fault = fault or f"cannot be read: {error.strerror}"
    return LandingFile(uri, shown(name), size, fault, fault)


def _fault_of_file(root: str, entry: os.DirEntry[str], mode: int) -> str:
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
        return f"it is {kinds.get(stat.S_IFMT(mode), 'a device')}, not a regular file"
    if entry.is_symlink() and not Path(os.path.realpath(entry.path)).is_relative_to(root):
        return "it is a link out of the landing zone"
    return "" if os.access(entry.path, os.R_OK) else "cannot be read: Permission denied"


def _fault_of_name(name: str) -> str:
    try:
        check_key(name)
    except InvalidKey:
        return _NAME
    return ""
