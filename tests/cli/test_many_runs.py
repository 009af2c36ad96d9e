"""Runs by the names of tables, what is printed of many runs, and a run that is given twice."""

import re
import shutil
from pathlib import Path

import pytest

import clipbench as cb
from clipbench.cli.colours import coloured
from clipbench.comparison.board import board
from clipbench.errors import UsageError
from clipbench.results.run import read_run
from clipbench.results.run_names import run_folder
from tests.cli.conftest import Call
from tests.many_runs import write_many_runs

STEP = "models-base-step"


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_many_runs(Path("pair"), 3, tasks=("zero-shot", "retrieval"))
    return Path("pair")


@pytest.mark.parametrize(
    "command",
    [
        ("compare", "{0}", "{1}"),
        ("compare", "{0}", "{1}", "--format", "json"),
        ("compare", "--chain", "{0}", "{1}", "{2}"),
        ("show", "{0}"),
        ("show", "{0}", "{1}"),
        ("report", "{0}", "{1}", "-o", "out.html"),
        ("export", "{0}", "--to", "csv"),
        ("export", "{0}", "{1}", "{2}", "--to", "board"),
        ("view", "{0}", "--export", "site"),
        ("plot", "across", "{0}", "{1}", "{2}", "--x", "zero-shot/acc1", "--y", "retrieval/acc1", "-o", "out.svg"),
    ],
)
def test_each_command_takes_the_names_that_a_table_shows(call: Call, pair: Path, command: tuple[str, ...]) -> None:
    folders = [str(pair / f"{STEP}-0{number}") for number in range(3)]
    names = [str(pair / f"step-0{number}") for number in range(3)]
    outputs = []
    for paths in (folders, names):
        done = call(*(word.format(*paths) for word in command))
        outputs.append((done.status, done.out))
        shutil.rmtree("site", ignore_errors=True)
    assert outputs[0] == outputs[1]
    assert outputs[0][0] == 0


def test_what_a_table_shows_is_what_commands_take(call: Call, pair: Path) -> None:
    names = [line.split()[0] for line in call("show", str(pair)).out.splitlines() if line.startswith("step-")]
    assert sorted(names) == ["step-00", "step-01", "step-02"]
    for name in names:
        assert run_folder(pair / name) == pair / f"{STEP}-{name[-2:]}"
        assert cb.read_run(pair / name).folder == pair / f"{STEP}-{name[-2:]}"
    assert run_folder(pair / "models/base/step-01") == run_folder(pair / "base/step-01") == pair / f"{STEP}-01"
    assert run_folder(pair / "mod…p-01") == pair / f"{STEP}-01"


@pytest.mark.parametrize("command", [("compare", "{0}", "{0}"), ("show", "{0}"), ("report", "{0}", "-o", "out.html"),
                                     ("export", "{0}", "--to", "csv"), ("view", "{0}", "--export", "site"),
                                     ("plot", "gap", "{0}", "-o", "out.svg"), ("explain", "{0}", "{0}")])  # fmt: skip
def test_a_name_that_fits_none_or_two_is_one_line_with_the_names_that_are_there(
    call: Call, pair: Path, command: tuple[str, ...]
) -> None:
    shutil.copytree(pair / f"{STEP}-01", pair / "again")
    for name, words in {
        "step-03": ("has no run 'step-03': did you mean 'step-02'?", "step-00", "step-02"),
        "nothing": ("has no run 'nothing': the runs there are", "step-00", "step-02"),
        "step-01": ("pair/step-01 fits 2 runs: ", f"pair/{STEP}-01", "pair/again"),
    }.items():
        done = call(*(word.format(pair / name) for word in command))
        assert done.status == 2 and done.err.count("\n") == 1, done.err
        assert all(word in done.err for word in words), done.err


def test_a_folder_without_runs_names_the_runs_that_are_near(call: Call, pair: Path) -> None:
    (pair / "empty").mkdir()
    Path("nothing").mkdir()
    done = call("show", str(pair / "empty"))
    assert done.status == 2 and done.err.endswith("The runs next to it: step-00, step-01, step-02\n")
    assert "Folders with runs: pair" in call("show", "nothing").err


