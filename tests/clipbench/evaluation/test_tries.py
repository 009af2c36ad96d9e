"""Changes of the input that are tried: what is named, and how often by chance."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from jaxtyping import Float32
from PIL import Image

from clipbench import Dataset, FileImage, UsageError, doctor, run
from clipbench.evaluation.tries import compare_changes
from clipbench.models.introspection.input_changes import (
    InputChange,
    caption_changes,
    image_changes,
    prompt_changes,
)
from clipbench.results.record import Metric
from clipbench.testing import INFO, ToyModel

N, N_CHANGES = 300, 20
COLOURS = {"red": (230, 20, 20), "green": (20, 200, 30), "blue": (20, 40, 220), "grey": (128, 128, 128)}


def score(hits: np.ndarray) -> tuple[pandas.DataFrame, Metric]:
    samples = pandas.DataFrame({"hit": hits.astype(float)}, index=[f"{row:04}" for row in range(len(hits))])
    return samples, Metric(value=float(hits.mean()), unit="fraction", column="hit", n=len(hits))


def changes(n: int) -> list[InputChange]:
    return [InputChange(kind="prompts", switch="case", setting=f"change {number}", fix="") for number in range(n)]


def drawn(rng: np.random.Generator, gains: Sequence[float]) -> tuple[Any, list[Any]]:
    """Return hits before, and after changes that flip a tenth of all samples, with gains of the accuracy."""
    before = rng.random(N) < 0.5
    after = []
    for gain in gains:
        is_flipped = rng.random(N) < np.where(before, 0.1 - gain, 0.1 + gain)
        after.append(score(before ^ is_flipped))
    return score(before), list(zip(changes(len(gains)), after, strict=True))


N_IMAGES, N_CAPTIONS = 60, 5
"""Images of a simulated retrieval, and captions of each."""


def clustered_score(hits: np.ndarray) -> tuple[pandas.DataFrame, Metric]:
    samples, metric = score(hits.ravel())
    return samples.assign(cluster=np.repeat(np.arange(N_IMAGES), N_CAPTIONS).astype(str)), metric


def drawn_captions(rng: np.random.Generator, gains: Sequence[float]) -> tuple[Any, list[Any]]:
    """Return hits of captions, which an image shares in part, before and after changes that flip whole images often."""
    is_easy = rng.random((N_IMAGES, 1)) < 0.5
    before = rng.random((N_IMAGES, N_CAPTIONS)) < np.where(is_easy, 0.85, 0.15)
    after = []
    for gain in gains:
        changes_image = rng.random((N_IMAGES, 1)) < 0.2
        chance = np.where(before, 0.5 - 5 * gain, 0.5 + 5 * gain)
        is_flipped = changes_image & (rng.random((N_IMAGES, N_CAPTIONS)) < chance)
        after.append(clustered_score(before ^ is_flipped))
    return clustered_score(before), list(zip(changes(len(gains)), after, strict=True))


def false_findings(draw: Any, seed: int, n_draws: int) -> int:
    """Return in how many draws some change without an effect is named."""
    rng = np.random.default_rng(seed)
    return sum(
        any(change.is_named for change in compare_changes(*draw(rng, [0.0] * N_CHANGES))) for _ in range(n_draws)
    )


def coverage_after_choice(draw: Any, seed: int, n_draws: int) -> tuple[int, int]:
    """Return how many draws name a change, and in how many the interval of the best one holds its true gain."""
    rng = np.random.default_rng(seed)
    gains = [*[0.0] * (N_CHANGES - 4), 0.04, 0.05, 0.06, 0.07]
    n_covered = n_named = 0
    for _ in range(n_draws):
        tried = compare_changes(*draw(rng, gains))
        named_rows = [number for number, change in enumerate(tried) if change.is_named]
        if named_rows:
            best = max(named_rows, key=lambda number: tried[number].score or 0.0)
            n_named += 1
            low, high = tried[best].low, tried[best].high
            assert low is not None and high is not None
            n_covered += low <= gains[best] <= high
    return n_named, n_covered


@pytest.mark.slow
@pytest.mark.parametrize("draw", [drawn, drawn_captions])
def test_a_change_without_an_effect_is_named_in_at_most_one_of_twenty_draws_over_all_changes(draw: Any) -> None:
    n_draws = 1_000
    assert false_findings(draw, 0, n_draws) <= 0.05 * n_draws


@pytest.mark.slow
@pytest.mark.parametrize("draw", [drawn, drawn_captions])
def test_the_interval_of_the_best_change_holds_its_true_gain_after_the_choice(draw: Any) -> None:
    n_named, n_covered = coverage_after_choice(draw, 1, 1_000)
    assert n_named > 50 and n_covered >= 0.95 * n_named


@pytest.mark.parametrize("draw", [drawn, drawn_captions])
def test_an_interval_excludes_no_gain_exactly_if_its_p_value_is_at_most_five_percent(draw: Any) -> None:
    rng = np.random.default_rng(4)
    for _ in range(5):
        for change in compare_changes(*draw(rng, [0.0, 0.03, 0.05, 0.06, 0.09, -0.06])):
            assert change.low is not None and change.high is not None and change.p is not None
            assert (change.p <= 0.05) == (not change.low <= 0 <= change.high)


def test_a_large_gain_is_named_and_a_change_that_failed_is_not_counted() -> None:
    rng = np.random.default_rng(2)
    base, scores = drawn(rng, [0.0, 0.1])
    tried = compare_changes(base, [*scores, (changes(1)[0], "the tower fails on it")])
    assert [change.is_named for change in tried] == [False, True, False]
    assert tried[2].reason == "the tower fails on it" and tried[2].score is None
    low, gain, high = tried[1].low, tried[1].change, tried[1].high
    assert low is not None and gain is not None and high is not None and 0 < low < gain < high


def test_every_change_has_a_distinct_setting_and_keeps_the_input_usable() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 31, 3), np.uint8))
    every = [*prompt_changes(None, ("own {c}",)), *image_changes(8), *image_changes(None)[:3]]
    settings = [change.setting for change in [*prompt_changes(None), *image_changes(8)]]
    assert len(set(settings)) == len(settings)
    assert len({change.setting for change in caption_changes()}) == len(caption_changes())
    for change in [*every, *caption_changes()]:
        if change.text is not None:
            assert change.text("A photo of an apple. ").strip() and change.text("a").strip()
        if change.image is not None:
            assert change.image(image).mode == "RGB"


class NameOnly:
    """A model of colours that was trained on bare names in lower case, with options of what else is wrong with it."""

    info = replace(INFO, embed_dim=8)
    logit_scale = 100.0

    def __init__(self, *, swaps: bool = False, upper: bool = False, fails_on: str = "\0") -> None:
        self.swaps, self.upper, self.fails_on = swaps, upper, fails_on

    def encode_images(self, images: Sequence[Image.Image]) -> Float32[np.ndarray, "n 8"]:
        pixels = np.stack([np.asarray(image.convert("RGB"), np.float32).mean(axis=(0, 1)) for image in images])
        pixels = pixels[:, ::-1] if self.swaps else pixels
        centred = (pixels - 100) / 100
        return np.pad(centred, ((0, 0), (0, 5)), constant_values=0.05).astype(np.float32)

    def encode_texts(self, texts: Sequence[str]) -> Float32[np.ndarray, "n 8"]:
        rows = []
        for text in texts:
            if self.fails_on in text:
                raise ValueError(f"cannot read {text!r}")
            name = text.upper() if self.upper else text
            value = COLOURS.get(name)
            rows.append(np.zeros(3) + 0.1 if value is None else (np.array(value) - 100) / 100)
        return np.pad(np.stack(rows), ((0, 0), (0, 5)), constant_values=0.05).astype(np.float32)


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("colours")
    rng = np.random.default_rng(3)
    labels = np.repeat(np.arange(len(COLOURS)), 40)
    images: list[FileImage] = []
    for label in labels:
        noisy = np.array(list(COLOURS.values())[label]) + rng.normal(0, 25, (12, 18, 3))
        path = folder / f"{len(images):03}.png"
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path)
        images.append(FileImage(path))
    ids = [f"{row:03}" for row in range(len(images))]
    return Dataset(id="colours", images=images, image_ids=ids, labels=labels, class_names=tuple(COLOURS))


def test_doctor_names_the_prompt_that_a_model_was_trained_with(colours: Dataset) -> None:
    diagnosis = doctor(NameOnly(), data=colours)
    finding = next(finding for finding in diagnosis.findings if finding.check == "try-prompts")
    assert finding.status == "warning" and "With class names without a template" in finding.seen
    assert "the line {c}" in finding.fix
    best = max(diagnosis.tries, key=lambda change: change.score or 0)
    assert best.is_named and best.setting == "class names without a template"


def test_a_text_that_the_tower_cannot_read_is_not_examined_and_the_others_are(colours: Dataset) -> None:
    diagnosis = doctor(NameOnly(fails_on="Red"), data=colours)
    reasons = {change.setting: change.reason for change in diagnosis.tries if change.reason}
    assert reasons.keys() == {"texts in Title Case"} and "cannot read" in reasons["texts in Title Case"]
    finding = next(finding for finding in diagnosis.findings if finding.check == "try-prompts")
    assert finding.status == "warning" and "1 change not examined" in finding.seen


def test_one_class_leaves_nothing_to_try(colours: Dataset) -> None:
    single = replace(colours.take(np.arange(20)), class_names=("red",))
    finding = next(finding for finding in doctor(NameOnly(), data=single).findings if finding.check == "try-prompts")
    assert finding.status == "not examined" and "two classes" in finding.seen


def test_a_run_opens_with_the_prompt_that_helps_unless_checks_are_left_out(colours: Dataset, tmp_path: Path) -> None:
    tried = run(NameOnly(), "zero-shot", data=colours, out=tmp_path / "a")
    opening = str(tried).splitlines()[0]
    assert opening.startswith("With class names without a template, top-1 is ") and "(on 160 samples)" in opening
    assert opening.split(":")[0] in (tmp_path / "a/report.html").read_text(encoding="utf-8")
    plain = run(NameOnly(), "zero-shot", data=colours, out=tmp_path / "b", preflight=False)
    assert plain.result.evaluations[0].tries == [] and not str(plain).startswith("With")
    assert plain.result.evaluations[0].metrics == tried.result.evaluations[0].metrics
    assert plain.result.evaluations[0].encoded == tried.result.evaluations[0].encoded


def test_a_run_whose_changes_cannot_be_tried_says_why(
    colours: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("the sample is too small for this")

    monkeypatch.setattr("clipbench.evaluation.tries._score", fail)
    measured = run(NameOnly(), "zero-shot", data=colours, out=tmp_path / "run")
    assert measured.result.evaluations[0].metrics["acc1"].value is not None
    assert {change.score for change in measured.result.evaluations[0].tries} == {None}
    opening = str(measured).splitlines()[0]
    assert opening.startswith("Changes of the texts were not examined: ") and "too small for this" in opening


def test_a_low_score_names_the_changes_that_raise_it_and_those_that_do_not(colours: Dataset, tmp_path: Path) -> None:
    run(NameOnly(), "zero-shot", data=colours, out=tmp_path / "run")
    page = (tmp_path / "run/report.html").read_text(encoding="utf-8")
    assert "Changes of the texts that raise it: class names without a template" in page
    assert "not the article, full stop, space or case" in page


@pytest.mark.parametrize("n", [20, 60])
def test_few_images_are_tried_and_nothing_is_named_without_a_test(colours: Dataset, n: int) -> None:
    few = colours.take(np.arange(0, 160, 160 // n))
    diagnosis = doctor(NameOnly(), data=few)
    assert all(change.p is not None and change.p <= 0.05 for change in diagnosis.tries if change.is_named)
    assert {finding.check for finding in diagnosis.findings} >= {"try-prompts", "try-images"}


def test_data_without_labels_and_captions_leave_nothing_to_try(colours: Dataset) -> None:
    bare = replace(colours, labels=None, class_names=None)
    finding = next(finding for finding in doctor(NameOnly(), data=bare).findings if finding.check == "try-prompts")
    assert finding.status == "not examined" and "neither two classes nor captions" in finding.seen


def test_images_of_the_data_whose_vectors_are_not_finite_are_named(colours: Dataset) -> None:
    class Overflowing(ToyModel):
        def encode_images(self, images: Sequence[Image.Image]) -> Any:
            is_red = [
                np.argmax(np.asarray(image.convert("RGB")).mean(axis=(0, 1)) - (60, 0, 0)) == 0 for image in images
            ]
            vectors = np.array(super().encode_images(images))
            vectors[np.array(is_red)] = np.inf
            return vectors

    finding = next(finding for finding in doctor(Overflowing(), data=colours).findings if finding.check == "vectors")
    assert finding.status == "fault" and "images of the data have a vector that is not finite" in finding.seen


def test_the_size_of_a_crop_in_the_advice_is_the_shorter_side() -> None:
    fixes = {change.setting: change.fix for change in image_changes(None)}
    assert "ImageOps.fit(image, (min(image.size), min(image.size)))" in fixes["the middle of an image cut out"]
    assert "ImageOps.pad(image, (max(image.size), max(image.size)))" in fixes["images padded to a square"]


def test_a_run_leaves_the_changes_to_doctor_that_need_more_texts_than_it_has(colours: Dataset) -> None:
    labels = np.arange(160) % 20
    many = replace(colours, class_names=tuple(f"colour {number}" for number in range(20)), labels=labels)
    tried = run(NameOnly(), "zero-shot", data=many).result.evaluations[0].tries
    reasons = {change.setting: change.reason for change in tried if change.reason}
    assert list(reasons) == ["OpenAI's 80 templates for ImageNet"] and "1600 texts" in str(reasons).replace(",", "")


def test_a_model_behind_a_server_is_tried_only_on_request(colours: Dataset) -> None:
    served = ToyModel()
    served.info = replace(served.info, family="api")
    finding = next(finding for finding in doctor(served, data=colours).findings if finding.check == "try-prompts")
    assert finding.status == "not examined" and "try_served=True tries them all the same" in finding.seen
    assert len(doctor(served, data=colours, try_served=True).tries) > 10
    with pytest.raises(UsageError, match="has no effect on"):
        doctor(ToyModel(), data=colours, try_served=True)
    with pytest.raises(UsageError, match="needs data"):
        doctor(served, try_served=True)
