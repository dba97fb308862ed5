"""Prompts as text, worked examples and chat formats."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conf.schema.base import ConfigError
from conf.schema.model import shipped
from launch.compose import compose
from rollout.episode.chat_format import Chat, chat_format, model_chat
from rollout.episode.contracts import text_of
from rollout.episode.prompts import Prompts
from rollout.options import with_options
from rollout.records import Problem, Turn
from tests.settings import prompts, strategy

PROBLEM = Problem("p", "Ann has {3} pens. Bob has 2.  How many\nhave they?", "5")
TURNS = [Turn("How many has Ann?", " 3 {pens}\n"), Turn("Twice #1?", "6", asked="Twice 3?")]
BOX = "Question: A box holds 12 pens. Tom takes 5 and puts 2 back. How many pens are in the box?\n"
WHOLE = "Question: Ann has {3} pens. Bob has 2.  How many\nhave they?"
# A template in the manner of Gemma's.
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<start>{{ message['role'] }}\n{{ message['content'] | trim }}<end>\n"
    "{% endfor %}{% if add_generation_prompt %}<start>model\n{% endif %}"
)


def test_the_tiny_models_prompts_are_these():
    plain = Prompts.of(compose([]))
    question = PROBLEM.question
    turns = "\nQ: How many has Ann?\nA: 3 {pens}\nQ: Twice 3?\nA: 6"
    assert plain.decompose(PROBLEM, "a\nb ") == f"{question}\nFirst attempt: a b\nSub-questions:\n"
    assert plain.subquestion(PROBLEM, TURNS, "Why?") == f"{question}{turns}\nQ: Why?\nA:"
    assert plain.solve(PROBLEM, TURNS) == f"{question}{turns}\nQ: Solve step by step: How many\nhave they?\nA:"


@pytest.mark.parametrize("turns", [[], TURNS])
def test_the_few_shot_prompts_are_these(turns):
    few = Prompts.of(compose(["strategy=daslam_fewshot"]))
    said = "\nSub-question: How many has Ann?\nAnswer: 3 {pens}\nSub-question: Twice 3?\nAnswer: 6" if turns else ""
    assert few.decompose(PROBLEM, "a\nb ") == f"{WHOLE}\nFirst attempt: a b\nSub-questions:\n"
    assert few.subquestion(PROBLEM, turns, "Why?") == (
        f"{BOX}Sub-question: How many pens are left after Tom takes 5?\nAnswer: 12 - 5 = 7 pens are left.\n\n"
        f"{WHOLE}{said}\nSub-question: Why?\nAnswer:"
    )
    assert few.solve(PROBLEM, turns) == (
        f"{BOX}Solution: After Tom takes 5 there are 12 - 5 = 7 pens. Then there are 7 + 2 = 9 pens. "
        f"The answer is 9.\n\n{WHOLE}{said}\nSolution:"
    )


def test_least_to_most_shows_how_to_decompose_and_earlier_answers():
    few = Prompts.of(compose(["strategy=least_to_most", "stages=[evaluate]"]))
    plan = few.decompose_alone(PROBLEM)
    assert plan.startswith(
        f"{BOX}Sub-questions:\nHow many pens are left after Tom takes 5?\nHow many pens are there after Tom puts 2 "
        "back?\n\nQuestion: Mary"
    )
    assert plan.endswith(f"\n\n{WHOLE}\nSub-questions:\n")
    assert few.subquestion(PROBLEM, [], "Why?").startswith(
        f"{BOX}Sub-question: How many pens are left after Tom takes 5?\nAnswer: 12 - 5 = 7 pens are left.\n"
        "Sub-question: How many pens are there after Tom puts 2 back?\nAnswer: 7 + 2 = 9 pens are there.\n\n"
    )


def test_an_example_is_shown_only_where_it_holds_the_reply():
    bare = prompts()
    one = prompts(examples=[{"question": "E?", "subquestions": ["a?"]}])
    assert one.subquestion(PROBLEM, [], "Why?") == bare.subquestion(PROBLEM, [], "Why?")
    assert one.solve(PROBLEM, []) == bare.solve(PROBLEM, [])
    assert one.decompose(PROBLEM, "x") == bare.decompose(PROBLEM, "x")
    assert one.decompose_alone(PROBLEM) == f"E?\nSub-questions:\na?\n\n{bare.decompose_alone(PROBLEM)}"
    tried = prompts(examples=[{"question": "E?", "subquestions": ["a?", "b?"], "attempt": "no"}])
    assert tried.decompose(PROBLEM, "x") == (
        f"E?\nFirst attempt: no\nSub-questions:\na?\nb?\n\n{bare.decompose(PROBLEM, 'x')}"
    )


def test_a_chat_format_frames_each_models_own_prompts():
    framed = Prompts(strategy(), solver_chat=Chat("<u>", "<m>"), decomposer_chat=Chat("[", "]"))
    plain = prompts()
    assert framed.decompose(PROBLEM, "x") == f"[{plain.decompose(PROBLEM, 'x').strip()}]"
    assert framed.subquestion(PROBLEM, [], "Why?") == f"<u>{plain.subquestion(PROBLEM, [], 'Why?')}<m>"
    assert framed.solve(PROBLEM, []) == f"<u>{plain.solve(PROBLEM, [])}<m>"
    assert framed.decompose_alone(PROBLEM) == f"<u>{plain.decompose_alone(PROBLEM).strip()}<m>"


@pytest.fixture
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(shipped("tiny_solver"))


def test_a_framed_prompt_is_what_the_tokenizers_template_makes_of_it(tokenizer):
    assert chat_format(tokenizer) is None
    tokenizer.chat_template = TEMPLATE
    chat = chat_format(tokenizer)
    message = [{"role": "user", "content": " How many?\n"}]
    expected = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    assert chat.frame(" How many?\n") == expected
    assert expected.endswith("<start>user\nHow many?<end>\n<start>model\n")


def test_a_beginning_that_the_tokenizer_adds_itself_is_not_there_twice(tokenizer):
    from tokenizers.processors import TemplateProcessing

    tokenizer.chat_template = TEMPLATE
    tokenizer.add_special_tokens({"bos_token": "<bos>"})
    assert chat_format(tokenizer).before == "<bos><start>user\n"
    tokenizer._tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", tokenizer.bos_token_id)]
    )
    chat = chat_format(tokenizer)
    assert chat.before == "<start>user\n"
    message = [{"role": "user", "content": "How many?"}]
    whole = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    assert tokenizer.encode(chat.frame("How many?")) == tokenizer.encode(whole, add_special_tokens=False)


def test_a_template_that_hides_the_message_is_refused(tokenizer):
    tokenizer.chat_template = "hello"
    with pytest.raises(ValueError, match="does not show"):
        chat_format(tokenizer)


@pytest.mark.parametrize("where", ["chat_template.jinja", "tokenizer_config.json"])
def test_a_models_chat_format_is_found_in_its_folder_and_never_is_never(tokenizer, tmp_path: Path, where):
    folder = tmp_path / "model"
    tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    assert model_chat(str(folder)) is None
    if where.endswith("jinja"):
        (folder / where).write_text(TEMPLATE)
    else:
        settings = json.loads((folder / where).read_text())
        (folder / where).write_text(json.dumps(settings | {"chat_template": TEMPLATE}))
    assert model_chat(str(folder)).after == "<end>\n<start>model\n"
    made = Prompts.of(compose(["data=chained", f"solver.path={folder}"]))
    assert made.solver_chat is not None
    assert made.decomposer_chat is None
    assert Prompts.of(compose(["data=chained", f"solver.path={folder}", "strategy.chat=never"])) == prompts(
        chat="never"
    )


# A template in the manner of Qwen3's: a reasoning model that is told not to think gets a closed think block.
THINKING = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
)


def test_a_chat_template_is_given_the_configured_arguments(tokenizer):
    tokenizer.chat_template = THINKING
    assert chat_format(tokenizer).after == "<|im_end|>\n<|im_start|>assistant\n"
    quiet = chat_format(tokenizer, {"enable_thinking": False})
    assert quiet.after == "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"


def test_the_arguments_of_chat_templates_come_from_the_configuration(tokenizer, tmp_path):
    folder = tmp_path / "model"
    tokenizer.chat_template = THINKING
    tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text("{}")
    for key in ("model.path", "solver.path"):
        loud, quiet = (
            Prompts.of(compose([f"{key}='{folder}'", *more]))
            for more in ([], ["+strategy.chat_arguments.enable_thinking=false"])
        )
        name = "decomposer_chat" if key == "model.path" else "solver_chat"
        assert "<think>" not in getattr(loud, name).after
        assert getattr(quiet, name).after.endswith("<think>\n\n</think>\n\n")


@pytest.mark.parametrize("name", ["tokenize", "messages", "add_generation_prompt"])
def test_an_argument_that_is_the_programs_own_is_refused(name):
    with pytest.raises(ConfigError, match=rf"^strategy.chat_arguments: .*'{name}' cannot be given"):
        compose([f"+strategy.chat_arguments.{name}=false"])


CHOICE = Problem("p", "Ann has 3. Which is right?", "B", "choice", choices=["She has 2", "B) She has 3"])
SHOWN = "Ann has 3. Which is right?\n(A) She has 2\n(B) She has 3"


@pytest.mark.parametrize(
    "name", ["daslam", "daslam_fewshot", "lm2", "least_to_most", "monolith", "interleaved", "self_consistency"]
)
def test_every_prompt_shows_the_options(name):
    overrides = {"least_to_most": ["stages=[evaluate]"], "self_consistency": ["stages=[evaluate]"]}
    overrides["monolith"] = ["policy.plays=both", "stages=[ppo]"]
    made = Prompts.of(compose([f"strategy={name}", *overrides.get(name, [])]))
    turn = Turn("How many?", "3")
    texts = [
        made.decompose(CHOICE, "I think A"), made.decompose_alone(CHOICE), made.subquestion(CHOICE, [turn], "Why?"),
        made.solve(CHOICE, [turn]), made.solve(CHOICE, []), made.whole(CHOICE), made.verify(CHOICE, [], turn),
        text_of(made.concepts(CHOICE, "A")), text_of(made.next(CHOICE, "A")),
    ]  # fmt: skip
    assert all(SHOWN in text for text in texts)
    if "{ask}" in made.strategy.solve_template:
        assert texts[3].endswith("Solve step by step: Which is right?\nA:")


@pytest.mark.parametrize(
    ("question", "choices", "shown"),
    [
        ("Which? (A) 2 (B) 3", ["2", "3"], ""),
        ("What? (a) 11 (b) 12", ["11", "12"], ""),
        ("Which?\nA: two\nB: three", {"a": "two", "b": "three"}, ""),
        ("Which?\n**A.** $11$\n**B.** $12$", ["$11$", "$12$"], ""),
        (r"Which? \textbf{(A)}\ 11 \textbf{(B)}\ 12", ["$11$", "12"], ""),
        ("Which? A: a cat that\nsleeps B: a  dog", ["a cat that sleeps", "a dog"], ""),
        ("2 or 3?", ["2", "3"], "\n(A) 2\n(B) 3"),
        ("Which? (A) 2", ["2", "3"], "\n(A) 2\n(B) 3"),
        ("If A = 10 and B = 25, what is B/A?", ["1", "2"], "\n(A) 1\n(B) 2"),
        ("Which? A) 110 B) 120", ["11", "12"], "\n(A) 11\n(B) 12"),
        (r"If a and b are angles, which?", [r"$\alpha$", r"$\beta$"], "\n(A) $\\alpha$\n(B) $\\beta$"),
        (r"Which? (A) $\beta$ (B) $\alpha$", [r"$\alpha$", r"$\beta$"], "\n(A) $\\alpha$\n(B) $\\beta$"),
        (r"Which? \textbf{(A)} $\alpha$ (b) $\sqrt{\pi}$", [r"$\alpha$", r"$\sqrt{\pi}$"], ""),
        ("How many?", None, ""),
    ],
)
def test_options_that_the_question_has_already_are_not_shown_twice(question, choices, shown):
    assert with_options(question, choices, "choice") == question + shown
    assert with_options(question, choices, "number") == question
