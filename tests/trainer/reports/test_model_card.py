"""The model card tells what the run's folder says, and nothing of the machine it ran on."""

from __future__ import annotations

import json

import pytest
import yaml

from launch.compose import compose
from trainer.reports.model_card import _data, write_cards

ENTRY = {"mean": 0.25, "low": 0.18, "high": 0.335, "rescued": 31, "broken": 2}


@pytest.fixture
def run(tmp_path):
    for name in ("sft", "ppo", "step-5"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    config = compose(["seed=7", "algorithm.steps=9", "rewards.weights.cot_proximity=0.4", f"run_dir={tmp_path}"])
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    direct = {"mean": 0.05, "low": 0.02, "high": 0.1}
    summary = {"status": "finished", "seed": 7, "steps": 9, "n_eval": 120, "data": {}}
    summary["accuracy"] = {"direct": direct, "sft": ENTRY | {"mean": 0.125}, "ppo": ENTRY}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    return tmp_path


def card(run, name="ppo"):
    write_cards(run)
    return (run / "checkpoints" / name / "README.md").read_text()


@pytest.mark.parametrize(
    ("name", "prompts", "attempt"),
    [
        ("daslam", ["{question}\nFirst attempt: {attempt}\nSub-questions:\n"], True),
        ("daslam_no_feedback", ["{question}\nSub-questions:\n"], False),
        ("interleaved", ["{question}\nFirst attempt: {attempt}\n{concepts}Sub-questions:\n{turns}"], True),
        ("lm2", ["{question}\nFirst attempt: {attempt}\nConcepts:\n",
                 "{question}\nFirst attempt: {attempt}\n{concepts}Sub-questions:\n{turns}"], True),
    ],
)  # fmt: skip
def test_a_card_shows_the_prompts_that_the_decomposer_of_its_strategy_reads(run, name, prompts, attempt):
    config = compose([f"strategy={name}", f"run_dir={run}"])
    (run / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    use = card(run).partition("## Use")[2].partition("## Results")[0]
    for prompt, shown in zip(prompts, use.split("```text\n")[1:], strict=True):
        assert shown.partition("```")[0].rstrip() == prompt.rstrip()
    assert ("`{attempt}` is the solver's own first attempt." in use) == attempt
    assert ("`{turns}` are the earlier sub-questions" in use) == (name in ("interleaved", "lm2"))
    assert ("one at a time" in card(run)) == (name in ("interleaved", "lm2"))


def test_a_card_has_data_solver_configuration_results_and_limits(run):
    text = card(run)
    _, header, body = text.split("---\n", 2)
    assert yaml.safe_load(header)["pipeline_tag"] == "text-generation"
    assert "- base model: package:tiny_branched_decomposer" in body
    assert "- trained by: PPO against the solver's answers, 9 learner steps" in body
    assert "- frozen solver: package:tiny_branched_solver (vllm)" in body
    assert "cot_proximity 0.4" in body
    assert "- seed: 7" in body
    assert "on 120 held-out problems" in body
    assert "| PPO decomposer | 0.250 | 0.180 – 0.335 | 31 | 2 |" in body
    assert "| solver alone | 0.050 | 0.020 – 0.100 |  |  |" in body
    assert "First attempt: {attempt}" in body
    assert "## Limits" in body
    shown = yaml.safe_load(body.split("```yaml\n")[1].split("```")[0])
    assert shown["algorithm"]["steps"] == 9
    assert str(run) not in text


def test_each_decomposer_has_its_own_results_and_checkpoints_between_have_none(run):
    text = card(run, "sft")
    assert "supervised fine-tuning" in text
    assert "| 0.125 |" in text
    assert "PPO decomposer" not in text
    assert "- reward:" not in text
    assert not (run / "checkpoints" / "step-5" / "README.md").exists()


def test_a_card_of_another_role_says_what_it_does_and_reads(run):
    config = compose(["sft.role=verifier", "stages=[sft]"])
    (run / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    text = card(run, "sft")
    assert "\n# Verifier\n\nJudges the reply to a sub-question" in text
    assert "- trained by: supervised fine-tuning as verifier\n" in text
    assert "A: {reply}\nVerdict:" in text
    assert "{attempt}" not in text.partition("## Configuration")[0]
    assert "\n# Decomposer\n" in card(run, "ppo")


@pytest.mark.parametrize(
    ("settings", "title", "row"),
    [
        (["policy.plays=both", "strategy=monolith"], "# Monolith", "PPO model"),
        (["policy.plays=both"], "# Decomposer and solver", "PPO model"),
        (["policy.plays=solver"], "# Solver", "PPO solver"),
    ],
)
def test_a_card_of_a_policy_that_answers_names_no_frozen_solver(run, settings, title, row):
    config = compose([*settings, "stages=[ppo,evaluate]"])
    (run / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    summary = json.loads((run / "summary.json").read_text())
    summary["accuracy"]["ppo"]["plays"] = config.policy.plays
    (run / "summary.json").write_text(json.dumps(summary))
    body = card(run).partition("## Configuration")[0]
    assert f"\n{title}\n" in body
    assert "- trained by: PPO against its own answers, 9 learner steps" in body
    assert f"| {row} | 0.250 |" in body
    assert "frozen solver:" not in body
    assert "of the frozen solver" not in body


@pytest.mark.parametrize("here", [True, False], ids=["a folder", "no folder"])
def test_a_card_names_a_base_model_on_the_hub_unless_it_is_a_folder_here(run, monkeypatch, here):
    monkeypatch.chdir(run)
    if here:
        (run / "models" / "mine").mkdir(parents=True)
    values = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(values | {"start_from": "models/mine"}))
    text = card(run)
    assert yaml.safe_load(text.split("---\n", 2)[1]).get("base_model") == (None if here else "models/mine")
    assert "- base model: models/mine\n" in text


def test_a_card_shows_nothing_that_may_hold_a_password(run):
    config = compose(["solver=openai", "solver.model=m", "solver.base_url=http://inside.example/v1"])
    values = config.model_dump(mode="json") | {"mirror": "s3://key:pass-4711@there/runs"}
    mixed = {"one": values["solver"] | {"weight": 1.0, "api_key_env": "ANOTHER_KEY"}}
    for solver in (values["solver"], {"backend": "mixture", "mixture": mixed}):
        (run / "config.yaml").write_text(yaml.safe_dump(values | {"solver": solver}))
        text = card(run)
        shown = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
        assert "mirror" not in shown
        assert [hidden for hidden in ("pass-4711", "inside.example", "_KEY") if hidden in text] == []
        assert "- frozen solver: " in text
        assert shown["solver"]["backend"] == solver["backend"]


def test_what_was_not_evaluated_is_said_so(run):
    summary = json.loads((run / "summary.json").read_text())
    del summary["accuracy"]["ppo"]
    (run / "summary.json").write_text(json.dumps(summary | {"status": "interrupted"}))
    text = card(run)
    assert "Not evaluated in its run." in text
    assert "- run: interrupted" in text


def test_a_card_tells_what_stage_1_was_trained_on_and_how_its_decompositions_compare(run):
    summary = json.loads((run / "summary.json").read_text())
    entry = {"problems": 64, "matched": 1.5, "coverage": 0.625, "precision": 0.5, "order": None}
    summary["sft"] = {
        "sources": {"data": {"examples": 30}, "own": {"examples": 10}},
        "decompositions": {"before": {"held_out": entry}, "after": {"held_out": entry | {"order": 0.875}}},
    }
    (run / "summary.json").write_text(json.dumps(summary))
    text = card(run, "sft")
    assert "- examples: data 30, own 10" in text
    before, after = (line for line in text.splitlines() if line.startswith("| held out"))
    assert before == "| held out | before | 64 | 1.500 | 0.625 | 0.500 |  |"
    assert after.endswith("| 0.875 |")
    assert "## Decompositions" not in card(run, "ppo")


def test_a_card_is_left_as_it_is_by_who_did_not_write_the_checkpoint_and_has_no_results_of_another_step(run):
    before = card(run), card(run, "sft")
    assert "- run: " not in before[1], "stage 1 is whole, however stage 2 went"
    summary = json.loads((run / "summary.json").read_text())
    summary["accuracy"]["ppo"] |= {"step": 9}
    (run / "summary.json").write_text(json.dumps(summary | {"status": "interrupted", "steps": 12}))
    write_cards(run, {"step-12", "direct"})
    assert (run / "checkpoints" / "ppo" / "README.md").read_text() == before[0]
    assert (run / "checkpoints" / "sft" / "README.md").read_text() == before[1]
    assert "Not evaluated in its run." in card(run), "the results are of step 9"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"source": "files", "train": ["a"], "held_out": ["b"], "held_out_share": 0.1}, "trained on a; held out b"),
        (
            {"source": "files", "train": ["a"], "held_out": [], "held_out_share": 0.1},
            "trained on a; held out 0.1 of them",
        ),
        ({"source": "files", "train": ["a"], "held_out": [], "held_out_share": 0}, "trained on a; held out none"),
        (
            {"source": "mine.data:Source", "train": [], "held_out": [], "held_out_share": 0.1},
            "problems of mine.data:Source",
        ),
    ],
)
def test_a_card_says_of_the_data_what_was_done(data, said):
    assert _data(data, {}) == said
