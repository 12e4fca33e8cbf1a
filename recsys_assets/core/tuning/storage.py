"""Where the trials of a search are kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
else:  # see recsys_assets.core.tuning.study
    BaseStorage = Any

_LOCK_SECONDS = 10
"""After so long, a lock on a journal belonged to a process that was killed."""


def open_storage(address: str, study: str) -> BaseStorage:
    """The storage that an address names.

    Args:
        address: a folder (one journal per study) or the address of a database.
        study: name of the study.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    if "://" in address and not address.startswith("file://"):
        return optuna.storages.RDBStorage(address)
    folder = Path(address.removeprefix("file://"))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{study.replace(' ', '-')}.journal"
    _mend(path)
    lock = JournalFileOpenLock(str(path), _LOCK_SECONDS)
    return optuna.storages.JournalStorage(JournalFileBackend(str(path), lock))


def _mend(journal: Path) -> None:
    """Take off the last line where writing it was cut off: what is written after it could not be read."""
    if journal.exists():
        written = journal.read_bytes()
        whole = written.rfind(b"\n") + 1
        if whole < len(written):
            journal.write_bytes(written[:whole])


def without_password(text: str, address: str) -> str:
    """A text in which the password of an address is not to be read."""
    password = urlsplit(address).password
    for secret in {password, unquote(password)} if password else ():
        text = text.replace(secret, "***")
    return text
