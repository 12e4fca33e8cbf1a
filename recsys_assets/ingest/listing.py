"""What is in the landing zone now: the regular files that are asked for, and what is left out and why.

Others write there, so anything may be: links that lead in circles or out of the zone, FIFOs, names that no other system
can keep. Nothing is opened here, and what is not asked for is not even looked at. Local folders and S3 behave alike.

Links lead out of the zone only into folders that a person has named. However many lead to a folder, it is looked into
once; two links to one file are a file and its copy, which adds no rows.
"""

from __future__ import annotations

import heapq
import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from recsys_assets.storage.local import SCRATCH, LocalStore
from recsys_assets.storage.objects import InvalidKey, NotFound, ObjectStore, check_key

Wanted = Callable[[str], bool]
"""Whether a file is asked for, by its path below the landing zone."""

LINKS = "RECSYS_LANDING_LINKS"
_HIDDEN = "its name begins with a dot"
_LINK_OUT = f"links to folders outside are not followed unless {LINKS} names the folder"
_HIDDEN_TARGET = "links to hidden folders are not followed"
_LINK_INSIDE = "links to folders of the landing zone are not followed, since the folder itself is read"
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
        unseen: those of these folders whose files are not read under another name either.
    """

    files: tuple[LandingFile, ...]
    skipped: dict[str, str]
    unseen: frozenset[str] = frozenset()


ListFiles = Callable[[Wanted, str], Listing]
"""Lists the files that are asked for below a folder ("" is the whole landing zone)."""


def shown(name: str) -> str:
    """A name as printable text that a terminal and JSON can take: other characters are escaped as Python does."""
    return "".join(c if c.isprintable() and c != "\\" else c.encode("unicode_escape").decode() for c in name)


def list_landing(landing: ObjectStore, wanted: Wanted, under: str = "", links: Iterable[str] = ()) -> Listing:
    """The files of a landing zone that are asked for.

    Args:
        landing: the zone.
        wanted: which files are asked for.
        under: a folder of it.
        links: folders outside of a local zone that links in it may lead into.
    """
    if isinstance(landing, LocalStore):
        return _Walk(landing, wanted, f"{under}/" if under else "", links).listing()
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


class _Walk:
    """Walks a landing zone on a file system: its own folders first, then those that links lead to, each once.

    Args:
        landing: the zone.
        wanted: which files are asked for.
        under: a folder of it, with a slash; empty for the whole zone.
        links: folders outside that links may lead into.
    """

    def __init__(self, landing: LocalStore, wanted: Wanted, under: str, links: Iterable[str]) -> None:
        self._landing, self._wanted, self._under = landing, wanted, under
        self._root = os.path.realpath(landing.uri())
        self._allowed = tuple(map(os.path.realpath, links))
        self._files: list[LandingFile] = []
        self._skipped: dict[str, str] = {}
        self._unseen: set[str] = set()
        self._seen: dict[str, str] = {}
        """The folders that were looked into, by their real paths: their names in the zone."""
        self._folders, self._links = [("", self._root)], list[tuple[str, str]]()
        """Those that wait, with their real paths; links in order of their names, so that the first name stays."""

    def listing(self) -> Listing:
        while self._folders or self._links:
            self._look_into(*(self._folders.pop() if self._folders else heapq.heappop(self._links)))
        return Listing(tuple(self._files), self._skipped, frozenset(self._unseen))

    def _look_into(self, prefix: str, real: str) -> None:
        if (seen := self._seen.setdefault(real, prefix)) != prefix:
            known = shown(seen) or "the landing zone"
            self._skipped[shown(prefix)] = f"links to folders are not followed twice; its files are read as {known}"
            return
        try:
            with os.scandir(Path(self._root, prefix)) as scanned:
                entries = list(scanned)
        except FileNotFoundError:  # removed since its parent was read, or there is no landing zone yet
            return
        except OSError as error:
            self._leave(prefix or "/", f"cannot be read: {error.strerror}")
            return
        for entry in entries:
            name = prefix + entry.name
            if name == SCRATCH:  # what the API is writing
                continue
            if _is_folder(entry):
                if f"{name}/".startswith(self._under) or self._under.startswith(f"{name}/"):
                    self._add_folder(entry, f"{name}/", real)
            elif name.startswith(self._under):
                self._add_file(entry, name)

    def _add_folder(self, entry: os.DirEntry[str], name: str, parent: str) -> None:
        if entry.name.startswith("."):
            self._leave(name, _HIDDEN)
        elif not entry.is_symlink():
            self._folders.append((name, f"{parent.rstrip('/')}/{entry.name}"))
        elif self._is_below((real := Path(os.path.realpath(entry.path))), (self._root,)):
            if any(part.startswith(".") for part in real.relative_to(self._root).parts):
                self._leave(name, _HIDDEN_TARGET)
            else:
                self._skipped[shown(name)] = _LINK_INSIDE
        elif self._is_below(real, self._allowed):
            heapq.heappush(self._links, (name, str(real)))
        else:
            self._leave(name, _LINK_OUT)

    def _leave(self, folder: str, why: str) -> None:
        """Not look into a folder."""
        self._skipped[shown(folder)] = why
        self._unseen.add(shown(folder))

    def _add_file(self, entry: os.DirEntry[str], name: str) -> None:
        if not self._wanted(name):
            if entry.is_symlink() and self._leads_nowhere(entry):
                self._leave(f"{name}/", "links to a folder that does not exist now, or may not be looked into")
        elif entry.name.startswith("."):
            self._skipped[shown(name)] = _HIDDEN
        elif file := self._file(entry, name):
            self._files.append(file)

    def _leads_nowhere(self, entry: os.DirEntry[str]) -> bool:
        """Whether a link should lead to a folder that is away, as a disk may be: what was read there stays."""
        if entry.name.startswith(".") or not self._is_below(os.path.realpath(entry.path), self._allowed):
            return False
        try:
            return not Path(entry.path).exists()
        except OSError:
            return True

    def _file(self, entry: os.DirEntry[str], name: str) -> LandingFile | None:
        """A file of a folder, with its fault if it has one; None if it was deleted meanwhile."""
        landing = self._landing
        uri, size = f"{landing.uri()}/{shown(name)}", 0
        fault = _fault_of_name(name)
        try:
            found = entry.stat()
            size = found.st_size
            fault = fault or self._fault(entry, found.st_mode)
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

    def _fault(self, entry: os.DirEntry[str], mode: int) -> str:
        if not stat.S_ISREG(mode):
            kinds = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
            return f"it is {kinds.get(stat.S_IFMT(mode), 'a device')}, not a regular file"
        if entry.is_symlink() and not self._is_below(os.path.realpath(entry.path), (self._root, *self._allowed)):
            return f"it is a link out of the landing zone, into no folder that {LINKS} names"
        return "" if os.access(entry.path, os.R_OK) else "cannot be read: Permission denied"

    @staticmethod
    def _is_below(real: str | Path, folders: Iterable[str]) -> bool:
        """Whether a real path is one of the folders or below it."""
        return any(Path(real).is_relative_to(folder) for folder in folders)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _fault_of_name(name: str) -> str:
    try:
        check_key(name)
    except InvalidKey:
        return _NAME
    return ""
