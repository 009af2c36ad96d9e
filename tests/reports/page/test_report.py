"""The report as a reader, a screen reader and a browser find it."""

import base64
import hashlib
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clipbench.errors import UsageError
from clipbench.results import numbers as fmt
from clipbench.results.matching import OTHER_ORDER
from clipbench.results.record import Curve, DatasetRecord, EvaluationRecord, Metric
from clipbench.results.run import Run
from clipbench_reports.page.report import write_report

MakeRun = Callable[..., Run]
VOID = {"meta", "link", "br", "wbr", "hr", "img", "input"}


@dataclass
class Node:
    tag: str
    attributes: dict[str, str]
    children: list["Node | str"] = field(default_factory=list)

    def all(self, *tags: str) -> list["Node"]:
        """Return the elements below with one of some tags, in document order; all of them without tags."""
        below = [child for child in self.children if isinstance(child, Node)]
        return [
            found for child in below for found in ([child] if child.tag in tags or not tags else []) + child.all(*tags)
        ]

    @property
    def text(self) -> str:
        parts = (child if isinstance(child, str) else child.text for child in self.children if _is_shown(child))
        return re.sub(r"\s+", " ", "".join(parts))


def _is_shown(child: "Node | str") -> bool:
    return isinstance(child, str) or child.tag not in {"style", "head", "script", "template"}


class Tree(HTMLParser):
    """Builds nodes, and fails where an element is closed that is not open."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open = [Node("root", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Node(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def read(path: Path) -> Node:
    tree = Tree()
    tree.feed(path.read_text(encoding="utf-8"))
    tree.close()
    assert [node.tag for node in tree.open] == ["root"], "an element is left open"
    return tree.open[0]


@pytest.fixture
def report(tmp_path: Path) -> Callable[..., Node]:
    """Return a function that writes the report of some runs and parses it."""

    def make(*runs: Run) -> Node:
        write_report(runs, tmp_path / "report.html")
        return read(tmp_path / "report.html")

    return make


Report = Callable[..., Node]


@pytest.fixture(scope="module")
def run(parts: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of the standard evaluations, which nobody changes."""
    made: Run = parts.write_run(tmp_path_factory.mktemp("standard") / "run", parts.standard())
    return made


@pytest.fixture(scope="module")
def page(run: Run) -> Node:
    """The report of the run."""
    write_report([run], run.folder.parent / "one.html")
    return read(run.folder.parent / "one.html")


@pytest.fixture(scope="module")
def page_of_two(run: Run, parts: SimpleNamespace) -> Node:
    """The report of the run and a second one."""
    write_report([run, parts.write_run(run.folder.parent / "second", parts.standard())], run.folder.parent / "two.html")
    return read(run.folder.parent / "two.html")


def test_every_metric_stands_in_the_scorecard_with_interval_chance_and_n(run: Run, page: Node) -> None:
    rows = [" ".join(cell.text for cell in row.all("th", "td")) for row in page.all("tr")]
    for evaluation in run.result.evaluations:
        for name, metric in evaluation.metrics.items():
            mine = next(row for row in rows if f" {name} " in row)
            if metric.value is None:
                assert metric.reason is not None and metric.reason in mine
                continue
            for number in (fmt.number(metric.value, metric.unit), fmt.interval(metric), fmt.count(metric.n)):
                assert number in mine
            if metric.chance is not None:
                assert fmt.number(metric.chance, metric.unit) in mine


def test_the_bars_lie_where_the_numbers_are(make_run: MakeRun, report: Report, parts: SimpleNamespace) -> None:
    metric = Metric(value=0.625, low=0.5, high=0.75, n=8, chance=0.1, higher_is_better=True)
    page = report(make_run({"mine@here": {"metrics": {"score": metric}}}))
    lines = {
        node.attributes["class"]: node.attributes for node in page.all("line") if node.attributes["class"] != "grid"
    }
    assert (lines["range"]["x1"], lines["range"]["x2"]) == ("50%", "75%")
    assert lines["point"]["x1"] == lines["point"]["x2"] == "62.5%"
    assert lines["chance"]["x1"] == "10%"


