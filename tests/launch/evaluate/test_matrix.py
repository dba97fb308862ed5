"""The evaluation matrix over stand-ins for the actors: which cells, in which order, once each, and what is counted."""

from __future__ import annotations

import csv
import json
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from conf.schema.base import ConfigError
from conf.schema.matrix import Matrix
from conf.schema.places import CONF
from launch.compose import compose
from launch.evaluate import matrix as module
from launch.evaluate import replicates
from launch.evaluate.__main__ import TABLES, main
from launch.evaluate.cells import cells
from launch.evaluate.matrix import MatrixRun, all_tokens, schedule
from launch.evaluate.matrix_table import by_group, confusion, page, pairs, summary
from launch.sweep import trial_folder
from tests.trainer.fakes import Actor, Rewarder, Worker
from trainer.cluster.roles import RunningRoles

SMALL = [
    "matrix=chained", "matrix.run=package:tiny_decomposer", "~matrix.decomposers.sft", "~matrix.decomposers.ppo",
    "~matrix.solvers.second", "matrix.leave_out=[]", "matrix.problems=8",
    "matrix.equal_tokens.self_consistency.decomposer=base",
    *(f"~matrix.strategies.{name}" for name in ("least_to_most", "daslam_no_feedback", "dependency_graph")),
]  # fmt: skip


def planned(*overrides):
    arguments = [*SMALL, *overrides]
    config = compose([*arguments, "stages=[evaluate]"])
    return config, cells(config, arguments)


class Tokens(Worker):
    """A worker whose episodes have tokens, and which remembers what it was given."""

    given: list = []  # noqa: RUF012 - shared by all, as a run's folder would be

    async def submit(self, jobs):
        Tokens.given += jobs
        await super().submit(jobs)

    async def collect(self, wait_s):
        outcomes = await super().collect(wait_s)
        for outcome in outcomes:
            if outcome.episode is not None:
                outcome.episode.solver_tokens = 40
        return outcomes


@pytest.fixture
def started(monkeypatch):
    """What was started, in order, in place of Ray's actors; ``fail`` is what every later worker is made with."""
    log: list[str] = []

    @contextmanager
    def session(config):
        log.append("ray")
        yield

    @asynccontextmanager
    async def running(config, logs, only, solvers=(), verifiers=()):
        log.append("+".join(only))
        if only == ("rollout",):
            yield RunningRoles([], [Actor(Tokens(fail=started.fail))], [], None, logs)
        else:
            yield RunningRoles([], [], [Actor(Rewarder())], None, logs)

    started = type("Started", (), {"log": log, "fail": 0.0})
    Tokens.given = []
    monkeypatch.setattr(module, "ray_session", session)
    monkeypatch.setattr(module, "running_roles", running)
    return started


def test_cells_are_those_that_make_sense():
    _, found = planned("+matrix.strategies.graph=['strategy=dependency_graph']")
    assert [cell.name for cell in found if cell.solver == "program"] == [
        "chained.program.direct.none", "chained.program.self_consistency.none",
        *(f"chained.program.{strategy}.{name}" for strategy in ("daslam", "graph") for name in ("base", "gold")),
    ]  # fmt: skip
    assert {cell.config.solver.backend for cell in found if cell.solver == "tiny"} == {"vllm"}
    assert {cell.config.strategy.name for cell in found if cell.strategy == "graph"} == {"dependency_graph"}


