"""Pages of models that only guess claim nothing: all their words are read, over simulations.

The images of such a model have nothing to do with its texts. So every answer is at chance, and two such models are
exchangeable: whatever a page claims of them is false. Claims are found by their words, without any knowledge of the
rule (``clipbench.stats.claims``). experiments/coverage.md has the rates of longer simulations.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import scipy.stats
from jaxtyping import Float32
from markupsafe import Markup

from clipbench import vectors
from clipbench.checks.examination import examine
from clipbench.cli.tables import evaluation_lines
from clipbench.comparison import formats
from clipbench.comparison.compare_runs import compare
from clipbench.comparison.gate_rules import Gate
from clipbench.data.dataset import Dataset
from clipbench.data.images import ImageRef
from clipbench.data.labels import LabelSet
from clipbench.data.modalities import Modalities
from clipbench.data.questions import Attack, Contrast
from clipbench.evaluation.datasets import Datasets
from clipbench.evaluation.measure import measure
from clipbench.evaluation.plan import Request, RunOptions
from clipbench.results import numbers as fmt
from clipbench.results.record import Metric
from clipbench.results.run import Run
from clipbench.stats import intervals, significance
from clipbench.stats.significance import ALPHA
from clipbench.testing import INFO, NamedImage, StubEmbedder
from clipbench_reports.findings import Finding
from clipbench_reports.page import compare as compare_page
from clipbench_reports.page import report
from clipbench_reports.sections.section import load_section
from tests.made import result_of

CLASSES = tuple(f"class {k}" for k in range(10))
PLACES = {"early": 3, "middle": 15, "late": 30, "beyond": 38}
CONTEXT = 50
"""Tokens of the text tower, more than any text has."""


KINDS = ("independent", "constant", "class", "hubs", "true texts", "spread")
"""Vectors of a model that guesses: each by itself; one for all; one for all images that show the same; with a tenth
near to all others; texts that have what they say in common, and images at random; lengths and dimensions of very
unequal spread.
"""


class Guesser(StubEmbedder):
    """A model whose images have random vectors, of one of ``KINDS``; some of the images may be alike to their texts."""

    def __init__(
        self, rng: np.random.Generator, *, step: int = 1, skill: float = 0.0, kind: str = "independent"
    ) -> None:
        name = f"training/step-{step}"
        self.info = replace(
            INFO, ref=name, id=name, fingerprint=str(rng.integers(1 << 62)), embed_dim=16, context_length=CONTEXT,
            logit_scale=10.0,
        )  # fmt: skip
        self.skill, self.kind = skill, kind
        self._rng, self._known = rng, dict[str, np.ndarray]()
        self._scale = np.exp(2 * rng.standard_normal(16)).astype(np.float32)

    def images(self, images: Sequence[ImageRef]) -> Float32[np.ndarray, "n_images dim"]:
        names = [image.name for image in images]
        if self.kind == "class":
            names = [name.partition("|")[2] for name in names]
        vectors = self._vectors([f"image {name}" for name in names])
        said = self._vectors([name.partition("|")[2] for name in names])  # what the image shows, in words
        return (1 - self.skill) * vectors + self.skill * said

    def texts(self, texts: Sequence[str]) -> Float32[np.ndarray, "n_texts dim"]:
        if self.kind == "true texts":
            return np.array([self._vectors(text.split()).mean(axis=0) for text in texts])
        return self._vectors(texts)

    def _vectors(self, names: Sequence[str]) -> Float32[np.ndarray, "n dim"]:
        new = [name for name in dict.fromkeys(names) if name not in self._known]
        vectors = self._rng.standard_normal((len(new), self.info.embed_dim), np.float32)
        if self.kind == "constant":
            vectors = np.ones_like(vectors)
        elif self.kind == "hubs":
            vectors += np.where(self._rng.random((len(new), 1)) < 0.1, 5, 0.5).astype(np.float32)
        elif self.kind == "spread":
            vectors *= self._scale * np.exp(self._rng.standard_normal((len(new), 1), np.float32))
        self._known |= dict(zip(new, vectors, strict=True))
        return np.array([self._known[name] for name in names])


# ----- data, n samples of each task


def data_of(task: str, n: int) -> Dataset:
    """Return data that ask a task of about n samples."""
    return {
        "zero-shot": _labelled,
        "retrieval": _captioned,
        "modality-gap": _captioned,
        "composition": _contrasts,
        "text-in-image": _attacks,
        "long-caption": _paragraphs,
        "mixed-retrieval": _captioned,
        "modalities": _sounds,
        "few-shot": _of_classes,
        "operating-points": _captioned,
        "compression": _captioned,
        "perturbation": _captioned,
    }[task](n)


TASKS = (
    "zero-shot", "retrieval", "modality-gap", "composition", "text-in-image", "long-caption", "mixed-retrieval",
    "modalities", "few-shot", "operating-points", "compression", "perturbation",
)  # fmt: skip


def _dataset(texts: Sequence[str], **parts: Any) -> Dataset:
    """Return data of images that show what is said."""
    images = [NamedImage(f"{k}|{text}") for k, text in enumerate(texts)]
    return Dataset(id="guessed", images=images, image_ids=[f"i{k}" for k in range(len(texts))], **parts)


def _labelled(n: int) -> Dataset:
    kinds, colours = np.arange(n) % 10, np.arange(n) // 10 % 4
    sets = {"kind": LabelSet(kinds, CLASSES), "colour": LabelSet(colours, CLASSES[:4])}
    titles = {"kind": "Kind of object", "colour": "Colour of object"}
    return _dataset([CLASSES[k] for k in kinds], label_sets=sets, templates=("{c}", "a {c}", "the {c}"), subsets=titles)


def _of_classes(n: int) -> Dataset:
    labels = np.arange(n) % 10
    return _dataset([CLASSES[k] for k in labels], labels=labels, class_names=CLASSES, templates=("{c}",))


def _captioned(n: int) -> Dataset:
    captions = [f"caption {k} {j}" for k in range(n) for j in range(2)]
    labels = np.arange(n) % 10
    return _dataset(
        captions[::2], captions=captions, caption_image=np.repeat(np.arange(n), 2), labels=labels, class_names=CLASSES
    )


def _sounds(n: int) -> Dataset:
    """Return images, texts and sounds; the latter are read as if they were texts."""
    captions, sounds = [f"caption {k}" for k in range(n)], [f"sound {k}" for k in range(n)]
    dataset = _dataset(captions)
    items = {"image": dataset.images, "text": captions, "audio": sounds}
    ids = {name: [f"{name} {k}" for k in range(n)] for name in items}
    pairs = {pair: np.arange(n) for pair in (("audio", "image"), ("audio", "text"), ("image", "text"))}
    return replace(dataset, modalities=Modalities(items, ids, pairs))


def _contrasts(n: int) -> Dataset:
    names, kinds = ("swap_att", "swap_obj", "relation", "count"), ((True, False), (False, True))
    items = [
        Contrast(f"c{k}", names[k % 4], (2 * k, 2 * k + 1), (f"first {k}", f"second {k}"), kinds) for k in range(n)
    ]
    return _dataset([text for item in items for text in item.captions], contrasts=items)


def _attacks(n: int) -> Dataset:
    """Return objects, with a label in four styles and without one, and words to read."""
    words = [(k + 1 + k // 10 % 9) % 10 for k in range(n)]  # never the class itself, which is k % 10
    styles = ("", "height=0.1", "height=0.2", "height=0.3")
    attacks = [
        Attack(f"a{k}{style}", k % 10, words[k], 7 * k + index, 7 * k + 4, 7 * k + 5, 7 * k + 6, style, f"object {k}")
        for k in range(n)
        for index, style in enumerate(styles)
    ]
    shown_words = [CLASSES[word] for k in range(n) for word in [*[words[k]] * 4, *[k % 10] * 3]]
    options = [tuple(f"the word {(k + j) % 10}" for j in range(10)) for k in range(n)]
    contrasts = [
        Contrast(f"w{k}", ("alone", "on object")[k % 2], (7 * n + k,), options[k], ((True, *[False] * 9),))
        for k in range(n)
    ]
    shown_words += [texts[0] for texts in options]
    return _dataset(shown_words, class_names=CLASSES, attacks=attacks, contrasts=contrasts, templates=("{c}",))


def _paragraphs(n: int) -> Dataset:
    """Return captions of 40 words, and for a quarter of as many images facts at four places of such a caption."""
    captions = [" ".join(f"w{k}.{j}" for j in range(40)) for k in range(n)]

    def stated(k: int, text: str, end: str) -> str:
        return " ".join(f"p{k}.{j}{end if j == PLACES[text] else ''}" for j in range(40))

    contrasts = [
        Contrast(f"p{k}{text}", text, (n + k,), (stated(k, text, "t"), stated(k, text, "f")), ((True, False),))
        for k in range(n // 4)
        for text in PLACES
    ]
    paragraphs = [*captions, *(stated(k, "early", "t") for k in range(n // 4))]
    return _dataset(paragraphs, captions=captions, caption_image=np.arange(n), contrasts=contrasts)


class _Given(Datasets):
    def __init__(self, dataset: Dataset) -> None:
        super().__init__(RunOptions())
        self.dataset = dataset

    def get(self, request: Request) -> Dataset:
        return self.dataset


def measured(model: Guesser, data: Mapping[str, Dataset], folder: Path, seed: int) -> Run:
    """Return the run of a model on data by task."""
    folder.mkdir(exist_ok=True)
    options = RunOptions(n_thumbnails=0, raise_bugs=True, seed=seed)
    evaluations = [
        measure(Request(task=task, data="guessed"), model, _Given(dataset), folder, stem=task, options=options)
        for task, dataset in data.items()
    ]
    unmeasured = [f"{evaluation.task}: {evaluation.reason}" for evaluation in evaluations if evaluation.status != "ok"]
    assert model.kind == "constant" or not unmeasured, unmeasured  # one vector for all has no gap to measure
    facts = {name: getattr(model.info, name) for name in ("ref", "id", "fingerprint", "context_length", "logit_scale")}
    step = int(model.info.ref.rpartition("-")[2])
    return Run(folder, result_of(*evaluations, model={**facts, "step": step}))


# ----- what a page says


CLAIM = re.compile(
    r"\b(best|worst|better|worse|ahead|above|below|beats?|(?:most|more|less) often|more|less|fewer|high(?:er|est)|"
    r"low(?:er|est)|larg(?:er|est)|small(?:er|est)|rises?|falls?|increases?|decreases?|improves?|fooled|"
    r"at (?:the )?most|at (?:the )?least|regressions?|differs?|different|changed|rose|fell|sometimes|hardly)\b",
    re.IGNORECASE,
)
"""Words of a difference, an order, or a distance from chance."""
UNTOLD = re.compile(
    r"none is significantly ahead of all others|No model is shown to be ahead of all others|"
    r"Nothing here is shown to differ from guessing|"
    r"No test here shows .*|neither direction is better|neither more nor less of it is worse|too small to matter|"
    r"\b0 (?:better|worse)|\(?and [\d,]+ more\)?|above the (?:false ones|others)|"
    r"the runs have values for different samples|no format is shown to lose less|too few to show|"
    r"even one that changes no answer may lose .*|"
    r"(?:Bytes of the smallest vectors that lose less than [^:]*|Largest mean loss):(?:;? (?:step-\d+ )?none is shown)+|"
    r"no test shows that the clean score is above chance|\blower-case\b|"
    r"no threshold reliably reaches a precision .*|all pairs differ alike|at least two pairs that are not all equal|"
    r"alike is not better: no verdict|"
    r"no (?:test|interval): (?:the bootstrap duplicates images|the bootstrap adds noise to all dimensions).*"
)
"""Words that say that nothing can be told, or that a list goes on, and the way in which an item is asked."""
NAMES = frozenset({"Metric", "MetricLines", "Fact", "Point", "Axis", "Panel"})
"""Records whose own words are names, definitions or data."""
DEFINITIONS = frozenset(
    {
        "TaskResults.question",
        "TaskResults.scoring",
        "TaskResults.advice",
        "MetricValue.baselines",
        "TaskMetrics.asides",
        "Chart.reading",
        "Table.facts",
        "Gallery.note",
        "Axis.names",
        "Column.header",
        "Rule.name",
        "origins",
        "rule",
        "lead_rule",
        "script",
        "style",
        "policy",
    }
)
EXPLANATIONS = (
    "Above: the cumulative share", "Below the dashed line", "Below: the gap and recall", "By row and by column: softmax",
    "Cosines: blank from their median", "The mean cosine of the pairs is", "Margin: the c", "All # the worst first", "The # worst of #",
    "In # of # rows", "Mean cosine on the diagonal", "Rows in which the true pair", "step#: In # of # rows",
    "Shown is each item's image", "Taken for: the wrong answer", "The caption that is true", "The fraction of a class's images",
    "Better and worse are the verdicts", "Differences in percentage points", "no interval: a resampled image matches",
    "no interval: noise of the means", "# sample of", "# samples of", "Better in part (ties)", "Worse in part (ties)",
    "Less than before", "More than before", "step# # point below float#",
)  # fmt: skip
"""Beginnings of sentences that say how to read a figure, a table or a number, or what is true of single samples."""


def said(part: object, where: str = "") -> Iterator[tuple[str, str]]:
    """Yield all texts of a page's context, each with the record and field that it stands in."""
    if isinstance(part, Finding) and part.mark in ("good", "weak", "ahead", "gained", "lost"):
        yield "Finding.mark", f"{part.mark} is better: {part.text}"  # a mark claims, whatever its sentence says
    if isinstance(part, str) and not isinstance(part, Markup):  # tables, of which verdicts are read where they are made
        yield where, part
    for name, value in _parts_of(part, where):
        if name not in DEFINITIONS:
            yield from said(value, name)


