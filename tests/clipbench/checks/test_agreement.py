"""Two ways to run one model: honest pairs are the same, planted differences are named, and the index's claim holds."""

import copy
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import clipbench
from clipbench.checks.agreement.fixed_inputs import N_LONGEST, draw, fixed_inputs, write_inputs
from clipbench.data.images import FileImage
from clipbench.errors import ClipbenchError, DataError, ModelError, UsageError
from clipbench.evaluation.shared_index import MARGIN, SharedIndex, shared_index
from clipbench.evaluation.vector_comparison import VectorComparison
from clipbench.metrics.similarity import unit
from clipbench.models import load_model
from clipbench.models.options import LoadOptions
from clipbench.seeding import generator
from clipbench.testing import ToyModel
from tests.clipbench.checks.honest_pairs import of_onnx, of_sentence_transformers, of_transformers
from tests.clipbench.checks.planted_differences import Program, Service, bundled, planted_differences
from tests.embeddings_server import State, serve, silent

LIBRARIES = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
QUICK = ("squash", "channel order", "EXIF", "truncation side", "no normalization", "padding in a batch")
"""Planted differences that are tried in every run of the tests. All sixteen are slow."""
QUICK_OF_SERVICE = ("squash", "EXIF", "no normalization")


def compare(model: object, against: object, **options: Any) -> VectorComparison:
    return clipbench.doctor(model, against=against, **options)  # type: ignore[call-overload]


# ----- the inputs


def test_inputs_have_every_shape_kind_and_length() -> None:
    images, texts = fixed_inputs()
    assert {image.shape for image in images} == {"square", "wide", "tall"}
    readings = {"plain", "transparent", "palette", "16 bits", "turned by EXIF", "grey", "JPEG"}
    assert {image.reading for image in images} == readings
    assert min(image.width for image in images) < 10 and max(image.width for image in images) >= 1000
    kinds = {"short", "long", "capitals", "punctuation", "spaces", "Unicode", "blank"}
    assert {text.kind for text in texts} == kinds
    assert max(len(text.text.split()) for text in texts) == N_LONGEST
    assert max(Counter([*(image.id for image in images), *(text.id for text in texts)]).values()) == 1


def test_a_picture_is_drawn_alike_everywhere() -> None:
    picture = draw(6, 4, 3)
    assert picture.shape == (4, 6, 3)
    assert picture[0, 0].tolist() == draw(6, 4, 3)[0, 0].tolist()
    assert int(draw(64, 64, 0).astype(np.int64).sum()) == SUM_OF_A_PICTURE


SUM_OF_A_PICTURE = 1_529_029
"""Of all bytes of a picture: other bytes on another machine would make two sides differ that are the same."""


