"""Stage 1: supervised fine-tuning of the decomposer on decompositions that others wrote, or it itself; or of a model
for another role (``sft.role``) on the data set's own sub-questions and their answers.

The default recipe: take training problems, let the frozen solver make its initial attempt (the decomposer always reads
one), and write each problem a decomposition as an automatic teacher would: gold sub-questions of which some are
missing, some out of order, some needless. One pass of cross-entropy on its tokens, linear decay. ``sft.sources`` has
other examples; ``sft.held_out`` measures on problems that are never trained on.

What a run makes of it lies in its folder ``sft``. Invariant: ``examples.jsonl`` is complete or not there, and is what
is trained on; so a run that goes on from a checkpoint takes the very steps that it would have taken.
"""

from __future__ import annotations

import asyncio
import random
import shutil
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from conf.schema.base import ConfigError
from conf.schema.config import Config
from rewards.compare_decompositions import compare, means
from rewards.nouns_and_vectors import TextResources
from rollout.answers.marks import without_thinking
from rollout.data.files import Files
from rollout.data.source import Source
from rollout.data.worked import gold_replies
from rollout.episode.prompts import Prompts
from rollout.jobs import Job
from rollout.json_lines import write_lines
from rollout.records import Decomposition, Problem
from trainer.learner.learner_group import LearnerGroup
from trainer.run_folder.checkpoints import FINE_TUNED, FINE_TUNING, check_written, new_checkpoint, newest
from trainer.run_folder.files import read_json, read_rows, write_json
from trainer.stages.fine_tuning_examples import (
    ExampleSources,
    Lesson,
    Progress,
    decomposing,
    in_words,
    less_attempts,
    occurrences,
    ungated,
)
from trainer.stages.line_examples import concepts_of, judged, line_examples
from trainer.stages.role_examples import Example, prompts_of_role, role_examples
from trainer.tracking.ending import goes_on, stopping
from trainer.tracking.live_view import View
from trainer.tracking.tracker import Tracker
from trainer.workers.pipeline import Pipeline

# Asked for what a checkpoint keeps of the run itself.
RunState = Callable[[], Awaitable[dict[str, Any]]]
# Told of a step and its metrics.
Report = Callable[[int, dict[str, float]], None]
# If none of so many held-out problems has sub-questions, none is expected to: a generator never ends.
LOOKED_THROUGH = 1000
EXAMPLES, HELD_OUT, SUMMARY = "examples.jsonl", "held_out.jsonl", "summary.json"
# The run's own state when the stage ended.
AT_END = "run.json"


