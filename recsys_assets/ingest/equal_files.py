"""Landing files that are equal to accepted ones: touched, uploaded again, or copied under another name.

A listing shows that a file may have changed; only its bytes show that it has not. A hash of them costs a fraction of
staging, and saves the days of the file from being built anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from recsys_assets.ingest.accepted import AcceptedFile


class EqualFiles:
    """The accepted files that a landing file may be equal to.

    A file that is equal to its accepted version keeps what was staged of it. One that is equal to another file is a
    copy: it adds no rows, since exact duplicates count once, so no day changes. The file that was accepted first is
    the original, and stays the source of the rows.

    Args:
        accepted: the files that count, by name.
        changes: names that are about to change: nothing becomes a copy of them, unless they are added again.
        is_current: whether an accepted file would still be parsed in the same way.
    """

    def __init__(
        self,
        accepted: Mapping[str, AcceptedFile],
        changes: Iterable[str],
        is_current: Callable[[AcceptedFile], bool],
    ) -> None:
        changing = set(changes)
        self._own = {
            name: file for name, file in accepted.items() if file.content and not file.copy_of and is_current(file)
        }
        self._originals = {
            (file.kind, file.content): file for name, file in sorted(self._own.items()) if name not in changing
        }

    def order(self, changes: Mapping[str, AcceptedFile | None]) -> list[str]:
        """Names in the order in which they are to be looked at: originals before what may be copies of them."""
        return sorted(changes, key=lambda name: (name not in self._own, name))

    def may_be_equal(self, file: AcceptedFile) -> bool:
        """Whether the size of a file is that of a file it may be equal to."""
        own = self._own.get(file.name)
        return any(known.size == file.size for known in (*([own] if own else []), *self._originals.values()))

    def find(self, file: AcceptedFile, content: str) -> AcceptedFile | None:
        """What a listed file of this content is accepted as, without staging it; None if it must be staged."""
        own, original = self._own.get(file.name), self._originals.get((file.kind, content))
        if own is not None and (own.kind, own.content) == (file.kind, content):
            return replace(file, digest=own.digest, days=own.days, content=content)
        if original is not None and original.name != file.name:
            return replace(file, content=content, copy_of=original.name)
        return None

    def add(self, file: AcceptedFile) -> None:
        """Let later files be copies of this one, unless it is a copy itself."""
        if not file.copy_of:
            self._originals.setdefault((file.kind, file.content), file)


def orphans(accepted: Mapping[str, AcceptedFile], changing: Iterable[str]) -> set[str]:
    """Copies whose original changes, or is no longer what they are a copy of."""
    names = set(changing)
    return {
        file.name
        for file in accepted.values()
        if file.copy_of
        and (
            file.copy_of in names
            or (original := accepted.get(file.copy_of)) is None
            or original.copy_of
            or original.content != file.content
        )
    }
