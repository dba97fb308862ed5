"""The one walk over the schema: it meets every key, each key does something, and no secret is repeated."""

from __future__ import annotations

import ast
import re

import pytest

from conf.schema.base import FREE, MODEL, PATH, SECRET, ConfigError
from conf.schema.config import Config
from conf.schema.keys import entries, group_in, keys, marked
from conf.schema.places import CONF, ROOT
from launch.compose import compose, trials

CODE = [ast.parse(file.read_text()) for name in ("launch", "rewards", "rollout", "trainer")
        for file in sorted((ROOT / name).rglob("*.py"))]  # fmt: skip
SCHEMA = [ast.parse(file.read_text()) for file in sorted((CONF / "schema").glob("*.py"))]


def test_the_walk_goes_through_maps_lists_optional_groups_and_backends():
    found = {key.name: key.markers for key in keys()}
    assert {
        "seed", "model.lora.rank", "solver.base_url", "solver.kv_cache_gib", "data.steps.*",
        "strategy.examples.*.question",
        "rewards.weights.correctness", "rewards.clip.correctness", "sft.sources.*.path", "sft.held_out.also.*",
        "rollout.weights.tries", "matrix.decomposers.*.*", "matrix.equal_tokens.*.strategy", "matrix.leave_out.*.data",
    } <= found.keys()  # fmt: skip
    assert found["sft.held_out.also.*"] == {PATH}
    assert found["solver.cache_path"] == {PATH, FREE}
    assert found["cluster.gpu_gib"] == {FREE}
    assert found["model.path"] == {MODEL}
    assert not found["algorithm.lam"]


def test_every_group_of_a_composed_configuration_is_met():
    """The walk and what pydantic dumps are two ways to the same keys."""
    values = compose(["solver=openai", "solver.model=m", "matrix=chained", "matrix.run=some/run"]).model_dump()
    met = {name for key in keys() for name, _ in entries(values, key.name)}

    def names(value: object, at: str) -> set[str]:
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        below = {f"{at}.{name}" if at else str(name): inner for name, inner in items}
        return set(below).union(*(names(inner, name) for name, inner in below.items()))

    assert names(values, "") == met


def test_the_group_in_a_key_is_found_in_maps_lists_and_unions():
    found = {name: group_in(field.annotation) for name, field in Config.model_fields.items()}
    assert found["matrix"].__name__ == "Matrix"
    assert found["seed"] is None
    assert group_in(found["sft"].model_fields["sources"].annotation).__name__ == "SftSource"


# -- each key does something ----------------------------------------------------------------------------------------


def read_names(trees: list[ast.Module]) -> set[str]:
    """What code reads by name: attributes, but those that are called and a class's own, and texts for getattr."""
    nodes = [node for tree in trees for node in ast.walk(tree)]
    called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    return {
        node.attr for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and id(node) not in called
        and not (isinstance(node.value, ast.Name) and node.value.id == "self")
    } | {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}  # fmt: skip


def handed_on(trees: list[ast.Module], names: set[str]) -> set[str]:
    """What the schema's own methods and properties that other code asks for read of their group."""
    asked = names | {node.func.attr for tree in CODE for node in ast.walk(tree)
                     if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)}  # fmt: skip
    return {
        node.attr
        for tree in trees
        for method in ast.walk(tree)
        if isinstance(method, ast.FunctionDef) and method.name in asked and not method.name.startswith("_")
        for node in ast.walk(method)
        if isinstance(node, ast.Attribute)
    }


def taken_by_other_groups() -> set[str]:
    """The names of keys from which the shipped files of other groups take values."""
    files = (file.read_text(encoding="utf-8") for file in CONF.rglob("*.yaml"))
    return {
        name for text in files for path in re.findall(r"\$\{oc\.select:([\w.]+),", text) for name in path.split(".")
    }


def unused(names: list[str], read: set[str]) -> list[str]:
    """The keys whose last name nothing reads."""
    return [name for name in names if (last := name.rpartition(".")[2]) != "*" and last not in read]


def test_every_key_is_read_by_the_code():
    """A name that other things have as well hides a key that does nothing; one of its own does not."""
    read = read_names(CODE)
    read |= handed_on(SCHEMA, read) | taken_by_other_groups()
    names = sorted({key.name for key in keys()})
    assert unused(names, read) == []
    planted = ["algorithm.planted_key", "sft.sources.*.planted_key", "planted_group.planted_key"]
    assert unused([*names, *planted], read) == planted
    # Neither its declaration nor its writing, nor a text that tells of it, is a reading.
    code = 'class Group:\n    """The planted_key."""\n    planted_key: int = 1\nself.planted_key = x.planted_key_2'
    assert "planted_key" not in read_names([ast.parse(code)])
    assert "planted_key" in read_names([ast.parse("config.algorithm.planted_key")])


# -- secrets --------------------------------------------------------------------------------------------------------

BAD_VALUES = [
    "https://me:planted@example.org/v1", "'https://me:planted@example.org/v1?a=b'", "planted", "'a planted'",
    "planted'", "{planted: 1", "{planted: 1}", "[planted]",
    "planted,planted", "${planted}", "${oc.env:planted}", "a=planted",
]  # fmt: skip


@pytest.mark.parametrize("key", sorted({key.name for key in marked(SECRET)}))
def test_a_secret_is_not_repeated_when_it_is_refused(key):
    swept = BAD_VALUES if key.startswith("solver.") else BAD_VALUES[::4]  # one code for all keys takes sweeps apart
    for made, values in (compose, BAD_VALUES), (lambda texts: compose(trials(["-m", *texts])[0]), swept):
        for value in values:
            with pytest.raises(ConfigError) as error:
                made(["solver=openai", "solver.model=m", f"{key}={value}"])
            assert not re.search("planted", str(error.value)), (value, str(error.value))
            assert str(error.value).startswith(f"{key}: "), (value, str(error.value))


def test_a_secret_may_change_on_resume_which_would_say_both_values():
    assert all(FREE in key.markers for key in marked(SECRET))