def _parts_of(part: object, where: str) -> Iterator[tuple[str, object]]:
    """Yield what a record, a mapping or a list holds, each with the place that its texts stand in."""
    name = type(part).__name__
    if is_dataclass(part) or hasattr(part, "_fields"):
        names = part._fields if hasattr(part, "_fields") else [part_field.name for part_field in fields(part)]  # type: ignore[arg-type]
        values = {field: getattr(part, field) for field in names}
        shown_fields = {
            field: value for field, value in values.items() if not (isinstance(value, str) and name in NAMES)
        }
        yield from ((f"{name}.{field}", value) for field, value in shown_fields.items())
    elif isinstance(part, Mapping):
        yield from ((where or str(key), value) for key, value in part.items())
    elif isinstance(part, list | tuple):
        yield from ((where, value) for value in part)


def claims_in(where: str, text: str) -> Iterator[str]:
    """Yield the sentences of a text that claim something, with their numbers and names left out."""
    for sentence in re.split(r"(?<=\.)\s+(?=[A-Z“])|\n", text):
        shape = re.sub(r"[−+-]?\d[\d.,]*", "#", re.sub("“[^”]*”", "“”", sentence)).strip()
        if CLAIM.search(UNTOLD.sub("", sentence)) and not shape.startswith(EXPLANATIONS):
            yield f"{where}: {shape}"


