"""Models and paths as people write them: with a tilde, or under a name that leads nowhere."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import OfflineModeIsEnabled
from transformers import GPT2Config

from conf.schema.base import MODEL, PATH, ConfigError
from conf.schema.keys import marked
from conf.schema.places import ASSETS
from launch.ask.__main__ import main as ask
from launch.check_models import _missing, check_models
from launch.compose import compose
from launch.train import main as train
from launch.trained import trained


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copytree(ASSETS / "tiny_decomposer", tmp_path / "m")
    (tmp_path / "a.jsonl").write_text("")
    return tmp_path


def test_a_tilde_is_the_home_folder_in_every_path(home):
    config = compose(
        [
            "model.path='~/m'", "solver.path='~/m'", "start_from='~/m'", "run_dir='~/r'", "solver.cache_path='~/c'",
            "rewards.vectors='~/v'", "rollout.replay='~/a.jsonl'", "stages=[ppo]", "data=jsonl",
            "data.root='~/d'", "data.train='~/a.jsonl'", "data.held_out=null", "+sft.held_out.also.x='~/a.jsonl'",
        ]
    )  # fmt: skip
    assert "~" not in config.model_dump_json()
    assert config.decomposer_path == config.solver.path == f"{home}/m"
    assert config.data.files("train") == [home / "a.jsonl"]
    assert {key.name for key in marked(PATH, MODEL)} >= {"model.path", "solver.path", "run_dir", "data.root"}


def test_a_model_to_ask_may_begin_with_a_tilde(home):
    assert trained("~/m", []).model.path == f"{home}/m"


@pytest.fixture(
    params=[OfflineModeIsEnabled("offline"), OSError("Name or service not known\nmore")], ids=["off", "down"]
)
def no_hub(request, monkeypatch):
    def model_info(*_, **__):
        raise request.param

    monkeypatch.setattr(HfApi, "model_info", model_info)
    monkeypatch.setattr("launch.check_models._missing", _missing.__wrapped__)
    return "HF_HUB_OFFLINE is set" if isinstance(request.param, OfflineModeIsEnabled) else "no connection: Name or"


@pytest.mark.parametrize("key", ["model.path", "start_from", "solver.path"])
def test_a_name_that_is_no_folder_and_cannot_be_fetched_is_refused_before_anything_starts(
    no_hub, tmp_path, capsys, key
):
    assert train([f"{key}=runs/typo", f"run_dir={tmp_path}/run"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"{key}: 'runs/typo' is no folder here")
    assert no_hub in said
    assert said.count("\n") == 1
    assert not Path(tmp_path / "run").exists()


def test_a_name_to_ask_that_leads_nowhere_is_refused_in_one_line(no_hub, capsys):
    assert ask(["runs/typo", "How many?"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("model.path: 'runs/typo' is no folder here")
    assert said.count("\n") == 1


def test_on_a_cluster_that_is_joined_its_nodes_look_for_models(no_hub):
    check_models(compose(["model.path=runs/typo", "cluster=ray"]))
    with pytest.raises(ConfigError):
        check_models(compose(["model.path=runs/typo"]))


def test_a_value_to_ask_with_that_cannot_be_read_is_said_by_its_key():
    with pytest.raises(ConfigError, match=r"^strategy\.stop: '\[a' cannot be read"):
        trained("package:tiny_decomposer", ["strategy.stop=[a"])


@pytest.fixture
def model(tiny_model, tmp_path):
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def without_end_token(folder):
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (folder / name).is_file():
            told = json.loads((folder / name).read_text())
            told.pop("eos_token", None)
            (folder / name).write_text(json.dumps(told))


@pytest.mark.parametrize("key", ["model.path", "start_from"])
def test_a_tokenizer_without_an_end_of_text_token_cannot_be_fine_tuned(model, key):
    without_end_token(model)
    with pytest.raises(ConfigError, match=rf"^{key}: the tokenizer of .* has no end-of-text token .*which stage sft"):
        check_models(compose(["stages=[sft,ppo]", f"{key}='{model}'"]))
    check_models(compose(["stages=[ppo]", f"{key}='{model}'"]))


def test_more_layers_than_a_model_has_cannot_be_trained(model):
    with pytest.raises(ConfigError, match=r"^model\.layers: 9 is not allowed: .* has (\d); allowed: 1 to \1, null$"):
        check_models(compose([f"model.path='{model}'", "model.layers=9"]))
    check_models(compose([f"model.path='{model}'", "model.layers=1"]))


@pytest.mark.parametrize(
    ("key", "override"),
    [("model.lora", "+model.lora={rank: 4, alpha: 8}"), ("rollout.weights.verify", "rollout.weights.verify=true")],
)
def test_a_model_that_keeps_weights_transposed_is_refused_by_name_where_that_matters(model, tmp_path, key, override):
    folder = tmp_path / "gpt2"
    GPT2Config(vocab_size=512, n_embd=32, n_layer=1, n_head=2).save_pretrained(folder)
    for file in model.glob("tokenizer*"):
        shutil.copy(file, folder)
    with pytest.raises(ConfigError, match=rf"^{key}: .*Conv1D"):
        check_models(compose([f"model.path='{folder}'", override]))
    check_models(compose([f"model.path='{folder}'"]))
    check_models(compose([f"model.path='{model}'", override]))


def without_tokenizer(folder):
    for file in folder.glob("*token*"):
        file.unlink()


@pytest.mark.parametrize(
    "spoil",
    [
        without_tokenizer,
        lambda folder: (folder / "tokenizer_config.json").write_text(""),
        lambda folder: (folder / "tokenizer_config.json").write_text("[]"),
        lambda folder: (without_end_token(folder), (folder / "tokenizer.json").write_text('{"model": {}}')),
    ],
    ids=["none", "empty", "a list", "of nothing"],
)
@pytest.mark.parametrize("key", ["model.path", "start_from"])
def test_a_tokenizer_that_cannot_be_read_is_said_in_one_line(model, tmp_path, capsys, key, spoil):
    spoil(model)
    assert train([f"{key}='{model}'", f"run_dir={tmp_path}/run"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"{key}: the model in '{model}' cannot be read: ")
    assert len(said.splitlines()) == 1


def test_a_kind_of_model_that_nobody_knows_is_said_in_one_line(model):
    settings = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(settings | {"model_type": "no_such_kind"}))
    with pytest.raises(ConfigError) as error:
        check_models(compose([f"model.path='{model}'", "rollout.weights.verify=true"]))
    assert str(error.value).startswith(f"model.path: the model in '{model}' cannot be read: ")
    assert "no_such_kind" in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_word_vectors_need_their_package_and_are_looked_for_as_other_models_are(no_hub, tmp_path, monkeypatch):
    config = compose(["rewards.vectors=owner/name"])
    monkeypatch.setattr("launch.check_models.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"^rewards\.vectors: 'owner/name' needs .*pip install sentence-transformers"):
        check_models(config)
    check_models(compose([]))
    monkeypatch.setattr("launch.check_models.find_spec", lambda name: name)
    for name in ("owner/name", "name"):
        with pytest.raises(ConfigError, match=rf"^rewards\.vectors: '{name}' is no folder here"):
            check_models(compose([f"rewards.vectors={name}"]))
    check_models(compose([f"rewards.vectors='{tmp_path}'"]))
    check_models(compose(["rewards.vectors=owner/name", "cluster=ray"]))
    monkeypatch.setattr("launch.check_models._missing", lambda name: None if "/" in name else "no such model")
    check_models(compose(["rewards.vectors=short-name"]))
