"""Original formats to uniform rows, on small releases written here; and the folder's check."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest

from launch.prepare_data.__main__ import main
from launch.prepare_data.check import KNOWN, check, convert, overlaps
from launch.prepare_data.convert import FIELDS, gsm8k_socratic
from rollout.data.bad_rows import BadRow
from rollout.data.files import read_all
from tests.rollout.data.test_data_sets import DATA

TALLY = "Ann picks 12 plums a day. She gives 3 away daily. How many has she after 2.5 days?"
# From GSM8K's test split (openai/grade-school-math, MIT), the fourteenth row of test_socratic.jsonl.
MELANIE = {
    "question": "Melanie is a door-to-door saleswoman. She sold a third of her vacuum cleaners at the green house, 2 "
    "more to the red house, and half of what was left at the orange house. If Melanie has 5 vacuum cleaners left, how "
    "many did she start with?",
    "answer": "How many vacuum cleaners did Melanie have before she visited the orange house? ** First multiply the "
    "five remaining vacuum cleaners by two to find out how many Melanie had before she visited the orange house: 5 * 2 "
    "= <<5*2=10>>10\nHow many vacuum cleaners did Melanie have before visiting the red house? ** Then add two to "
    "figure out how many vacuum cleaners she had before visiting the red house: 10 + 2 = <<10+2=12>>12\nHow many "
    "vacuum cleaners did Melanie start with? ** Now we know that 2/3 * x = 12, where x is the number of vacuum "
    "cleaners Melanie started with. We can find x by dividing each side of the equation by 2/3, which produces x = "
    "18\n#### 18",
}
MATH = {"problem": "Add $3\\frac12$ and 1.", "level": "Level 2", "type": "Counting & Probability"}
JEE = {"description": "JEE Adv 2031 Paper 2", "index": 7, "subject": "chem"}
MUSIQUE = {
    "id": "2hop__1_2",
    "question": "Where was the maker of the lamp born?",
    "answer": "Ulm",
    "answer_aliases": ["Ulm, Germany"],
    "answerable": True,
    "question_decomposition": [
        {"id": 1, "question": "the lamp >> creator", "answer": "Ida"},
        {"id": 2, "question": "Where was #1 born?", "answer": "Ulm"},
    ],
    "paragraphs": [
        {"idx": 0, "title": "Ida", "paragraph_text": "Ida was born in Ulm.", "is_supporting": True},
        {"idx": 1, "title": "Oslo", "paragraph_text": "A city.", "is_supporting": False},
    ],
}


def test_one_file_is_checked_and_its_first_rows_are_shown_as_they_were_read(tmp_path, capsys):
    file = tmp_path / "mine.jsonl"
    rows = [
        {"id": number, "question": f"What is {number} + 1?", "answer": number + 1, "sub_questions": [], "level": 2}
        for number in range(5)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main([str(file)]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.splitlines() == [
        f"{file}: 5 rows; 0 bad; answers: number 5; 0 with sub-questions; 0 repeated questions",
        "  0: What is 0 + 1? → 1 (number)", "  1: What is 1 + 1? → 2 (number)", "  2: What is 2 + 1? → 3 (number)",
        "  other fields, kept as they are: sub_questions (did you mean subquestions?), level",
    ]  # fmt: skip
    with file.open("a") as stream:
        stream.write('{"id": "y", "question": "what is 3 + 1", "answer": 4}\n')
    assert main([str(file)]) == 0
    said = capsys.readouterr().out
    assert "; 1 repeated question\n" in said
    assert f"\n  repeated questions (a run uses each of these rows): {file}, line 6 repeats line 4\n" in said
    with file.open("a") as stream:
        stream.write('{"id": "x", "question": "Is it?", "answer": true}\n')
    assert main([str(file)]) == 1
    said = capsys.readouterr()
    assert "7 rows; 1 bad" in said.out
    found = "field 'answer' must be a text or a number, found true"
    assert said.err == f'{file}, line 7: {found}; write "yes", and "answer_type": "boolean"\n'


def test_a_file_of_which_no_row_can_be_read_says_once_what_is_wrong(tmp_path, capsys):
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps({"Question": f"What is {n}?", "answer": n}) + "\n" for n in range(60)))
    assert main([str(file)]) == 1
    said = capsys.readouterr()
    assert said.out == f"{file}: 60 rows; 60 bad\n"
    assert said.err.splitlines() == [
        f"{file}, 60 rows (lines 1, 2, 3, 4, 5, …): field 'question' is missing",
        "not read: Question (did you mean question?)",
    ]


def test_a_file_takes_no_releases_and_what_is_not_there_is_said_so(tmp_path, capsys):
    file = tmp_path / "mine.jsonl"
    file.write_text("{}\n")
    assert main([str(file), "gsm8k=hub"]) == 2
    assert capsys.readouterr().err.endswith("is a file; allowed with NAME=RELEASE: the folder of data sets\n")
    assert main([str(tmp_path / "no.jsonl")]) == 2
    assert "no.jsonl' does not exist; allowed: a folder of data sets, or one file of rows" in capsys.readouterr().err


def converted(tmp_path, name, file, rows, lines=True):
    """The uniform rows of a release of one file."""
    release = tmp_path / "release"
    release.mkdir(exist_ok=True)
    text = "\n".join(json.dumps(row) for row in rows) + "\n" if lines else json.dumps(rows, indent=1)
    (release / file).write_text(text, encoding="utf-8")
    ((path, kept, left_out),) = convert(name, str(release), tmp_path / "data")
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    bad: list[BadRow] = []
    assert len(read_all([path], bad)) == kept == len(rows) - left_out
    assert bad == []
    assert all(list(row)[: len(FIELDS)] == list(FIELDS) for row in found)
    return found


def test_gsm8k(tmp_path):
    answer = "She keeps 12 - 3 = <<12-3=9>>9 a day.\n\nIn all 9 * 2.5 = <<9*2.5=22.5>>22.5 plums.\n#### 1,022.50"
    (row,) = converted(tmp_path, "gsm8k", "test.jsonl", [{"question": TALLY, "answer": answer}])
    assert row["id"] == "gsm8k-test-00000"
    assert row["solution"] == "She keeps 12 - 3 = 9 a day.\nIn all 9 * 2.5 = 22.5 plums."
    assert (row["answer"], row["answer_type"]) == ("1022.5", "number")
    assert row["equations"] == ["12-3=9", "9*2.5=22.5"]
    assert row["subquestions"] is None


@pytest.mark.parametrize(
    ("step", "answer"),
    [
        ("He makes 2 * 3 = <<2*3=6>>6 in 5 days.", "6"),
        ("The chance is 3/5 * 1/5 = <<3/5*1/5=3/25>>3/25", "3/25"),
        ("That costs $1,000 * 2 = $<<1000*2=2000.0>>2,000.", "2000"),
        ("There are 2 years * 12 months = 24 months in 2 years.", "24"),
        ("He has 1/2 + 1/4 = 3/4 of 8 pies, 3 more than her.", "3/4"),
        ("She pays 3 * 4 = 12.50, rounded to 13", "12.5"),
        ("So x = 2 * 9", "9"),
        ("He sold 12 pies on 2 days.", "2"),
        ("Nobody knows.", "Nobody knows."),
    ],
)
def test_a_subanswer_is_the_result_of_the_last_calculation(step, answer):
    row = {"question": TALLY, "answer": f"What is it? ** {step}\n#### 77"}
    assert gsm8k_socratic(row, 0, "test")["subanswers"] == [answer]


def test_gsm8k_socratic(tmp_path):
    answer = (
        "Define a variable ** Let x be what she has.\nHow many a day? ** She keeps <<12-3=9>>9 plums.\n"
        "Nothing follows **\nHow many after two days? ** That is 18 plums, or 1,018 with mine.\n#### 1018"
    )
    plain, (melanie) = converted(
        tmp_path, "gsm8k_socratic", "test_socratic.jsonl", [{"question": TALLY, "answer": answer}, MELANIE]
    )
    assert plain["subquestions"] == ["Define a variable", "How many a day?", "How many after two days?"]
    assert plain["subanswers"] == ["Let x be what she has.", "9", "1018"]
    assert plain["solution"].splitlines()[1] == "She keeps 9 plums."
    assert melanie["subanswers"] == ["10", "12", "18"]


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no data sets at {DATA}: set DECOMPOSER_DATA to a folder of them")
def test_a_row_of_the_release_becomes_the_row_that_is_known(tmp_path):
    (row,) = converted(tmp_path, "gsm8k_socratic", "test_socratic.jsonl", [MELANIE])
    rows = (DATA / "gsm8k_socratic" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    known = next(known for line in rows if (known := json.loads(line))["question"] == MELANIE["question"])
    assert list(row) == list(known)
    assert row == known | {"id": row["id"]}


@pytest.mark.parametrize(
    ("boxed", "answer", "kind"),
    [
        ("\\boxed{4.50}", "4.5", "number"),
        ("\\boxed{\\$12,\\!300}", "12300", "number"),
        ("\\boxed{1{,}008}", "1008", "number"),
        ("\\boxed{.5}", "0.5", "number"),
        ("\\boxed 9", "9", "number"),
        ("\\boxed{81, 256}", "81, 256", "expression"),
        ("first \\boxed{1} and \\boxed{\\frac{9}{2}}", "\\frac{9}{2}", "expression"),
        ("\\boxed{\\text{(B)}}", "\\text{(B)}", "text"),
    ],
)
def test_math_keeps_what_the_last_box_holds(boxed, answer, kind, tmp_path):
    folder = tmp_path / "MATH" / "test" / "counting_and_probability"
    folder.mkdir(parents=True)
    (folder / "12.json").write_text(json.dumps(MATH | {"solution": f"So ${boxed}$."}))
    (folder / "3.json").write_text(json.dumps(MATH | {"solution": "So $\\boxed{}$."}))
    ((path, kept, left_out),) = convert("math", str(tmp_path / "MATH"), tmp_path / "data")
    assert (kept, left_out) == (1, 1)
    row = json.loads(path.read_text())
    assert row["id"] == "math-test-counting_and_probability-12"
    assert (row["answer"], row["answer_type"], row["level"]) == (answer, kind, "2")
    assert row["subject"] == "Counting & Probability"


def test_math500(tmp_path):
    original = {"problem": "Halve 9.", "solution": "\\boxed{4.5}", "answer": "4.5", "subject": "Prealgebra", "level": 1}
    original["unique_id"] = "test/prealgebra/44.json"
    (row,) = converted(tmp_path, "math500", "test.jsonl", [original])
    assert (row["id"], row["answer"], row["level"]) == ("math500-test-prealgebra-44", "4.5", "1")


def test_aqua(tmp_path):
    options = ["A)7 m", "B) (2, 3)", "(C)9", "D)A) and B)", "E)None"]
    original = {"question": "How far?", "options": options, "rationale": "It is C.", "correct": "C"}
    (row,) = converted(tmp_path, "aqua", "dev.json", [original])
    assert row["choices"] == ["7 m", "(2, 3)", "9", "A) and B)", "None"]
    assert (row["id"], row["answer"], row["answer_type"]) == ("aqua-dev-000", "C", "choice")


@pytest.mark.parametrize("mark", ["({})", "[{}]", "$[\\mathrm{{{}}}]$"])
def test_jeebench_options_are_split_off(mark, tmp_path):
    texts = ["pig iron", "coke (C) burns", "see (A) and (B)", "none"]
    options = "\n\n".join(f"{mark.format(letter)} {text}" for letter, text in zip("ABCD", texts, strict=True))
    original = JEE | {"type": "MCQ(multiple)", "gold": "DB", "question": f"Given (A) 3 and (B) 4, choose.\n\n{options}"}
    number = JEE | {"type": "Numeric", "gold": "3.70", "question": "How many moles?", "index": 8}
    row, other = converted(tmp_path, "jeebench", "dataset.json", [original, number], lines=False)
    assert row["question"] == "Given (A) 3 and (B) 4, choose."
    assert (row["choices"], row["answer"], row["answer_type"]) == (texts, "BD", "multi_choice")
    assert (row["id"], row["subject"], row["raw_type"]) == ("jeebench-2031-p2-chem-07", "Chemistry", "MCQ(multiple)")
    assert (other["answer"], other["raw_answer"], other["choices"]) == ("3.7", "3.70", None)


def test_strategyqa(tmp_path):
    original = {
        "qid": "ab12", "term": "Kea", "description": "a parrot", "question": "Can a kea outlive a king?",
        "answer": False, "facts": ["A kea lives 30 years.", "Kings live longer."],
        "decomposition": ["How long lives a kea?", "Is #1 longer than a king lives?"], "evidence": [],
    }  # fmt: skip
    (row,) = converted(tmp_path, "strategyqa", "dev.json", [original], lines=False)
    assert (row["answer"], row["answer_type"]) == ("no", "boolean")
    assert row["subquestions"][1] == "Is #1 longer than a king lives?"
    assert row["solution"] == "A kea lives 30 years.\nKings live longer."


def test_musique(tmp_path):
    rows = [MUSIQUE, MUSIQUE | {"id": "2hop__3_4", "answerable": False}]
    (row,) = converted(tmp_path, "musique", "musique_ans_v1.0_dev.jsonl", rows)
    assert (row["id"], row["level"], row["subanswers"]) == ("musique-2hop__1_2", "2hop", ["Ida", "Ulm"])
    assert row["context"] == ["Ida: Ida was born in Ulm."]
    assert row["answer_aliases"] == ["Ulm, Germany"]


def test_svamp(tmp_path):
    rows = [
        {"ID": f"chal-{number}", "Body": body, "Question": "How many are left?", "Answer": answer,
         "Type": "Subtraction", "Equation": "( 9.0 - 4.0 )"}
        for number, body, answer in ((1, "Jo had 9 nuts and ate 4", 5.0), (2, "Jo ate 4.", "0.5"))
    ]  # fmt: skip
    one, two = converted(tmp_path, "svamp", "SVAMP.json", rows, lines=False)
    assert (one["question"], one["answer"]) == ("Jo had 9 nuts and ate 4. How many are left?", "5")
    assert (two["question"], two["answer"]) == ("Jo ate 4. How many are left?", "0.5")


def test_what_is_not_the_release_is_refused_by_file_row_and_field(tmp_path, capsys):
    release = tmp_path / "train.jsonl"
    release.write_text('{"question": "a", "answer": "#### 1"}\n{"question": "b"}\n')
    root = tmp_path / "data"
    assert main([str(root), f"gsm8k={release}"]) == 2
    assert f"{release}, line 2: field 'answer' is missing" in capsys.readouterr().err
    assert not root.exists()
    for release, said in (("gsm9k=x", "allowed: gsm8k,"), ("gsm8k=/no", "'/no' does not exist"), ("svamp=hub", "hub")):
        assert main([str(root), release]) == 2
        assert said in capsys.readouterr().err


def test_a_release_where_converted_rows_go_is_left_as_it_is(tmp_path, capsys):
    row = json.dumps({"question": TALLY, "answer": "#### 22.5"}) + "\n"
    place = tmp_path / "gsm8k"
    place.mkdir()
    for name in ("train.jsonl", "test.jsonl"):
        (place / name).write_text(row)
    (tmp_path / "linked").symlink_to(place)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "test.jsonl").write_text(row)
    for releases in (
        [f"gsm8k={place}"], [f"gsm8k={place}/test.jsonl"], [f"gsm8k={tmp_path}/linked"],
        ["gsm8k=hub", f"math500={place}"], [f"gsm8k={tmp_path}/elsewhere", f"math500={place}"],
    ):  # fmt: skip
        assert main([str(tmp_path), *releases]) == 2
        said = capsys.readouterr().err
        assert "is an original release and would be replaced by converted rows; allowed: another ROOT, or the" in said
        assert len(said.splitlines()) == 1
        assert {file.read_text() for file in place.iterdir()} == {row}


def test_nothing_is_written_of_a_release_that_cannot_be_converted_whole(tmp_path, capsys):
    for name, row in (("train", {"question": TALLY, "answer": "#### 1"}), ("test", {"question": TALLY})):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    assert main([str(tmp_path / "data"), f"gsm8k={tmp_path}"]) == 2
    assert f"{tmp_path}/test.jsonl, line 1: field 'answer' is missing" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("train/algebra/index.json", b"{}", "no number is its name"),
        ("train/algebra/1.json", b"[1]", "no JSON object"),
        ("train/algebra/1.json", b'{"problem": "caf\xe9"}', "no UTF-8: byte 17"),
        ("train/algebra/1.json", b"[" * 100_000, "no JSON that can be read"),
        ("train/algebra/1.json", b"1" * 5000, "no JSON that can be read"),
    ],
    ids=["stray", "list", "latin-1", "deep", "long"],
)
def test_a_file_that_is_none_of_the_release_is_refused_in_one_line(tmp_path, capsys, name, content, said):
    file = tmp_path / name
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    assert main([str(tmp_path / "data"), f"math={tmp_path}"]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"{file}: {said}")
    assert len(told.splitlines()) == 1


def test_rows_that_are_no_utf_8_are_refused_in_one_line_and_so_is_a_place_that_is_no_folder(tmp_path, capsys):
    file = tmp_path / "train.jsonl"
    file.write_bytes(b'{"question": "caf\xe9", "answer": "#### 3"}\n')
    assert main([str(tmp_path / "data"), f"gsm8k={file}"]) == 2
    assert capsys.readouterr().err == f"{file}: no UTF-8: byte 18\n"
    file.write_text('{"question": "a", "answer": "#### 3"}\n')
    assert main([str(file / "data"), f"gsm8k={file}"]) == 2
    assert capsys.readouterr().err == f"'{file}/data/gsm8k/train.jsonl' cannot be written: Not a directory\n"


def test_a_hub_that_does_not_answer_is_said_in_one_line(tmp_path, monkeypatch, capsys):
    def load(*names, **split):
        raise ConnectionError("Couldn't reach the hub\nand more")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load))
    assert main([str(tmp_path), "aqua=hub"]) == 2
    assert capsys.readouterr().err == "aqua: deepmind/aqua_rat cannot be read from the hub: Couldn't reach the hub\n"


def test_the_hub_is_read_through_datasets_where_that_is_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert main([str(tmp_path), "aqua=hub"]) == 2
    assert "needs the package 'datasets'" in capsys.readouterr().err
    rows = [{"question": "How far?", "options": ["A)7", "B)8"], "rationale": "8.", "correct": "B"}]
    asked = []

    def load(*names, **split):
        asked.append((*names, split["split"]))
        return rows

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load))
    main([str(tmp_path), "aqua=hub"])
    assert asked[1] == ("deepmind/aqua_rat", "raw", "validation")
    assert [item.name for item in check(tmp_path)] == ["aqua/dev", "aqua/test", "aqua/train"]
    assert ("aqua/dev", "aqua/test", 1) in overlaps(tmp_path)


def test_a_changed_file_and_a_bad_gold_answer_are_told(tmp_path, capsys):
    (tmp_path / "svamp").mkdir()
    row = {"id": "1", "question": "How many?", "answer": "many", "answer_type": "number"}
    (tmp_path / "svamp" / "test.jsonl").write_text(json.dumps(row) + "\n")
    assert main([str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert "0 of 1" in out
    assert "field 'answer' is 'many'" in err
    assert "svamp/test: differs" in err


def test_a_better_reading_of_sub_answers_makes_no_other_data(tmp_path, monkeypatch):
    def checked(**changed):
        row = {"id": "gsm8k_socratic-test-0", "question": "How many?", "answer": "4", "subquestions": ["Half of 8?"]}
        file = tmp_path / "gsm8k_socratic" / "test.jsonl"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(row | {"subanswers": ["4"]} | changed) + "\n")
        (found,) = check(tmp_path)
        return found

    monkeypatch.setitem(KNOWN, "gsm8k_socratic/test", (1, checked().sha256))
    assert checked(subanswers=["2/4"]).verdict == "known"
    assert checked(subquestions=["Half of 9?"]).verdict == "differs"


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no data sets at {DATA}: set DECOMPOSER_DATA to a folder of them")
def test_every_known_file_has_its_rows_checksum_and_only_gold_answers_that_are_accepted():
    found = {item.name: item for item in check(DATA)}
    assert set(KNOWN) <= set(found)
    for name in KNOWN:
        assert (found[name].verdict, found[name].bad) == ("known", []), name
    # Variants of one set aside, only MATH's splits share questions: data=math drops them from training.
    pairs = [pair for pair in overlaps(DATA) if {pair[0].partition("/")[0], pair[1].partition("/")[0]} != {
        "gsm8k", "gsm8k_socratic"}]  # fmt: skip
    assert pairs == [("math/test_not_in_math500", "math/train", 2)]
