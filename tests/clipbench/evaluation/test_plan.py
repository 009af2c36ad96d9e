"""From --tasks and --suite to evaluations; every slip is one line that names it."""

from pathlib import Path

import pytest

from clipbench.data.prompts import Prompts
from clipbench.errors import LeftOutWarning, UsageError
from clipbench.evaluation.plan import build_task, plan, read_suite, with_data, with_prompts


def names(*text: str, suite: str = "standard", own_samples: bool = False) -> list[str]:
    return [request.name for request in plan(text, suite, own_samples=own_samples)]


def test_all_asks_vectors_for_what_they_allow_and_a_name_for_its_task() -> None:
    for own_samples in (True, False):
        for asked in (["all", "composition"], ["composition", "all"]):
            requests = plan(asked, "standard", own_samples=own_samples)
            assert {request.task for request in requests if not request.is_optional} == {"composition"}
            assert len({request.task for request in requests}) == 6 + own_samples  # modalities


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ("zeroshot", "unknown task 'zeroshot': did you mean 'zero-shot'.*\\? \\(clipbench list tasks\\)"),
        ("xyz@a", r"unknown task 'xyz': known: all, .*, \.\.\. \(13 in all\) \(clipbench list tasks\)"),
        ("retrieval@", "'retrieval@' names no data: expected TASK@DATA"),
        (" , ", "no task given: expected tasks='all', TASK or TASK@DATA"),
    ],
)
def test_a_slip_in_tasks_is_named(selector: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        names(selector)


def test_what_a_suite_has_by_name_alone_is_no_part_of_all() -> None:
    every = [request.name for request in plan(["all"], "scenes")]
    assert "zero-shot@scenes" in every and not {
        "few-shot@scenes",
        "operating-points@scenes",
        "compression@scenes",
        "mixed-retrieval@scenes",
    } & set(every)
    assert [request.name for request in plan(["mixed-retrieval"], "scenes")] == ["mixed-retrieval@scenes"]
    by_name = plan(["few-shot", "all"], "scenes")
    assert by_name[0].name == "few-shot@scenes" and len(by_name) == len(every) + 1


def test_a_suite_may_fix_a_subset(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('[[evaluation]]\ntask = "retrieval"\ndata = "a.csv"\nlimit = 5\n')
    assert [request.limit for request in plan(["all"], str(file))] == [5]
    for limit in ("0", "true", '"5"'):
        file.write_text(f'[[evaluation]]\ntask = "retrieval"\ndata = "a.csv"\nlimit = {limit}\n')
        with pytest.raises(UsageError, match="limit"):
            plan(["all"], str(file))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"has no \[\[evaluation\]\]"),
        ("evaluation = 3", r"has no \[\[evaluation\]\]"),
        ("x = [", "is not TOML"),
        (
            'most_byte = 5\n[[evaluation]]\ntask = "retrieval"\ndata = "a"',
            "unknown key 'most_byte': did you mean 'most_bytes'",
        ),
        ('tasks = ["retrieval"]', "mine.toml: unknown key 'tasks': known: evaluation, most_bytes"),
        ('[[evaluation]]\ntask = "retrieval"', "lacks 'data': got"),
        (
            '[[evaluation]]\ntask = "retrieval"\ndata = "a"\ndate = "b"',
            "in an .*: unknown key 'date': did you mean 'data'",
        ),
        (
            '[[evaluation]]\ntask = "retrieval"\ndata = "a"\nparams = {k = 1}',
            "no parameter 'k': did you mean 'ks'|known: ks",
        ),
        ('[[evaluation]]\ntask = "retreival"\ndata = "a"', "unknown task 'retreival': did you mean 'retrieval'"),
    ],
)
def test_a_slip_in_a_suite_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=message):
        plan(["all"], str(file))


def test_a_suite_names_no_data_where_the_model_brings_its_samples(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('[[evaluation]]\ntask = "retrieval"\nparams = {ks = [1, 2]}\n')
    assert plan(["all"], str(file), own_samples=True)[0].params == {"ks": [1, 2]}
    assert names("retrieval", suite=str(file), own_samples=True) == ["retrieval"]
    file.write_text("[[evaluation]]\nparams = {ks = [1, 2]}\n")
    with pytest.raises(UsageError, match=r"an \[\[evaluation\]\] lacks 'task': got"):
        names("all", suite=str(file), own_samples=True)


def test_two_evaluations_of_one_task_on_the_same_data_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    table = '[[evaluation]]\ntask = "retrieval"\ndata = "a.csv"\n'
    other = table.replace("a.csv", "b.csv")
    for further_lines in ("params = {ks = [1]}\n", 'data_options = {split = "val"}\n', "limit = 5\n"):
        file.write_text(table + further_lines + table)
        for name in ("all", "retrieval"):
            with pytest.raises(
                UsageError, match=r"mine\.toml has two evaluations of retrieval@a\.csv with other params"
            ):
                names(name, suite=str(file))
        assert names("retrieval@c.csv", suite=str(file)) == ["retrieval@c.csv"]
    file.write_text(table + table + other)
    assert names("all", suite=str(file)) == ["retrieval@a.csv", "retrieval@b.csv"]
    file.write_text(table + "params = {ks = [1]}\n" + other)
    with pytest.raises(UsageError, match="two evaluations of retrieval with other params"):
        names("all", suite=str(file), own_samples=True)


def test_data_of_one_s_own_are_measured_once_a_task() -> None:
    assert [evaluation.task for evaluation in with_data(plan(["all"], "datacomp"), "mine")] == [
        "zero-shot",
        "retrieval",
        "composition",
    ]
    assert names("all", suite="datacomp", own_samples=True) == ["zero-shot", "retrieval", "composition", "modalities"]


def install(site: Path, package: str, suites: str) -> None:
    """Write a distribution that declares a package of suites; an empty text leaves its suites.toml out."""
    info = site / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[clipbench.suites]\nbirds = {package}\n")
    (site / package).mkdir()
    (site / package / "__init__.py").touch()
    if suites:
        (site / package / "suites.toml").write_text(suites)


def test_a_broken_package_of_suites_is_named_and_costs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    install(tmp_path, "brokenbirds", "")
    with pytest.warns(LeftOutWarning, match=r"the suites of brokenbirds cannot be read \(FileNotF"):
        assert read_suite("scenes")


def test_prompts_go_to_the_tasks_that_take_them() -> None:
    requests = plan(["zero-shot@a,retrieval@a"], "standard")
    prompts = Prompts(templates=("a {c}",))
    with_them = with_prompts(requests, prompts)
    assert [dict(request.params) for request in with_them] == [{"prompts": prompts}, {}]
    assert build_task(with_them[0]).prompts == prompts  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="prompts has no effect on retrieval: expected a task with prompts"):
        with_prompts(requests[1:], prompts)
