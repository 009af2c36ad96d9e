"""A score that misses what was expected, by a cause that was planted: its switch is named first, by how much it moves
it.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from clipbench import Dataset, FileImage, UsageError, load_data
from clipbench.evaluation.diagnosis import DoctorOptions, diagnose
from clipbench.evaluation.score_causes import Expectation, Inquiry, ScoreCauses, _question
from clipbench.models.encoding.embedder import StoreEmbedder
from clipbench.models.introspection.variants import variants
from clipbench.models.options import LoadOptions
from clipbench.results.record import Metric
from tests.clipbench.checks.conftest import Bind

TASKS = ("zero-shot", "retrieval")
COLOURS = ("red", "green", "blue", "yellow", "purple", "brown")


class QuickGELU(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(1.702 * x)


def score(model: StoreEmbedder, data: Dataset) -> float:
    """Return what a model scores, as the number that a paper would state."""
    measured = Inquiry(Expectation("0.5"), data, model, TASKS).measure()
    assert measured.metric.value is not None
    return measured.metric.value


def explained(model: StoreEmbedder, data: Dataset, expected: float) -> ScoreCauses:
    inquiry = Inquiry(Expectation(f"{100 * expected}%"), data, model, TASKS)
    return inquiry.explanation(inquiry.measure())


@pytest.fixture(scope="module")
def scenes() -> Dataset:
    """Generated images with captions that begin every word with a capital."""
    data = load_data("scenes", data_options={"n": "100"})
    return replace(data, captions=[caption.title() for caption in data.captions or ()])


@pytest.fixture(scope="module")
def cards(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Wide images: the class's colour on both ends, which a crop cuts off, and another in the middle."""
    folder = tmp_path_factory.mktemp("cards")
    rng = np.random.default_rng(0)
    rgb = {"red": (216, 32, 36), "green": (36, 146, 54), "blue": (20, 88, 220), "yellow": (250, 212, 40),
           "purple": (144, 40, 156), "brown": (124, 74, 38)}  # fmt: skip
    labels = np.arange(48) % len(COLOURS)
    for number, label in enumerate(labels):
        image = Image.new("RGB", (192, 64), rgb[COLOURS[label]])
        image.paste(rgb[COLOURS[rng.integers(len(COLOURS))]], (64, 0, 128, 64))
        image.paste((250, 250, 248), (90, 0, 90 + int(rng.integers(4)), 64))
        image.save(folder / f"{number}.png")
    return Dataset(
        id="cards",
        images=[FileImage(folder / f"{number}.png") for number in range(48)],
        image_ids=[str(number) for number in range(48)],
        labels=labels,
        class_names=COLOURS,
        templates=("a photo of a {c}",),
    )


def test_a_flipped_switch_leaves_the_way_to_combine_prompts_as_it_is(toy_clip: Any) -> None:
    class Last(type(toy_clip())):  # type: ignore[misc]
        def combine(self, vectors: np.ndarray) -> np.ndarray:
            return vectors[-1]

    flipped, vectors = [*variants(Last(**vars(toy_clip())))], np.eye(3, dtype=np.float32)
    assert flipped and all(np.array_equal(each.combine(vectors), vectors[-1]) for each in flipped)  # type: ignore[arg-type]


PLANTED = ("case", "padding", "activation")


@pytest.mark.parametrize("switch", [PLANTED[0], *(pytest.param(each, marks=pytest.mark.slow) for each in PLANTED[1:])])
def test_the_planted_cause_is_named_first(
    switch: str, scenes: Dataset, toy_clip: Any, gelu: Any, embedder: Bind
) -> None:
    healthy = {"module": gelu(nn.GELU())} if switch == "activation" else {}
    broken: dict[str, Any] = {
        "case": {"lowers": False},
        "padding": {"pads_to_longest": True, "reads_padding": True},
        "activation": {"module": gelu(QuickGELU())},
    }[switch]
    if switch == "padding":
        healthy = {"reads_padding": True}
    expected = score(embedder(toy_clip(**healthy)), scenes)
    broken_model = toy_clip(**broken)
    explanation = explained(
        embedder(replace(broken_model, info=replace(broken_model.info, fingerprint=switch))), scenes, expected
    )
    cause = explanation.cause
    assert not explanation.agrees and cause is not None and cause.switch == switch
    assert cause.value == pytest.approx(expected, abs=0.02)
    assert cause.change == pytest.approx(cause.value - (explanation.metric.value or 0))
    assert cause.p_value is not None and cause.p_value < 0.05 and cause.low is not None and cause.low > 0


