"""What an engine is started with; nothing is started."""

from __future__ import annotations

import os

import pytest

from conf.schema.engine_arguments import SET_BY_THE_PROGRAM
from conf.schema.rollout import Rollout
from conf.schema.solver import VllmSolver
from launch.compose import compose
from rollout.engine.vllm_arguments import engine_arguments, policy_engine, prepare_process, within_model
from rollout.solvers.vllm import solver_engine


def solver_arguments(*overrides: str) -> dict[str, object]:
    return engine_arguments(solver_engine(compose(overrides).solver, 0))


def test_every_argument_is_a_key_or_on_the_list_of_what_is_refused():
    found = solver_arguments()
    assert found.keys() <= SET_BY_THE_PROGRAM | VllmSolver.model_fields.keys()
    policy = engine_arguments(policy_engine(compose([])))
    assert policy.keys() <= SET_BY_THE_PROGRAM | Rollout.model_fields.keys() | set(Rollout.refused_arguments)


@pytest.mark.parametrize(("tensor", "stages", "executor"), [(1, 1, "uni"), (4, 1, "mp"), (1, 2, "mp"), (2, 2, "mp")])
def test_an_engine_over_several_gpus_has_processes_of_its_own(tensor, stages, executor):
    """Not Ray's: vLLM would take them from the run's placement group, where other roles have their GPUs."""
    overrides = [f"solver.gpus={tensor * stages}", f"solver.tensor_parallel_size={tensor}"]
    found = solver_arguments(*overrides, f"solver.pipeline_parallel_size={stages}")
    assert (found["tensor_parallel_size"], found["pipeline_parallel_size"]) == (tensor, stages)
    assert found["distributed_executor_backend"] == executor


def test_a_solvers_quantisation_and_further_arguments_reach_vllm():
    further = "+solver.engine_arguments.max_logprobs=3"
    found = solver_arguments("solver.quantization=awq", "solver.dtype=float16", further)
    assert (found["quantization"], found["dtype"], found["max_logprobs"]) == ("awq", "float16", 3)


def test_the_policys_engines_compute_in_the_learners_type_unless_told_otherwise():
    learner = ["learner=gpu", "rollout=gpu"]
    assert policy_engine(compose([])).dtype == "float32"
    assert policy_engine(compose(learner)).dtype == "bfloat16"
    assert policy_engine(compose([*learner, "model.dtype=float32"])).dtype == "float32"


@pytest.mark.parametrize("layout", ["gpu1", "gpu8", "node8_7b_lora"])
def test_a_layout_for_large_models_does_for_the_shipped_ones(layout):
    """vLLM refuses a length that a model does not read."""
    arguments = engine_arguments(policy_engine(compose([f"cluster={layout}"])))
    assert within_model(arguments)["max_model_len"] == 768


def test_a_length_that_the_model_reads_is_kept():
    arguments = engine_arguments(policy_engine(compose(["rollout.max_model_len=100"])))
    assert within_model(arguments)["max_model_len"] == 100


def test_what_else_is_wrong_with_a_model_is_vllms_own_error():
    with pytest.raises(ValueError, match="float1"):
        within_model(solver_arguments("solver.max_model_len=4096") | {"dtype": "float1"})


def test_no_batch_is_on_the_gpu_when_weights_are_loaded():
    assert engine_arguments(policy_engine(compose([])))["async_scheduling"] is False
    assert solver_arguments()["async_scheduling"] is None


def test_sampling_needs_no_package_that_vllm_would_compile(monkeypatch):
    monkeypatch.setattr(os, "environ", {})
    prepare_process(1)
    assert os.environ["VLLM_USE_FLASHINFER_SAMPLER"] == "0"
