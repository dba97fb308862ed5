"""The arguments of vLLM that are passed through by name."""

from __future__ import annotations

import pytest

from conf.schema.base import ConfigError
from conf.schema.engine_arguments import PLACED_BY_THE_PROGRAM, SET_BY_THE_PROGRAM, fields, literals
from launch.compose import compose

OURS = ("engine/arg_utils.py", "EngineArgs")


def test_the_list_is_vllms_own():
    assert {"kv_cache_dtype", "max_model_len", "speculative_config"} < set(fields(*OURS))
    methods = literals("model_executor/layers/quantization/__init__.py", "QuantizationMethods")
    assert {"awq", "fp8", "gptq"} < set(methods)
    assert set(fields(*OURS)) > SET_BY_THE_PROGRAM | PLACED_BY_THE_PROGRAM
    assert fields("no_such_file.py", "EngineArgs") == ()


def test_what_is_vllms_and_free_is_taken():
    given = "{kv_cache_dtype: fp8}"
    config = compose([f"+solver.engine_arguments={given}", "+rollout.engine_arguments.disable_custom_all_reduce=true"])
    assert config.solver.engine_arguments["kv_cache_dtype"] == "fp8"
    assert config.rollout.engine_arguments == {"disable_custom_all_reduce": True}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("+solver.engine_arguments.kv_cache_dtyp=fp8", "vLLM has no engine argument 'kv_cache_dtyp'; allowed, among"),
        ("+solver.engine_arguments.kv_cache_dtyp=fp8", "kv_cache_dtype"),
        ("+solver.engine_arguments.max_model_len=9", "'max_model_len' has a key of its own"),
        ("+solver.engine_arguments.quantization=fp8", "'quantization' has a key of its own"),
        ("+rollout.engine_arguments.quantization=fp8", "'quantization' is set by the program"),
        ("+rollout.engine_arguments.pipeline_parallel_size=2", "'pipeline_parallel_size' is set by the program"),
        ("+rollout.engine_arguments.model=a/b", "'model' is set by the program"),
        ("+solver.engine_arguments.distributed_executor_backend=ray", "'distributed_executor_backend' is set by"),
        ("+solver.engine_arguments.data_parallel_size=2", "would take GPUs that are not reserved for the engine"),
        ("solver.quantization=aqw", "vLLM has no quantization 'aqw'; allowed, among"),
    ],
)
def test_what_is_not_vllms_or_not_free_is_named(given, said):
    with pytest.raises(ConfigError) as error:
        compose([given])
    group = given.lstrip("+").partition(".")[0]
    assert str(error.value).startswith(f"{group}.")
    assert said in str(error.value)
    assert "\n" not in str(error.value)
