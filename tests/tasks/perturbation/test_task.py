"""perturbation: models whose losses can be worked out, chance, the store, and data that cannot be disturbed."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jaxtyping import Float32
from PIL import Image

import clipbench as cb
from clipbench.comparison.compare_runs import compare
from clipbench.comparison.explanation import explain
from clipbench.data import Dataset, FileImage, ImageRef
from clipbench.data.prompts import Prompts
from clipbench.data.scenes.scene_datasets import scenes_dataset
from clipbench.errors import DataError
from clipbench.evaluation.task import Evaluation
from clipbench.models.encoding.embedder import StoreEmbedder
from clipbench.stats.intervals import DIFFERENCES, mean_interval
from clipbench.testing import INFO, ConstantModel, FixedEmbedder, StubEmbedder, ToyModel
from clipbench_tasks.perturbation.measures import HalfLoss, LargestMean
from clipbench_tasks.perturbation.task import DISTURBANCES, Perturbation
from clipbench_tasks.retrieval import Retrieval
from clipbench_tasks.zero_shot import ZeroShot
from tests.made import data_of, metrics_of

SEED = np.random.default_rng(0)


def evaluate(data: Dataset, embedder: Any, *names: str, **parameters: Any) -> Evaluation:
    task = Perturbation(disturbances=names or tuple(DISTURBANCES), **parameters)
    task.check(data)
    return task.evaluate(data, embedder, np.random.default_rng(0))


def labelled(**parts: Any) -> Dataset:
    """Return two images of each of two classes, of which images of the same name are the same."""
    return data_of("abcd", labels=np.array([0, 0, 1, 1]), class_names=("cat", "dog"), **parts)


def photos(folder: Path, n: int = 12, size: tuple[int, int] = (96, 72), **parts: Any) -> Dataset:
    """Return images in files, of three colours and three brightnesses, with the colour as label."""
    rng = np.random.default_rng(1)
    images = []
    for row in range(n):
        pixels = rng.integers(0, 60, (size[1], size[0], 3))
        pixels[..., row % 3] += 60 + 40 * (row // 3 % 3)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{row}.png")
        images.append(FileImage(folder / f"{row}.png"))
    ids = [f"{row}" for row in range(n)]
    parts = parts or {"labels": np.arange(n) % 3, "class_names": ("red", "green", "blue")}
    return Dataset(id="photos", images=images, image_ids=ids, **parts)


CAT, DOG = [1.0, 0.0], [0.0, 1.0]
VECTORS = {  # two cats, of which one is lost at severity 3 and one at 5; a dog that is never lost, one that never was
    **{name: CAT if name[0] in "ab" else DOG for name in "abc"},
    "d": CAT,
    **{
        f"{name} (blur, severity {severity})": CAT if severity < lost_at else DOG
        for name, lost_at in (("a", 3), ("b", 5))
        for severity in range(1, 6)
    },
    **{f"c (blur, severity {severity})": DOG for severity in range(1, 6)},
    **{f"d (blur, severity {severity})": CAT for severity in range(1, 6)},
}
PROMPTS = {"a photo of a cat.": CAT, "a photo of a dog.": DOG}


def test_losses_are_those_of_a_model_worked_by_hand() -> None:
    evaluation = evaluate(labelled(), FixedEmbedder(VECTORS, PROMPTS), "blur")
    metrics = metrics_of(evaluation)
    curve, loss = (evaluation.curves[f"blur/{kind}_by_severity"] for kind in ("score", "loss"))
    assert curve.x == [0, 1, 2, 3, 4, 5]
    assert curve.y == [0.75, 0.75, 0.75, 0.5, 0.5, 0.25]
    assert loss.y == [0.0, 0.0, 0.0, 0.25, 0.25, 0.5]
    assert curve.chance == [0.5] * 6
    assert evaluation.samples["blur/loss"].tolist() == pytest.approx([3 / 5, 1 / 5, 0, 0])
    assert metrics["acc1"].value == 0.75
    assert metrics["blur/loss"].value == pytest.approx(0.2)
    assert metrics["worst_loss"].value == pytest.approx(0.2)
    assert metrics["disturbed_acc1"].value == pytest.approx(0.55)
    # The mean image is a cat for most severities: half of the images are cats.
    assert evaluation.curves["blur/blind_by_severity"].y == [0.5] * 6


def test_the_severity_of_half_the_loss_is_where_half_of_what_is_above_chance_is_gone() -> None:
    n = 400
    credits = np.zeros((6, n))
    for severity, n_right in enumerate([300, 300, 280, 220, 180, 160]):  # .75 clean and .25 by chance: half at .5
        credits[severity, :n_right] = 1
    samples: dict[str, np.ndarray] = {f"severity_{severity}": credit for severity, credit in enumerate(credits)}
    samples |= {"condition": np.full(n, "blur", object), "cluster": np.arange(n)}
    metric = HalfLoss(name="blur", chance=0.25).metric(samples, SEED)
    assert metric.value == pytest.approx(3.5)
    assert metric.low is not None and metric.high is not None and metric.low < 3.5 < metric.high
    never = HalfLoss(name="blur", chance=0.0).metric(samples, SEED)
    assert never.value is None and never.reason == "less than half is lost at severity 5"
    guessing = HalfLoss(name="blur", chance=0.75).metric(samples, SEED)
    assert guessing.value is None and guessing.reason == "no test shows that the clean score is above chance"


def test_the_largest_mean_has_the_bounds_of_intervals_that_hold_together() -> None:
    rng = np.random.default_rng(3)
    columns = [rng.choice([-0.2, 0.0, 0.4], 200, p=[0.1, 0.6 - share, 0.3 + share]) for share in (0.0, 0.1, 0.2)]
    columns[0][:50] = np.nan
    samples = {"image": np.arange(200), "cluster": np.arange(200)}
    metric = LargestMean(columns=lambda _: columns, n_tests=3).metric(samples, rng)
    bounds = [
        mean_interval(column[~np.isnan(column)], within=DIFFERENCES, confidence=1 - 0.05 / 3) for column in columns
    ]
    assert metric.value == max(float(np.nanmean(column)) for column in columns)
    assert (metric.low, metric.high) == (max(b.low or 0 for b in bounds), max(b.high or 0 for b in bounds))
    none = LargestMean(columns=lambda _: [column * 0 for column in columns], n_tests=3, lower_limit=0.0)
    assert none.metric(samples, rng).low == 0


@pytest.mark.parametrize("form", ["classes", "pairs"])
def test_a_constant_model_is_at_chance_at_every_severity(tmp_path: Path, form: str) -> None:
    data = scenes_dataset(form, n=12)
    evaluation = evaluate(data, StoreEmbedder(ConstantModel(), tmp_path))
    for name, curve in evaluation.curves.items():
        if "/score_by" in name:
            assert curve.y == pytest.approx(curve.chance, abs=1e-12), name
        elif "/loss_by" in name:
            assert curve.y == [0.0] * 6, name
    for name, metric in metrics_of(evaluation).items():
        if name.endswith("/loss") or name in ("worst_loss", "template/spread"):
            assert metric.value == 0, name


@pytest.mark.parametrize(("form", "clean"), [("classes", ZeroShot()), ("pairs", Retrieval())])
def test_severity_0_is_the_clean_score_to_the_last_bit(tmp_path: Path, form: str, clean: Any) -> None:
    data, embedder = scenes_dataset(form, n=20), StoreEmbedder(ToyModel(), tmp_path)
    data = replace(data, label_sets=None)
    evaluation = evaluate(data, embedder)
    metrics, expected = metrics_of(evaluation), metrics_of(clean.evaluate(data, embedder, np.random.default_rng(0)))
    scores = [name for name in metrics if name in expected]
    assert scores == (["acc1"] if form == "classes" else ["text_retrieval_recall@1", "image_retrieval_recall@1"])
    for name in scores:
        assert metrics[name].value == expected[name].value
        curves = [curve for key, curve in evaluation.curves.items() if key.endswith("/score_by_severity")]
        assert expected[name].value in {curve.y[0] for curve in curves}
    assert len([name for name in evaluation.curves if name.endswith("/score_by_severity")]) >= 6


class Luminance(StubEmbedder):
    """Sees the brightness of 4 x 4 parts of an image and no colour; a class is the mean of its images."""

    info = replace(INFO, embed_dim=16)

    def __init__(self, data: Dataset) -> None:
        assert data.labels is not None
        self._classes = {
            f"a photo of a {name}.": self.images(
                [image for image, label in zip(data.images, data.labels, strict=True) if label == row]
            ).mean(axis=0)
            for row, name in enumerate(data.class_names or ())
        }

    def images(self, images: Sequence[ImageRef]) -> Float32[np.ndarray, "n_images dim"]:
        small = [image.open().convert("L").resize((4, 4), Image.Resampling.BOX) for image in images]
        return np.stack([np.asarray(image, np.float32).ravel() for image in small])

    def texts(self, texts: Sequence[str]) -> Float32[np.ndarray, "n_texts dim"]:
        return np.stack([self._classes[text] for text in texts])


def test_a_model_that_ignores_colour_loses_nothing_in_grey(tmp_path: Path) -> None:
    rng, images = np.random.default_rng(0), []
    for row in range(12):  # bright parts of an image differ by class, and its colour is at random
        parts = np.zeros((4, 4))
        parts.flat[row % 3 :: 3] = 1.0
        colour = np.array([60, 60, 60]) + parts[..., None] * rng.integers(60, 180, 3)
        Image.fromarray(colour.astype(np.uint8)).resize((64, 64), Image.Resampling.NEAREST).save(
            tmp_path / f"{row}.png"
        )
        images.append(FileImage(tmp_path / f"{row}.png"))
    data = Dataset(id="parts", images=images, image_ids=[*map(str, range(12))], labels=np.arange(12) % 3,
                   class_names=("first", "second", "third"))  # fmt: skip
    evaluation = evaluate(data, Luminance(data), "grey", "contrast")
    assert evaluation.curves["grey/score_by_severity"].y == [1.0] * 6
    assert metrics_of(evaluation)["grey/loss"].value == 0


def test_each_copy_is_encoded_once(tmp_path: Path) -> None:
    data, model = photos(tmp_path), ToyModel()
    names = ("jpeg", "blur", "grey")
    evaluate(data, StoreEmbedder(model, tmp_path / "store"), *names)
    assert model.encoded_images == len(data) * (1 + 5 * len(names))
    again = ToyModel()
    order = np.arange(len(data))[::-1]
    evaluation = evaluate(data.take(order), StoreEmbedder(again, tmp_path / "store"), *names)
    assert again.encoded_images == 0  # copies depend on their image, not on the order
    assert evaluation.samples["sample_id"][0] == "jpeg:image:11"


class Colours:
    """Names the colour of an image, and of noisy images a wrong one if it is shaky."""

    logit_scale = 10.0

    def __init__(self, *, is_shaky: bool) -> None:
        self.is_shaky = is_shaky
        self.name = self.fingerprint = "shaky" if is_shaky else "steady"

    def encode_images(self, images: Sequence[Image.Image]) -> np.ndarray:
        vectors = []
        for image in images:
            pixels = np.asarray(image, np.float32)
            roughness = np.abs(np.diff(pixels, axis=0)).mean()
            vector = pixels.mean(axis=(0, 1)) - pixels.mean() + 0.01
            vectors.append(np.roll(vector, 1) if self.is_shaky and roughness > ROUGH else vector)
        return np.stack(vectors)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([[("red" in t) + 0.1, ("green" in t) + 0.1, ("blue" in t) + 0.1] for t in texts], np.float32)


ROUGH = 45.0
"""Difference of neighbouring pixels that noise of the severities 4 and 5 exceeds."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[cb.Run, cb.Run]:
    """Return runs of a steady and of a shaky model on the same images, with two disturbances that a suite names."""
    folder = tmp_path_factory.mktemp("runs")
    data = photos(folder, 80)
    suite = folder / "some.toml"
    suite.write_text(
        '[[evaluation]]\ntask = "perturbation"\ndata = "x"\nparams = {disturbances = ["noise", "crop", "jpeg"]}\n'
    )
    steady, shaky = (
        cb.run(Colours(is_shaky=is_shaky), "perturbation", data=data, suite=str(suite), out=folder / str(is_shaky))
        for is_shaky in (False, True)
    )
    return steady, shaky


