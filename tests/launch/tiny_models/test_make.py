import itertools
import random
import shutil

import pytest
import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from conf.schema.model import shipped
from launch.tiny_models import __main__ as command
from launch.tiny_models.__main__ import main
from launch.tiny_models.card import model_card
from launch.tiny_models.curriculum import INDEPENDENT, chained_problems, cycles
from launch.tiny_models.keep import FILE, Kept
from launch.tiny_models.make import (
    batches,
    carried_over,
    deepened,
    make,
    make_model,
    make_tokenizer,
    stream,
    total_steps,
)
from launch.tiny_models.measure_roles import verifier_skill
from launch.tiny_models.prune import NEURONS, cut_down
from launch.tiny_models.role_texts import monolith_pieces, verifier_pieces
from launch.tiny_models.texts import (
    END,
    asking_pieces,
    dependent_pieces,
    fact_pieces,
    in_turn,
    independent_pieces,
    listing_pieces,
    ordering_pieces,
    relation_pieces,
    solver_pieces,
)
from rollout.data.chained import generate
from rollout.data.graph import CANNOT_TELL, Graph
from rollout.data.worked import SolverView

PIECES = [
    fact_pieces, relation_pieces, dependent_pieces, listing_pieces, ordering_pieces, asking_pieces, solver_pieces,
    verifier_pieces, monolith_pieces, independent_pieces,
]  # fmt: skip


@pytest.fixture(autouse=True)
def threads():
    """Training sets torch's threads for the whole process: a vLLM engine that starts there later would stop at it."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


@pytest.fixture
def few_rows(monkeypatch):
    """Batches of a few rows: how many there are does not depend on it, and most of a step's time does."""
    for module in ("make", "curriculum"):
        monkeypatch.setattr(f"launch.tiny_models.{module}.BATCH", 4)


def some(count, steps=None):
    return list(itertools.islice(generate(3, "train", steps or {2: 1, 3: 1, 4: 1}), count))


def test_the_solver_is_taught_to_answer_what_is_in_view_and_nothing_else():
    for problem in some(200):
        graph = Graph(problem)
        view = SolverView(graph)
        assert view.solve().endswith(CANNOT_TELL)
        for name in reversed(graph.needed[1:]):
            assert view.answer(name).endswith(CANNOT_TELL)
        for name in graph.needed[:-1]:
            assert view.answer(name).endswith(f"{name} owns {graph.values[name]} {graph.item}.")
        assert view.solve().endswith(f"{graph.target} owns {problem.answer} {graph.item}.")
        assert all(line in view.solve() for line in problem.solution.splitlines())


def test_filler_tells_the_solver_nothing():
    for problem in some(100):
        graph = Graph(problem)
        view = SolverView(graph)
        for question in graph.filler_plan(random.Random(0)):
            view.answer(graph.asked_name(question))
        assert view.solve().endswith(CANNOT_TELL)


def test_any_text_comes_back_from_the_tokenizer_and_digits_stand_alone(tokenizer):
    for text in ("Amy has 35 pens.\nHow many?", "Straße 12,5 € 漢字 \t x", ""):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    tokens = [tokenizer.decode([index]).strip() for index in tokenizer.encode(" Eva has 1234 stamps.")]
    assert tokens == ["Eva", "has", "1", "2", "3", "4", "stamps", "."]


@pytest.mark.parametrize("pieces", PIECES, ids=lambda pieces: pieces.__name__)
def test_texts_fit_the_context_and_teach_something(tokenizer, pieces):
    rng = random.Random(0)
    for problem in some(200, {4: 1.0}):
        parts = pieces(problem, rng)
        ids = [tokenizer.encode(text) for text, _ in parts]
        assert sum(map(len, ids)) <= 512
        assert any(taught for _, taught in parts)
        assert not parts[0][1]


def test_the_base_reads_no_decomposition():
    rng = random.Random(0)
    for problem in some(200):
        text = "".join(part for part, _ in asking_pieces(problem, rng))
        assert "Sub-questions:" not in text


def test_the_monolith_asks_for_all_that_can_be_worked_out_and_reads_no_decomposition():
    rng = random.Random(0)
    for problem in some(200):
        graph = Graph(problem)
        text = monolith_pieces(problem, rng)[1][0]
        asked = [name for name in graph.quantities if name not in graph.given and name != graph.target]
        assert all(f"Q: {graph.ask(name)}" in text for name in asked)
        assert text.count("Q: ") == len(asked)
        assert text.endswith(f"{graph.target} owns {problem.answer} {graph.item}.{END}")


