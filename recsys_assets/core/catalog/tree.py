"""The category tree: root, depth and path of each node."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass

import pyarrow as pa

from recsys_assets.core.contracts import CATEGORY_TREE, IdTypes, arrow_schema
from recsys_assets.core.file_specs import ROOTS


class CategoryTreeError(ValueError):
    """The rows do not form a tree. The message names places in files, never what stands there."""


@dataclass(frozen=True)
class CategoryTree:
    """A tree, and the nodes that are not connected to it.

    Args:
        table: ``CATEGORY_TREE``, sorted by category_id.
        orphans: sorted ids of the nodes below a parent that no row defines; they are not in the table.
    """

    table: pa.Table
    orphans: tuple[str, ...]


def build_tree(rows: pa.Table, root: Collection[str] = ROOTS) -> CategoryTree:
    """Build the tree from its edges.

    Args:
        rows: columns category_id and parent_id (both cast to string); source_file and source_row, if they are there,
            say where a row is from. Duplicate rows are allowed.
        root: what stands for the parent of a root, in any case, unless a row has it as its category; a null parent
            makes a root too, and so does a category that is its own parent.

    Raises:
        CategoryTreeError: a category_id is null, a node has two different parents, or parents form a cycle; the message
            names the rows.
    """
    parents = _parents(rows, root)
    children: dict[str | None, list[str]] = defaultdict(list)
    for node in sorted(parents):
        children[parents[node]].append(node)
    nodes: dict[str, tuple[str, int, str]] = {}
    _walk(children, [(root, root, 1, root) for root in children[None]], nodes)
    orphans: dict[str, tuple[str, int, str]] = {}
    unknown = [parent for parent in children if parent is not None and parent not in parents]
    _walk(children, [(node, node, 1, node) for parent in unknown for node in children[parent]], orphans)
    circular = sorted(set(parents) - set(nodes) - set(orphans))
    if circular:
        raise CategoryTreeError(f"category tree: parents form a cycle through or above {_some(rows, circular)}")
    ids = sorted(nodes)
    columns = [ids, [parents[i] for i in ids], *([nodes[i][part] for i in ids] for part in range(3))]
    schema = arrow_schema(CATEGORY_TREE, IdTypes())
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return CategoryTree(pa.table(arrays, schema=schema), tuple(sorted(orphans)))


def _parents(rows: pa.Table, root: Collection[str]) -> dict[str, str | None]:
    ids: list[str | None] = rows["category_id"].cast(pa.string()).to_pylist()
    above: list[str | None] = rows["parent_id"].cast(pa.string()).to_pylist()
    words, defined = {word.lower() for word in root}, set(ids)
    parents: dict[str, str | None] = {}
    first: dict[str, int] = {}
    for row, (node, text) in enumerate(zip(ids, above, strict=True)):
        is_root = not text or text == node or (text.lower() in words and text not in defined)
        parent = None if is_root else text
        if not node:
            raise CategoryTreeError(f"category tree: {_place(rows, row)} has no category_id")
        if parents.setdefault(node, parent) != parent:
            places = f"{_place(rows, first[node])} and {_place(rows, row)}"
            raise CategoryTreeError(f"category tree: one category has two parents: {places}")
        first.setdefault(node, row)
    return parents


def _walk(
    children: dict[str | None, list[str]],
    frontier: list[tuple[str, str, int, str]],
    nodes: dict[str, tuple[str, int, str]],
) -> None:
    """Add (root, depth, path) of the frontier's (node, root, depth, path) and every node below them."""
    while frontier:
        node, root, depth, path = frontier.pop()
        nodes[node] = (root, depth, path)
        frontier.extend((child, root, depth + 1, f"{path}/{child}") for child in children.get(node, ()))


def _some(rows: pa.Table, nodes: list[str], limit: int = 10) -> str:
    """The first rows of some nodes."""
    wanted, places = set(nodes), list[str]()
    for row, node in enumerate(rows["category_id"].cast(pa.string()).to_pylist()):
        if node in wanted:
            wanted.remove(node)
            places.append(_place(rows, row))
    more = len(places) - limit
    return ", ".join(places[:limit]) + (f" and {more} more" if more > 0 else "")


def _place(rows: pa.Table, row: int) -> str:
    """Where a row stands."""
    if "source_row" not in rows.column_names:
        return f"row {row}"
    return f"{rows['source_file'][row].as_py()} row {rows['source_row'][row].as_py()}"
