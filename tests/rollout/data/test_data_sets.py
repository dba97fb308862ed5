"""The folder of people's data sets: how it is named, on the hub too, and what each set holds."""

from __future__ import annotations

import argparse
import itertools
import os
from pathlib import Path
from typing import Any

import pytest

from conf.schema.base import ConfigError
from conf.schema.places import ROOT
from launch.compose import compose
from launch.submit.job_request import runtime_env
from rollout.data.files import normalised
from rollout.data.source import make_source
from rollout.records import RecordError
from tests.rollout.data.test_source import row, write

DATA = Path(os.environ.get("DECOMPOSER_DATA", ROOT.parent / "shared" / "data"))


def test_without_a_folder_of_data_sets_it_is_said_how_to_name_one_and_to_get_one(monkeypatch, tmp_path):
    monkeypatch.delenv("DATA_ROOT", raising=False)
    for name in ("gsm8k", "svamp", "strategyqa"):
        with pytest.raises(ConfigError) as error:
            compose([f"data={name}", "stages=[evaluate]"])
        assert str(error.value) == (
            "data.root: None is not allowed: must be the folder of data sets, here or in the variable DATA_ROOT; "
            "python -m launch.prepare_data FOLDER gsm8k=hub gsm8k_socratic=hub makes one (docs/data.md)"
        )
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    with pytest.raises(
        ConfigError, match=f"data.held_out: '{tmp_path}/svamp/test.jsonl' does not exist; data.root must"
    ):
        compose(["data=svamp", "stages=[evaluate]"])
    (tmp_path / "svamp").mkdir()
    write(tmp_path / "svamp" / "test.jsonl", [row(1)])
    config = compose(["data=svamp", "stages=[evaluate]"])
    assert config.data.root == str(tmp_path)
    assert environment()["env_vars"]["DATA_ROOT"] == str(tmp_path), "a job has it too"


def environment() -> dict[str, Any]:
    return runtime_env(argparse.Namespace(env=[], image=None, runtime_env=None))


def test_a_name_on_the_hub_stands_for_the_folder(monkeypatch, tmp_path):
    asked = []

    def download(repository, file, repo_type):
        asked.append((repository, file, repo_type))
        if "train" in file:
            raise ConnectionError("no such\nfile")
        return str(write(tmp_path / "fetched.jsonl", [row(1)]))

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    given = ["data=jsonl", "data.root=owner/name", "stages=[evaluate]"]
    config = compose([*given, "data.held_out=test.jsonl"])
    assert [problem.id for problem in make_source(config.data).held_out(9)] == ["p1"]
    assert asked == [("owner/name", "test.jsonl", "dataset")]
    with pytest.raises(
        RecordError, match=r"'owner/name' is no folder here, and train\.jsonl could not be fetched .*no such file"
    ):
        make_source(compose([*given, "data.train=train.jsonl"]).data)


SETS = {
    "gsm8k": (7473, 1319, 0),
    "gsm8k_socratic": (7473, 1319, 0),
    "math": (7496, 5000, 2),
    "math500": (11998, 500, 0),
    "aqua": (2085, 254, 0),
    "jeebench": (0, 515, 0),
    "strategyqa": (2061, 229, 0),
    "musique": (0, 200, 0),
    "svamp": (0, 1000, 0),
}


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no data sets at {DATA}: set DECOMPOSER_DATA to a folder of them")
@pytest.mark.parametrize("name", SETS)
def test_every_data_set_is_read_whole_and_its_splits_do_not_mix(name):
    config = compose([f"data={name}", f"data.root={DATA}", "stages=[evaluate]"])
    source = make_source(config.data)
    assert (source.report["train"], source.report["held_out"], source.report["overlap_dropped"]) == SETS[name]
    assert source.report["bad_rows_skipped"] == 0
    held_out = {normalised(problem.question) for problem in source.held_out(10_000)}
    if source.report["train"]:
        rows = itertools.islice(source.train(0), source.report["train"])
        assert not any(normalised(problem.question) in held_out for problem in rows)
