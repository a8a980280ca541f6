"""The TOML form of a search space.

::

    name = "lstm_gru"
    description = "..."
    states = ["h", "c"]
    constants = [1.0]                # numbers that a cell may hold
    initial = [0.0]                  # values that a state may start with
    seeds = ["lstm", "gru"]          # zoo names; or a table [seeds] of names and cell texts
    # parts that no edit may change, see Frozen; the cell by zoo name or as text
    frozen = {cell = "lstm", nodes = ["f"]}

    [ops]                            # each op with the weight with which it is chosen
    linear = 3
    [limits]                         # see SizeLimits
    [constraints]                    # see Constraints; ``class`` is the field ``recurrence``
    [full_cell]                      # see FullCell
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

from cellsearch import options as tomltext
from cellsearch.errors import GenomeError, SpaceError
from cellsearch.genome.graph import Genome
from cellsearch.space.declaration import Constraints, Declaration, Frozen, FullCell, SizeLimits

__all__ = ["constrained", "read", "write"]

_KEYS = (
    "name",
    "description",
    "states",
    "constants",
    "initial",
    "seeds",
    "frozen",
    "ops",
    "limits",
    "constraints",
    "full_cell",
)
_WRITTEN = {"recurrence": "class"}
"""Fields that have another name in TOML."""
_FIELDS = {name: field for field, name in _WRITTEN.items()}
_Part = TypeVar("_Part", SizeLimits, Constraints, FullCell)
_Space = TypeVar("_Space", bound=Declaration)


def read(kind: type[_Space], text: str, source: str) -> _Space:
    """See :meth:`SearchSpace.from_toml`; ``kind`` is that class."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpaceError(f"not TOML: {error}", where=source) from None
    for key in table:
        if key not in _KEYS:
            raise SpaceError(
                f"unknown key {key!r}",
                where=f"{source}: {key}",
                hint="allowed: " + ", ".join(_KEYS),
            )
    for key in ("name", "states", "ops"):
        if key not in table:
            raise SpaceError(f"the key {key!r} is missing", where=source, hint=f"add {key} = ...")
    return kind(
        name=_expect(table["name"], str, "name", source),
        description=_expect(table.get("description", ""), str, "description", source),
        states=tuple(_items(table["states"], str, "states", source)),
        ops=_ops(table["ops"], source),
        constants=tuple(_items(table.get("constants", [1.0]), float, "constants", source)),
        initial=tuple(_items(table.get("initial", [0.0]), float, "initial", source)),
        limits=_part(SizeLimits, table.get("limits", {}), "limits", source),
        constraints=_part(Constraints, table.get("constraints", {}), "constraints", source),
        full_cell=_part(FullCell, table.get("full_cell", {}), "full_cell", source),
        seeds=_seeds(table.get("seeds", []), source),
        frozen=_frozen(table["frozen"], source) if "frozen" in table else None,
        source=source,
    )


def _expect(value: Any, kind: type, key: str, source: str) -> Any:
    """The value when it is of this kind (an integer is also a number). Raises :class:`SpaceError`
    that names the key.
    """
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        words = {
            str: "a text",
            float: "a number",
            int: "a whole number",
            bool: "true or false",
            list: "a list",
            dict: "a table",
        }
        raise SpaceError(f"{value!r:.80} is not {words[kind]}", where=f"{source}: {key}")
    return value


def _items(value: Any, kind: type, key: str, source: str) -> list[Any]:
    return [_expect(item, kind, key, source) for item in _expect(value, list, key, source)]


def _ops(value: Any, source: str) -> dict[str, float]:
    return {
        op: _expect(weight, float, f"ops.{op}", source)
        for op, weight in _expect(value, dict, "ops", source).items()
    }


def _part(kind: type[_Part], value: Any, key: str, source: str) -> _Part:
    """A table read into one of the dataclasses, field by field."""
    defaults = kind()
    names = _names(kind)
    given: dict[str, Any] = {}
    for name, entry in _expect(value, dict, key, source).items():
        if name not in names:
            raise SpaceError(
                f"unknown key {name!r}",
                where=f"{source}: {key}.{name}",
                hint="allowed: " + ", ".join(names),
            )
        own = _FIELDS.get(name, name)
        default = getattr(defaults, own)
        if isinstance(default, tuple):
            given[own] = tuple(_items(entry, str, f"{key}.{name}", source))
        else:
            given[own] = _expect(entry, type(default), f"{key}.{name}", source)
    return kind(**given)