def test_what_is_missing_is_said_at_the_top_and_in_the_scorecard(page: Node) -> None:
    top, scorecard = page.all("section")[:2]
    for section in (top, scorecard):
        assert "imagenet is gated: accept its terms, then clipbench data get imagenet" in section.text
        assert "cannot read image val/000139.jpg: truncated file" in section.text
    assert "Not measured: zero-shot@imagenet" in top.text
    assert "Failed: retrieval@coco" in top.text


def test_a_reader_finds_model_data_and_the_command_that_makes_it_again(page: Node) -> None:
    text = page.text.replace("\N{NO-BREAK SPACE}", " ")
    assert (
        "Measured: zero-shot, retrieval and modality-gap on scenes. 2 of 5 evaluations could not be measured." in text
    )
    facts = ["vit-b-32", "224 px", "151 M parameters", "77 tokens", "512 dimensions", "logit scale 100", "fp32 on cpu"]
    origin = [
        "open_clip:ViT-B-32-quickgelu/openai",
        "1a2b3c4d5e6f7081",
        "9f8e7d6c5b4a3928",
        "v3",
        "2.13.0",
        "QuickGELU",
    ]
    work = ["35.2 s", "2,000 images encoded, 50 texts encoded and 12 from cache"]
    for words in [*facts, *origin, *work, "clipbench run --model vit-b-32 --tasks all --data-root 'my data'"]:
        assert words in text


def test_what_each_tower_costs_stands_beside_the_model_and_at_the_top(make_run: MakeRun, report: Report) -> None:
    reasons = {"peak_bytes": "known on CUDA devices only"}
    tower = {"n_parameters": 87_849_216, "flops": 8_817_623_040, "item": "a square image", "reasons": reasons}
    page = report(make_run(towers={"image": tower}), make_run(name="old"))
    sources = next(node for node in page.all("section") if node.attributes["aria-labelledby"] == "provenance")
    (table,) = sources.all("table")
    assert "87.8 M" in table.text and "8.82 G" in table.text and "of a square image" in sources.text
    assert "peak memory: known on CUDA devices only" in sources.text
    assert page.text.replace("\N{NO-BREAK SPACE}", " ").count("8.82 GFLOPs per image") == 1
    assert not [node for node in report(make_run(name="bare")).all("h3") if "Cost" in node.text]


def test_notes_and_controls_stand_in_their_section(page: Node) -> None:
    section = next(node for node in page.all("section") if node.attributes["aria-labelledby"] == "zero-shot-scenes")
    assert section.text.count("Prompts: 5 templates of the data set.") == 1
    assert "tie_rate" in section.text


def test_nothing_is_asked_of_any_network(page: Node) -> None:
    assert not page.all("iframe", "object", "embed", "base", "form")
    (script,) = page.all("script")
    assert not script.attributes
    for node in page.all():
        for name, value in node.attributes.items():
            assert not name.startswith("on"), f"<{node.tag} {name}>"
            if name in {"src", "href", "srcset", "action", "data", "xlink:href"}:
                assert value.startswith(("#", "data:")), f"<{node.tag} {name}={value}>"
    style = page.all("style")[0].children[0]
    assert isinstance(style, str) and not re.search(r"url\(|@import", style)
    policy = next(node for node in page.all("meta") if node.attributes.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(str(script.children[0]).encode()).digest()).decode()
    assert policy.attributes["content"] == (
        f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"
    )


