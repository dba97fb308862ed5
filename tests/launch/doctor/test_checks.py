"""Every judgement of the doctor, good and bad, and the line that it makes."""

from __future__ import annotations

import pytest

from launch.doctor import checks
from launch.doctor.checks import FAILURE, OK, WARNING

LOCK = {"torch": "2.13.0+cpu", "ray": "2.60.0"}
KEY = "0123456789abcdef" * 3


@pytest.mark.parametrize(
    ("finding", "level", "said"),
    [
        (checks.python_version((3, 11)), OK, "3.11"),
        (checks.python_version((3, 12)), FAILURE, "3.12, not 3.11; install Python 3.11"),
        (checks.lock("cpu.lock", LOCK, LOCK | {"more": "1"}), OK, "all 2 as in cpu.lock"),
        (
            checks.lock("cpu.lock", LOCK, {"torch": "2.12.0"}),
            FAILURE,
            "ray 2.60.0 is missing, torch 2.12.0 instead of 2.13.0+cpu",
        ),
        (checks.lock("cpu.lock", LOCK, LOCK | {"torchvision": "1"}), FAILURE, "torchvision, which breaks it"),
        (
            checks.lock("x", {f"p{n}": "1" for n in range(9)}, {}),
            FAILURE,
            "p4 1 is missing and 4 more; make clean-env",
        ),
        (checks.compiler("c++", True, True, True), OK, "c++"),
        (checks.compiler("c++", False, True, True), FAILURE, "'c++' is not on this machine; install one"),
        (checks.compiler("c++", True, False, True), FAILURE, "Python.h is missing; install Python's headers"),
        (checks.compiler("clang", False, False, False), WARNING, "'clang' is not on this machine"),
        (checks.memory(12.0), OK, "12.0 GiB free"),
        (checks.memory(6.0), WARNING, "6.0 GiB free, a run of the embedded default takes 5; end other programs"),
        (checks.memory(2.0), FAILURE, "2.0 GiB free"),
        (checks.shared_memory(4.0, 0.5), OK, "/dev/shm has 4.0 GiB"),
        (checks.shared_memory(0.06, 0.5), WARNING, "so Ray would use /tmp, slowly; docker run --shm-size=0.6g"),
        (checks.shared_memory(None, 0.5), WARNING, "/dev/shm is missing"),
        (checks.disk("/runs", 100.0, True), OK, "100.0 GiB free at '/runs'"),
        (checks.disk("/runs", 3.0, True), WARNING, "make room, or run_dir=FOLDER elsewhere"),
        (checks.disk("/runs", 0.2, True), FAILURE, "0.2 GiB free at '/runs'"),
        (checks.disk("/", 100.0, False), FAILURE, "'/' cannot be written; run_dir=FOLDER"),
        (checks.ports(True, [], None, True), OK, "sockets can listen"),
        (checks.ports(True, [], "head:6379", True), OK, "cluster.address head:6379"),
        (checks.ports(True, [8265, 52365], None, True), WARNING, "8265, 52365 taken, probably by another Ray"),
        (checks.ports(True, [6379], "auto", True), OK, "cluster.address auto"),
        (
            checks.ports(True, [], "head:8265", False),
            FAILURE,
            "nothing answers at head:8265; start one there: ray start",
        ),
        (checks.ports(False, [], None, True), FAILURE, "no socket can listen on 127.0.0.1"),
        (checks.temporary_folder("/tmp", None, 35, True), OK, "/tmp"),
        (checks.temporary_folder("/tmp", "/scratch", 35, True), OK, "/scratch"),
        (checks.temporary_folder("/" + "t" * 60, None, 35, True), OK, "which go to /tmp"),
        (checks.temporary_folder("/tmp", "/" + "ü" * 18, 35, True), FAILURE, "(35 bytes); RAY_TMPDIR=/tmp"),
        (checks.temporary_folder("/gone", None, 35, False), FAILURE, "'/gone' cannot be written; TMPDIR=/tmp"),
        (checks.proxies({}, None, True), OK, "none"),
        (checks.proxies({"HTTP_PROXY": ("p:1", True)}, None, True), OK, "HTTP_PROXY (p:1)"),
        (
            checks.proxies({"HTTP_PROXY": ("p:1", False)}, None, True),
            WARNING,
            "nothing answers at the proxy of HTTP_PROXY",
        ),
        (
            checks.proxies({"https_proxy": ("p:1", False)}, "https_proxy", True),
            FAILURE,
            "the proxy of https_proxy (p:1)",
        ),
        (checks.proxies({"ALL_PROXY": ("p:1", True)}, "ALL_PROXY", False), FAILURE, "names a SOCKS proxy"),
        (checks.gpus(0, [], (0, 0), None), OK, "none here, none wanted"),
        (checks.gpus(0, ["H100"], (13, 0), (13, 0)), WARNING, "1 here (H100), none wanted; to use it: cluster=gpu1,"),
        (checks.gpus(0, ["H100"] * 4, (13, 0), (13, 0)), WARNING, "none wanted; to use it: cluster=gpu2,"),
        (checks.gpus(0, ["H100"] * 8, (13, 0), None), OK, "none wanted; to use it: cluster=gpu8,"),
        (checks.gpus(8, ["H100"] * 8, (13, 1), (13, 0)), OK, "8 × H100, CUDA 13.0"),
        (checks.gpus(2, ["H100"] * 2, (13, 0), (13, 2)), OK, "2 × H100, CUDA 13.2"),
        (checks.gpus(1, [], (0, 0), (13, 0)), FAILURE, "none here, 1 wanted; install the driver"),
        (checks.gpus(8, ["H100"] * 4, (13, 0), (13, 0)), FAILURE, "4 here, 8 wanted"),
        (checks.gpus(1, ["H100"], (13, 0), None), FAILURE, "torch is built for the CPU; make clean-env setup LOCK="),
        (checks.gpus(1, ["V100"], (12, 4), (13, 0)), FAILURE, "the driver is for CUDA 12.4, torch for 13.0; install"),
        (checks.models([], False, None), OK, "the hub is not needed"),
        (checks.models(["me/it"], False, None), OK, "me/it: here, or on the hub"),
        (checks.models(["me/it"], True, None), OK, "me/it: fetched before"),
        (checks.models(["me/it"], False, None, joins=True), OK, "me/it: not looked for, as the cluster's nodes fetch"),
        (
            checks.models(["me/it"], True, "model.path: 'me/it' is no folder"),
            FAILURE,
            "no folder; fetch it where there is",
        ),
        (checks.models([], False, "model.path: no end token"), FAILURE, "model.path: no end token"),
        (checks.served("solver", None, None), OK, "no server is needed"),
        (
            checks.served("solver", "http://s/v1", None),
            OK,
            "http://s/v1 answers one short question, for which a paid server charges",
        ),
        (checks.served("verifier", "http://s/v1", "no reply"), FAILURE, "no reply; see docs/solvers.md"),
        (checks.wandb_key(False, None, ""), OK, "tracking is not online"),
        (checks.wandb_key(True, KEY, "WANDB_API_KEY"), OK, "the key of WANDB_API_KEY has the right form"),
        (checks.wandb_key(True, f"local-{KEY}", "~/.netrc"), OK, "the key of ~/.netrc"),
        (checks.wandb_key(True, None, ""), FAILURE, "no key was found, and tracking is online; WANDB_API_KEY=KEY"),
        (checks.wandb_key(True, "  \n", ""), FAILURE, "no key was found"),
        (checks.wandb_key(True, KEY[:12], "WANDB_API_KEY"), FAILURE, "has 12 characters, fewer than 40"),
        (checks.wandb_key(True, f"{KEY}\n", "WANDB_API_KEY"), FAILURE, "holds white space"),
        (checks.wandb_key(True, f"“{KEY}”", "WANDB_API_KEY"), FAILURE, "characters that no key has"),
    ],
)
def test_a_check_says_in_one_line_what_is_and_what_to_do(finding, level, said):
    assert finding.level == level
    assert said in finding.line()
    assert finding.line().startswith(level)
    assert "\n" not in finding.line()
    assert level == OK or finding.remedy or "model.path" in finding.text


@pytest.mark.parametrize("key", [KEY[:20], f"{KEY}\n", f" {KEY}", f"{KEY}ü", f"a\r\n{KEY}"])
def test_no_part_of_a_key_is_shown(key):
    line = checks.wandb_key(True, key, "WANDB_API_KEY").line()
    assert key.strip()[:6] not in line
    assert KEY[:6] not in line