def test_written_inputs_are_the_inputs(tmp_path: Path) -> None:
    paths = write_inputs(tmp_path / "new" / "folder")
    images, texts = fixed_inputs()
    assert len(paths) == len(images) + 1
    lines = (tmp_path / "new/folder/texts.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [{"id": text.id, "text": text.text} for text in texts]
    for image in images:
        written = FileImage(tmp_path / "new/folder" / image.name).open()
        assert np.array_equal(np.asarray(written), np.asarray(image.open()))
    assert write_inputs(tmp_path / "new" / "folder") == paths
    (tmp_path / "new/folder/texts.jsonl").write_text("mine")
    with pytest.raises(UsageError, match=r"texts\.jsonl exists with other content"):
        write_inputs(tmp_path / "new" / "folder")


# ----- the same


def assert_same(comparison: VectorComparison) -> None:
    assert comparison.verdict == "same", str(comparison)
    assert {cause.stage for cause in comparison.causes} <= {"normalization"}
    assert comparison.is_same and min(comparison.image.cosine_min, comparison.text.cosine_min) >= 1 - 1e-5


def test_one_model_twice_and_in_other_batches_is_the_same() -> None:
    assert_same(compare("tiny", "tiny", device="cpu"))
    assert_same(compare("tiny", "tiny", device="cpu", against_options={"batch_size": "1"}))


def test_a_server_on_this_machine_is_the_same() -> None:
    model: Any = load_model("tiny", LoadOptions(device="cpu"))
    state = State(encode_images=model.encode_images, encode_texts=model.encode_texts)
    with serve(state) as address:
        assert_same(compare("tiny", f"api:{address}", against_options={"model": "tiny"}))


@pytest.mark.slow
@LIBRARIES
def test_libraries_that_run_one_state_dict_are_the_same(small_clip_folder: Path, tmp_path: Path) -> None:
    theirs = of_transformers(small_clip_folder, tmp_path / "hf")
    assert_same(compare(f"local-dir:{small_clip_folder}", f"hf:{theirs}", device="cpu"))
    sentences = of_sentence_transformers(theirs, tmp_path / "st")
    assert_same(compare(f"hf:{theirs}", f"st:{sentences}", device="cpu"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the exporter warns about itself
@LIBRARIES
def test_an_onnx_export_is_the_same(small_clip_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="graphs are written with the package onnx")
    export = of_onnx(small_clip_folder, tmp_path / "onnx")
    assert_same(compare(f"local-dir:{small_clip_folder}", f"onnx:{export}", device="cpu"))


def test_bf16_is_the_same_up_to_precision_and_its_recall_is_named() -> None:
    comparison = compare("tiny", "tiny", device="cpu", against_options={"precision": "bf16"}, data="scenes", limit=120)
    assert comparison.verdict == "same up to precision" and comparison.is_same
    assert {cause.stage for cause in comparison.causes} == {"precision"}
    assert all("bf16" in cause.evidence for cause in comparison.causes)
    assert comparison.share_index is not None
    assert "recall@10 of" in comparison.share_index.sentence


# ----- planted differences


@pytest.mark.parametrize("name", QUICK)
def test_a_difference_is_named_where_both_sides_show_themselves(name: str) -> None:
    planted = planted_differences()[name]
    comparison = compare(planted.base, planted.program)
    cause = next(cause for cause in comparison.causes if cause.tower == planted.tower)
    assert cause.stage == planted.stage, str(comparison)
    assert comparison.is_same == (planted.stage == "normalization")


class Thumbnails:
    """A model of 32 x 32 pixels, which is no size of a fixed picture, with a way to resize that nobody else has."""

    def __init__(self, shift: float) -> None:
        self.shift = shift
        """Fraction of the width and height that is missing at the left and at the top."""
        self.weights = generator(0, "thumbnails").standard_normal((32 * 32 * 3, 48))

    def encode_images(self, images: Sequence[Image.Image]) -> np.ndarray:
        small = []
        for image in images:
            box = (self.shift * image.width, self.shift * image.height, image.width, image.height)
            small.append(image.resize((32, 32), box=box))
        pixels = np.array([np.asarray(image, dtype=np.float64).ravel() - 127 for image in small])
        return unit((pixels @ self.weights).astype(np.float32))

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        rows = [generator(0, "text", text).standard_normal(48) for text in texts]
        return unit(np.array(rows, dtype=np.float32))


def test_pixels_may_be_at_fault_where_no_picture_has_the_size_of_the_model() -> None:
    comparison = compare(Thumbnails(shift=0), Thumbnails(shift=0.01))
    (cause,) = comparison.causes
    assert cause.stage == "pixels or precision or tower", str(comparison)
    assert "known to have the size of the model" in cause.evidence


@pytest.mark.parametrize("name", QUICK_OF_SERVICE)
def test_a_difference_is_named_where_one_side_is_a_bare_service(name: str) -> None:
    planted = planted_differences()[name]
    comparison = compare(planted.base, Service(planted.program))
    cause = next(cause for cause in comparison.causes if cause.tower == planted.tower)
    assert planted.stage in cause.stages, str(comparison)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "second", "least"),
    [(None, None, 14), (None, Service, 10), (Service, None, 10), (Service, Service, 10)],
    ids=["both shown", "second bare", "first bare", "both bare"],
)
def test_sixteen_planted_differences_are_named(
    first: Callable[[Program], object] | None, second: Callable[[Program], object] | None, least: int
) -> None:
    wrong = []
    for name, planted in planted_differences().items():
        sides = [program if wrap is None else wrap(program)
                 for wrap, program in ((first, planted.base), (second, planted.program))]  # fmt: skip
        comparison = compare(*sides)
        cause = next((cause for cause in comparison.causes if cause.tower == planted.tower), None)
        if cause is None or planted.stage not in cause.stages:
            wrong.append(f"{name}: {comparison.causes}")
    assert len(planted_differences()) == 16
    assert 16 - len(wrong) >= least, wrong


def test_a_service_that_reads_files_otherwise_is_named_by_its_pictures() -> None:
    planted = planted_differences()["alpha"]
    (cause,) = compare(planted.base, Service(planted.program)).causes
    assert "laid on black" in cause.evidence


def test_only_what_differs_is_named() -> None:
    comparison = compare(Program(name="base"), planted_differences()["squash"].program)
    assert [cause.tower for cause in comparison.causes] == ["image"]
    assert "resize crop and squash" in comparison.causes[0].evidence
    assert "only pictures that are not square differ" in comparison.causes[0].evidence
    assert comparison.text.worst == [] and len(comparison.image.worst) == 5
    assert comparison.frame().columns.tolist() == ["tower", "input", "cosine"]
    assert len(comparison.frame()) == 5


def test_other_weights_are_another_space() -> None:
    torch = pytest.importorskip("torch")
    net = copy.deepcopy(bundled()[0])
    generator = torch.Generator().manual_seed(1)
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.05
    comparison = compare(Program(name="base"), Program(name="other", net=net))
    assert comparison.verdict == "other space" and not comparison.is_same
    assert {cause.stage for cause in comparison.causes} == {"tower"}


# ----- one index for both


def brute_force(queries: np.ndarray, gallery: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """Return whether the image of each text is among its ten nearest, by sorting all cosines."""
    normal = [rows / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True) for rows in (queries, gallery)]
    order = np.argsort(-(normal[0] @ normal[1].T), axis=1)[:, :10]
    return (order == owners[:, None]).any(axis=1).astype(float)


class NoisyTexts:
    """The bundled CLIP whose texts have vectors that are partly noise, as after a change of the text tower."""

    name = "noisy"

    def __init__(self, share: float) -> None:
        self.program, self.share = Program(), share
        self.encode_images = self.program.encode_images

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        rows = unit(self.program.encode_texts(texts))
        noise = [np.random.default_rng(sum(map(ord, text))).standard_normal(rows.shape[1]) for text in texts]
        return ((1 - self.share) * rows + self.share * unit(np.stack(noise).astype(np.float32))).astype(np.float32)


def captioned(n: int) -> list[tuple[Image.Image, str]]:
    """Return pictures of one colour each with a caption that has a number of its own."""
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8)) for _ in range(n)]
    return [(picture, f"picture number {number}") for number, picture in enumerate(pictures)]


