"""Files of problems on the command line: which of their rows are used, and what is said of a folder."""

from __future__ import annotations

import re

import pytest

from conf.schema.base import ConfigError
from launch.compose import compose

WANTED = ["data.subquestions=[2,3]", "data.numeric_subanswers=true"]


@pytest.mark.parametrize("chosen", ["gsm8k_socratic", "musique", "jsonl"])
def test_the_rows_that_are_wanted_can_be_said_of_every_data_set_of_files(tmp_path, chosen):
    for split in ("train", "held_out"):
        (tmp_path / f"{split}.jsonl").write_text("{}\n")
    files = [f"data={chosen}", f"data.root={tmp_path}", "data.train=train.jsonl", "data.held_out=held_out.jsonl"]
    data = compose([*files, *WANTED]).data
    assert (data.subquestions, data.numeric_subanswers) == ([2, 3], True)


@pytest.mark.parametrize("key", ["data.train", "data.held_out"])
def test_a_folder_in_place_of_a_file_of_problems_is_said_to_be_one(tmp_path, key):
    allowed = "allowed: a file with one problem a line, as JSON"
    with pytest.raises(ConfigError, match=re.escape(f"{key}: '{tmp_path}' is a folder; {allowed}")):
        compose(["data=jsonl", "stages=[evaluate]", f"{key}={tmp_path}"])
