"""Where stage 1's examples come from, and how they are mixed: the data set's own sub-questions, teachers' files, and
what the present decomposer itself writes, screened by the solver's answers."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from conf.schema.config import Config
from conf.schema.learning import SftSource
from conf.schema.strategy import Strategy
from rewards.reward import Scored
from rollout.data.bad_rows import BadRow, misspelt, other_fields, refuse_bad
from rollout.data.files import normalised, read_rows
from rollout.data.source import Source
from rollout.data.worked import worked
from rollout.jobs import Job, sampling_seed, solver_of
from rollout.json_lines import write_lines
from rollout.records import Episode, Problem, RecordError, read_of_meta
from rollout.strategies import DECOMPOSE_ONLY
from trainer.stages.line_examples import concepts_of
from trainer.workers.pipeline import Pipeline

# Told how many of a source's episodes are back, and of how many.
Progress = Callable[[int, int], object]
# Whether a question must not be trained on.
Unseen = Callable[[str], bool]


@dataclass(frozen=True)
class Lesson:
    """A problem's decomposition that is to be learned. ``attempt`` is the solver's that it goes with, ``replies`` its
    answers to the sub-questions, ``concepts`` what the decomposer wrote first; None if there is none yet."""

    problem: Problem
    subquestions: list[str]
    attempt: str | None = None
    replies: list[str] | None = None
    concepts: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return a line of a teacher's file."""
        names = ("id", "question", "answer", "answer_type", "choices", "solution", "source")
        row = {name: getattr(self.problem, name) for name in names}
        row |= {"subquestions": self.subquestions, "attempt": self.attempt}
        return row | ({} if self.concepts is None else {"concepts": self.concepts})