def test_a_deepened_model_writes_what_it_wrote_and_all_of_it_learns(tokenizer):
    model = make_model(tokenizer, 0).eval()
    deep = deepened(model).eval()
    ids = torch.randint(0, len(tokenizer), (2, 30))
    assert torch.equal(deep(ids).logits, model(ids).logits)
    assert deep.config.num_hidden_layers == 2 * model.config.num_hidden_layers
    deep(ids, labels=ids).loss.backward()
    assert all(layer.self_attn.o_proj.weight.grad.any() for layer in deep.model.layers)
    assert all(layer.mlp.down_proj.weight.grad.any() for layer in deep.model.layers)


def test_batches_supervise_replies_only(tokenizer):
    ids, labels = next(batches(solver_pieces, tokenizer, 0, 8, chained_problems({2: 1.0})))
    taught = labels != -100
    assert ids.shape == labels.shape
    assert (ids[taught] == labels[taught]).all()
    for row in range(8):
        text = tokenizer.decode(labels[row][taught[row]])
        assert END in text
        assert "Q:" not in text


@pytest.mark.parametrize(
    ("kind", "data"),
    [*itertools.product(["solver", "decomposer", "verifier", "monolith"], ["chained"]),
     ("solver", "branched"), ("decomposer", "branched"), ("independent_solver", "branched"),
     ("monolith", "branched")],
)  # fmt: skip
def test_the_last_of_cycles_and_of_stages_fill_all_steps(tokenizer, few_rows, kind, data):
    assert cycles(kind, data)[-1][0] == 1.0
    for _, _, stages in cycles(kind, data):
        assert len(list(itertools.islice(stream(stages, tokenizer, 0, 20), 20))) == 20


def test_a_model_begins_with_heads_that_look_back(tokenizer):
    model = make_model(tokenizer, 0)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        attention = model(torch.arange(300, 340)[None], output_attentions=True).attentions[0][0]
    for head in range(3):
        assert float(attention[head].diagonal(-head - 1)[10:].mean()) > 0.5


def test_making_reports_progress_and_saves_what_loads(tokenizer, few_rows, tmp_path, monkeypatch):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # Two cycles of one step each on a few short rows: a step of the real cycles takes seconds.
    rows = [(1.0, fact_pieces, 4, chained_problems({1: 1.0}))]
    monkeypatch.setattr("launch.tiny_models.make.cycles", lambda kind, data: [(0.5, 1e-3, rows), (1.0, 1e-3, rows)])
    monkeypatch.setattr("launch.tiny_models.make.BEGINNING_STEPS", 1)
    monkeypatch.setattr("launch.tiny_models.make.make_tokenizer", lambda seed, data: tokenizer)
    reports = []
    make("decomposer", 0, 2, tmp_path / "model", lambda step, loss, exact: reports.append((step, loss)))
    assert [step for step, _ in reports] == list(range(1, total_steps(2) + 1))
    assert reports[-1][1] < reports[0][1] + 1
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert model.config.vocab_size == len(AutoTokenizer.from_pretrained(tmp_path / "model"))


def test_the_independent_solver_begins_from_nothing_and_has_another_size(few_rows, tmp_path, monkeypatch):
    rows = [(1.0, fact_pieces, 4, chained_problems({1: 1.0}))]
    monkeypatch.setattr("launch.tiny_models.make.cycles", lambda kind, data: [(1.0, 1e-3, rows)])
    monkeypatch.setattr("launch.tiny_models.make.BEGINNING_STEPS", 1)
    steps = []
    make(INDEPENDENT, 1, 1, tmp_path, lambda step, loss, exact: steps.append(step), "branched")
    assert steps == [1, 2, 3, 4] == list(range(1, total_steps(1, INDEPENDENT, "branched") + 1))
    made, other = (LlamaForCausalLM.from_pretrained(folder) for folder in (tmp_path, shipped("tiny_branched_solver")))
    assert (made.config.num_hidden_layers, made.config.intermediate_size) == (5, 320)
    assert (other.config.num_hidden_layers, other.config.intermediate_size) == (4, 384)
    words = AutoTokenizer.from_pretrained(tmp_path).get_vocab()
    # Both tasks' words, and its own.
    assert {"Ġowns", "Ġundercuts", "Ġfewer", "Ġless", "Ġover", "ĠSo"} <= words.keys()