def test_headings_are_in_order_and_links_arrive(page_of_two: Node) -> None:
    page = page_of_two
    levels = [int(node.tag[1]) for node in page.all("h1", "h2", "h3", "h4", "h5", "h6")]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels))
    ids = [node.attributes["id"] for node in page.all() if "id" in node.attributes]
    assert len(ids) == len(set(ids))
    links = [node.attributes["href"] for node in page.all("a")]
    assert links and {link.removeprefix("#") for link in links} <= set(ids)
    for section in page.all("section"):
        assert section.attributes["aria-labelledby"] in ids


def test_every_image_states_a_finding_in_words(page: Node) -> None:
    images = [node for node in page.all("svg") if node.attributes.get("aria-hidden") != "true"]
    assert len(images) == 14  # three of them twice: for a narrow screen too
    assert len({image.attributes["aria-label"] for image in images}) == 11
    for image in images:
        assert image.attributes["role"] == "img"
        assert re.search(r"\d", image.attributes["aria-label"])


def test_every_table_has_a_caption_and_headers_with_scope(page: Node) -> None:
    tables = page.all("table")
    assert len(tables) >= 6
    for table in tables:
        assert table.all("caption")[0].text.strip()
        assert all(header.attributes["scope"] in {"col", "row", "rowgroup"} for header in table.all("th"))


def test_rows_have_as_many_cells_as_the_head_has_columns(page_of_two: Node) -> None:
    for table in page_of_two.all("table"):
        widths = {sum(int(c.attributes.get("colspan", 1)) for c in row.all("td", "th")) for row in table.all("tr")}
        assert len(widths) == 1


def test_names_that_try_to_be_markup_stay_text(make_run: MakeRun, report: Report, parts: SimpleNamespace) -> None:
    hostile = parts.hostile
    rng = np.random.default_rng(0)
    found = parts.zero_shot(rng, (hostile, "b", "c"), n=60)
    found |= {"notes": [hostile], "controls": {hostile: parts.fraction(0.5, 60)}, "params": {hostile: hostile}}
    found["arrays"] = {"template_names": np.array([hostile, *"bcde"])}
    curves = {hostile: Curve(x=[0.0, 1.0], y=[0.0, 1.0], x_label=hostile, y_label=hostile)}
    odd = {"metrics": {hostile: Metric(value=None, reason=hostile, unit=hostile)}, "curves": curves}
    run = make_run(
        {f"zero-shot@{hostile}": found, "my-task@x": odd, "other@x": {"status": "failed", "reason": hostile}},
        model={"ref": hostile, "id": hostile, "notes": [hostile]},
        command=["clipbench", hostile],
        environment={hostile: hostile},
    )
    page = report(run)  # parsing fails on an element that is not closed
    assert len(page.all("script")) == 1
    assert not any(name.startswith("on") for node in page.all() for name in node.attributes)
    assert page.all("h1")[0].text == hostile
    assert page.text.count('<script>alert("1")</script>&amp;') > 20


def test_control_characters_and_lone_surrogates_do_not_reach_the_file(make_run: MakeRun, report: Report) -> None:
    run = make_run({})
    damaged = replace(run.result, model={"ref": "a\x00b\x1bc\ud800d"})
    page = report(Run(run.folder, damaged))
    assert page.all("h1")[0].text == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c?d"


def test_no_number_is_ever_nan(make_run: MakeRun, report: Report, parts: SimpleNamespace) -> None:
    found = parts.zero_shot(np.random.default_rng(0), parts.classes, n=50)
    found["samples"]["confidence"][:5] = np.nan
    found["metrics"]["acc5"] = Metric(value=None, reason="of only 3 classes")
    holed = Curve(x=[0.1, 0.5, 0.9], y=[0.2, float("nan"), 0.8])
    found |= {"curves": {**found["curves"], "reliability": holed, "own": holed}, "params": {}}
    run = make_run({"zero-shot@scenes": {**found, "curves": {}}})
    run.result.evaluations[0] = replace(run.result.evaluations[0], curves=found["curves"])
    page = report(run)
    words = page.text + " ".join(value for node in page.all("main")[0].all() for value in node.attributes.values())
    assert not re.search(r"\b(nan|none|null|inf)\b", words, re.IGNORECASE)
    assert "Undefined: of only 3 classes" in page.text
    assert len(page.all("figure")) == 4