class FineTuning:
    """Stage 1 of a run, which leaves its model in the folder ``model``. ``report`` is what the run's summary has of it;
    ``begun`` the steps that an earlier process took, ``taken`` those that are taken now, ``kept`` those of them that a
    next process would not take again. ``copy`` is called after each checkpoint. Raises RecordError for files with bad
    rows."""

    def __init__(self, config: Config, run: Path, source: Source, copy: Callable[[], None] = lambda: None) -> None:
        self.config, self.source, self._copy = config, source, copy
        self.folder, self.checkpoints = run / "sft", run / "checkpoints" / FINE_TUNING
        self.model = run / "checkpoints" / FINE_TUNED
        self.report: dict[str, Any] = {}
        self.begun = self.taken = self.kept = 0
        # Whether no further step is to be begun: this process is asked to stop.
        self._stopping = False
        self._sources = ExampleSources(config, source)
        others = {
            name: Files(
                config.data.model_copy(update={"root": ".", "train": [], "held_out": [Path(path).expanduser()]})
            )
            for name, path in config.sft.held_out.also.items()
        }
        self._sets = [source, *others.values()]
        # Only a decomposer has decompositions to compare.
        sets: dict[str, Source] = {"held_out": source, **others} if config.sft.role == "decomposer" else {}
        self._compared = {name: with_subquestions(one, config.sft.held_out.scored) for name, one in sets.items()}

    def find_checkpoint(self) -> dict[str, Any] | None:
        """Find what an earlier process left; return the run's own state when the stage ended, or else at its newest
        checkpoint, None if there is none."""
        self.report = read_json(self.folder / SUMMARY)
        if (self.model / "config.json").is_file():
            return read_json(self.folder / AT_END) or None
        checkpoint = newest(self.checkpoints)
        if checkpoint is None:
            return None
        self.begun = self.taken = self.kept = checkpoint.version
        return dict(checkpoint.state["run"])

    async def run(
        self, pipeline: Pipeline, learner: LearnerGroup, view: View, tracker: Tracker, state: RunState
    ) -> None:
        """Fine-tune the model that the learner was set up with, on from step ``begun``, and save it; tell tracker and
        view of every step. Cancelled, it ends the step that it is in and writes a checkpoint, or saves the model after
        the last, unless it is cancelled again or that takes longer than ``controller.stop_timeout_s``."""
        view.stage("stage 1, examples", None)
        rows, held_out = await self.examples(pipeline, lambda done, count: view.advance(done, count, {}))
        if sources := self.report.get("sources"):
            view.say(in_words(len(rows), sources))
        for line in [*self._left_out(len(rows)), *self._fewer()]:
            view.say(line)
        view.stage("stage 1, supervised fine-tuning", None)
        batches = self._batches(rows)
        steps = len(batches)

        def report(step: int, metrics: dict[str, float]) -> None:
            tracker.fine_tuning(step, metrics)
            view.advance(step, steps, metrics)

        if self.config.sft.vocabulary == "examples":
            self._note(words=await learner.use_words([*rows, *held_out]))
        if self.begun:
            await learner.restore(str(self.checkpoints / f"step-{self.begun}"))
        elif held_out:
            loss = await learner.sft_loss(held_out)
            self._note(held_out_loss={"before": loss})
            report(0, {"sft/held_out_loss": loss})
        training = asyncio.create_task(self._train(batches, held_out, learner, report, state))
        try:
            await asyncio.shield(training)
        except asyncio.CancelledError:
            await self._stop(training, learner, view, state)
            raise
        finally:
            training.cancel()
            await asyncio.gather(training, return_exceptions=True)

    async def _train(
        self, batches: list[list[Example]], held_out: list[Example], learner: LearnerGroup, report: Report,
        state: RunState,
    ) -> None:  # fmt: skip
        """Take the steps that are left, and save the model after the last; end between two when that is asked for."""
        recipe, steps = self.config.sft, len(batches)
        for step, batch in enumerate(batches[self.begun :], self.begun + 1):
            metrics = await learner.sft_step(batch, 1.0 - (step - 1) / steps)
            if held_out and (step % recipe.held_out.every == 0 or step == steps):
                metrics["sft/held_out_loss"] = await learner.sft_loss(held_out)
                self._note(held_out_loss=self.report["held_out_loss"] | {"after": metrics["sft/held_out_loss"]})
            report(step, metrics)
            self.taken = step
            if step % recipe.checkpoint_every == 0 and step < steps:
                await self.checkpoint(step, learner, await state())
            await asyncio.sleep(0)
            if self._stopping and step < steps:
                return
        self._note(steps=steps)
        # Before the model, by which the next process tells that the stage is done: its checkpoints go soon.
        write_json(self.folder / AT_END, await state())
        await learner.save(str(self.model))
        self.kept = steps

    async def _stop(self, training: asyncio.Task[None], learner: LearnerGroup, view: View, state: RunState) -> None:
        """Let the training end between two steps, and keep the last, as far as there is time; say where it goes on."""
        self._stopping, limit = True, self.config.controller.stop_timeout_s
        view.say(stopping(limit))
        with suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await training
                if self.kept < self.taken:
                    await self.checkpoint(self.taken, learner, await state())
        if line := goes_on(self.taken, self.kept, stage=1):
            view.say(line.strip())

    async def examples(self, pipeline: Pipeline, progress: Progress) -> tuple[list[Example], list[Example]]:
        """Return what is trained on, and the held-out examples whose loss is measured. ``progress`` is told of
        episodes."""
        files = self.folder / EXAMPLES, self.folder / HELD_OUT
        if not files[0].is_file():
            self.folder.mkdir(exist_ok=True)
            mixture, counts = await self._sources.gather(self._unseen, pipeline, self.folder, progress)
            self._enough(counts)
            held_out = [
                ("held_out", Lesson(problem, list(problem.subquestions or [])))
                for problem in with_subquestions(self.source, self.config.sft.held_out.problems)
            ]
            mixture, without = await self._with_attempts(mixture, pipeline)
            counts = less_attempts(counts, without, self.config.sft.sources)
            self._enough(counts)
            held_out, without = await self._with_attempts(held_out, pipeline)
            rows = [self._rows(lessons) for lessons in (mixture, held_out)]
            self._note(sources=counts, held_out=len(held_out))
            if failed := without.total():
                self._note(held_out_without_attempt=failed)
            for path, own in reversed(list(zip(files, rows, strict=True))):
                write_lines(path, own)
        train, measured = ([(row["prompt"], row["completion"]) for row in read_rows(path)] for path in files)
        return train, measured

    def _enough(self, counts: dict[str, dict[str, int]]) -> None:
        """Raise ConfigError for too few examples of all sources together."""
        by_source = {name: entry["examples"] for name, entry in counts.items()}
        enough(sum(by_source.values()), by_source, self.config.learner.ranks)

    async def _with_attempts(
        self, lessons: Sequence[tuple[str, Lesson]], pipeline: Pipeline
    ) -> tuple[list[tuple[str, Lesson]], Counter[str]]:
        """Return each (source, lesson) with the attempt that a decomposer is shown, which the solver makes where there
        is none yet; and how many of each source were left out, since the solver failed: an episode goes on to a
        decomposition only after an attempt."""
        without = Counter[str]()
        if self.config.sft.role != "decomposer" or not Prompts.of(self.config).read_attempt:
            return list(lessons), without
        missing = {lesson.problem.question: lesson.problem for _, lesson in lessons if lesson.attempt is None}
        done = await pipeline.run([Job(index, problem, "direct", 0) for index, problem in enumerate(missing.values())])
        made = {
            question: item.episode.final.text
            for question, item in zip(missing, done, strict=True)
            if item.episode.outcome == "ok"
        }
        found = []
        for name, lesson in lessons:
            attempt = made.get(lesson.problem.question) if lesson.attempt is None else lesson.attempt
            if attempt is None:
                without[name] += 1
            else:
                found.append((name, replace(lesson, attempt=attempt)))
        return found, without

    def _rows(self, lessons: Sequence[tuple[str, Lesson]]) -> list[dict[str, str]]:
        """Return what is read and is to be written for each (source, lesson)."""
        prompts, rows = prompts_of_role(self.config), []
        again = occurrences(lesson.problem.id for _, lesson in lessons)
        for (name, lesson), before in zip(lessons, again, strict=True):
            for prompt, completion in self._texts(prompts, lesson, without_thinking(lesson.attempt or ""), before):
                rows.append({"source": name, "id": lesson.problem.id, "prompt": prompt, "completion": completion})
        return rows

    def _texts(self, prompts: Prompts, lesson: Lesson, attempt: str, again: int) -> list[Example]:
        """Return what is read and is to be written for one decomposition: by a decomposer at once, or text by text. Its
        problem came ``again`` times before."""
        problem, asked, recipe = lesson.problem, lesson.subquestions, self.config.sft
        if recipe.role != "decomposer":
            solver = {"annotated": recipe.annotated, "direct": recipe.direct}
            return role_examples(recipe.role, prompts, problem, asked, self.config.seed, again, **solver)
        if not prompts.strategy.writes_lines:
            return [(prompts.decompose(problem, attempt), "\n".join(asked))]
        replies = lesson.replies or gold_replies(problem, len(asked))
        concepts = concepts_of(problem, prompts.strategy, lesson.concepts)
        if replies is None:
            return []
        refused = recipe.refused if judged(prompts.strategy) else 0.0
        return line_examples(prompts, problem, asked, replies, attempt, concepts, refused, self.config.seed)

    def _batches(self, rows: list[Example]) -> list[list[Example]]:
        """Return every step's examples: whole batches, the examples in another order every epoch, whose rest is left
        out."""
        recipe = self.config.sft
        size = min(recipe.batch_size, len(rows))
        rng = random.Random(f"sft order {self.config.seed}")
        batches = []
        for _ in range(recipe.epochs):
            rng.shuffle(rows)
            batches += [rows[start : start + size] for start in range(0, len(rows) - size + 1, size)]
        return batches

    async def checkpoint(self, step: int, learner: LearnerGroup, run: dict[str, Any]) -> None:
        """Write a checkpoint, with the run's own state."""
        folder, keep = self.checkpoints / f"step-{step}", self.config.learner.keep_checkpoints
        async with new_checkpoint(folder, {"version": step, "run": run}, keep) as partial:
            await learner.checkpoint(str(partial))
            check_written(partial, self.config.learner.ranks)
        self.kept = step
        self._copy()

    def forget_checkpoints(self) -> None:
        """Remove them: stage 1 is done, and its model is kept."""
        shutil.rmtree(self.checkpoints, ignore_errors=True)

    async def compare(self, when: str, pipeline: Pipeline, view: View) -> None:
        """Compare the decomposer's greedy decompositions with the reference, ``before`` or ``after``, unless that was
        done or is not asked for."""
        asked = [(name, problem) for name, problems in self._compared.items() for problem in problems]
        if not asked or when in self.report.get("decompositions", {}):
            return
        view.stage(f"stage 1, decompositions {when}", len(asked))
        strategy = decomposing(self.config.strategy)
        jobs = [Job(index, problem, strategy, seed=index, temperature=0.0) for index, (_, problem) in enumerate(asked)]
        done = await pipeline.run(ungated(self.config, jobs), lambda count: view.advance(count, len(jobs), {}))
        written = [item.episode.decomposition or Decomposition("", [], invalid="empty") for item in done]
        texts = [decomposition.subquestions for decomposition in written]
        references = [list(problem.subquestions or []) for _, problem in asked]
        resources = TextResources(self.config.rewards.vectors)
        threshold = self.config.sft.held_out.similarity
        found = await asyncio.to_thread(compare, texts, references, resources, threshold)
        report: dict[str, dict[str, Any]] = {}
        for name in self._compared:
            own = [index for index, (of, _) in enumerate(asked) if of == name]
            if own:
                counts = {"problems": len(own), "invalid": sum(written[i].invalid is not None for i in own)}
                report[name] = counts | means([found[index] for index in own])
        self.folder.mkdir(exist_ok=True)
        rows = [
            {
                "set": name, "id": problem.id, "question": problem.question, "subquestions": subquestions,
                "reference": reference, "matched": likeness.matched,
            }
            for (name, problem), subquestions, reference, likeness in zip(asked, texts, references, found, strict=True)
        ]  # fmt: skip
        write_lines(self.folder / f"compared_{when}.jsonl", rows)
        self._note(decompositions=self.report.get("decompositions", {}) | {when: report})

    def _left_out(self, examples: int) -> list[str]:
        """Note how many examples of each epoch do not fill a batch, and return the line that says so, if there are
        such."""
        size = self.config.sft.batch_size
        if not (left := examples % min(size, examples)):
            return []
        self._note(left_out_of_epoch=left)
        return [
            f"each epoch leaves out {left} examples, drawn anew: they do not fill a batch of {size} (sft.batch_size)"
        ]

    def _fewer(self) -> list[str]:
        """Return a line for each measurement that has fewer problems than are asked for."""
        asked = self.config.sft.held_out
        failed = self.report.get("held_out_without_attempt", 0)
        lines = fewer("sft.held_out.problems", self.report["held_out"] + failed, asked.problems)
        if failed:
            lines.append(f"sft.held_out.problems: {failed:,} are not measured: the solver failed to make an attempt")
        for name, problems in self._compared.items():
            of = "" if name == "held_out" else f" of {name}"
            lines += fewer(f"sft.held_out.scored{of}", len(problems), asked.scored)
        return lines

    def _unseen(self, question: str) -> bool:
        """Return whether a question must not be trained on."""
        return any(one.is_held_out(question) for one in self._sets)

    def _note(self, **entries: Any) -> None:
        self.report |= entries
        self.folder.mkdir(exist_ok=True)
        write_json(self.folder / SUMMARY, self.report)


def enough(found: int, by_source: dict[str, int], ranks: int) -> None:
    """Refuse to fine-tune on fewer examples than there are learner ranks, none included. Raises ConfigError."""
    if found < ranks:
        sources = ", ".join(f"{name} {count}" for name, count in by_source.items())
        raise ConfigError(
            f"sft.sources: only {found} examples for stage sft ({sources}); allowed: at least learner.ranks ({ranks}), "
            "which a larger sft.problems or another source may give"
        )


def with_subquestions(source: Source, count: int) -> list[Problem]:
    """Return the first ``count`` held-out problems that have sub-questions; fewer where the source has no more, none
    where the first ``LOOKED_THROUGH`` have none."""
    asked = count
    while True:
        problems = source.held_out(asked)
        found = [problem for problem in problems if problem.subquestions]
        if len(found) >= count or len(problems) < asked or (not found and asked >= LOOKED_THROUGH):
            return found[:count]
        asked *= 4


def fewer(key: str, found: int, wanted: int) -> list[str]:
    """Return the line that a measurement has fewer problems than its key asks for, if it has."""
    lacking = f"{key}: measured on {found:,} problems, not {wanted:,}: no more of those held out have sub-questions"
    return [lacking] if found < wanted else []