def test_the_claim_on_an_index_equals_brute_force() -> None:
    base, other = Program(name="base"), NoisyTexts(0.6)
    other.encode_images = planted_differences()["squash"].program.encode_images
    pairs = captioned(60)
    index = compare(base, other, data=pairs).share_index
    images = [picture for picture, _ in pairs]
    texts = [side.encode_texts([caption for _, caption in pairs]) for side in (base, other)]
    galleries = [side.encode_images(images) for side in (base, other)]
    half = galleries[0].copy()
    migrated = generator(0, "doctor", "half migrated").permutation(60)[:30]
    half[migrated] = galleries[1][migrated]
    searches = {
        "first_alone": (texts[0], galleries[0]),
        "second_on_first": (texts[1], galleries[0]),
        "half_migrated": (texts[1], half),
        "second_alone": (texts[1], galleries[1]),
    }
    assert index is not None and index.n_queries == index.n_gallery == 60
    values = {mix: float(brute_force(*search, np.arange(60)).mean()) for mix, search in searches.items()}
    assert {mix: recall.value for mix, recall in index.recall_at_10.items()} == pytest.approx(values, abs=1e-12)
    assert len(set(values.values())) > 1


def index_of(before: np.ndarray, after: np.ndarray) -> SharedIndex:
    hits = {"first_alone": before, "second_on_first": after, "half_migrated": after, "second_alone": after}
    return shared_index(hits, np.arange(len(before)), name="hits", n_gallery=100)  # type: ignore[arg-type]


