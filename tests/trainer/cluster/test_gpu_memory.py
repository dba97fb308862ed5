"""The plan's arithmetic against cases worked by hand: a 7B decomposer with LoRA and a 14B solver on 80 GB GPUs."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from conf.schema.learning import Learner
from conf.schema.model import shipped
from conf.schema.solver import VllmSolver
from launch.compose import compose
from launch.plan import main
from trainer.cluster.gpu_memory import (
    DESCRIBED,
    GIB,
    Shape,
    engine_memory,
    kv_bytes,
    layer_activations,
    learner_memory,
    shape_of,
)
from trainer.cluster.resource_plan import gpu_roles, over_full

SEVEN, FOURTEEN = DESCRIBED["7b"], DESCRIBED["14b"]
LORA = "model.lora={rank: 16, alpha: 32, targets: all-linear}"
FULL = {"lr": 1e-5, "critic_lr": 1e-5, "dtype": "bfloat16", "ranks": 4, "zero_stage": 2, "critic": "shared",
        "max_tokens_per_microbatch": 8192, "gradient_checkpointing": True}  # fmt: skip


def sizes(parts) -> dict[str, float]:
    return {part.name: part.size for part in parts}


def learner_sizes(settings) -> dict[str, float]:
    return sizes(learner_memory(SEVEN, Learner.model_validate(settings), None))


def test_described_sizes_are_those_of_the_published_models():
    """Qwen2.5's 7,615,616,512 and 14,770,033,664, less their biases of 4,608 and 7,168 a layer."""
    assert SEVEN.parameters == 7_615_616_512 - 28 * 4608
    assert FOURTEEN.parameters == 14_770_033_664 - 48 * 7168


def test_adapters_by_hand():
    # q 7168, k and v 4096 each, o 7168, gate and up 22528 each, down 22528; times rank 16, times 28 layers.
    assert SEVEN.adapters(16) == 28 * 16 * (7168 + 2 * 4096 + 7168 + 3 * 22_528) == 40_370_176


@pytest.mark.parametrize(
    ("stage", "weights", "gradients", "optimiser"), [(0, 1, 1, 1), (1, 1, 1, 4), (2, 1, 4, 4), (3, 4, 4, 4)]
)
def test_zero_divides_what_its_stage_says(stage, weights, gradients, optimiser):
    found = learner_sizes(FULL | {"zero_stage": stage})
    count = SEVEN.parameters
    assert found["weights"] == 2 * count / weights
    assert found["gradients"] == 2 * count / gradients
    assert found["optimiser"] == 12 * count / optimiser
    assert found["reference"] == 2 * count


def test_float32_keeps_no_second_copy_and_a_critic_of_its_own_is_a_second_model():
    found = learner_sizes(FULL | {"dtype": "float32", "zero_stage": 0, "critic": "separate"})
    assert found["weights"] == 2 * 4 * SEVEN.parameters
    assert found["optimiser"] == 2 * 8 * SEVEN.parameters
    assert found["reference"] == 4 * SEVEN.parameters


def test_activations_by_hand():
    # 4 × 3584 + 3 × 28 × 128 + 3 × 4 × 128 + 4 × 18944
    assert layer_activations(SEVEN) == 14_336 + 10_752 + 1_536 + 75_776 == 102_400
    kept = learner_sizes(FULL)["activations"]
    assert kept == 2 * (28 * 3584 + 102_400) * 8192
    assert learner_sizes(FULL | {"gradient_checkpointing": False})["activations"] == 2 * 28 * 102_400 * 8192


def test_an_engines_cache_is_what_its_share_leaves():
    assert kv_bytes(FOURTEEN, "bfloat16") == 2 * 48 * 8 * 128 * 2 == 196_608
    group = VllmSolver(backend="vllm", path="14b", max_model_len=4096, max_num_seqs=256)
    found = sizes(engine_memory(FOURTEEN, group, "bfloat16", 72, 1))
    tokens = (72 * GIB - 2 * FOURTEEN.parameters - 2 * GIB) // 196_608
    assert found["KV cache"] == tokens * 196_608
    assert sizes(engine_memory(FOURTEEN, group, "bfloat16", None, 1))["KV cache"] == 4096 * 256 * 196_608
    halves = engine_memory(FOURTEEN, group, "bfloat16", 72, 2)
    assert sizes(halves)["weights"] == FOURTEEN.parameters