def test_templates_are_named_first(cards: Dataset, toy_clip: Any, embedder: Bind) -> None:
    misled = toy_clip(resize="squash", words={"photo": [-5.0] * 18}, texts_are=lambda rows: np.maximum(rows, -0.001))
    bare = replace(cards, templates=("{c}",))
    expected = score(embedder(misled), bare)
    explanation = explained(embedder(misled), cards, expected)
    assert explanation.cause is not None and explanation.cause.switch == "templates"
    assert explanation.cause.setting == "class names without a template"
    assert explanation.cause.value == pytest.approx(expected)


@pytest.mark.slow
def test_a_score_that_agrees_and_one_that_no_switch_explains_are_said_so(
    scenes: Dataset, toy_clip: Any, embedder: Bind
) -> None:
    bound = embedder(toy_clip())
    as_is = score(bound, scenes)

    def found(expected: float) -> Any:
        options = DoctorOptions(data=scenes, expectation=Expectation(f"{100 * expected:.2f}", "retrieval"))
        return diagnose(bound, LoadOptions(), options)

    agreed = found(as_is)
    assert agreed.is_healthy and agreed.findings[-1].check == "expected-score" and agreed.findings[-1].status == "ok"
    assert agreed.explanation is not None and agreed.explanation.agrees
    missed = found(0.999)
    assert not missed.is_healthy and "switches leads nearer to it" in missed.findings[-1].fix
    assert missed.explanation.cause is None and len(missed.explanation.frame()) == len(missed.explanation.effects) > 4
    assert list(missed.frame().columns) == ["check", "status", "seen", "why", "fix"]


def test_the_value_that_was_published_is_expected_where_it_is_known(
    cards: Dataset, toy_clip: Any, embedder: Bind, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clipbench.results.record import PublishedValue

    value = PublishedValue(value=0.75, protocol="80 templates", source="a paper", is_secondary=False)

    def published(metrics: dict[str, Metric], _: object) -> dict[str, Metric]:
        return {name: replace(metric, published=[value]) for name, metric in metrics.items()}

    monkeypatch.setattr("clipbench.evaluation.score_causes.with_published", published)
    monkeypatch.setattr("clipbench.evaluation.score_causes.published_names", lambda _: {"acc1"})
    measured = Inquiry(Expectation("published"), cards, embedder(toy_clip()), TASKS).measure()
    assert (measured.expected, measured.source) == (0.75, "a paper")


@pytest.mark.parametrize(
    ("metric", "may_be_part", "words"),
    [
        (None, False, "no published value of zero-shot@.* is known for this model"),
        ("acc5", False, "no published value of zero-shot@.*/acc5 is known"),
        (None, True, "for the whole data set, but samples may be left out here .by limit"),
    ],
)
def test_where_no_value_was_published_nothing_is_scored(
    metric: str | None, may_be_part: bool, words: str, cards: Dataset, toy_clip: Any, embedder: Bind
) -> None:
    expectation, bound = Expectation("published", metric), embedder(toy_clip())
    before = bound.counts()
    with pytest.raises(UsageError, match=words):
        Inquiry(expectation, cards, bound, TASKS, may_be_part=may_be_part)
    assert bound.counts() == before


def test_data_without_labels_and_captions_need_a_task(cards: Dataset) -> None:
    bare = replace(cards, labels=None, class_names=None)
    with pytest.raises(UsageError, match="neither labels nor captions: name the metric with metric"):
        _question(Expectation("50"), bare, TASKS)
    assert _question(Expectation("50", "zero-shot/acc5"), bare, TASKS)[1] == "acc5"
    assert _question(Expectation("50", "acc5"), cards, TASKS)[1] == "acc5"
    assert Path(cards.images[0].name).is_file()