def test_a_value_without_an_interval_has_a_footnote_that_says_why(make_run: MakeRun, report: Report) -> None:
    why = "no interval: resampled vectors have other neighbours"
    metrics = {name: Metric(value=0.25, n=9, reason=why) for name in ("one", "two")}
    page = report(make_run({"mine@here": {"metrics": metrics}}))
    notes = [each.text.strip() for each in page.all("ol") if each.attributes.get("class") == "footnotes"]
    assert set(notes) == {why}
    card = next(each for each in page.all("table") if each.attributes.get("data-tools") == "metrics")
    assert [node.text for node in card.all("sup")] == ["[1]", "[1]"]


def test_a_run_without_arrays_says_what_is_not_drawn(make_run: MakeRun, report: Report, parts: SimpleNamespace) -> None:
    evaluations = parts.standard()
    for evaluation in evaluations.values():
        evaluation.pop("arrays", None)
        evaluation.pop("samples", None)
    text = report(make_run(evaluations)).text
    for name in ("label", "confidence", "similarity", "images", "template_names"):
        assert re.search(rf"Not drawn: the run kept no (column|array) “{name}”", text)
    assert "91.7" in text.replace("\N{NO-BREAK SPACE}", " ")


def test_an_unknown_task_gets_its_metrics_and_every_curve(make_run: MakeRun, report: Report) -> None:
    curves = {
        "long": Curve(x=[float(k) for k in range(5000)], y=[float(k % 7) for k in range(5000)], x_label="step"),
        "bounded": Curve(x=[1.0, 2.0], y=[0.5, 0.6], low=[0.4, 0.5], high=[0.6, 0.7]),
        "one point": Curve(x=[1.0], y=[2.0]),
    }
    page = report(make_run({"mine@here": {"metrics": {"depth": Metric(value=12.34, n=4, unit="m")}, "curves": curves}}))
    section = page.all("section")[2]
    assert len(section.all("figure")) == 3
    assert "12.3" in section.all("table")[0].text
    assert len(section.all("figure")[0].all("path")[-1].attributes["d"]) < 6000


def test_models_stand_side_by_side_and_say_what_must_not_be_compared(make_run: MakeRun, report: Report) -> None:
    one = make_run()
    other = make_run(name="other")
    data = DatasetRecord(id="scenes", revision="v4", split="test", n_samples=2000, fingerprint="else")
    changed = [replace(other.result.evaluations[0], dataset=data), *other.result.evaluations[1:3]]
    page = report(one, Run(other.folder, replace(other.result, evaluations=changed)))
    assert page.all("h1")[0].text == "2 models side by side"
    top = page.all("section")[0].text
    assert "Not comparable: zero-shot on scenes: the models differ in data fingerprint, data revision" in top
    assert "retrieval on scenes: " not in top
    assert "Not run for vit-b-32 (other): zero-shot@imagenet, retrieval@coco." in top
    rows = [row.text for row in page.all("table")[1].all("tr") if "vit-b-32 (run)" in row.text]
    assert len(rows) > 10


def test_a_long_series_leaves_figures_to_the_single_reports_and_says_so(
    make_run: MakeRun, report: Report, parts: SimpleNamespace
) -> None:
    rng = np.random.default_rng(0)
    measured = (
        parts.zero_shot(rng, parts.classes, n=20),
        parts.retrieval(rng, n=8),
        {"metrics": {"x": Metric(value=1.0)}},
    )
    run = make_run(
        {f"{task}@mine": found for task, found in zip(("zero-shot", "retrieval", "own"), measured, strict=True)}
    )
    series = [replace(run, result=replace(run.result, model={"ref": f"epoch {k}"})) for k in range(17)]
    assert report(*series[:16]).all("figure")
    page = report(*series)
    assert not page.all("figure")
    assert "Figures and tables of single models are left out" in page.text