def test_a_verifier_goes_on_from_the_shipped_solver(tmp_path, monkeypatch):
    from safetensors.torch import load_file

    rows = [(1.0, verifier_pieces, 2, chained_problems({1: 1.0}))]
    monkeypatch.setattr("launch.tiny_models.make.cycles", lambda kind, data: [(1.0, 1e-6, rows)])
    steps = []
    make("verifier", 0, 1, tmp_path / "model", lambda step, loss, exact: steps.append(step))
    assert steps == [1] == [total_steps(1, "verifier")]
    made, solver = (load_file(folder / "model.safetensors") for folder in (tmp_path / "model", shipped("tiny_solver")))
    assert set(made) == set(solver)
    for name, tensor in made.items():
        assert torch.allclose(tensor.float(), solver[name].float(), atol=1e-2)


def test_a_verifiers_skill_is_told_by_class_by_kind_and_as_false_alarms():
    verdicts = [("right", "no_mistake", ["no_mistake"])] * 3 + [("right", "no_mistake", ["conceptual"])]
    verdicts += [("number copied wrongly", "computational", ["computational"])]
    verdicts += [("wrong arithmetic", "computational", ["no_mistake"])]
    verdicts += [("answer not attempted", "first_step", ["first_step", "conceptual"])]
    said = verifier_skill(verdicts)
    assert "False alarms: 0.250 (" in said
    assert "of 4 right replies" in said
    assert "Missed: 0.333 (" in said
    assert "| computational | 2 | 0.50 |" in said
    assert "| wrong arithmetic | computational | 1 | 0.00 |" in said
    assert "| first step | 1 | 0.00 |" in said


def test_the_shipped_models_are_small_and_have_cards():
    chained = ("tiny_solver", "tiny_second_solver", "tiny_decomposer", "tiny_verifier", "tiny_monolith")
    branched = (
        f"tiny_branched_{kind}" for kind in ("solver", "second_solver", "independent_solver", "decomposer", "monolith")
    )
    for name in (*chained, *branched):
        folder = shipped(name)
        assert (folder / "model.safetensors").stat().st_size < 4_000_000
        assert "Measured" in (folder / "README.md").read_text() or name.endswith("decomposer")


def test_the_second_solver_is_the_first_with_fewer_neurons(tmp_path):
    from safetensors.torch import load_file

    cut_down(shipped("tiny_solver"), tmp_path / "cut")
    whole = load_file(shipped("tiny_solver") / "model.safetensors")
    cut, ships = (
        load_file(folder / "model.safetensors") for folder in (tmp_path / "cut", shipped("tiny_second_solver"))
    )
    assert set(cut) == set(ships) == set(whole)
    for name, tensor in cut.items():
        assert tensor.shape == ships[name].shape
        if "mlp" not in name:
            assert torch.equal(tensor, whole[name])
    ways = [cut[f"model.layers.1.mlp.{name}_proj.weight"] for name in ("gate", "up")]
    columns = [whole[f"model.layers.1.mlp.{name}_proj.weight"] for name in ("gate", "up")]
    places = [next(place for place, row in enumerate(columns[0]) if torch.equal(row, kept)) for kept in ways[0]]
    assert len(set(places)) == NEURONS["chained"] == len(places)
    assert torch.equal(columns[1][places], ways[1])
    down = whole["model.layers.1.mlp.down_proj.weight"]
    assert torch.equal(down[:, places], cut["model.layers.1.mlp.down_proj.weight"])