def of_report(*runs: Run) -> Iterator[tuple[str, str]]:
    """Yield what the report says, and the terminal."""
    yield from said(report._corrected_context(runs))
    for run in runs:
        for record in run.result.evaluations:
            yield from (("terminal", line) for line in evaluation_lines(record))


def of_comparison(base: Run, candidate: Run) -> Iterator[tuple[str, str]]:
    """Yield what a comparison says, on its page, in the terminal, in a comment and to a workflow."""
    comparison = compare(base, candidate, gate=Gate.from_options("0pp"))
    yield from (
        ("verdict", f"{difference.name} {difference.verdict}")
        for difference in comparison.differences
        if difference.verdict != "not tested"
    )
    yield from said(compare_page._context([comparison], [base, candidate]))
    for write in (formats.terminal, formats.markdown, formats.github):
        yield from ((write.__name__, line) for line in write([comparison]).splitlines())


def of_two(base: Run, candidate: Run) -> Iterator[tuple[str, str]]:
    """Yield what the report of two models and their comparison say."""
    yield from of_report(base, candidate)
    yield from of_comparison(base, candidate)


class Pages(NamedTuple):
    """The number of pages, those that claim anything, and those that hold each claim."""

    n: int
    n_claiming: int
    claims: Counter[str]

    def beyond(self, certainty: float) -> list[str]:
        """Return the claims that more pages hold than a rate of ``ALPHA`` gives with such a certainty."""
        most = scipy.stats.binom.ppf(certainty, self.n, ALPHA)
        return [claim for claim, n in self.claims.items() if n > most]


