"""Markdown tables: whatever is in a cell, it is one cell."""

from __future__ import annotations

import re

import pytest

from trainer.reports.tables import markdown

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
