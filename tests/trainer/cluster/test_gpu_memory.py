"""The plan's arithmetic against cases worked by hand: a 7B decomposer with LoRA and a 14B solver on 80 GB GPUs."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace

import pytest

from conf.schema.learning import Learner
from conf.schema.model import shipped
from conf.schema.places import CONF, ROOT
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
    token_bytes,
    weight_bits,
)
from trainer.cluster.resource_plan import gpu_gib, gpu_roles, over_full, without_gpu

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
    assert found["reference"] == 2 * count / weights


def test_float32_keeps_no_second_copy_and_a_critic_of_its_own_is_a_second_model():
    found = learner_sizes(FULL | {"dtype": "float32", "zero_stage": 0, "critic": "separate"})
    assert found["weights"] == 2 * 4 * SEVEN.parameters
    assert found["optimiser"] == 2 * 8 * SEVEN.parameters
    assert found["reference"] == 4 * SEVEN.parameters


def test_zero_keeps_a_second_copy_in_float32_too():
    found = learner_sizes(FULL | {"dtype": "float32", "ranks": 1, "zero_stage": 1})
    assert found["optimiser"] == 12 * SEVEN.parameters


def test_a_bucket_is_there_whole_with_few_gradients_and_one_rank_and_can_be_smaller():
    one = FULL | {"ranks": 1, "zero_stage": 1}
    found = sizes(learner_memory(SEVEN, Learner.model_validate(one), 16))
    assert found["buckets"] == 2 * 5e8
    small = one | {"deepspeed": {"zero_optimization": {"reduce_bucket_size": 10**6}}}
    assert learner_sizes(small)["buckets"] == 2e6
    assert "buckets" not in learner_sizes(one | {"zero_stage": 0})
    assert "gathered" not in learner_sizes(one | {"zero_stage": 3})


def test_of_some_layers_only_the_weights_are_whole():
    settings = Learner.model_validate(FULL | {"zero_stage": 0, "gradient_checkpointing": False})
    found = sizes(learner_memory(SEVEN, settings, None, layers=7))
    assert found["weights"] == 2 * SEVEN.parameters
    assert found["gradients"] == 2 * SEVEN.in_matrices / 4
    assert found["optimiser"] == 12 * SEVEN.in_matrices / 4
    assert found["activations"] == 2 * 7 * 102_400 * 8192
    adapters = sizes(learner_memory(SEVEN, settings, 16, layers=7))
    assert adapters["optimiser"] == 12 * SEVEN.adapters(16) / 4


def test_activations_by_hand():
    # 4 × 3584 + 3 × 28 × 128 + 3 × 4 × 128 + 4 × 18944
    assert layer_activations(SEVEN) == 14_336 + 10_752 + 1_536 + 75_776 == 102_400
    kept = learner_sizes(FULL)["activations"]
    assert kept == 2 * (28 * 3584 + 102_400) * 8192
    assert learner_sizes(FULL | {"gradient_checkpointing": False})["activations"] == 2 * 28 * 102_400 * 8192


def test_logits_by_hand():
    # 2**26 // 152064 tokens at once, or the half of a micro-batch that is completions where that is less.
    assert learner_sizes(FULL)["logits"] == 20 * 441 * 152_064
    assert learner_sizes(FULL | {"max_tokens_per_microbatch": 800})["logits"] == 20 * 400 * 152_064
    assert learner_sizes(FULL | {"logits_per_chunk": 10**6})["logits"] == 20 * 6 * 152_064
    assert learner_sizes(FULL | {"logits_per_chunk": 1})["logits"] == 20 * 152_064


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
# 1.25 of logits, a bucket for 500 M gradients, a twentieth of these three for fragments, 3 beside; engines take 0.9 of
# 80.
@pytest.mark.parametrize(("cluster", "ranks"), [("node8", 4), ("nodes4", 16)])
def test_7b_with_lora_and_a_14b_solver_fit_one_node_and_four(capsys, cluster, ranks):
    overrides = [f"cluster={cluster}", LORA]
    memory = {one.role: one for one in gpu_roles(compose(overrides), "7b", "14b")}
    moving = 2 * 202_752 * 8192e-9 + 20 * 441 * 152_064e-9 + 2 * 0.5
    by_hand = 2 * 7.655857 + 14 * 0.040370 / ranks + 1.05 * moving
    assert memory["learner"].gib == pytest.approx(by_hand * 1e9 / GIB + 3, abs=0.01)
    assert memory["rollout"].gib == pytest.approx(72, abs=0.001)
    assert memory["solver"].gib == pytest.approx(72, abs=0.001)
    assert memory["solver"].minimum == pytest.approx(27.51 + 2 + 768 * 196_608 / GIB, abs=0.01)
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
         "GPU memory: solver needs 137.7 GiB for weights and one sequence, and has 72.0"),
        (["--model", "7b", "--solver", "14b", "learner.gradient_checkpointing=false",
          "learner.max_tokens_per_microbatch=16384"],
         "GPU memory: learner needs 111.6 GiB on a GPU (learner 111.6), which has 80"),
        (["--model", "7b", "--solver", "14b", "cluster=node8_colocated", "rollout.gpu_memory_utilization=0.8"],
         "GPU memory: learner and rollout need 86.9 GiB on a GPU (learner 22.9, rollout 64.0), which has 80"),
        (["--model", "1.5b", "--solver", "70b", "solver.gpus=1"],
         "GPU memory: solver needs 133.7 GiB for weights and one sequence, and has 72.0"),
        (["--model", "1.5b", "--solver", "32b", "solver.gpus=3", "solver.tensor_parallel_size=3", "cluster.nodes=2"],
         "solver.tensor_parallel_size: 3 does not divide the 40 heads; allowed: 1, 2, 4, 5, 8, 10"),
        (["--model", "7b", "--solver", "7b", "cluster.nodes=null", "solver.gpus=32",
          "solver.pipeline_parallel_size=32"],
         "solver.pipeline_parallel_size: 32 is more than the 28 layers"),
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


EIGHT = ["cluster=node8", "learner.zero_stage=2", "solver.max_model_len=4096"]
FOUR = ["solver.workers=1", "solver.gpus=4", "learner.ranks=2"]


@pytest.mark.parametrize(
    ("solver", "overrides", "weights"),
    [
        ("70b", [*FOUR, "solver.tensor_parallel_size=4"], 2 * 70.553706e9 / 4),
        ("70b", [*FOUR, "solver.tensor_parallel_size=2", "solver.pipeline_parallel_size=2"], 2 * 70.553706e9 / 4),
        # Of 32.76 G parameters the 31.21 G in matrices have 4 bits, and 20 bits more for each 128 of them.
        ("32b", ["solver.quantization=awq"], 2 * (32.763418e9 - 31.205622e9) + 31.205622e9 * (4 + 20 / 128) / 8),
        ("32b", ["solver.quantization=fp8"], 2 * (32.763418e9 - 31.205622e9) + 31.205622e9),
    ],
)
def test_a_solver_over_four_of_eight_gpus_and_a_quantised_one_on_one(capsys, solver, overrides, weights):
    assert main(["--model", "1.5b", "--solver", solver, *EIGHT, *overrides]) == 0, capsys.readouterr().err
    memory = {one.role: one for one in gpu_roles(compose([*EIGHT, *overrides]), "1.5b", solver)}
    assert memory["solver"].parts[0].size == pytest.approx(weights, rel=1e-4)
    assert memory["solver"].gib == pytest.approx(72, abs=0.001)


def test_keys_and_values_are_split_with_the_heads_and_can_be_smaller():
    parallel = VllmSolver(backend="vllm", path="70b", tensor_parallel_size=4, pipeline_parallel_size=2)
    assert token_bytes(DESCRIBED["70b"], parallel, "bfloat16", 4) == 2 * 80 * 8 * 128 * 2 / 8
    # Four heads over eight GPUs: each GPU has one.
    assert token_bytes(SEVEN, parallel, "bfloat16", 8) == 2 * 28 * 4 * 128 * 2 / 8
    small = VllmSolver(backend="vllm", path="7b", engine_arguments={"kv_cache_dtype": "fp8_e4m3"})
    assert token_bytes(SEVEN, small, "bfloat16", 1) == kv_bytes(SEVEN, "bfloat16") / 2


@pytest.mark.parametrize(
    ("written", "bits"),
    [
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, 4 + 20 / 128),
        ({"quant_method": "gptq", "bits": 8}, 8),
        ({"quant_method": "fp8", "activation_scheme": "dynamic"}, 8),
        ({"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": {"num_bits": 8}}}}, 8),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, 4 + 20 / 128),
        ({"quant_method": "something"}, None),
        (None, None),
    ],
)
def test_the_bits_of_a_weight_are_what_the_models_folder_says(tmp_path, written, bits):
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": written} if written else {}))
    assert weight_bits(None, str(tmp_path)) == bits
    assert weight_bits("fp8", str(tmp_path)) == (bits or 8)


def test_a_quantised_model_of_the_hub_counts_as_its_folder_does(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": {"quant_method": "awq", "bits": 4}}))
    monkeypatch.setattr("transformers.utils.cached_file", lambda path, name: str(tmp_path / name))
    assert weight_bits(None, "owner/model-awq") == weight_bits(None, str(tmp_path))
    assert weight_bits(None, "7b") is None


def test_the_optimisers_step_counts_where_it_is_more_than_the_backward_pass():
    few = learner_sizes(FULL | {"max_tokens_per_microbatch": 1024})
    assert few["step"] == pytest.approx(8 * SEVEN.parameters / 4 - few["activations"] - few["logits"])
    assert "step" not in learner_sizes(FULL | {"max_tokens_per_microbatch": 65536})
    # ZeRO-3 steps a thousand million weights at once, and holds as many of other ranks'.
    three = learner_sizes(FULL | {"max_tokens_per_microbatch": 1024, "zero_stage": 3})
    assert three["step"] == pytest.approx(8e9 - three["activations"] - three["logits"])
    assert three["gathered"] == 2e9
    away = learner_sizes(FULL | {"max_tokens_per_microbatch": 1024, "offload_optimizer": True})
    assert not {"step", "optimiser"} & away.keys()


# Of the page's table: option, decomposer, ZeRO stage, longest sequence, GiB of a rank.
LAYOUT = re.compile(r"\| `cluster=(node8_\w+)` \| ([\d.]+) B, [^|]* \| (\d) \| ([\d,]+) \| ([\d.]+) \|")
LAYOUTS = LAYOUT.findall((ROOT / "docs" / "launching.md").read_text(encoding="utf-8"))


def test_the_page_has_every_layout_for_one_size_of_decomposer():
    assert sorted(found[0] for found in LAYOUTS) == sorted(path.stem for path in CONF.glob("cluster/node8_[0-9]*.yaml"))


@pytest.mark.parametrize(("layout", "billions", "stage", "longest", "gib"), LAYOUTS)
def test_the_layouts_have_room_for_the_models_that_they_are_for(capsys, layout, billions, stage, longest, gib):
    overrides, model = [f"cluster={layout}"], f"{billions}b"
    assert main(["--model", model, "--solver", "14b", *overrides]) == 0, capsys.readouterr().err
    assert f"\nlearner: {gib} GiB a GPU\n" in capsys.readouterr().out
    config = compose(overrides)
    assert (config.learner.zero_stage, f"{config.rollout.max_model_len:,}") == (int(stage), longest)
    # A micro-batch has room for the longest sequence.
    assert config.learner.max_tokens_per_microbatch >= config.rollout.max_model_len


def test_learner_gpu_has_room_for_three_billion_parameters_on_a_card_of_80_gb():
    overrides = ["learner=gpu", "cluster.gpu_gib=80"]
    for model, fits in (("3b", True), ("7b", False)):
        config = compose(overrides)
        assert (over_full(config, gpu_roles(config, model)) is None) == fits


def test_here_the_size_of_a_gpu_is_what_torch_says(monkeypatch):
    config = compose(["learner=gpu", "rollout=gpu", "solver.gpus=1"])
    sized = [SimpleNamespace(total_memory=size * GIB) for size in (80, 24)]
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.get_device_properties", sized.__getitem__)
    assert gpu_gib(config) == 24
    said = over_full(config, gpu_roles(config, "14b", "0.5b"))
    assert said.startswith("GPU memory: rollout needs ")
    assert said.endswith("and has 19.2 (rollout.gpu_memory_utilization of this machine's 24)")
    assert gpu_gib(compose(["cluster=node8", "cluster.gpu_gib=null"])) is None


@pytest.mark.parametrize(
    ("installed", "overrides", "said"),
    [
        ("0.32.0", [], "rollout.gpus: 0 is not allowed with the vLLM that is installed"),
        ("0.32.0", ["rollout.gpus=1"], "solver.gpus: 0 is not allowed"),
        ("0.32.0", ["rollout.gpus=1", "solver=program"], None),
        ("0.32.0", ["cluster=ray"], None),
        ("0.32.0", ["stages=[sft]", "sft.role=verifier"], None),
        ("0.32.0+cpu", [], None),
        (None, [], None),
    ],
)
def test_engines_without_a_gpu_need_the_vllm_for_the_cpu(monkeypatch, installed, overrides, said):
    def version(name: str) -> str:
        if installed is None:
            raise PackageNotFoundError(name)
        return installed

    monkeypatch.setattr("trainer.cluster.resource_plan.version", version)
    found = without_gpu(compose(overrides))
    assert found == said if said is None else found.startswith(said)
