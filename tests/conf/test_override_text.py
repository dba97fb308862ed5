"""A printed command gives back what it was made of: the shell takes it apart, and Hydra reads each value."""

from __future__ import annotations

import io
import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from conf.schema.base import ConfigError
from conf.schema.override_text import command, override, resumed
from launch.compose import compose, parse
from trainer.run import Run

AWKWARD = "=([{}])#'\" \\,:~$&;|*?!%@+-é实験🙂\u00a0ab/1."
FOLDERS = [
    "/runs/lr=0.1", "/runs/algorithm.kl_coef=0.05,seed=1", "/runs/实验", "/runs/a (copy)", "/runs/a[1]", "/runs/#3",
    "/runs/it's", "/runs/two words", "/runs/ends\\", "/runs/\\'", "/runs/${seed}", "/runs/a:b", "/runs/~x", "12",
    "true", "null", "1e5", "", "/runs/\\${x}",
]  # fmt: skip


def read_back(line: str) -> list[str]:
    """The values that Hydra reads of a printed command."""
    return [
        str(one.value().text if hasattr(one.value(), "text") else one.value()) for one in parse(shlex.split(line)[3:])
    ]


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_with_any_name_is_composed_as_it_is_from_a_printed_command(folder):
    line = command("launch.train", [override("tracking.project", folder)])
    assert compose(shlex.split(line)[3:]).tracking.project == folder


@given(st.text(st.sampled_from(AWKWARD), min_size=1).filter(lambda text: "${" not in text))
@settings(max_examples=200, deadline=None)
def test_any_folder_is_read_back_from_a_printed_command(folder):
    assert read_back(command("launch.train", [override("run_dir", folder)])) == [folder]


def test_what_goes_on_has_the_folder_once_however_it_was_given():
    given_before = ["+run_dir=a", "seed=1", "resume=auto", "run_dir=b"]
    assert resumed(given_before, "/c", "resume=auto") == ["seed=1", "run_dir=/c", "resume=auto"]


@pytest.mark.parametrize("name", ["lr=0.1", "实验", "a (1)", "it's [2]", "#3"])
def test_the_command_that_a_stopped_run_prints_composes_to_its_folder(tmp_path, name):
    run = Run(compose([]), tmp_path / name, Console(file=io.StringIO()), ["seed=3", f"run_dir='{tmp_path}/x'"])
    config = compose(shlex.split(run.resume_command())[3:])
    assert (config.run_dir, config.resume, config.seed) == (str(tmp_path / name), "auto", 3)


@pytest.mark.parametrize(
    "text", ["run_dir=runs/a=b", "run_dir=runs/实验", "run_dir=~/x", "start_from=runs/lr=1/checkpoints", "run_dir=a(1",
             "run_dir=it's", "run_dir=a,b", "+run_dir=x=[y"]
)  # fmt: skip
def test_a_value_that_must_be_quoted_is_said_with_its_key_and_how_to_quote_it(text):
    with pytest.raises(ConfigError) as refused:
        compose([text])
    said = str(refused.value)
    key, _, value = text.partition("=")
    assert said.startswith(f"{key.lstrip('+')}: ")
    assert "must be quoted" in said
    assert "\n" not in said
    (advised,) = shlex.split(said.rpartition("must be quoted: ")[2])
    assert read_back(command("launch.train", [advised])) == [value]


def test_a_secret_that_must_be_quoted_is_not_repeated():
    with pytest.raises(ConfigError) as refused:
        compose(["solver=openai", "solver.base_url=http://[::1]:8000/v1"])
    assert str(refused.value).startswith("solver.base_url: ")
    assert "::1" not in str(refused.value)
    assert "quotes" in str(refused.value)