def simulate(
    n_pages: int, n: int, folder: Path, read: Callable[..., Iterator[tuple[str, str]]] = of_report, *,
    n_models: int = 1, tasks: Sequence[str] = TASKS, seed: int = 0, skill: float = 0.0, kind: str = "independent",
) -> Pages:  # fmt: skip
    """Return the claims of pages of models that guess, the last of them with some skill, if any is given."""
    data = {task: data_of(task, n) for task in tasks}
    result, n_claiming = Counter[str](), 0
    for page in range(n_pages):
        rng = np.random.default_rng([seed, n, page, KINDS.index(kind)])
        models = [Guesser(rng, step=k, skill=skill * (k == n_models - 1), kind=kind) for k in range(n_models)]
        rows = int(rng.integers(1 << 30))  # of all models: with other seeds they would be asked with other labels
        runs = [measured(model, data, folder / str(k), rows) for k, model in enumerate(models)]
        claims_of_run = {claim for where, text in read(*runs) for claim in claims_in(where, text)}
        claims_of_run = {
            claim for claim in claims_of_run if kind not in TRUE_CLAIM or not TRUE_CLAIM[kind].search(claim)
        }
        result.update(claims_of_run)
        n_claiming += bool(claims_of_run)
    return Pages(n_pages, n_claiming, result)


