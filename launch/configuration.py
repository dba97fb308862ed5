"""Write docs/configuration.md from the schema and ``conf/``: ``python -m launch.configuration``."""

from __future__ import annotations

import argparse
import json
import sys
import types
from collections import defaultdict
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic.fields import FieldInfo

from conf.schema.base import FREE, Group, Marker
from conf.schema.config import Config
from conf.schema.keys import group_in, keys
from conf.schema.own_parts import FORM, PartName
from conf.schema.places import CHECKOUT, CONF, ROOT
from conf.schema.solver import BACKENDS, OWN, Weighted
from launch.compose import compose

PAGE = ROOT / "docs" / "configuration.md"
HEAD = """# Configuration

Made by `python -m launch.configuration` from the schema in `conf/schema/` and the YAML files of `conf/`; a test holds
it to them. Every key can be given on the command line as `group.key=value`, every group as `group=option`. A key that
the chosen options do not set is given as `+group.key=value`, as a refusal without the `+` says; it has the schema's
default, and one without a default must be given.
"""
SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
# The option of each backend whose values stand in its table.
SOLVERS = {"vllm": "tiny", "openai": "openai", "program": "program", OWN: "own", "mixture": "mixture"}


def page() -> str:
    """Return the whole page."""
    defaults = compose([]).model_dump(mode="json")
    markers: dict[str, set[Marker]] = defaultdict(set)
    for entry in keys():
        markers[entry.name.replace(".*", "")] |= entry.markers
    plain = {name: field for name, field in Config.model_fields.items() if group_in(field.annotation) is None}
    parts = [HEAD, "## Top level", _table("", plain, defaults, markers)]
    for name, field in Config.model_fields.items():
        group = group_in(field.annotation)
        if name == "solver":
            parts += ["## `solver`", _options("solver")]
            for backend, schema in BACKENDS.items():
                values = yaml.safe_load((CONF / "solver" / f"{SOLVERS[backend]}.yaml").read_text())
                table = _table("solver", schema.model_fields, values, markers)
                parts += [f"### `solver.backend: {backend}`", _text(schema), table]
            weight = _table("solver.mixture", Weighted.model_fields, {}, markers)
            parts += ["### `solver.mixture.NAME`", f"{_text(Weighted)} The others are above.", weight]
        elif name == "verifier":
            said = "Whoever judges the replies to sub-questions, or null. Its keys are those of `solver`."
            parts += ["## `verifier`", said, _options("verifier")]
        elif group is not None:
            said = f"{_text(group)} Every key {FREE.text}." if FREE in markers[name] else _text(group)
            table = _table(name, group.model_fields, defaults[name] or {}, markers)
            parts += [f"## `{name}`", said, _options(name), table]
            for key, inner in group.model_fields.items():
                nested = group_in(inner.annotation)
                if nested is not None:
                    table = _table(f"{name}.{key}", nested.model_fields, {}, markers)
                    parts += [f"### `{name}.{key}`", _text(nested), table]
    for name, said in (("experiment", "Several groups at once."), ("sweep", "Trials of a sweep, with `-m`.")):
        parts += [f"## `{name}`", said, _options(name)]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _text(schema: type[Group]) -> str:
    return " ".join((schema.__doc__ or "").replace("``", "`").split())


def _options(group: str) -> str:
    """Return the group's files, each with what its first comment says; a command stands in it on a line of its own."""
    lines = []
    for file in sorted((CONF / group).glob("*.yaml")):
        comment = []
        for line in file.read_text(encoding="utf-8").splitlines():
            if line.startswith("# @package"):
                continue
            if not line.startswith("# "):
                break
            comment.append(f"`{line[4:]}`" if line.startswith("#   ") else line[2:])
        lines.append(f"- `{group}={file.stem}`" + (f": {' '.join(comment)}" if comment else ""))
    return "\n".join(lines)


def _table(group: str, fields: dict[str, FieldInfo], values: dict[str, Any], markers: dict[str, set[Marker]]) -> str:
    """Return a table with a row a key: its meaning, its type, its limits and the markers that its group has not, and
    its default."""
    rows = ["| key | meaning | allowed | default |", "|---|---|---|---|"]
    for key, field in fields.items():
        limits = [
            f"{sign} {value:g}"
            for entry in field.metadata
            for name, sign in SIGNS.items()
            if (value := getattr(entry, name, None)) is not None
        ]
        own = markers[f"{group}.{key}" if group else key] - markers[group]
        marks = "".join(sorted((f"; {marker.text}" for marker in own), reverse=True))
        names = [entry for entry in field.metadata if isinstance(entry, PartName)]
        allowed = ", ".join([_names(names[0]) if names else _type(field.annotation), *limits]) + marks
        default = values[key] if key in values else "must be given" if field.is_required() else field.default
        shown = default if default == "must be given" else f"`{json.dumps(default, ensure_ascii=False)}`"
        rows.append(f"| `{key}` | {_meaning(field)} | {allowed} | {shown} |")
    return "\n".join(rows) if fields else ""


def _meaning(field: FieldInfo) -> str:
    """Return the clause below a key in the schema, as a cell of a table."""
    text = " ".join((field.description or "").replace("``", "`").split()).removesuffix(".")
    return text.replace("|", "\\|")


def _names(names: PartName) -> str:
    return ", ".join(f"`{name}`" for name in (*names.known, FORM))


def _type(annotation: Any) -> str:
    """Return an annotation in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is type(None):
        return "null"
    if origin is Annotated:
        names = [entry for entry in arguments[1:] if isinstance(entry, PartName)]
        return _names(names[0]) if names else _type(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_type(argument) for argument in arguments))
    if origin in (list, tuple):
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return f"{_type(arguments[0])} → {_type(arguments[1])}"
    if hasattr(annotation, "model_fields"):
        return "see below"
    return {"str": "text", "int": "whole number", "float": "number", "bool": "true, false", "Any": "value"}[
        annotation.__name__
    ]


def main() -> int:
    """Write the page; return the exit status: 0, or 2 where there is no page to write."""
    argparse.ArgumentParser(prog="launch.configuration", description=__doc__).parse_args()
    if not CHECKOUT:
        sys.stderr.write("docs/configuration.md is in a checkout alone; this project is installed\n")
        return 2
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