def test_overrides_of_the_command_line_hold_for_every_cell():
    _, found = planned("strategy.max_subquestions=3", "seed=5")
    assert {(cell.config.strategy.max_subquestions, cell.config.seed) for cell in found} == {(3, 5)}


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["matrix.decomposers.none=gold"], "matrix.strategies.direct: no cell goes with it"),
        (["+matrix.solvers.other=['solver=nah']"], "matrix cell chained.other.direct: solver: 'nah' is unknown"),
        (["matrix.decomposers.base=['start_from=/no/such']"], "daslam.base: start_from: '/no/such' does not exist"),
        (["matrix.baseline=solo"], "matrix: baseline names 'solo'; allowed: direct,"),
        (["matrix.equal_tokens.self_consistency.strategy=none"], "equal_tokens names 'none'; allowed: direct,"),
        (["matrix.equal_tokens.self_consistency={decomposer: none, strategy: self_consistency}"],
         "matrix: equal_tokens.self_consistency.strategy: 'self_consistency' takes its own budget from another cell"),
        (["+matrix.equal_tokens.daslam={decomposer: none, strategy: direct}"],
         "matrix: equal_tokens.self_consistency.strategy: 'daslam' takes its own budget from another cell; "),
        (["~matrix.equal_tokens.self_consistency", "+matrix.equal_tokens.daslam={decomposer: none, strategy: direct}"],
         "matrix.equal_tokens.daslam: strategy.name 'daslam' spends what it needs, whatever its budget; allowed: se"),
        (["matrix.run=null", "matrix.samples=0"], "matrix.samples: 0 is not allowed"),
    ],
)  # fmt: skip
def test_what_makes_no_matrix_is_refused_in_one_line(overrides, said, capsys):
    assert main([*SMALL, *overrides]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_name_that_can_be_no_files_is_refused():
    values = planned()[0].matrix.model_dump()
    with pytest.raises(ValidationError, match=r"name '\.\./x' becomes part of a file's"):
        Matrix.model_validate(values | {"solvers": {"../x": []}})


def test_a_matrix_needs_its_run(capsys):
    assert main(["matrix=chained"]) == 2
    assert capsys.readouterr().err == "matrix.run: missing; it must be given\n"


def test_a_solver_is_started_once_a_policy_engine_once_a_solver_and_budgets_are_known_when_needed():
    config, found = planned("+matrix.decomposers.other=['model=tiny','rollout.max_model_len=400']")
    plan = schedule(found, config.matrix)
    assert [groups[0][0].solver for _, groups in plan] == ["tiny", "program"]
    for _, groups in plan:
        assert [{cell.decomposer for cell in group} - {"none", "gold"} for _, group in groups] == [{"base"}, {"other"}]
        order = [cell.name for _, group in groups for cell in group]
        assert len(order) == len(set(order))
        assert order[-1].endswith("self_consistency.none")
    assert sum(len(group) for _, groups in plan for _, group in groups) == len(found)


def test_cells_that_would_say_nothing_are_left_out():
    _, found = planned("matrix.leave_out=[{solver: program, strategy: self_consistency}, {decomposer: gold}]")
    assert [cell.name for cell in found] == [
        "chained.tiny.direct.none", "chained.tiny.self_consistency.none", "chained.tiny.daslam.base",
        "chained.program.direct.none", "chained.program.daslam.base",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match=r"matrix\.leave_out\.0.*must name something; allowed: data, solver"):
        planned("matrix.leave_out=[{}]")
    _, found = planned("+matrix.decomposers_of={daslam: [gold]}", "~matrix.solvers.program")
    assert [cell.decomposer for cell in found if cell.strategy == "daslam"] == ["gold"]
    with pytest.raises(ConfigError, match="decomposers_of names 'nobody'; allowed"):
        planned("+matrix.decomposers_of={daslam: [nobody]}")


@pytest.mark.parametrize(("matrix", "solvers"), [("baselines", 1), ("unseen", 3)])
def test_a_matrix_of_sweeps_finds_what_they_trained(tmp_path, matrix, solvers):
    named = yaml.safe_load((CONF / "matrix" / f"{matrix}.yaml").read_text())["decomposers"]
    paths = [text for own in named.values() if own and own != "gold" for text in own if text.startswith("start_from=")]
    for seed in (0, 3):
        wanted = set()
        for path in paths:
            place = path.removeprefix("start_from=").strip("'").replace("${matrix.run}", str(tmp_path))
            folder = Path(place.replace("${seed}", str(seed)))
            # A sweep over seeds names its trials so.
            assert folder.parents[1] == trial_folder(folder.parents[2], [f"seed={seed}"])
            folder.mkdir(parents=True)
            (folder / "config.json").write_text("{}")
            wanted.add(str(folder))
        arguments = [f"matrix={matrix}", f"matrix.run={tmp_path}", f"seed={seed}"]
        found = cells(compose([*arguments, "stages=[evaluate]"]), arguments)
        assert {cell.config.start_from for cell in found} - {None} == wanted
        assert len({cell.config.solver.model_dump_json() for cell in found}) == solvers
        default = compose([]).data
        assert all(cell.config.data == default for cell in found), "the problems that they were trained on"


def test_a_matrix_finds_the_decomposer_of_each_seed(tmp_path):
    for seed in (1, 2):
        folder = tmp_path / f"seed={seed}" / "checkpoints" / "ppo"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        trained = "matrix.decomposers.base=[\"start_from='${matrix.run}/seed=${seed}/checkpoints/ppo'\"]"
        config, found = planned(f"matrix.run={tmp_path}", trained, f"seed={seed}")
        assert {cell.config.start_from for cell in found if cell.decomposer == "base"} == {str(folder)}
        assert {cell.config.seed for cell in found} == {config.seed} == {seed}


def run(folder, *overrides):
    """The exit status, and the table's lines."""
    status = main([*SMALL, *overrides, f"run_dir={folder}"])
    table = folder / "table.csv"
    return status, list(csv.DictReader(table.open())) if table.is_file() else []


def test_every_cell_is_run_and_told(started, tmp_path, capsys):
    status, table = run(tmp_path / "m")
    assert status == 0
    assert started.log == ["ray", *(["solver+reward", "rollout"] * 2)]
    assert len(table) == 8
    jobs = {job.config.strategy.token_budget for job in Tokens.given if job.strategy == "self_consistency"}
    assert jobs == {40}, "the budget is what the base's daslam cell took"
    assert all((job.given is not None) == (job.given == job.problem.subquestions) for job in Tokens.given)
    for name in ("table.md", "pairs.csv", "groups.csv", "matrix.png", "cells/chained.tiny.daslam.gold.jsonl"):
        assert (tmp_path / "m" / name).stat().st_size > 0, name
    # The stand-in marks the same problems right everywhere: nothing is gained or lost.
    assert {(row["gained"], row["lost"]) for row in table} == {("", ""), ("0", "0")}
    assert "8 cells, 0 of them finished before" in capsys.readouterr().out


@pytest.mark.parametrize("name", TABLES)
def test_a_folder_that_holds_tables_of_something_else_is_refused(started, tmp_path, capsys, name):
    (tmp_path / name).write_text("mine")
    assert main([*SMALL, f"run_dir={tmp_path}"]) == 2
    said = f"run_dir: '{tmp_path}' holds '{name}' of something else; allowed: a new or an empty folder\n"
    assert capsys.readouterr().err == said
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [(name, "mine")]


def test_matrices_of_several_seeds_are_put_side_by_side(started, tmp_path):
    for seed in (1, 2):
        assert run(tmp_path / f"seed_{seed}", f"seed={seed}")[0] == 0
    assert replicates.main([f"{tmp_path}/seed_1", f"{tmp_path}/seed_2"]) == 0
    lines = list(csv.DictReader((tmp_path / "replicates.csv").open()))
    table = list(csv.DictReader((tmp_path / "seed_1" / "table.csv").open()))
    # The stand-in marks the same problems right whatever the seed.
    for name in ("data", "solver", "strategy", "decomposer", "accuracy", "low", "high", "tokens"):
        assert [row[name] for row in lines] == [row[name] for row in table], name
    assert {(row["seeds"], row["seed_low"]) for row in lines} == {("2", "")}


def test_what_was_interrupted_goes_on_and_ends_as_if_it_had_not_been(started, tmp_path, capsys):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run(whole)[0] == 0
    first = [*SMALL, f"run_dir={parts}"]
    config = compose([*first, "stages=[evaluate]"])
    begun = MatrixRun(config, cells(config, first), parts, lambda text: None)
    done = begun.cells[:3]
    (parts / "cells").mkdir(parents=True)
    for cell in done:
        for kind in ("json", "jsonl"):
            file = f"cells/{cell.name}.{kind}"
            (parts / file).write_bytes((whole / file).read_bytes())
    (parts / "cells" / f"{begun.cells[3].name}.jsonl").write_text('{"half')
    started.fail, Tokens.given = 1.0, []
    status, table = run(parts)
    assert (status, len(table)) == (1, 3)
    said = capsys.readouterr().out
    assert "8 cells, 3 of them finished before" in said
    assert "failed InfrastructureError" in said
    assert "to go on: python -m launch.evaluate matrix=chained" in said
    started.fail, Tokens.given = 0.0, []
    assert run(parts)[0] == 0
    assert len(Tokens.given) == 5 * 8
    for name in ("table.csv", "table.md", "pairs.csv", "groups.csv"):
        assert (parts / name).read_text() == (whole / name).read_text()
    started.log.clear()
    assert run(parts)[0] == 0
    assert started.log == [], "with nothing to run nothing is started"


def test_a_cell_that_is_another_now_is_run_again_and_so_is_what_takes_its_budget(started, tmp_path):
    run(tmp_path / "m")
    Tokens.given = []
    run(tmp_path / "m", "matrix.strategies.daslam=['strategy=daslam','strategy.max_tokens=50']")
    assert {job.strategy for job in Tokens.given} == {"daslam", "self_consistency"}
    Tokens.given = []
    run(tmp_path / "m", "matrix.problems=9")
    assert len(Tokens.given) == 8 * 9


def test_several_samples_differ_by_seed_and_give_pass_at_k(started, tmp_path):
    _, table = run(tmp_path / "m", "matrix.samples=3", "matrix.temperature=1.0", "matrix.pass_at=[1,2]")
    jobs = [job for job in Tokens.given if job.strategy == "daslam" and job.given is None][:24]
    assert len({job.seed for job in jobs}) == len({job.id for job in jobs}) == 24
    assert all(job.temperature == 1.0 for job in jobs)
    for row in table:
        assert row["problems"] == "8"
        assert float(row["pass@2"]) == pytest.approx(float(row["accuracy"])), "the stand-in's samples are all alike"


def result(strategy, marks, **rows):
    """A finished cell: problems p0, p1, … with these marks, a list of samples each."""
    made = [
        {"problem": f"p{index}", "sample": sample, "correct": mark, "error": None, "outcome": "ok", "subquestions": 2,
         "solver_tokens": 10 * (index + 1), "solver_prompt_tokens": 5, "policy_tokens": 1, "cost": 0.5,
         "steps": 2 + index % 2} | rows
        for index, samples in enumerate(marks) for sample, mark in enumerate(samples)
    ]  # fmt: skip
    return {"data": "d", "solver": "s", "strategy": strategy, "decomposer": "x", "rows": made}


def test_cells_are_compared_on_the_same_problems():
    config, _ = planned("matrix.samples=2", "matrix.temperature=1", "matrix.pass_at=[1,2]")
    base = result("direct", [[1.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.25, 0.0]])
    other = result("daslam", [[0.0, 1.0], [1.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    line = summary(other, base, config.matrix)
    assert (line["gained"], line["lost"]) == (3, 1)
    assert line["p_baseline"] == pytest.approx(2 * (1 + 4) / 16)
    assert line["accuracy"] == pytest.approx(0.625)
    assert line["low"] < 0.23 < 0.9 < line["high"], "four problems, not eight trials"
    assert line["pass@2"] == 1.0
    assert (line["solver_tokens"], line["cost"]) == (25.0, 4.0)
    (pair,) = pairs([base, other])
    assert (pair["only_first"], pair["only_second"], pair["first"]) == (1, 3, "direct · x")
    elsewhere = result("daslam", [[1.0]] * 4) | {"solver": "another"}
    assert pairs([base, elsewhere]) == []
    two, three = by_group(other)
    assert (two["group"], two["problems"], two["accuracy"]) == ("2", 2, 0.5)
    assert (three["by"], three["accuracy"]) == ("steps", 0.75)


def test_numbers_of_steps_stand_in_their_order():
    config, _ = planned()
    cells = [result("daslam", [[1.0]] * 2, steps=steps) for steps in (2, 10, 11, 3)]
    grouped = [row for cell in cells for row in by_group(cell)]
    text = page([summary(cells[0], None, config.matrix)], grouped, config.matrix, [])
    assert "| 2 | 3 | 10 | 11 |" in text


def test_what_a_solver_costs_and_where_it_failed_are_counted():
    config, _ = planned()
    line = summary(result("daslam", [[1.0], [0.0]], outcome="solver_timeout", error="x"), None, config.matrix)
    assert (line["solver_failures"], line["errors"], line["gained"]) == (2, 2, None)


PROGRAM = "rollout.solvers.program_verifier:ProgramVerifier"
JUDGED = ["+matrix.strategies.lm2=['strategy=lm2','verifier=program']", "~matrix.solvers.program"]


def test_a_strategy_with_a_verifier_has_roles_of_its_own(started, tmp_path):
    _, found = planned(*JUDGED)
    served = {cell.solver_key: {one.strategy for one in found if one.solver_key == cell.solver_key} for cell in found}
    assert sorted(map(sorted, served.values())) == [["daslam", "direct", "self_consistency"], ["lm2"]]
    other = JUDGED[0].replace("verifier=program", f"verifier=own','verifier.backend={PROGRAM}")
    first, second = (MatrixRun(*planned(one, JUDGED[1]), tmp_path, print).prints for one in (JUDGED[0], other))
    assert {name.split(".")[2] for name in first if first[name] != second[name]} == {"lm2"}
    assert run(tmp_path / "m", *JUDGED)[0] == 0
    assert started.log.count("solver+verifier+reward") == started.log.count("solver+reward") == 1
    assert (tmp_path / "m" / "cells" / "chained.tiny.lm2.base.json").is_file()


def test_a_budget_that_a_cell_with_a_verifier_sets_is_known_when_needed():
    config, found = planned(*JUDGED, "matrix.equal_tokens.self_consistency.strategy=lm2")
    order = [cell.strategy for _, groups in schedule(found, config.matrix) for _, group in groups for cell in group]
    assert order.index("lm2") < order.index("self_consistency")


def test_a_budget_is_what_all_roles_wrote(started, tmp_path):
    status, table = run(tmp_path / "m", "~matrix.solvers.program")
    assert status == 0
    daslam = next(row for row in table if row["strategy"] == "daslam" and row["decomposer"] == "base")
    jobs = [job for job in Tokens.given if job.strategy == "self_consistency"]
    assert {job.config.strategy.token_budget for job in jobs} == {round(float(daslam["tokens"]))}
    assert all_tokens({"solver_tokens": 40, "policy_tokens": 2}) == 42, "of cells that had no verifier"


def test_rewritten_sub_questions_and_verdicts_are_in_the_tables():
    config, _ = planned()
    pairs = [["no_mistake", "no_mistake"], ["procedural", "no_mistake"]]
    cell = result("lm2", [[1.0], [0.0]], verdicts=pairs, rewritten=1, tokens=30, verifier_tokens=5)
    line = summary(cell, None, config.matrix)
    assert (line["tokens"], line["verifier_tokens"], line["rewritten"]) == (30, 5, 1)
    named = confusion(cell)
    assert [(row["true"], row["named"], row["count"]) for row in named] == [
        ("no_mistake", "no_mistake", 2), ("procedural", "no_mistake", 2),
    ]  # fmt: skip
    said = page([line], [], config.matrix, named)
    assert "| rewritten |" in said
    assert "| d | s | lm2 | x | procedural | 2 |" in said
    plain = summary(result("daslam", [[1.0]]), None, config.matrix)
    assert "rewritten |" not in page([plain], [], config.matrix)


def test_no_cell_sets_a_budget_that_is_not_run():
    config, found = planned("matrix.equal_tokens.self_consistency.decomposer=none")
    with pytest.raises(ConfigError, match=r"matrix\.equal_tokens\.self_consistency: there is no cell"):
        MatrixRun(config, found, None, lambda text: None)


def test_results_are_written_as_they_were_found(started, tmp_path):
    run(tmp_path / "m")
    found = json.loads((tmp_path / "m" / "cells" / "chained.program.daslam.base.json").read_text())
    assert [row["correct"] for row in found["rows"]] == [
        float(int(row["problem"].split("-")[-1]) % 2) for row in found["rows"]
    ]
    assert {row["steps"] for row in found["rows"]} <= {2, 3, 4}
    episodes = (tmp_path / "m" / "cells" / "chained.program.daslam.base.jsonl").read_text().splitlines()
    assert json.loads(episodes[3])["problem"]["id"] == found["rows"][3]["problem"]