def test_a_model_that_is_carried_over_means_by_a_word_what_it_meant():
    tokenizer = make_tokenizer(0, "branched", count=300)
    model = carried_over("tiny_solver", tokenizer, 0, 768)
    was = LlamaForCausalLM.from_pretrained(shipped("tiny_solver"), dtype=torch.float32)
    known = AutoTokenizer.from_pretrained(shipped("tiny_solver"))
    assert model.config.max_position_embeddings == 768
    assert model.lm_head.weight is model.model.embed_tokens.weight
    text = "By now Nora owns 12 shells.\nQ: How many shells does Nora have?\nA:"
    ids = [one.encode(text, return_tensors="pt", add_special_tokens=False) for one in (tokenizer, known)]
    assert ids[0].shape == ids[1].shape
    words, before = tokenizer.get_vocab(), known.get_vocab()
    both = sorted(words.keys() & before.keys())
    mine, places = ([vocabulary[token] for token in both] for vocabulary in (words, before))
    with torch.no_grad():
        assert torch.allclose(model(ids[0]).logits[..., mine], was(ids[1]).logits[..., places], atol=1e-4)


def test_a_card_says_what_the_model_is(tmp_path):
    shutil.copytree(shipped("tiny_solver"), tmp_path / "tiny_solver")
    model_card("solver", tmp_path / "tiny_solver", 3, 5200, "It is right.")
    text = (tmp_path / "tiny_solver" / "README.md").read_text()
    for said in (
        "# tiny_solver\n",
        "Llama architecture, 4 layers",
        "0.93 million parameters",
        "`python -m launch.tiny_models solver --seed 3`",
        "5200 steps",
        "## Measured\n\nIt is right.\n",
    ):
        assert said in text


def test_what_its_processes_do_is_where_they_can_import_it():
    # A spawned process imports no ``__main__`` of a package, and could not find a function of it.
    own = [name for name, value in vars(command).items() if getattr(value, "__module__", "") == command.__name__]
    assert own == ["main"]


def test_what_is_no_model_of_ours_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["solvers"])
    assert (
        "KIND: 'solvers' is unknown; allowed: solver, decomposer, verifier, monolith, second_solver"
        in capsys.readouterr().err
    )
    with pytest.raises(SystemExit):
        main(["verifier", "--data", "branched"])
    said = capsys.readouterr().err
    assert "KIND: 'verifier' is unknown with --data branched; allowed: solver, decomposer" in said


def test_listings_name_everything_once_in_an_order_that_can_be_worked_out():
    rng = random.Random(0)
    for problem in some(200):
        graph = Graph(problem)
        known, names = set(graph.given), in_turn(graph, rng)
        assert sorted([*names, *known]) == sorted(graph.quantities)
        for name in names:
            assert graph.in_view(name, known)
            known.add(name)


def test_a_stopped_training_goes_on_where_it_was_and_ends_as_if_it_had_not_stopped(tokenizer, tmp_path, monkeypatch):
    from safetensors.torch import load_file

    rows = [(0.4, fact_pieces, 2, chained_problems({1: 1.0})), (1.0, relation_pieces, 2, chained_problems({1: 1.0}))]
    monkeypatch.setattr("launch.tiny_models.make.cycles", lambda kind, data: [(0.5, 1e-3, rows), (1.0, 1e-3, rows)])
    monkeypatch.setattr("launch.tiny_models.make.BEGINNING_STEPS", 1)
    monkeypatch.setattr("launch.tiny_models.make.EVERY_STEPS", 2)
    monkeypatch.setattr("launch.tiny_models.make.make_tokenizer", lambda seed, data: tokenizer)

    def train_until(end, folder):
        done = []

        def report(step, loss, exact):
            done.append(step)
            if step == end:
                raise KeyboardInterrupt

        make("decomposer", 0, 10, folder, report)
        return done

    begun = total_steps(10) - 10
    train_until(None, tmp_path / "whole")
    for stop in (begun + 3, begun + 8):  # in the first cycle and in the second
        with pytest.raises(KeyboardInterrupt):
            train_until(stop, tmp_path / "stopped")
    # The last step before a stop that was kept is the second of the second cycle.
    assert train_until(None, tmp_path / "stopped") == list(range(begun + 8, begun + 11))
    whole, stopped = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "stopped"))
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)
    assert not (tmp_path / "stopped" / FILE).exists()


def test_what_was_kept_of_another_training_is_not_gone_on_from(tmp_path):
    model = torch.nn.Linear(1, 1)
    Kept(tmp_path / FILE, {"kind": "solver", "seed": 0}).save(0, 5, model, [], [])
    assert Kept(tmp_path / FILE, {"kind": "solver", "seed": 1}).load() is None
    assert Kept(tmp_path / FILE, {"kind": "solver", "seed": 0}).load()["step"] == 5
