from __future__ import annotations

import pytest

from conf.schema.base import ConfigError
from conf.schema.role_sizes import role_sizes
from launch.compose import compose
from trainer.cluster.placement import Bundle, Node, bundles, in_words, shortage

NODE8 = Node(64, 8)


def test_a_laptop_reserves_nothing_and_so_fits_anywhere():
    config = compose([])
    assert [(role.name, role.count, role.cpus, role.gpus) for role in role_sizes(config)] == [
        ("learner", 1, 0, 0), ("rollout", 1, 0, 0), ("solver", 1, 0, 0), ("reward", 1, 0, 0),
    ]  # fmt: skip
    assert bundles(config) == []
    assert shortage(config, [Node(1, 0)]) is None


def test_on_a_cluster_each_role_has_its_cores():
    config = compose(["cluster=ray", "learner.threads=3", "rewards.workers=2", "solver=program"])
    assert bundles(config) == [
        Bundle(3, 0, (("learner", 0),)), Bundle(1, 0, (("rollout", 0),)),
        Bundle(1, 0, (("reward", 0),)), Bundle(1, 0, (("reward", 1),)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ([], "the policy engine, the solver engine, the reward actor and the learner"),
        (["solver=program"], "the policy engine, the solver, the reward actor and the learner"),
        (["rollout.workers=3", "solver.workers=2", "learner.ranks=2"],
         "3 policy engines, 2 solver engines, the reward actor and 2 learner ranks"),
        (["solver=openai", "solver.model=m", "rewards.workers=2"],
         "the policy engine, the solver, 2 reward actors and the learner"),
    ],
)  # fmt: skip
def test_roles_are_said_as_they_are(overrides, said):
    assert in_words(compose(overrides)) == said
    assert in_words(compose(overrides), ("learner",)) == said.rpartition(" and ")[2]


@pytest.mark.parametrize(
    ("overrides", "roles"),
    [
        (["stages=[evaluate]"], ["rollout", "solver", "reward"]),
        (["stages=[ppo]"], ["learner", "rollout", "solver", "reward"]),
        (["stages=[sft]"], ["learner", "rollout", "solver", "reward"]),
        (["stages=[sft]", "sft.role=verifier"], ["learner"]),
        (["sft.role=solver", "policy.plays=solver"], ["learner", "rollout", "reward"]),
        (["stages=[ppo]", "rollout.replay=setup.cfg"], ["learner"]),
    ],
)  # fmt: skip
def test_only_what_a_run_needs_is_reserved(overrides, roles):
    assert [role.name for role in role_sizes(compose(["cluster=ray", *overrides]))] == roles


def test_roles_apart_have_a_gpu_each():
    found = bundles(compose(["cluster=node8"]))
    assert [bundle.gpus for bundle in found] == [1] * 8 + [0]
    assert found[0] == Bundle(4, 1, (("learner", 0),))
    assert shortage(compose(["cluster=node8"]), [NODE8]) is None


def test_roles_beside_share_a_learner_ranks_gpu():
    found = bundles(compose(["cluster=node8_colocated"]))
    assert found[5] == Bundle(8, 1, (("learner", 5), ("rollout", 5)))
    assert [bundle.actors[0][0] for bundle in found] == ["learner"] * 6 + ["solver"] * 2 + ["reward"]
    assert sum(bundle.gpus for bundle in found) == 8


def test_two_learner_ranks_never_share_a_gpu():
    found = bundles(compose(["cluster=node8_colocated", "learner.gpus_per_rank=0.3", "rollout.gpus=0.2"]))
    assert {bundle.gpus for bundle in found if bundle.actors[0][0] == "learner"} == {1}


def test_what_lies_beside_needs_a_rank_to_lie_beside():
    with pytest.raises(ConfigError, match=r"cluster.beside: 'rollout' has 7 workers.*up to learner.ranks \(6\)"):
        compose(["cluster=node8_colocated", "rollout.workers=7"])


