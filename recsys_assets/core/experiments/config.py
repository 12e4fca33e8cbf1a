"""The configuration files ``experiments/<name>.yaml`` of the landing zone; every fault is reported by line and field.

Files come from outside, so nothing in them names code: models, parameters, features and metrics come from fixed tables.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from yaml.composer import ComposerError

from recsys_assets.core.contracts import feature_columns
from recsys_assets.core.experiments.kinds import KINDS, GeneratorParams, Params
from recsys_assets.core.experiments.metrics import STANDARD, check_metric
from recsys_assets.core.faults import message_of, unknown_field

FOLDER = "experiments"
"""The folder of these files within the landing zone."""

MOST_BYTES = 64 * 1024
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_SUFFIXES = (".yaml", ".yml")


class ExperimentError(ValueError):
    """A file is no valid experiment; the message gives the file and, per fault, the line, the field and the value."""


@dataclass(frozen=True)
class Experiment:
    """One experiment: a model to train, and how it is evaluated.

    Attributes:
        name: of the file, without its suffix.
        about: free text on its purpose.
        model: one of ``KINDS``.
        params: of that model.
        features: the columns that it is trained on, in the order of the contract; empty for a generator.
        as_of: the day it is trained as of; None for the newest.
        training_windows: maximum number of past windows to train on.
        metrics: to log.
        target: the metric by which it competes.
        seed: of the model and of the choice of held-out users.
    """

    name: str
    about: str
    model: str
    params: Params
    features: tuple[str, ...]
    as_of: date | None
    training_windows: int
    metrics: tuple[str, ...]
    target: str
    seed: int

    def facts(self) -> dict[str, Any]:
        """All that determines the model and its evaluation, as JSON values."""
        return {
            "model": self.model,
            "params": self.params.model_dump(),
            "features": list(self.features),
            "as_of": self.as_of.isoformat() if self.as_of else "latest",
            "training_windows": self.training_windows,
            "metrics": list(self.metrics),
            "target": self.target,
            "seed": self.seed,
        }


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Window(_Strict):
    as_of: date | Literal["latest"] = "latest"
    training_windows: int = Field(default=2, ge=1, le=26)


class _File(_Strict):
    about: str = Field(default="", max_length=500)
    model: str
    params: dict[str, Any] = Field(default_factory=dict[str, Any])
    features: list[str] | Literal["all"] = "all"
    window: _Window = _Window()
    metrics: list[str] = Field(default_factory=lambda: list(STANDARD), min_length=1)
    target: str = "ndcg_at_10"
    seed: int = Field(default=0, ge=0, le=2**31 - 1)

    @field_validator("model")
    @classmethod
    def _model(cls, value: str) -> str:
        if value not in KINDS:
            raise ValueError(f"expected one of {', '.join(KINDS)}")
        return value

    @field_validator("target")
    @classmethod
    def _metric(cls, value: str) -> str:
        return check_metric(value)


def name_of(key: str) -> str | None:
    """The name of the experiment that a file of the landing zone describes; None where it describes none.

    Raises:
        ExperimentError: the file's name is not a valid name.
    """
    path = PurePosixPath(key)
    if path.parent != PurePosixPath(FOLDER) or path.suffix not in _SUFFIXES:
        return None
    if not _NAME.fullmatch(path.stem):
        raise ExperimentError(f"{key}: name: expected lower-case letters, digits, '_' and '-', at most 64")
    return path.stem


def parse(data: bytes, key: str, generators: Sequence[str]) -> Experiment:
    """Parse an experiment.

    Args:
        data: the file.
        key: its name within the landing zone.
        generators: names of the existing generators.

    Raises:
        ExperimentError: with one line per fault: ``file:line: field: what is wrong (found …)``.
    """
    name = name_of(key)
    if name is None:
        raise ExperimentError(f"{key}: expected a file {FOLDER}/<name>.yaml")
    document, lines = _read(data, key)
    file, params = _validated(document, key, lines)
    faults: list[str] = []
    for at, metric in enumerate(file.metrics):
        try:
            check_metric(metric)
        except ValueError as error:
            faults.append(_fault(key, lines, ("metrics", at), str(error), metric))
    features, unknown = _features(file.features, feature_columns(generators))
    faults += [_fault(key, lines, ("features", at), "matches no feature of candidates", glob) for at, glob in unknown]
    if not features and not unknown:
        faults.append(_fault(key, lines, ("features",), "expected 'all' or names", file.features))
    if isinstance(params, GeneratorParams):
        if params.by not in (orders := ("fused", *generators)):
            faults.append(_fault(key, lines, ("params", "by"), f"expected one of {', '.join(orders)}", params.by))
        if file.features != "all":
            faults.append(_fault(key, lines, ("features",), "a generator has none", file.features))
        features = ()
    if faults:
        raise ExperimentError("\n".join(faults))
    return Experiment(
        name=name,
        about=file.about,
        model=file.model,
        params=params,
        features=features,
        as_of=None if file.window.as_of == "latest" else file.window.as_of,
        training_windows=file.window.training_windows,
        metrics=tuple(dict.fromkeys([file.target, *file.metrics])),
        target=file.target,
        seed=file.seed,
    )


def _validated(document: dict[str, Any], key: str, lines: Lines) -> tuple[_File, Params]:
    """The file's fields and the parameters of its model, all of whose faults are told at once."""
    faults: list[str] = []
    file, params = None, None
    try:
        file = _File.model_validate(document)
    except ValidationError as error:
        faults += _explain(error, key, lines, _File)
    kind, given = KINDS.get(str(document.get("model"))), document.get("params", {})
    if kind is not None and isinstance(given, dict):
        try:
            params = kind.params.model_validate(given)
        except ValidationError as error:
            faults += _explain(error, key, lines, kind.params, ("params",))
    if file is None or params is None:
        raise ExperimentError("\n".join(faults))
    return file, params