def test_a_models_shape_is_read_from_its_config_alone(tmp_path):
    shutil.copy(shipped("tiny_decomposer") / "config.json", tmp_path)
    found = shape_of(str(tmp_path))
    assert (found.layers, found.hidden, found.heads, found.kv_heads) == (4, 128, 4, 4)
    expected = Shape.dense(4, 128, found.intermediate, 4, 4, found.vocabulary, tied=True)
    # This one's attention has four biases a layer.
    assert found == replace(expected, parameters=expected.parameters + 4 * 4 * 128)
    with pytest.raises(ValueError, match=r"'8b' is no model; allowed: a folder with a config\.json, owner/name, or"):
        shape_of("8b")


# GiB a GPU, worked by hand from the parts above: 2 × 7.656 G, LoRA's 14 × 40.4 M over the ranks, 3.09 of activations,
# 5.80 of logits, 3 beside; engines take 0.9 of 80.
@pytest.mark.parametrize(("cluster", "ranks"), [("node8", 4), ("nodes4", 16)])
def test_7b_with_lora_and_a_14b_solver_fit_one_node_and_four(capsys, cluster, ranks):
    overrides = [f"cluster={cluster}", LORA]
    memory = {one.role: one for one in gpu_roles(compose(overrides), "7b", "14b")}
    by_hand = 2 * 7.655857 + 14 * 0.040370 / ranks + 2 * 202_752 * 8192e-9 + 10 * 4096 * 152_064e-9
    assert memory["learner"].gib == pytest.approx(by_hand * 1e9 / GIB + 3, abs=0.01)
    assert memory["rollout"].gib == pytest.approx(72, abs=0.001)
    assert memory["solver"].gib == pytest.approx(72, abs=0.001)
    assert memory["solver"].minimum == pytest.approx(27.51 + 2 + 512 * 196_608 / GIB, abs=0.01)
    assert main(["--model", "7b", "--solver", "14b", *overrides]) == 0
    shown = capsys.readouterr().out
    assert "2 B × 7.66 G" in shown
    assert "192 KiB a token" in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "7b", "--solver", "14b", "cluster.nodes=1", "cluster.gpus_per_node=4"],
         "GPU: the configuration wants 8 (learner 4 × 1, rollout 2 × 1, solver 2 × 1), the described cluster has 4"),
        (["--model", "7b", "--solver", "72b"],
         "GPU memory: solver needs 137.6 GiB for weights and one sequence, and has 72.0"),
        (["--model", "7b", "--solver", "14b", "learner.gradient_checkpointing=false",
          "learner.max_tokens_per_microbatch=16384"],
         "GPU memory: learner needs 116.5 GiB on a GPU (learner 116.5), which has 80"),
        (["--model", "7b", "--solver", "14b", "cluster=node8_colocated", "rollout.gpu_memory_utilization=0.7"],
         "GPU memory: learner and rollout need 82.2 GiB on a GPU (learner 26.2, rollout 56.0), which has 80"),
        (["--model", "9b"], "'9b' is no model"),
        (["learner.lr=-1"], "learner.lr: -1 is not allowed"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(capsys, arguments, said):
    cluster = [] if any(text.startswith("cluster=") for text in arguments) else ["cluster=node8"]
    assert main([*arguments, *cluster, LORA]) == 2
    message = capsys.readouterr().err
    assert message.startswith(said)
    assert message.count("\n") == 1


def test_without_the_gpus_size_nothing_is_refused():
    config = compose(["cluster=node8", "cluster.gpu_gib=null"])
    assert over_full(config, gpu_roles(config, "72b", "72b")) is None


@pytest.mark.parametrize(
    ("overrides", "kept"),
    [([], True), (["algorithm.kl_coef=0"], False), (["stages=[sft]"], False), ([LORA], False)],
)
def test_a_reference_is_counted_where_the_learner_keeps_one(overrides, kept):
    (learner,) = (
        one for one in gpu_roles(compose(["cluster=node8", *overrides]), "7b", "14b") if one.role == "learner"
    )
    assert ("reference" in sizes(learner.parts)) == kept
