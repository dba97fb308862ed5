"""The page of runs: it holds what it shows, runs nothing, and sorts the problems by what became of them."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest
import yaml

from launch.compose import compose
from launch.report import main
from trainer.reports.run_page import changed, write_report

VOID = {"meta", "link", "img", "br"}
# Attributes by which a page asks for something or runs something.
LOADS = {"src", "href", "srcset", "action", "formaction", "poster", "data", "background", "ping", "xlink:href", "style"}


class Page(HTMLParser):
    """A page's tags, which must be closed in order, its texts, and what it would load."""

    def __init__(self, text):
        super().__init__()
        self.open, self.loads, self.tags, self.cells, self.text = [], [], [], [[]], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            assert not name.startswith("on"), f"{name} runs a script"
            if name in LOADS:
                self.loads.append(value)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.cells.append([])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1].append(data)


def episode(problem, split, correct, said="x"):
    turn = {"question": f"<script>alert('{problem}')</script>", "text": said, "answer": None, "asked": None}
    gold = {"id": problem, "question": 'Who has "1 < 2"? <img src=http://host/a.png>', "answer": "7"}
    final = {"text": "so", "answer": "7" if correct else None}
    return {"problem": gold, "split": split, "turns": [turn], "final": final, "correct": correct}


def run(folder, *overrides, marks=((0.0, 0.0, 1.0),)):
    """A finished run's folder; of each problem the marks of the solver alone, after SFT and after PPO."""
    (folder / "logs").mkdir(parents=True)
    config = compose([f"run_dir={folder}", *overrides]).model_dump(mode="json")
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    entry = {"mean": 0.5, "low": 0.25, "high": 0.75, "rescued": 3, "broken": 1, "by_steps": {"2": 0.75, "10": 0.5}}
    summary = {
        "status": "finished", "seed": config["seed"], "steps": 2, "seconds": {"ppo": 90.0}, "n_eval": 9,
        "accuracy": {"direct": {"mean": 0.0, "low": 0.0, "high": 0.1}, "sft": entry, "ppo": entry},
        "weight_version": 2, "max_staleness_seen": 1.0,
    }  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(summary))
    rows = [{"step": step, "episode/accuracy_final": 0.5, "reward/total": 1.0, "staleness/mean": 0.5,
             "throughput/episodes_s": 3.0, "time/learn": 1.0, "policy/kl": 0.1} for step in (1, 2)]  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "logs" / "sft.jsonl").write_text('{"step": 1, "sft/loss": 0.9}\n{"step": 2, "sft/loss": 0.5}\n')
    episodes = [episode(f"p{index}", split, mark) for index, all_marks in enumerate(marks)
                for split, mark in zip(("direct", "sft", "ppo"), all_marks, strict=True)]  # fmt: skip
    episodes += [episode("p0", "train", 1.0), episode("p0", "gold", 1.0, "the gold one")]
    (folder / "episodes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in episodes))
    return folder


def test_a_page_has_nothing_outside_it_and_runs_nothing(tmp_path):
    text = write_report([run(tmp_path / "r")]).read_text()
    page = Page(text)
    assert not {"script", "iframe", "object", "embed", "form", "base", "video", "audio", "svg"} & set(page.tags)
    assert page.loads
    assert all(value.startswith("data:") for value in page.loads)
    style = re.search(r"<style>(.*)</style>", text, re.DOTALL)[1]
    assert "url(" not in style
    assert "@import" not in style
    assert "default-src 'none'" in text
    shown = "".join(page.text)
    assert "<script>alert('p0')</script>" in shown
    assert '"1 < 2"? <img src=http://host/a.png>' in shown


def test_a_page_shows_pictures_table_episodes_and_configuration(tmp_path):
    folder = run(tmp_path / "r", "algorithm.kl_coef=0.125")
    page = Page(write_report([folder]).read_text())
    names = {"held_out", "accuracy", "reward", "policy", "staleness", "throughput", "time", "sft"}
    assert {file.stem for file in (folder / "report").glob("*.png")} == names
    assert page.tags.count("img") == len(names)
    assert ["PPO decomposer", "0.500 (0.250 – 0.750)", "3", "1"] in [row[:4] for row in page.cells]
    assert ["sub-questions from", "2", "10"] in page.cells
    shown = "".join(page.text)
    assert "kl_coef: 0.125" in shown
    assert "the gold one" not in shown


@pytest.mark.parametrize(
    ("rung", "said"),
    [
        ((), None),
        ((0.0, 0.0, 0.0), None),
        ((0.0, 1.0, 1.0), "2 of 3 steps, first in step 2"),
        ((1.0, None, 0.0), "1 of 3 steps, first in step 1"),
    ],
)
def test_a_page_tells_of_the_alarm_however_long_ago_it_was(tmp_path, monkeypatch, rung, said):
    monkeypatch.setattr("trainer.reports.run_page.pictures", lambda runs, folder: {})
    folder = run(tmp_path / "r")
    rows = [
        {"step": step} | ({} if value is None else {"policy/engine_gap_alarm": value})
        for step, value in enumerate(rung, 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shown = "".join(Page(write_report([folder]).read_text()).text)
    assert ("engine gap alarm" in shown) == (said is not None)
    assert said is None or said in shown


def test_a_page_names_a_policy_that_answers_too_for_what_it_is(tmp_path):
    folder = run(tmp_path / "r", "policy.plays=both")
    summary = json.loads((folder / "summary.json").read_text())
    for entry in summary["accuracy"].values():
        entry["plays"] = "both"
    (folder / "summary.json").write_text(json.dumps(summary))
    shown = "".join(Page(write_report([folder]).read_text()).text)
    assert "PPO model" in shown
    assert "PPO decomposer" not in shown


def test_the_metrics_of_a_page_have_the_parts_beside_the_five(tmp_path):
    folder = run(tmp_path / "r", "rewards=solver_likelihood")
    row = {"step": 1, "reward/total": 1.0, "reward/solver_likelihood/mean": 150.0}
    (folder / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    cells = Page(write_report([folder]).read_text()).cells
    assert ["reward/solver_likelihood/mean", "150 "] in [row[:2] for row in cells]


def test_a_page_has_no_column_for_decompositions_that_no_program_can_read(tmp_path):
    folder = run(tmp_path / "r")
    shown = "".join(Page(write_report([folder]).read_text()).text)
    assert "broken" in shown
    assert "decompositions right" not in shown
    summary = json.loads((folder / "summary.json").read_text())
    summary["accuracy"]["ppo"]["plans"] = {"right": 0.75}
    (folder / "summary.json").write_text(json.dumps(summary))
    page = Page(write_report([folder]).read_text())
    (head,) = (row for row in page.cells if "decompositions right" in row)
    assert head[4] == "decompositions right"
    assert ["PPO decomposer", "0.500 (0.250 – 0.750)", "3", "1", "0.75"] in [row[:5] for row in page.cells]


def test_a_page_says_which_row_its_table_lacks(tmp_path):
    folder = run(tmp_path / "r")
    assert "no gold row" not in "".join(Page(write_report([folder]).read_text()).text)
    summary = json.loads((folder / "summary.json").read_text())
    reason = "1 of 9 held-out problems has no sub-questions"
    (folder / "summary.json").write_text(json.dumps(summary | {"not_evaluated": {"gold": reason}}))
    assert f"no gold row: {reason}" in "".join(Page(write_report([folder]).read_text()).text)


def test_a_narrow_screen_is_told_that_tables_scroll(tmp_path):
    text = write_report([run(tmp_path / "r")]).read_text()
    assert text.count('<p class="wide">On a narrow screen this table scrolls sideways.</p>') == 2
    assert ".wide{display:none" in text
    assert "@media(max-width:700px){.wide{display:block}}" in text


def test_problems_are_sorted_by_what_became_of_them_those_that_became_wrong_first(tmp_path, monkeypatch):
    monkeypatch.setattr("trainer.reports.run_page.pictures", lambda runs, folder: {})
    marks = [(0.0, 0.0, 1.0)] * 14 + [(0.0, 1.0, 0.0), (1.0, 1.0, 1.0)]
    text = write_report([run(tmp_path / "r", marks=marks)]).read_text()
    said = [re.sub("<.*?>", "", line) for line in re.findall(r"<summary>(.*?)</summary>", text)]
    assert said[:3] == [
        "changed to wrong: 1 × solver alone wrong → SFT decomposer right → PPO decomposer wrong",
        "changed to right: 14 × solver alone wrong → SFT decomposer wrong → PPO decomposer right",
        "1 × solver alone right → SFT decomposer right → PPO decomposer right",
    ]
    assert text.count("<details open>") == 1
    assert "and 2 more" in text
    assert text.count('<div class="sides">') == 1 + 12 + 1


@pytest.mark.parametrize(
    ("marks", "change"), [("wr", "to right"), ("rw", "to wrong"), ("rr", ""), ("rwr", "to right"), ("r", "")]
)
def test_what_the_last_step_did_is_told_from_the_one_before(marks, change):
    assert changed([("direct", mark == "r") for mark in marks]) == (f"changed {change}" if change else "")


def test_several_runs_are_compared_and_told_apart(tmp_path, capsys):
    first, second = run(tmp_path / "a" / "r"), run(tmp_path / "b" / "r", "seed=3", "sft.epochs=2")
    assert main([str(first), str(second), str(first), "--out", str(tmp_path / "page.html")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'page.html'}\n"
    page = Page((tmp_path / "page.html").read_text())
    start = page.cells.index(["key", "a/r", "b/r"])
    assert page.cells[start + 1 : start + 3] == [["seed", "0", "3"], ["sft.epochs", "1", "2"]]
    assert page.cells[start + 3][0] != "run_dir"
    assert (tmp_path / "page" / "held_out.png").is_file()
    assert (tmp_path / "page" / "2" / "held_out.png").is_file()
    assert page.tags.count("img") == 3 * 8


def test_a_run_that_ended_early_has_a_page_too(tmp_path):
    folder = run(tmp_path / "r")
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps(summary | {"status": "failed", "error": "<b>", "accuracy": {}}))
    for name in ("metrics.jsonl", "episodes.jsonl", "logs/sft.jsonl"):
        (folder / name).unlink()
    page = Page(write_report([folder]).read_text())
    assert "failed" in page.text
    assert "<b>" in page.text
    assert "img" not in page.tags


def test_what_is_no_run_is_refused(tmp_path, capsys):
    assert main([str(run(tmp_path / "r")), str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"run_dir: '{tmp_path}' holds no summary.json; allowed: a run's folder\n"
    assert main([str(tmp_path / "r"), "--out", str(tmp_path / "no" / "page.html")]) == 2
    assert "--out: there is no folder" in capsys.readouterr().err


def test_a_page_without_an_ending_is_html_and_one_in_the_place_of_a_folder_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("trainer.reports.pictures.learning_curve", lambda folder: folder)
    monkeypatch.setattr("trainer.reports.run_page.pictures", lambda runs, folder: {})
    one = str(run(tmp_path / "r"))
    assert main([one, "--out", str(tmp_path / "page")]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/page.html\n"
    assert (tmp_path / "page.html").read_text().startswith("<!")
    for name in ("pages", "folder.html"):
        (tmp_path / name).mkdir()
    (tmp_path / "taken").write_text("")
    for name, said in (
        ("pages", f"--out: '{tmp_path}/pages' is a folder; allowed: a file, the page\n"),
        ("folder", f"--out: '{tmp_path}/folder.html' is a folder; allowed: a file, the page\n"),
        (
            "taken.html",
            f"--out: '{tmp_path}/taken', the folder of the pictures of '{tmp_path}/taken.html', is a file\n",
        ),
    ):
        assert main([one, "--out", str(tmp_path / name)]) == 2
        assert capsys.readouterr() == ("", said)


def test_a_run_whose_folder_is_not_ours_has_a_page_elsewhere_and_one_line_here(tmp_path, monkeypatch, capsys):
    def refused(folder):
        raise PermissionError(13, "Permission denied", str(folder / "learning_curve.png"))

    monkeypatch.setattr("trainer.reports.pictures.learning_curve", refused)
    monkeypatch.setattr("trainer.reports.run_page.pictures", lambda runs, folder: {})
    one = tmp_path / "r"
    run(one)
    assert main([str(one), "--out", str(tmp_path / "page.html")]) == 0
    assert (tmp_path / "page.html").is_file()
    capsys.readouterr()
    assert main([str(one)]) == 2
    assert capsys.readouterr().err.startswith(f"--out: '{one}/learning_curve.png' cannot be written: Permission denied")