def test_an_engineer_reads_what_to_do() -> None:
    before = np.ones(1000)
    assert (
        index_of(before, before).sentence
        == "Both may share one index on hits: recall@10 of 100.0 % falls by at most 0.30 pp"
    )
    lost = before.copy()
    lost[:360] = 0
    assert index_of(before, lost).sentence == "Re-embed: recall@10 falls from 100.0 to 64.0 %"
    few = index_of(before[:50], before[:50])
    assert not few.may_share and few.sentence.startswith("Not decided: ")
    assert "50 queries do not exclude a loss of more than 1.00 pp. 299 or more may" in few.sentence
    gain = index_of(lost, before)
    assert gain.may_share and "falls by at most 0.00 pp" in gain.sentence


def test_a_loss_of_the_margin_is_hardly_ever_called_none() -> None:
    rng = np.random.default_rng(0)
    n_shared = 0
    for _ in range(400):
        before = (rng.random(1500) < 0.9).astype(float)
        lost = (rng.random(1500) < (MARGIN + 0.01) / 0.9) & (before == 1)
        gained = (rng.random(1500) < 0.01 / 0.1) & (before == 0)
        n_shared += index_of(before, np.where(lost, 0.0, np.where(gained, 1.0, before))).may_share
    assert n_shared / 400 <= 0.07  # 5 %, and two standard errors


def test_data_without_captions_or_with_too_few_images_is_refused() -> None:
    with pytest.raises(UsageError, match=r"has 5 images: expected more than 10"):
        compare("tiny", "tiny", data=captioned(5))
    labels = {"image": [picture for picture, _ in captioned(12)], "label": ["a", "b"] * 6}
    with pytest.raises(ClipbenchError, match="caption"):
        compare("tiny", "tiny", data=labels)


# ----- vectors that other programs made


def given(path: Path, program: Any, *, keep: slice = slice(None), **changes: Any) -> str:
    """Write the vectors of the fixed inputs as another program would, and return the reference."""
    images, texts = fixed_inputs()
    arrays = {
        "images": program.encode_images([image.open() for image in images])[keep],
        "texts": program.encode_texts([text.text for text in texts])[keep],
        "image_ids": np.array([image.name for image in images])[keep],
        "text_ids": np.array([text.id for text in texts])[keep],
    }
    np.savez(path, **{**arrays, **changes})
    return f"embeddings:{path}"


def test_vectors_of_another_language_enter_by_the_ids_of_the_inputs(tmp_path: Path) -> None:
    file = given(tmp_path / "swift.npz", Program())
    assert_same(compare("tiny", file, device="cpu", against_options={"device": "auto"}))
    squash = given(tmp_path / "squash.npz", planted_differences()["squash"].program)
    (cause,) = compare("tiny", squash).causes
    assert cause.stage == "pixels" and "images squashed to a square" in cause.evidence
    (cause,) = compare(file, squash).causes
    assert cause.stage == "pixels" and "only pictures that are not square differ" in cause.evidence