@pytest.mark.parametrize(
    ("overrides", "nodes", "message"),
    [
        (["cluster=node8"], [Node(64, 0)],
         "GPU: the configuration wants 8 (learner 4 × 1, rollout 2 × 1, solver 2 × 1), the cluster has 0"),
        (["cluster=ray"], [Node(2, 0), Node(1, 0)],
         "CPU: the configuration wants 4 (learner 1 × 1, rollout 1 × 1, solver 1 × 1, reward 1 × 1), "
         "the cluster has 3"),
        (["cluster=node8", "rollout.gpus=2", "rollout.tensor_parallel_size=2"], [Node(32, 5), Node(32, 5)], None),
        (["cluster=ray", "learner.threads=4"], [Node(3, 0), Node(4, 0)], None),
        (["cluster=ray", "learner.threads=4"], [Node(3, 0), Node(3, 0), Node(3, 0)],
         "CPU: no node of the cluster has room left for learner-0, which needs 0 GPU and 4 CPU on one node; its nodes "
         "have 0 GPU and 3 CPU"),
        (["cluster=node8", "solver.gpus=2", "solver.tensor_parallel_size=2"], [Node(64, 5), Node(64, 5)], None),
        (["cluster=node8", "solver.gpus=3", "solver.tensor_parallel_size=3"], [Node(64, 2)] * 6,
         "CPU and GPU: no node of the cluster has room left for solver-0, which needs 3 GPU and 1 CPU on one node; its "
         "nodes have 2 GPU and 64 CPU"),
        (["cluster=node8", "solver.workers=1", "solver.gpus=4", "solver.tensor_parallel_size=4"], [NODE8],
         "GPU: the configuration wants 10 (learner 4 × 1, rollout 2 × 1, solver 1 × 4), the cluster has 8"),
        (["cluster=node8", "learner.ranks=2", "solver.workers=1", "solver.gpus=4", "solver.tensor_parallel_size=2",
          "solver.pipeline_parallel_size=2"], [NODE8], None),
        (["cluster=nodes4"], [NODE8] * 4, None),
        (["cluster=nodes4"], [NODE8] * 3,
         "GPU: the configuration wants 32 (learner 16 × 1, rollout 8 × 1, solver 8 × 1), the cluster has 24"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named(overrides, nodes, message):
    assert shortage(compose(overrides), nodes) == message


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["solver.gpus=4"], "solver.gpus: 4 for each engine does not go with solver.tensor_parallel_size 1"),
        (["solver.gpus=4"], "allowed: solver.gpus up to 1, or solver.tensor_parallel_size=4"),
        (["rollout.gpus=1.5"], "rollout.gpus: 1.5 for each engine does not go with rollout.tensor_parallel_size 1"),
        (["solver.tensor_parallel_size=4"], "solver.gpus: 0 for each engine does not go with solver.tensor_parallel"),
        (["rollout.tensor_parallel_size=2", "rollout.gpus=1"], "allowed: rollout.gpus=2"),
        (["solver.gpus=4", "solver.tensor_parallel_size=4", "solver.pipeline_parallel_size=2"],
         "solver.tensor_parallel_size 4 × solver.pipeline_parallel_size 2, by which an engine is split over"),
        (["solver.gpus=2", "solver.tensor_parallel_size=2", "cluster.beside=[solver]"],
         "cluster.beside: 'solver' has engines over 2 GPUs each"),
    ],
)  # fmt: skip
def test_gpus_and_what_an_engine_is_split_over_go_together(overrides, said):
    with pytest.raises(ConfigError) as error:
        compose(overrides)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


SHARED = ["rollout.gpus=0.3", "solver.gpus=0.3"]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["cluster.beside=[rollout,solver]", *SHARED], "take 1.6 of its memory (1 × rollout 0.8 and 1 × solver 0.8)"),
        (SHARED, "take 1.6 of its memory"),
        (["solver.gpus=0.5", "solver.workers=2"], "take 1.6 of its memory (2 × solver 0.8)"),
        (["cluster.beside=[rollout]", *SHARED, "rollout.gpu_memory_utilization=0.3"], None),
        (["cluster.beside=[rollout,solver]", *SHARED, "rollout.gpu_memory_utilization=0.3",
          "solver.gpu_memory_utilization=0.4"], None),
        (["rollout.gpus=0.6", "solver.gpus=0.6"], None),
        (["rollout.gpus=1", "solver.gpus=1"], None),
    ],
)  # fmt: skip
def test_engines_that_may_share_a_gpu_take_no_more_than_it_has(overrides, said):
    if said is None:
        compose(overrides)
        return
    with pytest.raises(ConfigError, match=r"gpu_memory_utilization: engines that share a GPU") as error:
        compose(overrides)
    assert said in str(error.value)
