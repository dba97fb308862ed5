"""A run's copy elsewhere: complete checkpoints only, what is gone is gone, and enough to go on from."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import fsspec
import pytest

from conf.schema.base import ConfigError
from launch.compose import compose
from launch.train import main
from trainer.run_folder.checkpoints import newest
from trainer.run_folder.files import complete_folder
from trainer.run_folder.mirror import Mirror


@pytest.fixture
def bucket(monkeypatch):
    """A store in memory, that keeps what was done to it."""
    files = fsspec.filesystem("memory")
    files.store.clear()
    done = []
    for name in ("put_file", "rm_file"):
        before = getattr(type(files), name)

        def noted(self, *arguments, before=before, name=name, **options):
            before(self, *arguments, **options)
            done.append((name, arguments[-1].removeprefix("/runs/one/")))

        monkeypatch.setattr(type(files), name, noted)
    yield done
    files.store.clear()


def checkpoint(run: Path, step: int) -> None:
    with complete_folder(run / "checkpoints" / f"step-{step}") as folder:
        (folder / "learner").mkdir()
        (folder / "learner" / "state.pt").write_text(f"learner {step}")
        (folder / "state.json").write_text(f'{{"version": {step}}}')
        (folder / "waiting.jsonl").write_text("")


@pytest.fixture
def run(tmp_path) -> Path:
    folder = tmp_path / "one"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").write_text("seed: 0\n")
    (folder / "metrics.jsonl").write_text('{"step": 1}\n')
    checkpoint(folder, 1)
    (folder / "checkpoints" / "step-2.partial").mkdir()
    (folder / "checkpoints" / "step-2.partial" / "state.json").write_text("{}")
    (folder / "latest").symlink_to("metrics.jsonl")
    return folder


def names() -> set[str]:
    return {str(path).removeprefix("/runs/one/") for path in fsspec.filesystem("memory").find("/runs/one")}


def test_only_what_changed_is_sent_and_only_what_is_complete(run, bucket):
    mirror = Mirror("memory://runs", run, pytest.fail)
    mirror.fetch(resume=False)
    mirror.copy()
    assert names() == {
        "config.yaml", "metrics.jsonl", "checkpoints/step-1/learner/state.pt", "checkpoints/step-1/state.json",
        "checkpoints/step-1/waiting.jsonl",
    }  # fmt: skip
    assert bucket[-1] == ("put_file", "checkpoints/step-1/state.json")
    bucket.clear()
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2}\n')
    mirror.copy()
    assert bucket == [("put_file", "metrics.jsonl")]


def test_a_model_of_which_a_part_is_missing_is_not_taken_for_whole(run, bucket):
    with complete_folder(run / "checkpoints" / "sft") as folder:
        for name in ("config.json", "model.safetensors", "tokenizer.json", "added_tokens.json"):
            (folder / name).write_text("{}")
    Mirror("memory://runs", run, pytest.fail).copy()
    sent = [name for kind, name in bucket if name.startswith("checkpoints/sft/")]
    assert len(sent) == 4
    assert sent[-1] == "checkpoints/sft/config.json"


def test_a_checkpoint_that_goes_or_changes_is_never_half_one(run, bucket):
    mirror = Mirror("memory://runs", run, pytest.fail)
    mirror.copy()
    checkpoint(run, 2)
    bucket.clear()
    (run / "checkpoints" / "step-1").rename(run.parent / "pruned")
    mirror.copy()
    # There is one at any time.
    state = [entry for entry in bucket if entry[1].endswith("/state.json")]
    assert state == [("put_file", "checkpoints/step-2/state.json"), ("rm_file", "checkpoints/step-1/state.json")]
    assert [kind for kind, _ in bucket] == ["put_file"] * 3 + ["rm_file"] * 3
    assert bucket.index(state[1]) == 3
    bucket.clear()
    checkpoint(run, 2)
    mirror.copy()
    assert bucket[0] == ("rm_file", "checkpoints/step-2/state.json")
    assert bucket[-1] == ("put_file", "checkpoints/step-2/state.json")


def test_a_checkpoint_that_gets_another_file_is_still_one(run, bucket):
    mirror = Mirror("memory://runs", run, print)
    mirror.copy()
    (run / "checkpoints" / "step-1" / "README.md").write_text("a card")
    bucket.clear()
    mirror.copy()
    state = "checkpoints/step-1/state.json"
    assert bucket == [("rm_file", state), ("put_file", "checkpoints/step-1/README.md"), ("put_file", state)]


def test_a_checkpoint_that_is_removed_while_it_is_sent_is_none(run, bucket, monkeypatch):
    mirror = Mirror("memory://runs", run, pytest.fail)
    put = type(mirror._files).put_file

    def prune(self, path, *arguments, **options):
        if path.endswith("waiting.jsonl"):
            (run / "checkpoints" / "step-1").rename(run.parent / "pruned")
        put(self, path, *arguments, **options)

    monkeypatch.setattr(type(mirror._files), "put_file", prune)
    mirror.copy()
    assert not any(name.endswith("/state.json") for name in names())
    mirror.copy()
    assert names() == {"config.yaml", "metrics.jsonl"}


def test_a_run_whose_folder_is_lost_is_fetched_to_go_on_with(run, bucket, tmp_path):
    Mirror("memory://runs", run, pytest.fail).copy()
    elsewhere = tmp_path / "other" / "one"
    fetched = Mirror("memory://runs/", elsewhere, pytest.fail)
    with pytest.raises(ConfigError, match=r"'memory://runs/one' already holds a run; allowed: another run_dir, or"):
        fetched.fetch(resume=False)
    assert not elsewhere.exists()
    fetched.fetch(resume=True)
    assert (elsewhere / "metrics.jsonl").read_text() == '{"step": 1}\n'
    found = newest(elsewhere / "checkpoints")
    assert found is not None
    assert found.version == 1
    assert (found.folder / "learner" / "state.pt").read_text() == "learner 1"
    # What this one does away with is gone there too, though another process sent it.
    checkpoint(elsewhere, 3)
    (elsewhere / "checkpoints" / "step-1").rename(tmp_path / "pruned")
    fetched.copy()
    assert {name.split("/")[1] for name in names() if "/" in name} == {"step-3"}


def test_a_copy_is_not_fetched_over_what_others_have_there_but_a_fetch_that_was_cut_short_is_begun_again(
    run, bucket, tmp_path, monkeypatch
):
    Mirror("memory://runs", run, pytest.fail).copy()
    elsewhere = tmp_path / "other" / "one"
    (elsewhere / "logs").mkdir(parents=True)
    (elsewhere / "logs" / "slurm.sh").write_text("a launcher's")
    (elsewhere / "metrics.jsonl").write_text("mine")
    with pytest.raises(ConfigError, match=r"^run_dir: '.*' holds 'metrics\.jsonl' of something else; allowed: "):
        Mirror("memory://runs", elsewhere, pytest.fail).fetch(resume=True)
    assert (elsewhere / "metrics.jsonl").read_text() == "mine"
    (elsewhere / "metrics.jsonl").unlink()
    get = fsspec.filesystem("memory").get_file

    def cut_short(self, source, *arguments, **options):
        if source.endswith("/config.yaml"):
            raise ConnectionError
        get(source, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(type(fsspec.filesystem("memory")), "get_file", cut_short)
        with pytest.raises(ConfigError, match="cannot be read"):
            Mirror("memory://runs", elsewhere, pytest.fail).fetch(resume=True)
    assert (elsewhere / "metrics.jsonl").is_file()
    Mirror("memory://runs", elsewhere, pytest.fail).fetch(resume=True)
    assert (elsewhere / "config.yaml").is_file()
    assert [path.name for path in (elsewhere / "logs").iterdir()] == ["slurm.sh"]


def test_a_folder_that_is_there_is_not_fetched_over(run, bucket):
    Mirror("memory://runs", run, pytest.fail).copy()
    (run / "metrics.jsonl").write_text("newer")
    Mirror("memory://runs", run, pytest.fail).fetch(resume=True)
    assert (run / "metrics.jsonl").read_text() == "newer"


def fine_tuned(run: Path) -> None:
    with complete_folder(run / "checkpoints" / "sft") as folder:
        (folder / "config.json").write_text("{}")


def fine_tuning(run: Path, step: int) -> None:
    with complete_folder(run / "checkpoints" / "sft_steps" / f"step-{step}") as folder:
        (folder / "state.json").write_text(f'{{"version": {step}}}')


def finished(run: Path) -> None:
    (run / "summary.json").write_text('{"status": "finished", "steps": 1}')


@pytest.mark.parametrize(
    ("there", "here", "said"),
    [
        (lambda run: checkpoint(run, 30), lambda run: checkpoint(run, 10), r"\(step 30\) than '.*' \(step 10\)"),
        (finished, lambda run: None, r"\(a finished run\) than '.*' \(step 1\)"),
        (fine_tuned, lambda run: fine_tuning(run, 4), r"\(the end of stage 1\) than '.*' \(step 4 of stage 1\)"),
        (lambda run: fine_tuning(run, 8), lambda run: fine_tuning(run, 4), r"\(step 8 of stage 1\) than.*4 of stage"),
    ],
    ids=["steps", "finished", "stage 1", "within stage 1"],
)
def test_a_folder_does_not_replace_a_copy_of_its_run_that_went_on_elsewhere(run, bucket, tmp_path, there, here, said):
    if "stage 1" in said:
        shutil.rmtree(run / "checkpoints" / "step-1")
    elsewhere = tmp_path / "elsewhere" / "one"
    shutil.copytree(run, elsewhere, symlinks=True)
    there(elsewhere)
    here(run)
    Mirror("memory://runs", elsewhere, pytest.fail).copy()
    kept = names()
    allowed = "; allowed: remove that folder, then it is fetched, or another run_dir$"
    with pytest.raises(ConfigError, match=rf"^mirror: 'memory://runs/one' holds a later state {said}.*{allowed}"):
        Mirror("memory://runs", run, pytest.fail).fetch(resume=True)
    assert names() == kept
    shutil.rmtree(run)
    Mirror("memory://runs", run, pytest.fail).fetch(resume=True)


def test_a_folder_that_is_further_than_its_copy_is_gone_on_with(run, bucket):
    fine_tuning(run, 4)
    finished(run)
    Mirror("memory://runs", run, pytest.fail).copy()
    fine_tuned(run)
    (run / "summary.json").write_text('{"status": "interrupted"}')
    checkpoint(run, 20)
    Mirror("memory://runs", run, pytest.fail).fetch(resume=True)


@pytest.mark.parametrize("resume", ["null", "auto"])
@pytest.mark.parametrize(
    ("place", "folder"),
    [(".", "one"), ("one/copies", "one"), ("linked", "one"), ("not/there/yet", "not/there/yet/here"), (".", "one/one")],
    ids=["the folder", "in it", "by a link", "not there", "around it"],
)
def test_a_copy_in_the_place_of_the_run_is_refused_before_anything_is_removed(run, capsys, place, folder, resume):
    (run.parent / "linked").symlink_to(run.parent)
    before = sorted(run.parent.rglob("*"))
    arguments = [f"run_dir={run.parent / folder}", f"mirror=file://{run.parent / place}", f"resume={resume}"]
    assert main(["seed=0", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("mirror: 'file://")
    assert "are one or lie in one another; allowed: a folder elsewhere\n" in said
    assert sorted(run.parent.rglob("*")) == before


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("begun", [False, True])
def test_a_place_that_holds_something_else_is_left_as_it_is(run, bucket, resume, begun):
    fsspec.filesystem("memory").pipe_file("/runs/one/thesis/chapter.tex", b"mine")
    if not begun:
        shutil.rmtree(run)
    with pytest.raises(ConfigError, match=r"^mirror: 'memory://runs/one' holds something else; allowed: "):
        Mirror("memory://runs", run, pytest.fail).fetch(resume)
    assert names() == {"thesis/chapter.tex"}


def test_a_copy_is_known_as_that_of_a_run_from_its_first_file_on(run, bucket):
    (run / "config.yaml").rename(run / "config.yaml.partial")
    mirror = Mirror("memory://runs", run, pytest.fail)
    mirror.copy()
    assert not names(), "a start that failed leaves a place as it was"
    (run / "config.yaml.partial").rename(run / "config.yaml")
    mirror.copy()
    assert bucket[0] == ("put_file", "config.yaml")


def test_a_copy_that_gives_way_is_replaced_whole_by_the_next_run_and_not_fetched(run, bucket, tmp_path):
    Mirror("memory://runs", run, pytest.fail).copy()
    Mirror("memory://runs", run, pytest.fail).give_way()
    shutil.rmtree(run)
    run.mkdir()
    fsspec.filesystem("memory").pipe_file("/runs/one/config.yaml", b"its first copy was cut short")
    for resume in (True, False):
        mirror = Mirror("memory://runs", run, pytest.fail)
        mirror.fetch(resume)
        assert not list(run.iterdir())
    (run / "config.yaml").write_text("seed: 1\n")
    bucket.clear()
    mirror.copy()
    assert names() == {"config.yaml"}
    assert bucket[-1] == ("rm_file", "config.yaml.replaced")


def test_what_is_no_copy_does_not_give_way(run, bucket):
    fsspec.filesystem("memory").pipe_file("/runs/one/thesis/chapter.tex", b"mine")
    Mirror("memory://runs", run, pytest.fail).give_way()
    with pytest.raises(ConfigError, match="holds something else"):
        Mirror("memory://runs", run, pytest.fail).fetch(resume=False)
    assert names() == {"thesis/chapter.tex"}


@pytest.mark.parametrize("mended", [True, False])
def test_a_store_that_fails_is_said_once_and_tried_again(run, tmp_path, mended):
    said = []
    (tmp_path / "taken").write_text("a file where the folder is to be")
    mirror = Mirror(f"file://{tmp_path}/taken", run, said.append)
    mirror.begin()
    while not said:
        time.sleep(0.01)
    if mended:
        (tmp_path / "taken").unlink()
    mirror.end()
    assert (tmp_path / "taken" / "one" / "config.yaml").is_file() == mended
    (text,) = said
    assert text.startswith(f"file://{tmp_path}/taken/one could not be written (")
    assert text.endswith("); the run goes on, all is in its folder")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("run_dir=s3://bucket/run", "run_dir: 's3://bucket/run' is not allowed: must be a folder; mirror=URL keeps"),
        ("mirror=bucket/runs", "mirror: must be a URL, as s3://BUCKET/runs, without a password"),
        ("mirror=sftp://me:secret@host/runs", "mirror: must be a URL, as s3://BUCKET/runs, without a password"),
        ("mirror=nonsense://runs", "mirror: 'nonsense://runs' is not allowed: Protocol not known: nonsense"),
        ("mirror=gs://bucket/runs", "mirror: 'gs://bucket/runs' is not allowed: "),
    ],
)
def test_what_cannot_be_written_to_is_refused_in_one_line(capsys, tmp_path, monkeypatch, override, said):
    monkeypatch.chdir(tmp_path)
    assert main([override]) == 2
    message = capsys.readouterr().err
    assert message.startswith(said)
    assert message.count("\n") == 1
    assert "secret" not in message
    assert compose([]).mirror is None


def test_what_stage_1_goes_on_from_is_sent_after_the_files_that_it_says_are_there(run, bucket):
    mirror = Mirror("memory://runs", run, pytest.fail)
    mirror.fetch(resume=False)
    others = ["sft/a.jsonl", "sft/held_out.jsonl", "sft/summary.json", "sft/z.jsonl"]
    (run / "sft").mkdir()
    for name in ("sft/examples.jsonl", *others):
        (run / name).write_text("{}\n")
    mirror.copy()
    sent = [name for _, name in bucket]
    assert all(sent.index(name) < sent.index("sft/examples.jsonl") for name in others)
