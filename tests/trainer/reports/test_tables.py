"""Markdown tables: whatever is in a cell, it is one cell."""

from __future__ import annotations

import re

import pytest

from trainer.reports.evaluations_table import one_text_a_value
from trainer.reports.tables import brief, markdown

# What ends a cell: a bar after an even number of backslashes.
BAR = re.compile(r"(?<!\\)(?:\\\\)*\|")


@pytest.mark.parametrize("text", ["a|b", "|", "a\\|b", "a\\\\|b|", "two\nlines", "two\r\nlines\n", "a|\n|b"])
def test_bars_and_line_breaks_in_a_cell_or_heading_break_no_table(text):
    lines = markdown([text, "plain"], [{text: text, "plain": text}, {"plain": 1}]).split("\n")
    assert len(lines) == 4
    assert [len(BAR.findall(line)) for line in lines] == [3] * 4
    assert "\r" not in "".join(lines)


def test_a_cell_reads_as_the_text_does():
    table = markdown(["a|b"], [{"a|b": "x|y"}, {"a|b": "x\\|y"}, {"a|b": "a\\b\nc"}])
    assert table.split("\n") == ["| a\\|b |", "|---|", "| x\\|y |", "| x\\\\\\|y |", "| a\\b c |"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("1000000001", "1000000001"), ("2026_11_29", "2026_11_29"), ("-1000000001", "-1000000001"),
        ("0.000123456789", "0.000123"), ("1.000000001E-5", "1e-05"), ("1e-000000003", "0.001"),
        ("0.5", "0.5"), ("-infinity", "-infinity"), ("experiments.e", "experiments.e"),
    ],
)  # fmt: skip
def test_only_what_is_no_whole_number_is_shown_with_three_digits(text, shown):
    assert brief(text) == shown


def test_different_whole_numbers_stay_different():
    seeds = [str(2**53), str(2**53 + 1), "1e-4", "0.0001", "1", "1.0", "01x"]
    assert one_text_a_value(seeds) == [*seeds[:2], "1e-4", "1e-4", "1", "1", "01x"]