Path = tuple[str | int, ...]
Lines = Mapping[Path, int]
"""Path of a field to its line, from 1."""


class _Loader(yaml.SafeLoader):
    """Plain data only: no Python tags (SafeLoader), no aliases (a small file could unfold into a huge one)."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise ComposerError(None, None, "aliases are not taken", event.start_mark)
        return super().compose_node(parent, index)


# YAML 1.1 reads 1e-3 as a string; in these files it is a number.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+"), list("-+0123456789")
)


def _read(data: bytes, key: str) -> tuple[dict[str, Any], Lines]:
    if len(data) > MOST_BYTES:
        raise ExperimentError(f"{key}: expected at most {MOST_BYTES} bytes, found {len(data)}")
    try:
        loader = _Loader(data)
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            raise ExperimentError(f"{key}:1: expected fields such as 'model: random_forest', found something else")
        lines: dict[Path, int] = {}
        _note_lines(root, (), lines, key)
        document: Any = loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ExperimentError(f"{key}:{line}: not YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, ExperimentError):
            raise
        raise ExperimentError(f"{key}:1: not YAML: {' '.join(str(error).split())}") from None
    return document, lines


def _note_lines(node: yaml.Node, path: Path, lines: dict[Path, int], key: str) -> None:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            below = (*path, name.value)
            if below in lines:
                raise ExperimentError(f"{key}:{name.start_mark.line + 1}: {_dotted(below)}: stands there twice")
            lines[below] = name.start_mark.line + 1
            _note_lines(value, below, lines, key)
    elif isinstance(node, yaml.SequenceNode):
        for at, value in enumerate(node.value):
            _note_lines(value, (*path, at), lines, key)


def _features(
    globs: list[str] | Literal["all"], columns: tuple[str, ...]
) -> tuple[tuple[str, ...], list[tuple[int, str]]]:
    """The columns that globs match, and the globs that match none, with their index."""
    if globs == "all":
        return columns, []
    unknown = [(at, glob) for at, glob in enumerate(globs) if not any(fnmatchcase(name, glob) for name in columns)]
    return tuple(name for name in columns if any(fnmatchcase(name, glob) for glob in globs)), unknown


def _explain(error: ValidationError, key: str, lines: Lines, model: type[BaseModel], below: Path = ()) -> list[str]:
    """Each fault of what was validated as a model, which stands below a path of the file."""
    faults: list[str] = []
    for fault in error.errors(include_url=False):
        full_path = (*below, *fault["loc"])
        # For a field of a union type, pydantic appends the type to the path.
        path = next((full_path[:n] for n in range(len(full_path), 0, -1) if full_path[:n] in lines), full_path)
        if fault["type"] == "missing":
            faults.append(f"{key}:{lines[()]}: {_dotted(full_path)}: {message_of(fault)}")
        elif fault["type"] == "extra_forbidden":
            faults.append(f"{key}:{lines[path]}: {_dotted(full_path)}: {unknown_field(model, fault['loc'])}")
        else:
            faults.append(_fault(key, lines, path, message_of(fault), fault["input"]))
    return list(dict.fromkeys(faults))


def _fault(key: str, lines: Lines, path: Path, what: str, value: object) -> str:
    line = next((lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in lines), 1)
    return f"{key}:{line}: {_dotted(path)}: {what} (found {str(value)[:80]!r})"


def _dotted(path: Path) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