def test_equal_runs_give_equal_bytes(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    for name in ("a.html", "b.html"):
        write_report([run], tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_a_thousand_classes_stay_far_under_two_megabytes(
    make_run: MakeRun, parts: SimpleNamespace, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    names = tuple(f"a rather long name of class {k}" for k in range(1000))
    evaluations = {
        "zero-shot@imagenet": parts.zero_shot(rng, names, n=4000),
        "retrieval@coco": parts.retrieval(rng, n=1000),
        "modality-gap@coco": parts.modality_gap(rng, n=2000),
    }
    write_report([make_run(evaluations)], tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < 500_000


def test_of_a_table_that_is_missing_its_section_says_so_and_the_rest_is_there(
    make_run: MakeRun, report: Report
) -> None:
    run = make_run()
    whole = len(report(run).all("figure"))
    (run.folder / run.result.evaluations[0].files["samples"]).unlink()
    page = report(run)
    text = page.text.replace("\N{NO-BREAK SPACE}", " ")
    assert text.count("lacks 0.parquet: the run is damaged, make it again") == 1
    assert 0 < len(page.all("figure")) < whole
    assert all(name in text for name in ("acc1", "image_retrieval_recall@1", "gap"))


def test_a_report_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a report needs at least one run: got none"):
        write_report([], tmp_path / "report.html")


def test_a_folder_that_is_not_there_is_named(make_run: MakeRun, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot write .*nowhere.*: No such file or directory"):
        write_report([make_run()], tmp_path / "nowhere" / "report.html")


def test_a_run_in_which_nothing_could_be_measured_still_has_a_report(make_run: MakeRun, report: Report) -> None:
    missing = {"zero-shot@imagenet": {"status": "unavailable", "reason": "imagenet is gated"}}
    page = report(make_run(missing, model={"ref": "tiny"}))
    assert "imagenet is gated" in page.all("section")[0].text
    assert "not known" in page.text


NO_TORCH = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "open_clip", "transformers", "datasets", "sklearn", "scipy", "matplotlib"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from clipbench.cli import main
sys.exit(main(["report", *sys.argv[1:]]))
"""


def test_a_report_is_made_without_torch_and_below_five_megabytes(
    make_run: MakeRun, parts: SimpleNamespace, tmp_path: Path
) -> None:
    run = make_run()
    parts.write_thumbnails(run.folder, [f"{k:032x}" for k in range(100)], side=128)
    given = [str(run.folder), "-o", str(tmp_path / "report.html")]
    done = subprocess.run([sys.executable, "-c", NO_TORCH, *given], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "report.html").stat().st_size < 5_000_000


def checkpoints(make_run: MakeRun, parts: SimpleNamespace, steps: tuple[int | None, ...]) -> list[Run]:
    """Return the runs of a training's checkpoints, with a gap that closes and a recall that grows."""
    runs = []
    for place, step in enumerate(steps):
        gap = {"metrics": {"gap": Metric(value=1 - place / 4, n=9, unit="distance")}}
        found = {"metrics": {"image_retrieval_recall@1": parts.fraction(place / 4, 9, chance=1 / 9)}}
        model = {**parts.model, "ref": f"hf:mine/checkpoint-{place}", "fingerprint": f"w{place}", "step": step}
        runs.append(make_run({"modality-gap@scenes": gap, "retrieval@scenes": found}, name=f"at{place}", model=model))
    return runs


def test_what_to_cite_stands_once_for_each_data_set_that_was_measured(make_run: MakeRun, report: Report) -> None:
    def of(data: str, cite: str | None, **more: Any) -> dict[str, Any]:
        return {"metrics": {}, "dataset": DatasetRecord(id=data, cite=cite), **more}

    found = {
        "zero-shot@pets": of("pets", "Parkhi <et al.>, 2012"),
        "retrieval@pets": of("pets", None),
        "retrieval@mine": of("mine", None),
        "retrieval@coco": of("coco", "Chen et al., 2015", status="unavailable", reason="not here"),
    }
    page = report(make_run(found))
    (block,) = [node for node in page.all("div") if node.text.strip().startswith("To cite the data")]
    said = [[" ".join(part.text.split()) for part in block.all(tag)] for tag in ("dt", "dd")]
    assert said == [["pets", "mine"], ["Parkhi <et al.>, 2012", "not recorded: see where you got the data"]]


def test_the_runs_of_one_training_are_told_through_the_training(
    make_run: MakeRun, report: Report, parts: SimpleNamespace
) -> None:
    page = report(*checkpoints(make_run, parts, (0, 100, 200)))
    section = next(node for node in page.all("section") if node.attributes["aria-labelledby"] == "training")
    assert section.all("h2")[0].text == "Through the training"
    assert "The gap is 1.0000 at step 0 and 0.5000 at step 200; text-to-image R@1 0.0 and 50.0 %." in (
        section.text.replace("\N{NO-BREAK SPACE}", " ")
    )
    images = [node for node in section.all("svg") if node.attributes.get("role") == "img"]
    assert len(images) == 4  # the first headline of each evaluation, then the track; for a narrow screen too
    for image in images[:2]:
        assert "Modality gap: gap" in image.text
        assert "Retrieval: image retrieval recall@1" in " ".join(node.text for node in image.all("text"))
    assert "Gap, cosines and recall" in section.all("summary")[0].text
    for anchor in ("modality-gap", "retrieval"):
        task = next(node for node in page.all("section") if node.attributes["aria-labelledby"] == anchor)
        (fold,) = [node for node in task.all("details") if node.attributes.get("id") == f"{anchor}/by-model"]
        assert len(fold.all("details")) == 3  # a checkpoint each, in one fold
    sources = next(node for node in page.all("section") if node.attributes["aria-labelledby"] == "provenance")
    assert sources.text.count("To cite the data") == 1
    assert len([node for fold in sources.all("details") for node in fold.all("pre")]) == 2  # of three commands


def test_what_differs_between_the_runs_of_a_training_is_said_under_its_figures(
    make_run: MakeRun, report: Report, parts: SimpleNamespace
) -> None:
    runs = checkpoints(make_run, parts, (0, 100))
    first, second = (
        replace(run, result=replace(run.result, evaluations=[of_order(each, order) for each in run.result.evaluations]))
        for run, order in zip(runs, "ab", strict=True)
    )
    section = next(
        node for node in report(first, second).all("section") if node.attributes["aria-labelledby"] == "training"
    )
    assert section.text.count(f"modality-gap@scenes: {OTHER_ORDER}. retrieval@scenes: {OTHER_ORDER}.") == 2


def of_order(evaluation: EvaluationRecord, order: str) -> EvaluationRecord:
    """Return an evaluation of the same samples in an order of its own."""
    return replace(evaluation, dataset=replace(evaluation.dataset, fingerprint=order, unordered_fingerprint="same"))


@pytest.mark.parametrize("steps", [(None, None), (0, None), (5,), (100, 100)])  # the last: of two trainings
def test_runs_of_no_one_training_have_no_such_section(
    make_run: MakeRun, report: Report, parts: SimpleNamespace, steps: tuple[int | None, ...]
) -> None:
    assert "Through the training" not in report(*checkpoints(make_run, parts, steps)).text


def test_modalities_have_the_colours_that_they_have_everywhere(page: Node) -> None:
    style = page.all("style")[0].children[0]
    assert isinstance(style, str)
    for name, colour in (("image", "#0072b2"), ("text", "#d55e00"), ("pair", "#6b6b6b")):
        assert re.findall(rf"--{name}: (#\w+)", style) == [colour]