# ----- tests


FAST = ("zero-shot", "composition", "text-in-image", "long-caption")


_section = cache(load_section)


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for plug-ins once; shorten bootstraps of medians and effective lengths, of which nothing is claimed; and
    leave sentences of the terminal whole.
    """
    monkeypatch.setattr("clipbench_reports.page.groups.load_section", _section)
    monkeypatch.setattr("clipbench_reports.page.flipped.load_section", _section)
    monkeypatch.setattr("clipbench_reports.page.compare.load_section", _section)
    monkeypatch.setattr(intervals, "STATISTIC_RESAMPLES", 20)
    monkeypatch.setattr("clipbench.comparison.formats._terminal.SHORT_WIDTH", 10_000)  # no sentence is broken


@pytest.fixture
def few_exchanges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Test calibration errors and medians roughly."""
    monkeypatch.setattr(significance, "N_EXCHANGES", significance.N_FIRST_EXCHANGES)
    monkeypatch.setattr(significance, "N_FIRST_EXCHANGES", 50)


@pytest.mark.usefixtures("few_exchanges")
def test_pages_of_models_that_guess_claim_nothing(tmp_path: Path) -> None:
    outcomes = simulate(2, 30, tmp_path, tasks=FAST)
    assert not [claim for claim, n in outcomes.claims.items() if n > 1]
    together = simulate(1, 30, tmp_path, of_two, n_models=2, tasks=("composition",))
    assert not together.claims


def test_a_title_that_ranks_without_a_test_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ranked(scored: Mapping[str, Metric]) -> str:
        low, *_, high = sorted(scored, key=lambda subset: scored[subset].value or 0.0)
        return f"best in “{high}” and worst in “{low}”"

    monkeypatch.setattr("clipbench_reports.sections.composition._order", ranked)
    pages = simulate(3, 40, tmp_path, tasks=("composition",))
    assert pages.beyond(0.999) == ["Chart.title: Captions distinguished, over the subsets: best in “” and worst in “”."]


@pytest.mark.usefixtures("few_exchanges")
def test_what_a_model_knows_is_claimed(tmp_path: Path) -> None:
    outcomes = simulate(1, 60, tmp_path, tasks=("composition", "text-in-image"), skill=0.7)
    together = simulate(1, 60, tmp_path, of_two, n_models=2, tasks=("zero-shot",), skill=0.7)
    for pages, words in (
        (outcomes, "Finding.mark: good is better: Text score:"),
        (outcomes, "Finding.text: Attack success:"),
        (together, "Finding.text: Zero-shot: top# accuracy (kind of object) rose from"),
        (together, "verdict: kind/acc# better"),
        (together, "parts: headline metrics: # better"),
    ):
        assert [claim for claim in pages.claims if claim.startswith(words)], (words, pages.claims)


TRUE_OF_THE_DATA = {
    "class": {"zero-shot", "text-in-image", "few-shot", "operating-points", "compression"},
    "hubs": {"mixed-retrieval"},
    "true texts": {"mixed-retrieval", "modalities"},
}
"""Tasks for which a kind of guessing model shows something true. If images of a class are alike, a probe distinguishes
the classes, and the share that zero-shot names right holds for these classes. Texts that are near to texts come first,
and what is read as a text is near to one of the same number.
"""


TRUE_CLAIM = {"true texts": re.compile(r"Image score:.*below chance")}
"""What a kind of guessing model truly does. Texts of an item share words, so both prefer the same image: both choose their
own with a probability of arccos(cosine) / 2 pi, which is below 1/4.
"""


