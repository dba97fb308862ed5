"""Each result in the pages stands beside what made it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conf.schema.places import CONF, ROOT
from tests.test_project import PAGES, is_module

MADE_WITH = re.compile(r"^\*Made with\* (?:.+\n?)+", re.MULTILINE)
# A table with a share in it, or a picture.
RESULT = re.compile(r"^\|.*[ (]0\.\d\d|^!\[", re.MULTILINE)


def sections(page: Path) -> dict[str, str]:
    """The text under each heading of a page."""
    parts = re.split(r"^#+ (.*)\n", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


RESULTS = {
    f"{page.name}: {name}": text
    for page in (ROOT / "docs" / "results_chained.md", ROOT / "docs" / "studies.md")
    for name, text in sections(page).items()
    if RESULT.search(text)
}
LINES = [(page.name, line) for page in PAGES for line in MADE_WITH.findall(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("section", RESULTS)
def test_a_section_with_results_says_what_made_them(section):
    assert MADE_WITH.search(RESULTS[section]) is not None


def test_results_are_found_where_there_are_some():
    assert len(RESULTS) >= 10
    pages = {"README.md", "results_chained.md", "studies.md", "strategies.md", "learning.md"}
    assert {page for page, _ in LINES} >= pages


@pytest.mark.parametrize("line", [line for _, line in LINES], ids=[f"{page}-{i}" for i, (page, _) in enumerate(LINES)])
def test_what_made_a_result_is_there(line):
    said = " ".join(line.split())
    modules, targets = re.findall(r"`python -m ([\w.]+)", said), re.findall(r"`make (\w+)", said)
    assert modules or targets
    assert all(map(is_module, modules))
    makefile = (ROOT / "Makefile").read_text()
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
    assert re.search(r"\bcommit [0-9a-f]{7}\b", said)
    assert re.search(r"\bseeds?\b", said)
    for group, name in re.findall(r"[ `'](sweep|matrix|experiment)=(\w+)", said):
        assert (CONF / group / f"{name}.yaml").is_file(), f"{group}={name}"