def _names(kind: type[_Part]) -> list[str]:
    return [_WRITTEN.get(f.name, f.name) for f in fields(kind)]


def _frozen(value: Any, source: str) -> Frozen:
    table = _expect(value, dict, "frozen", source)
    if set(table) != {"cell", "nodes"}:
        raise SpaceError(
            f"the keys are {', '.join(table) or 'none'}",
            where=f"{source}: frozen",
            hint="write cell and nodes, nothing else",
        )
    text = _expect(table["cell"], str, "frozen.cell", source)
    if "=" in text:
        cell = _from_text(text, "frozen.cell", source)
    else:
        cell = _from_zoo(text, source, "frozen.cell")
    return Frozen(cell, tuple(_items(table["nodes"], str, "frozen.nodes", source)))


def constrained(space: _Space, table: Mapping[str, Any], source: str) -> _Space:
    """See :meth:`SearchSpace.constrained`."""
    if not table:
        return space
    document = tomllib.loads(write(space))
    rules, limits = _names(Constraints), _names(SizeLimits)
    for key, value in table.items():
        if key not in (*rules, *limits, "frozen"):
            allowed = ", ".join((*rules, *limits, "frozen"))
            raise SpaceError(
                f"unknown key {key!r}", where=f"{source}: {key}", hint="allowed: " + allowed
            )
        if key == "frozen":
            document[key] = value
        else:
            document["constraints" if key in rules else "limits"][key] = value
    document.pop("seeds", None)
    bare = read(type(space), tomltext.render(document), source)
    legal = {name: genome for name, genome in space.seeds.items() if bare.contains(genome) is None}
    return replace(bare, seeds=legal, source=space.source)


def _seeds(value: Any, source: str) -> dict[str, Genome]:
    if isinstance(value, list):
        return {
            name: _from_zoo(name, source, "seeds") for name in _items(value, str, "seeds", source)
        }
    table = _expect(value, dict, "seeds", source)
    return {
        name: _from_text(_expect(text, str, f"seeds.{name}", source), f"seeds.{name}", source)
        for name, text in table.items()
    }


def _from_text(text: str, key: str, source: str) -> Genome:
    try:
        return Genome.from_text(text, source=f"{source}: {key}")
    except GenomeError as error:
        raise SpaceError(error.message, where=error.where, hint=error.hint) from None


def _from_zoo(name: str, source: str, key: str) -> Genome:
    from cellsearch import zoo

    try:
        return zoo.load(name)
    except SpaceError:
        raise
    except Exception as error:
        raise SpaceError(
            str(error), where=f"{source}: {key}", hint=getattr(error, "hint", "")
        ) from error


# -- writing ---------------------------------------------------------------------------------------


def write(space: Declaration) -> str:
    """See :meth:`SearchSpace.to_toml`."""
    lines = [f"name = {_value(space.name)}", f"description = {_value(space.description)}"]
    lines += [
        f"{key} = {_value(getattr(space, key))}" for key in ("states", "constants", "initial")
    ]
    lines += ["", "[ops]", *(f"{op} = {_value(float(weight))}" for op, weight in space.ops.items())]
    for key in ("limits", "constraints", "full_cell"):
        part = getattr(space, key)
        lines += [
            "",
            f"[{key}]",
            *(
                f"{_WRITTEN.get(f.name, f.name)} = {_value(getattr(part, f.name))}"
                for f in fields(part)
            ),
        ]
    if space.frozen is not None:
        lines += [
            "",
            "[frozen]",
            f"cell = '''\n{space.frozen.cell.to_text()}'''",
            f"nodes = {_value(space.frozen.nodes)}",
        ]
    if space.seeds:
        lines += [
            "",
            "[seeds]",
            *(f"{_key(name)} = '''\n{genome.to_text()}'''" for name, genome in space.seeds.items()),
        ]
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    return (
        name
        if name.replace("_", "").replace("-", "").isalnum() and name.isascii()
        else _value(name)
    )


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
    if isinstance(value, Mapping):
        raise TypeError("tables are written by their own header")
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return repr(value)