def of_page(run: Run) -> Iterator[tuple[str, str]]:
    """Yield what the report of one model and the terminal say."""
    yield from said(report._corrected_context([run]))
    for record in run.result.evaluations:
        yield from (("terminal", line) for line in evaluation_lines(record))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_at_most_one_report_in_twenty_claims_anything_of_a_model_that_guesses(kind: str, tmp_path: Path) -> None:
    tasks = [task for task in TASKS if task not in TRUE_OF_THE_DATA.get(kind, ())]
    pages = simulate(20, 40, tmp_path, of_page, tasks=tasks, kind=kind)
    assert pages.n_claiming <= 1, pages.claims.most_common(5)


def doctored(rng: np.random.Generator, n: int, kind: str) -> str:
    """Return the status of the check of pairs of a model that guesses."""
    model, captions = Guesser(rng, kind=kind), [f"caption {k}" for k in range(n)]
    shown = model.images([NamedImage(f"{k}|{text}") for k, text in enumerate(captions)])
    result = vectors(images=shown, texts=model.texts(captions), logit_scale=100.0)
    return next(finding for finding in examine(result) if finding.check == "pairs").status


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "constant"])
def test_pairs_of_a_model_that_guesses_are_not_said_to_be_well(kind: str) -> None:
    counts = Counter(doctored(np.random.default_rng([seed, 1]), 64, kind) for seed in range(40))
    assert counts["ok"] <= scipy.stats.binom.ppf(0.99, 40, 0.025) and not counts["warning"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("read", "n_models", "n", "n_pages"),
    [
        (of_report, 1, 100, 300),
        (of_report, 1, 1000, 120),
        (of_report, 3, 100, 60),
        (of_comparison, 2, 100, 60),
        (of_comparison, 2, 1000, 40),
    ],
    ids=["report", "report, large", "several models", "comparison", "comparison, large"],
)
def test_a_statement_claims_falsely_in_five_percent_of_pages_at_most(
    read: Callable[..., Iterator[tuple[str, str]]], n_models: int, n: int, n_pages: int, tmp_path: Path
) -> None:
    pages = simulate(n_pages, n, tmp_path, read, n_models=n_models)
    assert not pages.beyond(0.9999), pages.claims.most_common(5)
    if read is of_comparison:  # Holm's correction is over the whole page
        assert pages.n_claiming <= scipy.stats.binom.ppf(0.999, n_pages, ALPHA)


def findings_of(part: object) -> Iterator[Finding]:
    """Yield the findings of a page's context."""
    if isinstance(part, Finding):
        yield part
    for _, value in _parts_of(part, ""):
        yield from findings_of(value)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["independent", "spread"])
@pytest.mark.parametrize("skill", [0.1, 0.2, 0.3, 0.5, 0.7])
def test_what_a_report_claims_of_a_model_with_some_skill_is_true(kind: str, skill: float, tmp_path: Path) -> None:
    """What is true is the mean over eight other models of the same law, on data of the same size."""
    tasks = ("zero-shot", "retrieval", "composition", "text-in-image", "long-caption", "modalities")
    data = {task: data_of(task, 80) for task in tasks}

    def run_of(seed: int) -> Run:
        rng = np.random.default_rng([seed, KINDS.index(kind), int(10 * skill)])
        return measured(Guesser(rng, skill=skill, kind=kind), data, tmp_path, seed)

    values: dict[tuple[str, str], list[float]] = {}
    for seed in range(8):
        for record in run_of(seed).result.evaluations:
            for name, metric in record.metrics.items():
                values.setdefault((record.task, name), []).append(np.nan if metric.value is None else metric.value)
    truth = {key: float(np.mean(column)) for key, column in values.items()}
    n_claims = 0
    for seed in (100, 101):
        run = run_of(seed)
        good = [finding.text for finding in findings_of(report._corrected_context([run])) if finding.mark == "good"]
        for record in run.result.evaluations:
            for name, metric in record.metrics.items():
                if metric.value is None or metric.chance is None:
                    continue
                value = f" {fmt.number(metric.value, metric.unit)} %{fmt.bounds(metric)} of"
                chance = f" chance is {fmt.number(metric.chance, metric.unit)} %."
                if not any(value in text and text.endswith(chance) for text in good):
                    continue
                n_claims += 1
                is_better = truth[record.task, name] > metric.chance
                assert is_better == (metric.higher_is_better is not False), (record.task, name, metric, good)
    assert n_claims > 0 or skill < 0.3