@pytest.mark.parametrize("n_models", [3, 40])
def test_show_and_compare_of_many_have_a_line_per_run_and_at_most_forty_more(
    call: Call, tmp_path: Path, n_models: int
) -> None:
    runs = write_many_runs(tmp_path / "runs", n_models, tasks=("zero-shot", "retrieval", "few-shot"))
    base, *folders = [str(run.folder) for run in runs]
    for arguments in (["show", str(tmp_path / "runs")], ["compare", base, *folders]):
        done = call(*arguments)
        assert done.status == 0
        lines = done.out.splitlines()
        assert len(lines) <= 40 + n_models
        if arguments[0] == "show" or n_models > 4:
            for number in range(n_models):
                assert sum(line.startswith(f"step-{number:02}") for line in lines) == 1
    assert lines[-1].startswith("verdict: ")
    assert len(call("compare", base, *folders, "-v").out.splitlines()) > len(lines)


@pytest.mark.parametrize("n_models", [3, 11, 40])
def test_show_and_board_open_with_the_models_that_no_test_shows_to_be_worse(
    call: Call, tmp_path: Path, n_models: int
) -> None:
    runs = write_many_runs(tmp_path / "runs", n_models)
    ranks = board(*runs)
    table = ranks.frame().query("task == 'zero-shot'")
    best = {name.rpartition("/")[2] for name in table[table["rank_low"] == 1]["model"]}
    assert 0 < len(best) < n_models
    for line in (call("show", str(tmp_path / "runs")).out.splitlines()[0], str(ranks).splitlines()[0]):
        match = re.fullmatch(r"(\d+) of (\d+) could be best in (.*): ([^:]*)", line)
        assert match is not None, line
        assert (int(match[1]), int(match[2])) == (len(best), n_models)
        assert match[3] == "zero-shot@birds (top-1 accuracy)"
        names = match[4].partition(" and ")[0].split(", ")
        assert set(names) <= best and len(names) == min(8, len(best))


def test_equal_models_could_all_be_best(tmp_path: Path) -> None:
    ranks = board(*write_many_runs(tmp_path, 3, spread=0.0, n_samples=40))
    assert str(ranks).startswith("each of 3 could be best in zero-shot@birds (top-1 accuracy)\n")


def test_many_candidates_are_rows_with_the_worst_last_and_one_verdict(call: Call, tmp_path: Path) -> None:
    runs = write_many_runs(tmp_path / "runs", 6)
    done = call("compare", *(str(run.folder) for run in reversed(runs)), "--max-drop", "1pp")
    rows = [line.split() for line in done.out.splitlines() if line.startswith("step-")]
    assert [row[0] for row in rows[:1]] == ["step-05"] and rows[0][-1] == "base"
    assert done.out.count("verdict: ") == 1
    assert done.out.splitlines()[-1].endswith("of 5 candidates)")
    order = ["better", "equal", "undecided", "mixed", "worse"]
    words = [order.index(row[-1]) for row in rows[1:]]
    assert words == sorted(words)


def test_each_regression_is_printed_once(call: Call, tmp_path: Path) -> None:
    good, _, bad = write_many_runs(tmp_path, 3, tasks=("zero-shot", "retrieval"))
    done = call("compare", str(good.folder), str(bad.folder), "--max-drop", "1pp")
    assert done.status == 1
    assert done.out.count("REGRESSION") == 2
    assert len(re.findall(r"^acc1 .* REGRESSION$", done.out, re.MULTILINE)) == 2


def test_the_same_run_twice_is_said_or_refused(call: Call, pair: Path) -> None:
    folder = str(pair / "step-00")
    assert "warning: base and candidate are the same run" in call("compare", folder, folder).out
    done = call("compare", folder, str(pair / "step-01"), str(pair / f"{STEP}-01"))
    assert done.status == 2 and "is given twice as a candidate" in done.err
    done = call("report", folder, str(pair / f"{STEP}-00"), "-o", "out.html")
    assert done.status == 0 and "it is taken once" in done.err
    assert "models side by side" not in Path("out.html").read_text()
    run = read_run(pair / f"{STEP}-00")
    with pytest.raises(UsageError, match="is given twice: a board ranks each run once"):
        board(run, run)


def test_only_terminals_have_colours(call: Call, pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("compare", str(pair / "step-00"), str(pair / "step-02"))
    plain = call(*arguments).out
    assert "\x1b" not in plain and "verdict: worse" in plain
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    output = call(*arguments).out
    assert "verdict: \x1b[31m\x1b[1mworse\x1b[0m" in output
    assert re.sub(r"\x1b\[\d+m", "", output) == plain
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert call(*arguments).out == plain


@pytest.mark.parametrize(
    "line", ["nothing got worse here", "a worse model  acc1", "worseness: 1", "verdict: undecided (a better b)"]
)
def test_words_in_other_places_have_no_colour(line: str) -> None:
    assert coloured(line) == line