def shares(total: int, weights: dict[str, float]) -> dict[str, int]:
    """Return ``total`` shared out by weights, by largest remainders; names whose share is 0 are left out."""
    whole = sum(weights.values())
    exact = {name: total * weight / whole for name, weight in weights.items() if weight}
    found = {name: int(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: found[name] - exact[name])
    for name in by_remainder[: total - sum(found.values())]:
        found[name] += 1
    return {name: share for name, share in found.items() if share}


def filled(lessons: Sequence[Lesson], count: int, rng: random.Random) -> list[Lesson]:
    """Return ``count`` of the lessons at random; where there are fewer, all of them over and over, each round in
    another order. There must be one."""
    found: list[Lesson] = []
    while len(found) < count:
        found += rng.sample(list(lessons), len(lessons))
    return found[:count]


def occurrences(keys: Iterable[str]) -> Iterator[int]:
    """Yield how often each of the keys came before."""
    seen = Counter[str]()
    for key in keys:
        yield seen[key]
        seen[key] += 1


def kept(scored: Sequence[Scored], most: int, *, screen: bool) -> tuple[list[Lesson], dict[str, int]]:
    """Return of each problem's episodes, in their order, the first ``most`` decompositions that differ and can be used
    as written, with ``screen`` only those whose final answer is right; and counts.

    ``unusable`` decompositions are invalid, or of an episode that failed: it may have failed before the last line.
    """
    lessons: dict[str, list[Lesson]] = {}
    counts = {"sampled": len(scored), "unusable": 0, "wrong": 0, "repeats": 0, "surplus": 0}
    for item in scored:
        episode = item.episode
        found = lessons.setdefault(episode.problem.id, [])
        written = episode.decomposition if episode.outcome == "ok" else None
        if written is None or written.invalid is not None or item.reward.error is not None:
            counts["unusable"] += 1
        elif screen and item.reward.correct < 1:
            counts["wrong"] += 1
        elif any(_same(written.subquestions, other.subquestions) for other in found):
            counts["repeats"] += 1
        elif len(found) == most:
            counts["surplus"] += 1
        else:
            attempt = episode.initial.text if episode.initial else None
            asked = [_line(text) for text in written.subquestions]
            found.append(Lesson(episode.problem, asked, attempt, _replies(episode), episode.concepts))
    together = [lesson for found in lessons.values() for lesson in found]
    without = sum(not found for found in lessons.values())
    return together, counts | {"kept": len(together), "problems": len(lessons), "problems_without": without}


def _replies(episode: Episode) -> list[str] | None:
    """Return the solver's answers, one a sub-question; None where not all were asked."""
    asked = [turn.question for turn in episode.turns]
    return [turn.text for turn in episode.turns] if asked == episode.subquestions else None


def decomposing(strategy: Strategy) -> str:
    """Return the name of the strategy that has the decomposer write what it writes in an episode of another, at the
    least cost: one that writes line by line needs the answers."""
    return strategy.name if strategy.writes_lines else DECOMPOSE_ONLY


def ungated(config: Config, jobs: Sequence[Job]) -> list[Job]:
    """Return jobs whose episodes have no gate: what is to be written is asked of them, and a closed one has none."""
    if config.strategy.gate == "always":
        return list(jobs)
    opened = config.model_copy(update={"strategy": config.strategy.model_copy(update={"gate": "always"})})
    of = {name: opened.of_solver(name) for name in config.solver_names}
    return [replace(job, config=of[solver_of(config, job)]) for job in jobs]


def screened(config: Config, source: SftSource) -> bool:
    """Return whether only decompositions are learned that led the solver to the right answer: unless it is said
    otherwise, all of a decomposer that writes line by line, which learns from the solver's replies."""
    return source.screened or (source.screen is None and _line_by_line(config))


def is_run(config: Config, source: SftSource) -> bool:
    """Return whether a source's decompositions are put to the solver, or sampled."""
    return source.kind == "distilled" or screened(config, source) or _line_by_line(config)


def _line_by_line(config: Config) -> bool:
    return config.strategy.writes_lines and config.sft.role == "decomposer"


def read_teacher(path: Path, source: Source, *, answers: bool, skip_bad: bool) -> tuple[list[Lesson], dict[str, int]]:
    """Return the lessons of a teacher's file, and counts.

    A row has ``subquestions`` and ``question``, or the ``id`` of one of the data set's training problems; it may have
    what else a problem has (with ``answers`` it must have an answer, unless the data set has one), the solver's
    ``attempt`` and the ``concepts``. Rows whose sub-questions are null or empty are left out and counted. Raises
    RecordError that names bad rows, unless ``skip_bad``.
    """
    by_id = {problem.id: problem for problem in source.rows}
    by_question = {normalised(problem.question): problem for problem in source.rows}

    def problem_of(row: dict[str, Any], place: str) -> Problem:
        question, name = row.get("question"), row.get("id")
        known = by_id.get(str(name)) if question is None else by_question.get(normalised(str(question)))
        if known is not None:
            own = {name: row.get(name) for name in ("concepts", "equations")}
            return replace(known, meta=known.meta | read_of_meta({name: value for name, value in own.items() if value}))
        if question is None:
            raise RecordError(f"field 'question' is missing, and no training problem of data has the id {name!r}")
        if row.get("answer") is None:
            if answers:
                raise RecordError("field 'answer' is missing, which screening needs")
            row = row | {"answer": "?", "answer_type": "text"}
        return Problem.from_json({"id": place} | {key: value for key, value in row.items() if value is not None})

    def read(row: object, place: str) -> Lesson:
        if not isinstance(row, dict):
            raise RecordError(f"expected an object, found {type(row).__name__}")
        texts, attempt = row.get("subquestions") or [], row.get("attempt")
        if not isinstance(texts, list) or not all(isinstance(text, str) and text.strip() for text in texts):
            raise RecordError(f"field 'subquestions' must be a list of texts with something in them, found {texts!r}")
        if attempt is not None and not isinstance(attempt, str):
            raise RecordError(f"field 'attempt' must be a string or null, found {attempt!r}")
        return Lesson(problem_of(row, place), [_line(text) for text in texts], attempt)

    bad: list[BadRow] = []
    lessons = read_rows(path, read, bad)
    refuse_bad(bad, skip_bad)
    usable = [lesson for lesson in lessons if lesson.subquestions]
    without = len(lessons) - len(usable)
    return usable, {"rows": len(lessons), "bad_rows_skipped": len(bad), "without_subquestions": without}


class ExampleSources:
    """The configured sources. Teachers' files are read at once, and the data set is looked through for sub-questions:
    raises RecordError for bad rows, and for a source that can have no example."""

    def __init__(self, config: Config, source: Source) -> None:
        self._config, self._source = config, source
        self._shares = shares(config.sft.problems, {name: one.weight for name, one in config.sft.sources.items()})
        skip_bad = config.data.on_bad_row == "skip"
        self._read = {
            name: read_teacher(Path(one.path).expanduser(), source, answers=screened(config, one), skip_bad=skip_bad)
            for name, one in config.sft.sources.items()
            if name in self._shares and one.path is not None
        }
        if source.rows:
            self._check_subquestions(source)
        self._passed_over = sum(not self._teaches(problem) for problem in source.rows)
        if config.sft.role != "decomposer":
            self._check_answers(source)

    def _check_subquestions(self, source: Source) -> None:
        """Raise RecordError if no row has sub-questions and a source of kind data is to draw some that do."""
        for name in self._shares:
            if self._config.sft.sources[name].kind == "data" and not any(row.subquestions for row in source.rows):
                raise RecordError(_no_subquestions(name, source))

    def _teaches(self, problem: Problem) -> bool:
        """Return whether a source of kind data can learn from a row: from its sub-questions, in other roles than the
        decomposer's from their answers."""
        asked = problem.subquestions
        return bool(asked and (self._config.sft.role == "decomposer" or worked(problem, asked)))

    def _drawn(self, kind: str, share: int) -> list[Problem]:
        """Return the training problems that a source draws. One of kind data goes past the rows of a file that it could
        not learn from; what a generator makes is taken as it comes."""
        problems = self._source.train(self._config.seed)
        if kind == "data" and self._passed_over < len(self._source.rows):
            problems = filter(self._teaches, problems)
        return list(itertools.islice(problems, share))

    def _check_answers(self, source: Source) -> None:
        """Raise RecordError if none of the problems that are drawn has answers to its sub-questions."""
        role, count = self._config.sft.role, self._config.sft.problems
        drawn = self._drawn("data", count)
        if not any(map(self._teaches, drawn)):
            raise RecordError(
                f"none of the {count:,} training rows that are drawn has answers to its sub-questions, which sft.role "
                f"'{role}' learns from; allowed: rows with 'subanswers', or with a step of 'solution' for each "
                "(docs/data.md)"
            )
        if self._config.sft.annotated and not any(problem.meta.get("equations") for problem in drawn):
            raise RecordError(
                f"none of the {count:,} training rows that are drawn has 'equations', which sft.annotated writes into "
                "the answers; allowed: rows that have some, as those of GSM8K, or sft.annotated=false"
            )

    async def gather(
        self, unseen: Unseen, pipeline: Pipeline, folder: Path, progress: Progress
    ) -> tuple[list[tuple[str, Lesson]], dict[str, dict[str, int]]]:
        """Return the mixture, each example with its source's name, and every source's counts.

        What is about a question that is ``unseen`` is left out and counted. What was sampled or screened is written to
        ``folder``, a teacher's file a source. Raises RecordError for a source of which nothing is left.
        """
        mixture: list[tuple[str, Lesson]] = []
        report: dict[str, dict[str, int]] = {}
        for name, share in self._shares.items():
            settings = self._config.sft.sources[name]
            problems = [] if settings.kind == "file" else self._drawn(settings.kind, share)
            lessons, counts = self._candidates(name, problems)
            if is_run(self._config, settings):
                lessons, found = await self._judged(name, lessons, problems, pipeline, progress)
                counts |= found
                write_lines(folder / f"{name}.jsonl", (lesson.to_json() for lesson in lessons))
            usable = [lesson for lesson in lessons if not unseen(lesson.problem.question)]
            counts["held_out_dropped"] = len(lessons) - len(usable)
            if not usable:
                raise RecordError(_nothing(name, settings, counts))
            # The data set gives a problem one decomposition and no more; the others as many as their share.
            if settings.kind != "data" or screened(self._config, settings):
                usable = filled(usable, share, random.Random(f"sft {name} {self._config.seed}"))
            report[name] = counts | {"examples": len(usable)}
            mixture += [(name, lesson) for lesson in usable]
        return mixture, report

    def _candidates(self, name: str, problems: Sequence[Problem]) -> tuple[list[Lesson], dict[str, int]]:
        """Return what there is without any engine, and counts: the data set's imperfect decompositions, a teacher's
        file, nothing to distil."""
        kind = self._config.sft.sources[name].kind
        if kind == "file":
            lessons, counts = self._read[name]
            return lessons, dict(counts)
        if kind == "distilled":
            return [], {}
        recipe, rng = self._config.sft, random.Random(f"teacher {self._config.seed}")
        drawn = {"problems": len(problems)}
        if self._source.rows:
            drawn["rows"] = len({problem.id for problem in problems})
        if recipe.role != "decomposer":  # their answers go with the sub-questions as the data set has them
            answered = [
                Lesson(problem, list(problem.subquestions))
                for problem in problems
                if problem.subquestions and self._teaches(problem)
            ]
            return answered, drawn | {"without_answers": self._passed_over + len(problems) - len(answered)}
        noise = rng, recipe.drop, recipe.swap, recipe.redundant
        every = [Lesson(problem, self._source.imperfect_decomposition(problem, *noise)) for problem in problems]
        lessons = [lesson for lesson in every if lesson.subquestions]
        return lessons, drawn | {"without_subquestions": self._passed_over + len(every) - len(lessons)}

    async def _judged(
        self, name: str, lessons: Sequence[Lesson], problems: Sequence[Problem], pipeline: Pipeline, progress: Progress
    ) -> tuple[list[Lesson], dict[str, int]]:
        """Run the decomposer's samples or the given decompositions through the rollout workers; return what is kept,
        and counts."""
        settings = self._config.sft.sources[name]
        judged, played = screened(self._config, settings), self._config.strategy
        strategy = played.name if judged else decomposing(played)
        if settings.kind == "distilled":
            seed, samples = self._config.seed, settings.samples
            # A problem that is drawn again, since there are fewer rows than are drawn, gets other samples then.
            drawn = [
                (problem, sampling_seed(seed, f"{name} {problem.id}", 0, again * samples + sample))
                for problem, again in zip(problems, occurrences(problem.id for problem in problems), strict=True)
                for sample in range(samples)
            ]
            jobs = [Job(i, problem, strategy, seed, settings.temperature) for i, (problem, seed) in enumerate(drawn)]
        else:
            jobs = [Job(i, one.problem, strategy, seed=0, given=one.subquestions) for i, one in enumerate(lessons)]
        scored = await pipeline.run(ungated(self._config, jobs), lambda done: progress(done, len(jobs)))
        most = settings.keep if settings.kind == "distilled" else len(jobs)
        usable, counts = kept(scored, most, screen=judged)
        # Where this is a teacher's file, nothing else may tell the concepts: it holds no generator's graph.
        return [replace(one, concepts=concepts_of(one.problem, played, one.concepts)) for one in usable], counts


def less_attempts(
    report: dict[str, dict[str, int]], without: Mapping[str, int], sources: Mapping[str, SftSource]
) -> dict[str, dict[str, int]]:
    """Return the counts of each source less the examples that are ``without`` the attempt that is to be read. Raises
    RecordError for a source of which nothing is left."""
    less = {
        name: counts | {"without_attempt": without[name], "examples": counts["examples"] - without[name]}
        if without.get(name)
        else counts
        for name, counts in report.items()
    }
    for name, counts in less.items():
        if not counts["examples"]:
            raise RecordError(_nothing(name, sources[name], counts))
    return less


def in_words(examples: int, report: dict[str, dict[str, int]]) -> str:
    """Return the line on what stage 1 learns from: its examples, where they come from, and the rows that are passed
    over. ``report`` has each source's counts."""
    found = sum(counts["examples"] for counts in report.values())
    parts = [
        f"{name} {counts['examples']:,}"
        + (f" from {_rows(counts['rows'])}" if "problems" in counts and "rows" in counts else "")
        for name, counts in report.items()
    ]
    given = f"{found:,} decompositions: " if found != examples else ""
    line = f"stage 1 has {examples:,} examples ({given}{', '.join(parts)})"
    for key, lack in (("without_subquestions", "sub-questions"), ("without_answers", "answers to sub-questions")):
        if passed := max(counts.get(key, 0) for counts in report.values()):
            line += f"; {_rows(passed)} without {lack} {'was' if passed == 1 else 'were'} passed over"
    if failed := sum(counts.get("without_attempt", 0) for counts in report.values()):
        line += f"; {failed:,} {'was' if failed == 1 else 'were'} left out: the solver failed to make an attempt"
    return line


def _rows(count: int) -> str:
    return f"{count:,} row{'s' * (count != 1)}"


def _nothing(name: str, settings: SftSource, counts: dict[str, int]) -> str:
    """Return why a source has no example."""
    found = ", ".join(f"{key} {value}" for key, value in counts.items() if value)
    return f"sft.sources.{name} ({settings.kind}) has no example that can be learned from ({found})"


def _no_subquestions(name: str, source: Source) -> str:
    """Return that the rows of a data set do not suit a source of kind data, and what helps."""
    left_out = source.report.get("no_questions_dropped", 0)
    found = f"none of {len(source.rows):,} training rows has sub-questions"
    if left_out:
        found += f" that end in a question mark (data.questions_only left out {left_out:,} that do not)"
    if meant := misspelt({name: field for name, field in other_fields(source.rows).items() if field == "subquestions"}):
        found += f", but {', '.join(meant)}"
    return (
        f"{found}, which stage sft learns from (sft.sources.{name}); allowed: rows with 'subquestions' (docs/data.md), "
        "sft=distilled or a teacher's file in sft.sources (docs/sft.md), or stages without sft"
    )


def _same(one: Sequence[str], other: Sequence[str]) -> bool:
    return [normalised(text) for text in one] == [normalised(text) for text in other]


def _line(text: str) -> str:
    """Return a text on one line, as the format of a decomposition wants it."""
    return " ".join(text.split())