def test_the_extra_loss_is_that_of_the_disturbance_that_costs_the_candidate_more(runs: tuple[cb.Run, cb.Run]) -> None:
    (record,) = runs[0].result.evaluations
    assert record.status == "ok", record.reason
    assert list(record.params["disturbances"]) == ["noise", "crop", "jpeg"]
    comparison = compare(*runs)
    losses = {difference.name: difference for difference in comparison.differences if difference.name.endswith("/loss")}
    assert losses["noise/loss"].verdict == "worse" and losses["noise/loss"].value == pytest.approx(2 / 5)
    assert losses["crop/loss"].verdict == losses["jpeg/loss"].verdict == "not shown"
    assert comparison.verdict == "worse"


def test_an_explanation_names_the_disturbance(runs: tuple[cb.Run, cb.Run]) -> None:
    explanation = explain(*runs)
    assert explanation.metric.endswith("/disturbed_acc1")
    (loss,) = explanation.losses
    assert (loss.slice, loss.claim) == ("condition = noise", "worse than elsewhere")
    assert loss.share_of_loss == pytest.approx(1.0)


def test_flipped_images_are_kept_for_the_report(runs: tuple[cb.Run, cb.Run]) -> None:
    samples = runs[1].samples("perturbation")
    flipped = samples[samples["flip_margin"].notna()]
    assert "noise" in set(flipped["condition"])
    for row in flipped.to_dict("records"):
        severity = int(row["flip_margin"] + 6)
        assert row["severity_0"] == 1 and row[f"severity_{severity}"] == 0
        assert row["chosen"] != row["label"]
        pair = [runs[1].folder / "thumbs" / f"{row[name]}.webp" for name in ("image", "disturbed_image")]
        clean, disturbed = (np.asarray(Image.open(path), np.float64) for path in pair)
        assert clean.shape == disturbed.shape and np.abs(clean - disturbed).mean() > 5
    assert (samples["disturbed_image"] != "").sum() == len(flipped)


