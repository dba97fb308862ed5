"""Measure the structure of a checkout from its source text: ``python -m benchmarks.structure [FOLDER]``.

A unit is a module or folder directly below a package; an arrow is an import of one unit by another one. Layers are
the units of the longest chain of arrows. An import runs upwards if its package lies below the imported one in
``PACKAGES``. A cycle is a set of modules that import one another. Nothing is imported, so that any version of the
project can be measured.
"""

from __future__ import annotations

import argparse
import ast
import io
import sys
import tokenize
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from conf.schema.places import ROOT

# From the top down.
PACKAGES = ("launch", "trainer", "rewards", "rollout", "conf")
NO_CODE = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER,
}  # fmt: skip
Graph = Mapping[str, set[str]]


@dataclass(frozen=True)
class Structure:
    """The numbers of one package, or of all together."""

    name: str
    files: int
    lines: int
    units: int
    arrows: int
    layers: int
    upward: list[str]
    cycles: list[list[str]]


def measure(folder: Path) -> list[Structure]:
    """Return the structure of each package in the checkout, and of all of them together."""
    texts = {
        _module(path.relative_to(folder)): path.read_text(encoding="utf-8")
        for package in PACKAGES
        for path in sorted((folder / package).rglob("*.py"))
    }
    modules: Graph = {name: set(_imported(text, texts)) - {name} for name, text in texts.items()}
    lines = {name: lines_of_code(text) for name, text in texts.items()}
    parts = [(package, [name for name in texts if name.split(".")[0] == package]) for package in PACKAGES]
    return [_structure(name, chosen, lines, modules) for name, chosen in [*parts, ("all", list(texts))]]


def lines_of_code(text: str) -> int:
    """Count the lines of a module without blank lines, comments and docstrings."""
    found: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NO_CODE:
            found.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node, clean=False
        ):
            found.difference_update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return len(found)


def cycles(graph: Graph) -> list[list[str]]:
    """Return the sets of nodes that reach one another, each sorted."""
    reached = {node: _reached(graph, node) for node in graph}
    groups = {tuple(sorted(other for other in reached[node] if node in reached[other])) for node in graph}
    return sorted(list(group) for group in groups if len(group) > 1)


def layers(graph: Graph) -> int:
    """Return the nodes of the longest chain of arrows; nodes of one cycle count once."""
    shared = {node: frozenset(group) for group in cycles(graph) for node in group}
    depths: dict[frozenset[str], int] = {}

    def depth(group: frozenset[str]) -> int:
        if group not in depths:
            below = {shared.get(other, frozenset({other})) for node in group for other in graph[node]} - {group}
            depths[group] = 1 + max(map(depth, below), default=0)
        return depths[group]

    return max((depth(shared.get(node, frozenset({node}))) for node in graph), default=0)


def _structure(name: str, chosen: list[str], lines: Mapping[str, int], modules: Graph) -> Structure:
    units: dict[str, set[str]] = {unit: set() for module in chosen if (unit := _unit(module))}
    for module in chosen:
        if unit := _unit(module):
            units[unit] |= {_unit(other) for other in modules[module]} & units.keys() - {unit}
    above = {package: set(PACKAGES[:index]) for index, package in enumerate(PACKAGES)}
    return Structure(
        name=name,
        files=len(chosen),
        lines=sum(lines[module] for module in chosen),
        units=len(units),
        arrows=sum(map(len, units.values())),
        layers=layers(units),
        upward=[
            f"{module} -> {other}"
            for module in chosen
            for other in sorted(modules[module])
            if other.split(".")[0] in above[module.split(".")[0]]
        ],
        cycles=cycles({module: modules[module].intersection(chosen) for module in chosen}),
    )


def _module(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _unit(module: str) -> str:
    """Return the module's unit; empty for a package's own ``__init__``."""
    parts = module.split(".")
    return ".".join(parts[:2]) if len(parts) > 1 else ""


def _imported(text: str, known: Collection[str]) -> Iterator[str]:
    """Yield the project's modules that a module imports, at its top or in a function; not those for types alone, which
    no program imports."""
    tree = ast.parse(text)
    for block in [node for node in ast.walk(tree) if isinstance(node, ast.If)]:
        if isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING":
            block.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            # `from PACKAGE import NAME`: NAME is a module, or is in PACKAGE's own.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (found for name in names if (found := name if name in known else str(node.module)) in known)


def _reached(graph: Graph, start: str) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = graph[waiting.pop()] - found
        found |= new
        waiting.extend(new)
    return found


def table(found: list[Structure]) -> str:
    """Return the numbers as lines of text, then each upward import and each cycle."""
    rows = [f"{'package':<10}{'files':>7}{'lines':>8}{'units':>7}{'arrows':>8}{'layers':>8}{'upward':>8}{'cycles':>8}"]
    for one in found:
        numbers = f"{one.files:>7}{one.lines:>8}{one.units:>7}{one.arrows:>8}{one.layers:>8}"
        rows.append(f"{one.name:<10}{numbers}{len(one.upward):>8}{len(one.cycles):>8}")
    rows += [f"upward: {text}" for text in found[-1].upward]
    rows += [f"cycle: {' <-> '.join(group)}" for group in found[-1].cycles]
    return "\n".join(rows)


def main() -> int:
    """Print the table of a checkout; return the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks.structure", description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT, help="a checkout (default: this one)")
    print(table(measure(parser.parse_args().folder)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