def test_vectors_of_half_of_the_inputs_are_refused_or_compared(tmp_path: Path) -> None:
    file = given(tmp_path / "half.npz", Program(), keep=slice(0, 9))
    with pytest.raises(DataError, match=r"has no vector of 9 of 18 pictures \(odd-sides"):
        compare("tiny", file)
    comparison = compare("tiny", file, allow_partial=True)
    assert comparison.verdict == "same" and comparison.image.n == 9 and len(comparison.refused) == 9 + 11
    other = given(tmp_path / "other.npz", Program(), image_ids=[str(number) for number in range(18)])
    with pytest.raises(DataError, match="has no vector of 18 of 18 pictures"):
        compare("tiny", other, allow_partial=True)


# ----- what cannot be compared


def test_other_dimensions_name_the_missing_step_or_another_space(tmp_path: Path) -> None:
    short = given(tmp_path / "short.npz", Program(), images=np.eye(18, 7) + 0.1, texts=np.eye(20, 7) + 0.1)
    with pytest.raises(
        ModelError,
        match=r"tiny gives vectors of dimension 128, and embeddings:.* 7: the vectors are of different spaces",
    ):
        compare("tiny", short)
    program = Program()
    images, texts = fixed_inputs()
    cut: dict[str, Any] = {
        "images": program.encode_images([image.open() for image in images])[:, :64],
        "texts": program.encode_texts([text.text for text in texts])[:, :64],
    }
    first = given(tmp_path / "cut.npz", program, **cut)
    with pytest.raises(ModelError, match=r"gives only the first 64 numbers of the vectors of tiny"):
        compare("tiny", first)


def test_a_projection_that_is_missing_is_named(small_clip_folder: Path, tmp_path: Path) -> None:
    import open_clip
    import torch

    model: Any = load_model(f"local-dir:{small_clip_folder}", LoadOptions(device="cpu"))
    images, texts = fixed_inputs()
    module = model.module
    hidden: list[Any] = []
    module.visual.ln_post.register_forward_hook(lambda part, inputs, output: hidden.append(output))
    model.encode_images([image.open() for image in images])
    pooled = torch.cat([rows if rows.ndim == 2 else rows[:, 0] for rows in hidden]).numpy()
    assert pooled.shape == (len(images), 64) and open_clip
    file = given(tmp_path / "pooled.npz", Program(), images=pooled, texts=np.ones((len(texts), 64)))
    with pytest.raises(ModelError, match=r"lacks the projection\. visual\.proj of local-dir:.* turns its vectors"):
        compare(f"local-dir:{small_clip_folder}", file)


class Refusing(Program):
    """A program that refuses pictures of one kind."""

    def encode_images(self, images: Sequence[Image.Image]) -> np.ndarray:
        if any(min(image.size) < 32 for image in images):
            raise ValueError("too small")
        return super().encode_images(images)


def test_a_side_that_refuses_a_picture_is_named_with_it() -> None:
    with pytest.raises(ModelError, match=r"program refuses 1 of 18 pictures, 'tiny' \(.*too small.*Compare the others"):
        compare(Program(name="base"), Refusing())
    comparison = compare(Program(name="base"), Refusing(), allow_partial=True)
    assert comparison.verdict == "same" and [*comparison.refused] == ["tiny"]
    assert "note: 1 input left out: tiny (" in str(comparison)


def test_a_server_that_does_not_answer_in_time_is_an_error_in_one_line() -> None:
    toy = ToyModel()
    state = State(toy.encode_images, toy.encode_texts, fault=lambda number: silent)
    with serve(state) as address, pytest.raises(ModelError) as error:
        compare("tiny", f"api:{address}", against_options={"model": "toy", "timeout": "0.2"})
    assert "\n" not in str(error.value)


def test_options_that_have_no_effect_are_refused() -> None:
    with pytest.raises(UsageError, match="expect has no effect together with against"):
        compare("tiny", "tiny", expect=50.0)
    with pytest.raises(UsageError, match="against_options has no effect"):
        clipbench.doctor("tiny", against_options={"precision": "bf16"})