# -- what cannot be disturbed


def test_one_image_is_too_few() -> None:
    with pytest.raises(DataError, match="data set by hand has 1 image: expected two or more"):
        Perturbation().check(data_of("a", captions=["x"], caption_image=np.array([0])))


def test_images_that_are_too_small_for_a_severity_stay_as_they_are(tmp_path: Path) -> None:
    data, model = photos(tmp_path, 6, (150, 100)), ToyModel()
    evaluation = evaluate(data, StoreEmbedder(model, tmp_path / "store"), "downscale")
    assert evaluation.notes == (
        "unchanged by downscale, of the 6 images: 6 at severity 1, 6 at severity 2 and 6 at severity 3",
    )
    assert model.encoded_images == 6 * (1 + 2)
    assert evaluation.curves["downscale/loss_by_severity"].y[:4] == [0.0] * 4


def test_images_that_are_too_small_for_every_severity_are_one_line(tmp_path: Path) -> None:
    data = photos(tmp_path, 6, (64, 48))
    with pytest.raises(
        DataError, match="no disturbance changes data set photos: downscale changes none of the 6 images: left out"
    ):
        evaluate(data, StoreEmbedder(ToyModel(), tmp_path / "store"), "downscale")
    both = evaluate(data, StoreEmbedder(ToyModel(), tmp_path / "store"), "downscale", "grey")
    assert both.notes == ("downscale changes none of the 6 images: left out",)
    assert not any(name.startswith("downscale") for name in metrics_of(both))


