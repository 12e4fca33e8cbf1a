"""Files that were replaced by others with fewer rows, as a cut upload or an empty export does.

Rows that come back on the same days in other files of the same look have moved and are not missed. A file whose bytes
are the same has not shrunk: what is stated about it has changed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

from recsys_assets.core.dataset import is_served
from recsys_assets.ingest.accepted import Accepted, AcceptedFile, Shrunk
from recsys_assets.ingest.staging import read_staged
from recsys_assets.ingest.undated import table_rows
from recsys_assets.storage.objects import ObjectStore


def shrunk(accepted: Accepted, staged: Mapping[str, AcceptedFile | None], store: ObjectStore) -> dict[str, Shrunk]:
    """The files that lost rows, by name. Those of the API are ours, and lose rows by erasure alone.

    Args:
        accepted: the files that count.
        staged: what changed files are accepted as; None: deleted.
        store: of staged files.
    """
    replaced = {
        name: (known, file)
        for name, file in staged.items()
        if file and (known := accepted.files.get(name)) and _other_bytes(known, file) and not is_served(name)
    }
    if not replaced:
        return {}
    before = {name: _rows(known, store) for name in staged if (known := accepted.files.get(name))}
    after = {name: _rows(file, store) for name, file in staged.items() if file}
    missed: dict[str, Counter[str]] = defaultdict(Counter)
    for name, file in staged.items():
        if name in before:
            missed[accepted.files[name].kind].update(before[name])
        if file:
            missed[file.kind].subtract(after[name])
    found: dict[str, Shrunk] = {}
    for name, (known, file) in replaced.items():
        had, has = before[name], after[name]
        lost = min(had.total() - has.total(), ((had - has) & missed[known.kind]).total())
        if lost > 0:
            found[name] = Shrunk(file, has.total(), had.total(), lost / had.total())
    return found


def _other_bytes(known: AcceptedFile, file: AcceptedFile) -> bool:
    return known.content != file.content if known.content and file.content else known.fingerprint != file.fingerprint


def _rows(file: AcceptedFile, store: ObjectStore) -> Counter[str]:
    """Good rows that a file adds by day, those of erased persons among them; of a kind that is not of days as one."""
    if file.copy_of:
        return Counter()
    if file.kind == "categories" or file.kind == "embeddings":
        return Counter({"": table_rows(file.kind, file.digest, store)})
    staged = read_staged(file.kind, file.digest, store)
    return Counter({day: of_day.rows + of_day.erased for day, of_day in staged.days.items()} if staged else {})
