"""Every shipped configuration composes and validates; bad ones are refused in one line that names the key."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from conf.schema.base import ConfigError
from conf.schema.config import Config
from conf.schema.places import CONF, ROOT
from conf.schema.rewards import MODES, PARTS, Rewards
from conf.schema.strategy import ASKED_AS_WRITTEN
from launch.compose import compose
from launch.plan import main as plan
from launch.tiny_models.texts import PROMPTS
from rollout.episode.prompts import Prompts
from rollout.solvers.openai import OpenAISolver
from rollout.strategies import STRATEGIES
from trainer.cluster.roles import for_actors

OPTIONS = [
    (path.parent.name, path.stem)
    for path in sorted(CONF.glob("*/*.yaml"))
    if path.parent.name not in ("experiment", "sweep")
]
FILES = ["data.root={data}", "data.train=train.jsonl", "data.held_out=train.jsonl"]
NEEDS_MODEL = "model.path=package:tiny_decomposer"
NEEDS = {
    **dict.fromkeys(("gsm8k", "gsm8k_socratic", "math", "math500", "aqua", "strategyqa", "jsonl"), FILES),
    **{name: [FILES[0], FILES[2], "stages=[evaluate]"] for name in ("jeebench", "musique", "svamp")},
    "sft_gsm8k_gemma270m": [*FILES, NEEDS_MODEL],
    "gpu": ["rollout.gpus=1", "learner.gpus_per_rank=1"],
    "own": ["solver.backend=rollout.solvers.program:ProgramSolver"],
    "openai": ["solver.model=some-model"],
    "gemma270m": [NEEDS_MODEL, "solver.path=package:tiny_solver"],
    "lm2_chained": [],
    "smoke": [],
    "skill": [],
    "lm2_gsm8k": [*FILES, NEEDS_MODEL, "solver.model=some-model", "verifier.model=another-model"],
    "monolith": ["policy.plays=both", "sft.role=monolith"],
    "direct": ["stages=[evaluate]"],
    "self_consistency": ["stages=[evaluate]"],
    "least_to_most": ["stages=[evaluate]"],
    "lm2": ["verifier=program"],
    "lm2_outcome": ["verifier=program"],
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "strategyqa").mkdir()
    for name in ("train.jsonl", "strategyqa/dev.jsonl"):
        (tmp_path / name).write_text('{"id": "1", "question": "How many?", "answer": "1"}\n')
    return tmp_path


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=lambda value: value)
def test_every_option_of_every_group_is_valid(group, option, data):
    extra = [text.format(data=data) for text in NEEDS.get(option, [])]
    if group == "matrix":
        extra = ["matrix.run=some/run"]
    if group == "verifier":
        extra = [text.replace("solver.", "verifier.", 1) for text in extra]
        extra += ["verifier.path=package:tiny_solver"] if option == "vllm" else []
        extra += ["data=chained"] if option == "tiny" else []
    assert isinstance(compose([f"{group}={option}", *extra]), Config)


@pytest.mark.parametrize("path", sorted((CONF / "experiment").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_experiment_is_valid(path, data):
    needed = NEEDS.get(path.stem, [*NEEDS["gsm8k"], *NEEDS["gemma270m"]])
    extra = [text.format(data=data) for text in needed]
    assert isinstance(compose([f"experiment={path.stem}", *extra]), Config)


def test_lm2_on_peoples_problems_has_a_served_solver_and_verifier_or_others_and_can_be_planned(data, capsys):
    overrides = ["experiment=lm2_gsm8k", *(text.format(data=data) for text in NEEDS["lm2_gsm8k"])]
    config = compose(overrides)
    assert (config.solver.model, config.verifier.model) == ("some-model", "another-model")
    assert (config.strategy.name, config.rewards.mode, config.algorithm.credit) == ("lm2", "outcome", "terminal")
    assert plan(overrides) == 0
    assert "verifier" in capsys.readouterr().out
    other = ["verifier=vllm", "verifier.path=package:tiny_solver"]
    assert compose([*overrides[:-1], *other]).verifier.backend == "vllm"
    with pytest.raises(ConfigError, match=r"verifier\.model.*the name by which the server knows the model"):
        compose(overrides[:-1])


def test_an_algorithm_brings_its_critic_and_can_be_changed():
    """The files of conf/algorithm speak of the learner too, and what a person types comes after them."""
    assert compose(["algorithm=grpo", "learner=gpu", "rollout.gpus=1"]).learner.critic == "none"
    config = compose(["algorithm=grpo", "algorithm.group_std=false", "algorithm.clip_low=0.1"])
    assert (config.algorithm.group_std, config.algorithm.clip_low, config.algorithm.group_size) == (False, 0.1, 8)
    ppo, rloo = compose([]).algorithm, compose(["algorithm=rloo"]).algorithm
    changed = {name for name, value in ppo.model_dump().items() if getattr(rloo, name) != value}
    assert changed == {"advantage", "group_size", "whiten"}
    assert compose(["learner.critic=separate"]).learner.critic == "separate"


def test_the_shipped_templates_are_the_ones_the_tiny_models_were_made_with():
    assert Prompts.of(compose(["data=chained"])) == PROMPTS


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_has_an_option_that_is_passed_on(name):
    drops = name not in ASKED_AS_WRITTEN
    settings = Prompts.of(compose([f"strategy={name}", "stages=[evaluate]", f"strategy.drop_repeats={drops}"])).strategy
    assert (settings.name, settings.drop_repeats, settings.gate, settings.gate_samples) == (name, drops, "always", 3)
    assert (settings.max_subquestions, settings.max_subquestion_chars) == (6, 300)
    assert (settings.samples, settings.token_budget) == (5 if name == "self_consistency" else None, None)


def test_gate_and_budget_are_passed_on():
    gated = Prompts.of(compose(["strategy.gate=disagree", "strategy.gate_samples=4"])).strategy
    assert (gated.gate, gated.gate_samples) == ("disagree", 4)
    overrides = ["strategy=self_consistency", "stages=[evaluate]", "strategy.samples=null", "strategy.token_budget=250"]
    assert Prompts.of(compose(overrides)).strategy.token_budget == 250


def test_an_episode_has_an_hour_and_no_limit_of_tokens():
    """tests/rollout/test_episodes.py has what becomes of other limits."""
    rollout = compose([]).rollout
    assert (rollout.episode_timeout_s, rollout.episode_solver_tokens) == (3600.0, None)


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["strategy=self_consistency", "strategy.samples=0"], ["strategy.samples: 0", "1"]),
        (["strategy=self_consistency", "strategy.token_budget=9"], ["strategy.token_budget: 9", "samples is 5"]),
        (["strategy=self_consistency", "strategy.samples=null"], ["strategy.token_budget: None", "samples is None"]),
        (["strategy=self_consistency", "strategy.gate=disagree"], ["strategy.gate: 'disagree'", "'always'"]),
        (["strategy.samples=5"], ["strategy.samples: 5", "'daslam'", "null"]),
        (["strategy.token_budget=5"], ["strategy.token_budget: 5", "'daslam'", "null"]),
        (["strategy.gate=sometimes"], ["strategy.gate: 'sometimes'", "'always' or 'disagree'"]),
        (["strategy.gate_samples=1"], ["strategy.gate_samples: 1", "2"]),
        (["strategy.line_by_line=true"], ["strategy.line_by_line: True", "'daslam'", "null"]),
        (["strategy=lm2", "strategy.line_by_line=false"], ["strategy.line_by_line: False", "'lm2'", "null"]),
        (["strategy.chat=always"], ["strategy.chat: 'always'", "'auto' or 'never'"]),
        (["strategy.name=socratic"], ["strategy.name: 'socratic'", "'least_to_most'", "'dependency_graph'"]),
        (["strategy.solve_template='{question} {answer}'"], ["strategy.solve_template", "{answer}", "{ask}"]),
        (["strategy.subquestion_template='{question}'"], ["strategy.subquestion_template", "{subquestion} must"]),
        (["strategy.turn_template='{answer'"], ["strategy.turn_template", "allowed fields: {answer}"]),
        (["strategy.name=daslam_no_feedback"], ["strategy.decompose_template", "{attempt}", "daslam_no_feedback"]),
        (["strategy.examples=[{question: a, answer: b}]"], ["strategy.examples.0.answer", "subanswers"]),
        (["strategy.examples=[{question: a, subanswers: [b]}]"], ["strategy.examples.0", "1 subanswers for 0"]),
    ],
    ids=lambda value: value[-1] if "strategy" in value[0] else "",
)
def test_bad_strategies_are_refused_with_key_value_and_what_is_allowed(overrides, named):
    with pytest.raises(ConfigError) as error:
        compose([*overrides, "stages=[evaluate]"])
    assert all(text in str(error.value) for text in named), error.value
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["direct", "self_consistency", "least_to_most"])
def test_what_asks_no_decomposer_cannot_be_trained(name):
    with pytest.raises(ConfigError, match=f"stages: .*'{name}'.*allowed with it: sft, evaluate"):
        compose([f"strategy={name}"])
    assert compose([f"strategy={name}", "stages=[sft,evaluate]"]).strategy.name == name


@pytest.mark.parametrize("mode", MODES)
def test_the_modes_of_the_command_line_are_those_of_the_configuration(mode):
    assert compose([f"rewards={mode}", *NEEDS.get(mode, [])]).rewards == Rewards.for_mode(mode)


@pytest.mark.parametrize("part", PARTS)
def test_an_ablation_changes_one_part_of_the_whole_reward(part):
    whole = compose([]).rewards
    without, only = (compose([f"rewards={kind}_{part}"]).rewards for kind in ("without", "only"))
    assert without.weights == whole.weights | {part: 0.0}
    assert only.weights == dict.fromkeys(PARTS, 0.0) | {part: 1.0}
    assert without.clip == only.clip == whole.clip


def test_the_reward_ablation_runs_the_whole_each_part_off_and_each_part_alone():
    sweep = OmegaConf.load(CONF / "sweep" / "reward_ablation.yaml")
    override = OverridesParser.create().parse_override(f"rewards={sweep.hydra.sweeper.params.rewards}")
    trials = override.value().filter([path.stem for path in (CONF / "rewards").glob("*.yaml")])
    assert sorted(trials) == sorted(["bounded", *(f"{kind}_{part}" for kind in ("without", "only") for part in PARTS)])


BAD = {
    "data=nonsense": "data:",
    "learner.lr=-1": "learner.lr:",
    "rollout.no_such_key=1": "rollout.no_such_key:",
    "+rollout.no_such_key=1": "rollout.no_such_key:",
    "model.path=/no/such/folder": "model.path:",
    "solver.path=./nothing": "solver.path:",
    "algorithm.batch_size=many": "algorithm.batch_size:",
    "algorithm.lam=2": "algorithm.lam:",
    "controller.max_staleness=-1": "controller.max_staleness:",
    "controller.staleness_target=-0.5": "controller.staleness_target:",
    "controller.staleness_target=1.5": "controller.staleness_target must be at most controller.max_staleness (1)",
    f"rewards.weights={{{', '.join(f'{part}: 0' for part in PARTS)}}}": "rewards.weights",
    "rewards.episode_seconds=0": "rewards.episode_seconds:",
    "+rewards.weights.style=1": "style",
    "data.steps={13: 1.0}": "data",
    "data=chained +data.eval_steps.8=1": "data",
    "stages=[]": "stages: [] is not allowed: list should have at least 1 item",
    "run_dir= resume=auto": "run_dir: '' is not allowed: is empty; allowed: a folder, or null",
    "mirror=simplecache::ftp://me:planted@host/runs": "mirror: must be a URL, as s3://BUCKET/runs, without a password",
    "rewards.weights.correctness=nan": "rewards.weights.correctness: nan is not allowed: input should be a finite num",
    "rewards.penalty.given=inf": "rewards.penalty.given: inf is not allowed",
    "learner.lr=inf": "learner.lr: inf is not allowed",
    "learner.betas=[0.9,1]": "learner.betas.1: 1 is not allowed: input should be less than 1",
    "rewards.clip.correctness=[1,0]": "rewards.clip: correctness must be the lowest value, then the highest, found",
    "solver.stop_subquestion=['']": "solver.stop_subquestion: [''] is not allowed: holds an empty text, which",
    "data=jsonl": "data: root and train, held_out or both must be given",
    "data=jsonl data.train=[no.jsonl,nor.jsonl]": "data.train: 'no.jsonl' does not exist; allowed: a file with",
    "verifier=vllm": "verifier.path: missing; it must be given",
    "solver=own": "solver.backend: missing; it must be given",
    "--steps": "--steps: no option of this command; allowed: KEY=VALUE, as algorithm.steps=3",
    "data=jsonl data.train=pyproject.tml": "data.train: 'pyproject.tml' does not exist (did you mean pyproject.toml?)",
    "data=svamp data.root=.": "stages: data.train is empty, there is nothing to train on; allowed: [evaluate]",
    "data=jsonl data.train=a.jsonl data.held_out_share=0": "data.held_out: empty; it or data.held_out_share",
    "data=jsonl data.train=a.jsonl data.on_bad_row=ignore": "data.on_bad_row: 'ignore' is not allowed",
    "learner.dtype=float16": "learner.dtype",
    "learner.compile=true learner.zero_stage=3": "compile must be false where zero_stage is 3",
    "stages=[sft,dream]": "stages",
    "no_such_group=1": "no_such_group",
    "algorithm.advantage=grpo algorithm.group_size=1": "group_size must be at least 2 for advantage grpo, found 1",
    "algorithm=rloo algorithm.group_size=5": "batch_size (96) must be divisible by group_size (5)",
    "algorithm.resample_flat_groups=true": "resample_flat_groups must be false where group_size is 1",
    "algorithm=grpo algorithm.credit=subquestion": "credit must be terminal for advantage grpo",
    "algorithm=rloo algorithm.gamma=0.9": "gamma must be 1 for advantage rloo",
    "algorithm=grpo algorithm.credit=call": "credit must be terminal for advantage grpo",
    "algorithm=reinforce_plus_plus algorithm.call_gamma=0.9": "call_gamma must be 1 for advantage reinforce_plus_plus",
    "algorithm.call_gamma=0": "algorithm.call_gamma:",
    "algorithm=reinforce_plus_plus algorithm.whiten=false": "whiten must be true",
    "algorithm.kl_control=adaptive algorithm.kl_coef=0": "kl_coef must be above 0",
    "algorithm.kl_control=adaptive algorithm.kl_horizon=95": "batch_size (96) for kl_control adaptive, found 95",
    "algorithm.advantage=gea": "algorithm.advantage:",
    "rollout.weights.bucket_mib=0": "rollout.weights.bucket_mib:",
    "rollout.weights.transport=nccl": "transport: 'nccl' needs a GPU of its own on either side",
    "rollout.weights.transport=nccl rollout.gpus=1": "found 1 and 0); allowed without: object_store",
    "model=gemma270m model.path=a/b learner=gpu rollout=gpu rollout.weights.transport=nccl": "adapter_only: true is",
    "learner=gpu rollout=gpu rollout.weights.transport=nccl model.dtype=float32": "model.dtype is float32 where",
    "rollout.weights.verify=true rollout.tensor_parallel_size=2": "allowed: rollout.tensor_parallel_size 1",
    "learner.critic=none": "learner.critic: 'none' cannot go with algorithm.advantage gae; allowed: shared, separate",
    "algorithm=grpo learner.critic=separate": "learner.critic: 'separate' cannot go with algorithm.advantage grpo",
    "learner.critic_warmup_steps=1": "learner.critic_warmup_steps must be 0 with learner.critic shared",
    "learner.critic=separate algorithm.steps=5 learner.critic_warmup_steps=5": "leave the policy none of algorithm.s",
    "learner.offload_optimizer=true learner.zero_stage=0": "offload_optimizer must be false where zero_stage is 0",
    "learner.attention=flash_attention_2": "attention 'flash_attention_2' needs GPUs and dtype bfloat16, found",
    "+sft.sources.t={kind: file}": "sft.sources.t: path must be given where kind is file",
    "+sft.sources.t={kind: file, path: no.jsonl}": "sft.sources.t.path: 'no.jsonl' does not exist; allowed: a file of",
    "+sft.sources.t={kind: human}": "sft.sources.t.kind: 'human' is not allowed",
    "sft.sources.data.weight=0": "sft.sources: must have a source whose weight is above 0",
    "sft.sources.data.wieght=1": "'wieght' (did you mean sft.sources.data.weight?); allowed: kind, weight, path",
    "sft.batch_size=1 learner.ranks=2": "sft.batch_size must be at least learner.ranks (2), found 1",
    "strategy=direct stages=[sft] sft.sources.data.screen=true": "sft.sources.data: strategy.name 'direct' asks no",
    "+sft.held_out.also.far=no.jsonl": "sft.held_out.also.far: 'no.jsonl' does not exist",
    "learner.packing=tight": "learner.packing: 'tight' is not allowed",
    "evaluation.every=-1": "evaluation.every: -1",
    "stages=[sft,ppo] evaluation.stop_if_hopeless=true": "evaluation.stop_if_hopeless goes by the evaluation before",
    "learner.ranks=25": "algorithm.minibatches times learner.ranks must be at most algorithm.batch_size",
    "learner.ranks=30": "found 4 × 30 and 96",
    "strategy.no_such_key=1": "strategy.no_such_key",
    # Below a map, what the map may have is said; a name that is near comes first.
    "rewards.weights.mine=1": "rewards.weights.mine: unknown key 'mine'; allowed: entity_coverage, answer_consist",
    "+rewards.weights.mine=1": "rewards.weights.mine: unknown key 'mine'; allowed: entity_coverage, answer_consist",
    "+rewards.clip.corectness=null": "'corectness' (did you mean rewards.clip.correctness?); allowed: entity_coverage,",
    "+rewards.penalty.mine=1": "rewards.penalty.mine: unknown key 'mine'; allowed: copy, repeat, given, invalid",
    "rewards.weight.correctness=1": "unknown key 'weight' (did you mean rewards.weights?); allowed: mode, parts,",
    "sovler.path=x": "sovler.path: unknown key 'sovler' (did you mean solver?); allowed: seed, run_dir,",
    "sft.sources.mine.weight=1": "sft.sources.mine.weight: not in this configuration; allowed: +sft.sources.mine.w",
    "+sft.sources.mine.wieght=1": "'wieght' (did you mean sft.sources.mine.weight?); allowed: kind, weight, path",
    "model.lora.rank=4": "model.lora.rank: not in this configuration; allowed: +model.lora.rank=VALUE, which adds it",
    "model.lora.rnak=4": "unknown key 'rnak' (did you mean model.lora.rank?); allowed: rank, alpha, targets",
    "+data.steps.many=1": "data.steps.many: 'many' is not allowed: input should be a valid integer",
    "seed.more=1": "seed.more: unknown key 'more'; allowed: no key below it",
    "+matrix.leave_out=[{solvre: x}]": "matrix.leave_out.0.solvre: unknown key 'solvre' (did you mean matrix.leave",
    # As a person types them: these are a backslash and a letter.
    'strategy.stop=["\\n\\n"]': "strategy.stop: ['\\\\n\\\\n'] is not allowed: holds a backslash and an n,",
    'solver.stop_solve=["\\nQ:"]': "solver.stop_solve:",
    'strategy.turn_template="{answer}\\n"': "strategy.turn_template:",
}


@pytest.mark.parametrize("override", BAD, ids=list(BAD))
def test_bad_values_are_refused_by_name(override):
    with pytest.raises(ConfigError) as error:
        compose(override.split() if "{" not in override else [override])
    message = str(error.value)
    assert BAD[override] in message
    assert "\n" not in message
    assert "allowed" in message or "must" in message


# Overrides on top of solver=openai: what the message must name, and what it must not say.
BAD_SERVERS = {
    "solver.model=null": "solver.model: None is not allowed: must be given",
    "solver.model=": "solver.model: '' is not allowed: must be given",
    "solver.api=assistants": "solver.api:",
    "solver.base_url=api.example.org": "solver.base_url: must be http",
    "solver.base_url=https://me:planted@api.example.org/v1": "solver.base_url: must be http",
    "solver.base_url='https://api.example.org/v1?key=planted'": "solver.base_url: must be http",
    "solver.api_key_env=sk-planted": "solver.api_key_env: must be the name of an environment variable",
    "+solver.api_key=planted": "solver.api_key: unknown key 'api_key' (did you mean solver.api_key_env or solver.api?)",
    "solver.path=package:tiny_solver": "solver.path: unknown key 'path' (a key of solver.backend vllm); allowed: ",
    "+solver.workers=2": "solver.workers: unknown key 'workers' (a key of solver.backend vllm, package.module:class); ",
    "solver.requests_per_minute=0": "solver.requests_per_minute: 0 is not allowed",
    "solver.cache=some": "solver.cache: 'some' is not allowed",
    "solver.budget_cost=5": "solver: budget_cost needs price_prompt or price_completion",
    "solver.timeout_s=10": "solver: request_timeout_s must be at most timeout_s",
    "solver.backend=vllama": "solver.backend: 'vllama' is not allowed: must be one of vllm, openai, program",
}


@pytest.mark.parametrize("override", BAD_SERVERS, ids=list(BAD_SERVERS))
def test_bad_servers_are_refused_by_name_and_no_key_is_repeated(override):
    with pytest.raises(ConfigError) as error:
        compose(["solver=openai", "solver.model=m", override])
    message = str(error.value)
    assert message.startswith(BAD_SERVERS[override])
    assert "\n" not in message
    assert "planted" not in message


def test_line_breaks_in_overrides_are_line_breaks():
    assert compose(['strategy.stop=["\n\n"]']).strategy.stop == ["\n\n"]
    prompted = OmegaConf.load(CONF / "matrix" / "chained_prompted.yaml").decomposers.prompted
    found = compose([override for override in prompted if override.startswith("strategy.")]).strategy
    assert found.stop == ["\n\n"]
    assert len(found.examples) == 1


def test_an_unknown_key_is_told_the_keys_of_the_chosen_backend():
    allowed = {}
    for option in ("tiny", "openai", "program"):
        with pytest.raises(ConfigError) as error:
            compose([f"solver={option}", "solver.no_such_key=1"])
        allowed[option] = set(str(error.value).partition("allowed: ")[2].split(", "))
    assert "base_url" not in allowed["tiny"]
    assert "kv_cache_gib" in allowed["tiny"]
    assert "kv_cache_gib" not in allowed["openai"]
    assert "base_url" in allowed["openai"]
    assert allowed["program"] == {"backend"}


def test_every_key_of_a_server_reaches_its_backend():
    values = {
        "api": "completions", "api_key_env": "OTHER_KEY", "max_tokens_field": "max_completion_tokens",
        "concurrency": 3, "requests_per_minute": 4, "tokens_per_minute": 5, "max_retries": 6, "backoff_s": 0.7,
        "backoff_max_s": 8.0, "request_timeout_s": 9.0, "timeout_s": 10.0, "price_prompt": 11.0,
        "price_completion": 12.0, "budget_cost": 13.0, "budget_tokens": 14, "base_url": "http://127.0.0.1:1/v1",
        "model": "m",
    }  # fmt: skip
    config = for_actors(compose(["solver=openai", *(f"solver.{key}={value}" for key, value in values.items())]))
    made = OpenAISolver(config.solver)
    assert made.settings.cache == "deterministic"
    assert Path(made.settings.cache_path).is_absolute()
    assert {key: getattr(made.settings, key) for key in values} == values
    assert [made.sampling("", purpose, 0).max_tokens for purpose in ("subquestion", "solve")] == [128, 512]


def test_a_bare_off_in_yaml_is_no_cache():
    assert compose(["solver.cache=false"]).solver.cache == "off"


def test_composing_imports_nothing_heavy():
    code = (
        "import sys; from launch.compose import compose; compose([]);"
        "print([name for name in ('torch', 'vllm', 'ray', 'deepspeed', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("overrides", "start"),
    [
        ([], "package:tiny_branched_"), (["data=chained"], "package:tiny_"),
        (["data=jsonl", *FILES], "package:tiny_"),
    ],
)  # fmt: skip
def test_the_data_bring_the_models_that_ship_for_them(overrides, start, data):
    overrides = [text.format(data=data) for text in overrides]
    config = compose(overrides)
    assert (config.model.path, config.solver.path) == (f"{start}decomposer", f"{start}solver")
    assert compose([*overrides, "solver=second"]).solver.path == f"{start}second_solver"
    embedded = config.data.embedded
    assert config.strategy.max_subquestions == (8 if embedded is None else embedded.max_subquestions)
    assert compose([*overrides, "strategy.max_subquestions=3"]).strategy.max_subquestions == 3
    assert config.learner.lr == (1.5e-4 if embedded is None else embedded.learner_lr)
    assert config.algorithm.steps == (50 if embedded is None else embedded.ppo_steps)


def test_a_verifier_that_does_not_ship_is_asked_for():
    assert compose(["data=chained", "verifier=tiny"]).verifier.path == "package:tiny_verifier"
    with pytest.raises(ConfigError, match=r"verifier.path: None is not allowed: .* none ships for this role"):
        compose(["verifier=tiny"])