def test_texts_of_one_character_are_left_alone(tmp_path: Path) -> None:
    captions = ["x", "y", "two words", "z", "three more words", "w"]
    data = photos(tmp_path, 6, captions=captions, caption_image=np.arange(6))
    evaluation = evaluate(data, StoreEmbedder(ToyModel(), tmp_path / "store"), "typos", "word-order")
    assert evaluation.notes[1].startswith("unchanged by word-order, of the 6 captions: 4 at severity 1, ")
    loss = evaluation.samples["word-order/loss"]
    assert (loss[[6, 7, 9, 11]] == 0).all()
    only = photos(tmp_path, 3, captions=["x", "y", "z"], caption_image=np.arange(3))
    with pytest.raises(DataError, match="data set photos: typos changes none of the 3 captions"):
        evaluate(only, StoreEmbedder(ToyModel(), tmp_path / "store"), "typos")


def test_prompts_that_are_written_for_each_class_leave_class_names_alone(tmp_path: Path) -> None:
    prompts = Prompts(by_class={"red": ("it is red",), "green": ("it is green",), "blue": ("it is blue",)})
    data, embedder = photos(tmp_path), StoreEmbedder(ToyModel(), tmp_path / "store")
    evaluation = evaluate(data, embedder, "blur", "typos", prompts=prompts)
    assert set(evaluation.samples["condition"]) == {"blur"}
    with pytest.raises(DataError, match="data set photos: prompts by class have no class names to change"):
        evaluate(data, embedder, "typos", prompts=prompts)


def test_every_disturbance_has_a_title_and_no_name_twice() -> None:
    assert len(DISTURBANCES) == 16 == len(set(DISTURBANCES.values()))
