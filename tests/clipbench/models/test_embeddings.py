"""Files of vectors: the same samples from each form, and an error with a name for whatever is wrong in one."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipbench.errors import DataError, VectorError
from clipbench.models.adapters.vectors import Embeddings, VectorRow, load
from clipbench.models.options import LoadOptions
from clipbench.models.protocol import Embedder
from clipbench.testing import NamedImage

Arrays = dict[str, Any]


def arrays(**changes: Any) -> Arrays:
    """Return two images with two texts each, and two of three classes; None takes an array away."""
    rng = np.random.default_rng(0)
    all_arrays = {
        "images": rng.standard_normal((2, 5)).astype(np.float32),
        "texts": rng.standard_normal((4, 5)).astype(np.float32),
        "text_to_image": np.array([0, 0, 1, 1]),
        "labels": np.array([2, 0]),
        "class_texts": rng.standard_normal((3, 5)).astype(np.float32),
        "class_names": np.array(["cat", "dog", "cow"]),
        "image_ids": np.array(["one.jpg", "two.jpg"]),
        "text_ids": np.array(["a", "b", "c", "d"]),
        "logit_scale": np.float32(42),
        "logit_bias": np.float32(-3),
    }
    return {name: value for name, value in {**all_arrays, **changes}.items() if value is not None}


def write_npz(path: Path, content: Arrays) -> Path:
    file = path / "vectors.npz"
    np.savez(file, **content)
    return file


def write_npy(path: Path, content: Arrays) -> Path:
    folder = path / "vectors"
    folder.mkdir()
    for name, value in content.items():
        np.save(folder / f"{name}.npy", value)
    return folder


def write_parquet(path: Path, content: Arrays) -> Path:
    """Write a table for the images, one for the texts and one for the classes; the two numbers as .npy beside."""
    folder = path / "vectors"
    folder.mkdir()
    tables = {
        "images": ["images", "labels", "image_ids"],
        "texts": ["texts", "text_to_image", "text_ids"],
        "classes": ["class_texts", "class_names"],
    }
    for table, names in tables.items():
        columns = {name: pa.array([*content[name]]) for name in names if name in content}
        if columns:
            pq.write_table(pa.table(columns), folder / f"{table}.parquet")
    for name in ("logit_scale", "logit_bias"):
        if name in content:
            np.save(folder / f"{name}.npy", content[name])
    return folder


def loaded(path: Path, **changes: Any) -> Embeddings:
    return load(str(write_npz(path, arrays(**changes))), LoadOptions())


@pytest.mark.parametrize("write", [write_npz, write_npy, write_parquet])
def test_every_form_gives_the_same(tmp_path: Path, write: Callable[[Path, Arrays], Path]) -> None:
    content = arrays()
    model = load(str(write(tmp_path, content)), LoadOptions())
    data = model.dataset

    assert isinstance(model, Embedder)
    np.testing.assert_array_equal(model.images(data.images), content["images"])
    assert data.captions is not None and data.caption_image is not None and data.labels is not None
    np.testing.assert_array_equal(model.texts(data.captions), content["texts"])
    assert data.caption_image.tolist() == [0, 0, 1, 1] and data.labels.tolist() == [2, 0]
    assert list(data.image_ids) == ["one.jpg", "two.jpg"] and data.class_names == ("cat", "dog", "cow")
    assert (model.info.logit_scale, model.info.logit_bias, model.info.embed_dim) == (42, -3, 5)
    assert set(data.missing) == {"contrasts", "attacks"} and model.info.notes == ()
    assert data.notes == ("1 of 3 classes have no image",)


def test_rows_pair_up_where_nothing_else_is_said(tmp_path: Path) -> None:
    data = loaded(tmp_path, text_to_image=None, texts=np.ones((2, 5), np.float32), text_ids=None).dataset

    assert data.caption_image is not None and data.caption_image.tolist() == [0, 1]
    assert data.captions == ["text 0", "text 1"] and data.caption_ids == ["0", "1"]


@pytest.mark.parametrize("group", [["sea", "land"], ["de", "en", "de", "en"]])
def test_a_group_is_of_the_images_or_of_the_texts_by_its_number(tmp_path: Path, group: list[str]) -> None:
    result = loaded(tmp_path, group=np.array(group)).dataset.groups["group"]
    assert list(result.values) == group and result.of_captions == (len(group) == 4)


def test_names_that_are_not_given_are_numbers(tmp_path: Path) -> None:
    data = loaded(tmp_path, image_ids=None, class_names=None).dataset

    assert list(data.image_ids) == ["0", "1"] and data.class_names == ("class 0", "class 1", "class 2")


@pytest.mark.parametrize(
    ("without", "part", "array"),
    [
        (["text_to_image"], "captions", "text_to_image (needed because there are 2 images and 4 texts)"),
        (["texts", "text_to_image", "text_ids"], "captions", "texts"),
        (["labels"], "labels", "labels"),
        (["class_texts", "class_names"], "class_names", "class_texts"),
        (["class_texts", "class_names", "labels"], "labels", "labels and class_texts"),
    ],
)
def test_what_the_file_cannot_feed_is_missing_by_name(
    tmp_path: Path, without: list[str], part: str, array: str
) -> None:
    model = loaded(tmp_path, **dict.fromkeys(without))

    assert getattr(model.dataset, part) is None
    assert model.dataset.missing[part] == f"the file lacks {array}"


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_precisions_become_float32(tmp_path: Path, dtype: type) -> None:
    vectors: np.ndarray = np.array([[1.5, -2], [0.25, 8]], dtype)
    model = loaded(tmp_path, images=vectors, texts=np.ones((4, 2), dtype), class_texts=np.ones((3, 2), dtype))

    out = model.images(model.dataset.images)
    assert out.dtype == np.float32 and out.tolist() == vectors.tolist()


def test_the_fingerprint_follows_the_content_not_the_form(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    first = loaded(tmp_path / "a").info.fingerprint

    assert load(str(write_npy(tmp_path / "b", arrays())), LoadOptions()).info.fingerprint == first
    assert loaded(tmp_path / "c", logit_scale=np.float32(7)).info.fingerprint != first


def test_the_samples_of_two_models_files_are_the_same_by_their_ids(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    first = loaded(tmp_path / "a").dataset
    other_model = loaded(
        tmp_path / "b", images=np.ones((2, 7)), texts=np.ones((4, 7)), class_texts=np.ones((3, 7))
    ).dataset
    other_samples = loaded(tmp_path / "c", image_ids=np.array(["one.jpg", "three.jpg"])).dataset

    prints = [
        data.fingerprint([image.digest() for image in data.images]) for data in (first, other_model, other_samples)
    ]

    assert first.id == other_model.id
    assert prints[0] == prints[1] != prints[2]


def test_what_the_file_has_no_vector_for_is_an_error(tmp_path: Path) -> None:
    model = loaded(tmp_path)

    with pytest.raises(DataError, match=r"has no vector for text 'a photo of a cat': .*without @DATA and without"):
        model.texts(["a photo of a cat"])
    for foreign in (NamedImage("x.jpg"), VectorRow(1, "x.jpg"), VectorRow(2, "x.jpg"), VectorRow(-1, "x.jpg")):
        with pytest.raises(DataError, match=r"has no vector for image 'x.jpg'"):
            model.images([foreign])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": np.ones(5, np.float32)}, r"'images' is float32 of shape \(5,\): expected floating-point vectors, one per row"),
        ({"images": np.ones((2, 5), int)}, r"'images' is int64 of shape \(2, 5\): expected floating-point"),
        ({"images": np.ones((0, 5), np.float32)}, r"'images' is float32 of shape \(0, 5\): expected"),
        ({"images": None}, r"expected 'images' with 'texts' or 'class_texts' \(or both\)"),
        ({"texts": np.ones((4, 6), np.float32)}, r"'images' has dimension 5 and 'texts' 6: expected the same for both"),
        ({"text_to_image": np.array([0, 0, 1])}, r"'text_to_image' has 3 rows: expected 4, as 'texts' has"),
        ({"text_to_image": np.array([0, 0, 1, 2])}, r"'text_to_image' has 2 in row 3: expected 0 to 1, a row of 'images'"),
        ({"text_to_image": np.array([0.0, 0, 1, 1])}, r"'text_to_image' is float64 of shape \(4,\): expected row numbers"),
        ({"text_to_image": np.array([0, 0, 0, 0])}, r"1 images without a caption, the first 'two.jpg'"),
        ({"labels": np.array([0, 3])}, r"'labels' has 3 in row 1: expected 0 to 2, a row of 'class_texts'"),
        ({"labels": np.array([0, -1]), "class_texts": None, "class_names": None}, r"'labels' has -1 in row 1: expected 0 or more"),
        ({"class_texts": None}, r"has 'class_names' but no 'class_texts', which it describes"),
        ({"image_ids": np.array(["x", "x"])}, r"'image_ids' has 'x' twice: expected distinct"),
        ({"text_ids": np.array(["a", "b", "a", "d"])}, r"'text_ids' has 'a' twice: expected distinct"),
        ({"text_ids": np.array(["a", "b", "class: cow", "d"])}, r"text_ids has 'class: cow', which is reserved for class names"),
        ({"group": np.array(["a", "b", "c"])}, r"'group' has 3 rows: expected 4, as 'texts' has"),
        ({"logit_scale": np.float32(0)}, r"'logit_scale' is 0.0: expected a finite number above 0"),
        ({"logit_bias": np.float32(np.nan)}, r"'logit_bias' is nan: expected a finite number"),
        ({"logit_scale": np.ones(2)}, r"'logit_scale' is float64 of shape \(2,\): expected one number"),
        ({"text_image": np.array([0, 0, 1, 1])}, r"has an unknown array 'text_image': did you mean 'text_to_image'"),
        ({"image_embeddings": np.ones((2, 5))}, r"has an unknown array 'image_embeddings': call these vectors 'images'"),
        ({"class_weights": np.ones((3, 5))}, r"has an unknown array 'class_weights': call these vectors 'class_texts'"),
        ({"image_ids": np.array(["x", "y"], dtype=object)}, r"cannot read .*it holds Python objects, so write names as text"),
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit_are_named(tmp_path: Path, changes: Arrays, message: str) -> None:
    with pytest.raises(DataError, match=message):
        loaded(tmp_path, **changes)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("images", np.nan, r"row 1 \('two.jpg'\) of 'images' is not finite"),
        ("images", np.inf, r"row 1 \('two.jpg'\) of 'images' is not finite"),
        ("texts", 0, r"row 1 \('b'\) of 'texts' is zero"),
        ("class_texts", 0, r"row 1 \('dog'\) of 'class_texts' is zero"),
    ],
)
def test_a_vector_that_no_number_may_be_made_from_is_named(
    tmp_path: Path, name: str, value: float, message: str
) -> None:
    content = arrays()
    content[name][1] = value

    with pytest.raises(VectorError, match=message):
        load(str(write_npz(tmp_path, content)), LoadOptions())


def test_a_number_too_large_for_float32_is_not_finite(tmp_path: Path) -> None:
    with pytest.raises(VectorError, match=r"row 0 .*of 'images' is not finite"):
        loaded(tmp_path, images=np.full((2, 5), 1e300))


def test_a_file_that_cannot_be_read_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no embeddings file .*gone.npz: expected an .npz, or a folder"):
        load(str(tmp_path / "gone.npz"), LoadOptions())
    with pytest.raises(DataError, match=r"has no arrays: expected 'images'"):
        load(str(tmp_path), LoadOptions())
    (tmp_path / "folder").mkdir()
    write_npz(tmp_path, arrays()).rename(tmp_path / "folder/images.npy")
    with pytest.raises(DataError, match=r"images\.npy is an \.npz by its content: rename it, and give embeddings:"):
        load(str(tmp_path / "folder"), LoadOptions())
    np.save(tmp_path / "both.npy", np.ones((2, 4, 5)))
    with pytest.raises(DataError, match=r"both.npy holds one array, of shape \(2, 4, 5\), and both images and texts"):
        load(str(tmp_path / "both.npy"), LoadOptions())
    (tmp_path / "text.npz").write_bytes(b"hello")
    with pytest.raises(DataError, match=r"cannot read .*text\.npz \(it is neither \.npz nor \.npy\)"):
        load(str(tmp_path / "text.npz"), LoadOptions())
    for name, content in [("text.npz", b"hello"), ("half.npz", write_npz(tmp_path, arrays()).read_bytes()[:200])]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=rf"cannot read .*{name} \(.*\): expected arrays that numpy.savez"):
            load(str(tmp_path / name), LoadOptions())


@pytest.mark.parametrize(
    ("member", "message"),
    [("README.txt", "has an unknown array 'README.txt'"), ("labels", r"'labels' is \|S5 of shape \(\)")],
)
def test_a_member_of_an_archive_that_is_no_array_is_named(tmp_path: Path, member: str, message: str) -> None:
    file = write_npz(tmp_path, arrays(labels=None))
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(member, "hello")
    with pytest.raises(DataError, match=message):
        load(str(file), LoadOptions())


def test_parquet_lists_of_different_lengths_are_refused(tmp_path: Path) -> None:
    for cells, message in [
        ([[1.0, 2.0], [3.0]], "column 'images' has lists of different lengths"),
        ([[1.0], [2.0, 3.0, 4.0]], "column 'images' has lists of different lengths"),
        ([[1.0, 2.0], None], "column 'images' has 1 empty cells"),
    ]:
        pq.write_table(pa.table({"images": cells}), tmp_path / "images.parquet")
        with pytest.raises(DataError, match=message):
            load(str(tmp_path), LoadOptions())


def test_an_array_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    folder = write_parquet(tmp_path, arrays())
    np.save(folder / "images.npy", arrays()["images"])

    with pytest.raises(DataError, match=r"has the array 'images' twice, the second time in images.parquet: keep one"):
        load(str(folder), LoadOptions())


# Other modalities -----------------------------------------------------------------------------------------------------


def others(**changes: Any) -> Arrays:
    """Return three recordings of two texts, and as many videos as recordings; None takes an array away."""
    rng = np.random.default_rng(0)
    all_arrays = {
        **{
            name: rng.standard_normal((n, 5)).astype(np.float32)
            for name, n in (("audio", 3), ("text", 2), ("video", 3))
        },
        "audio_to_text": np.array([0, 0, 1]),
        "audio_ids": np.array(["bark", "howl", "mew"]),
    }
    return {name: value for name, value in {**all_arrays, **changes}.items() if value is not None}


@pytest.mark.parametrize("write", [write_npz, write_npy])
def test_vectors_of_any_name_are_a_modality(tmp_path: Path, write: Callable[[Path, Arrays], Path]) -> None:
    content = others()
    model = load(str(write(tmp_path, content)), LoadOptions())
    data = model.dataset.modalities
    assert isinstance(model, Embedder) and data is not None
    assert {name: list(ids) for name, ids in data.ids.items()} == {
        "audio": ["bark", "howl", "mew"], "text": ["0", "1"], "video": ["0", "1", "2"],
    }  # fmt: skip
    assert {link: rows.tolist() for link, rows in data.pairs.items()} == {
        ("audio", "text"): [0, 0, 1], ("audio", "video"): [0, 1, 2],
    }  # fmt: skip
    for name in data.names:
        assert np.array_equal(model.encode(name, data.items[name]), content[name])
        assert np.array_equal(model.encode(name, data.items[name][1:]), content[name][1:])
    assert len(model.dataset) == 2 and not model.dataset.images
    assert repr(model) == "<vectors of 3 of audio, 2 of text, 3 of video, 5 dimensions>"


def test_images_and_texts_stay_what_they_are_beside_other_modalities(tmp_path: Path) -> None:
    alone = loaded(tmp_path)
    beside = loaded(tmp_path, audio=np.ones((4, 5)), audio_to_image=np.array([0, 0, 1, 1]))
    assert (beside.dataset.image_ids, beside.dataset.captions) == (alone.dataset.image_ids, alone.dataset.captions)
    assert alone.dataset.modalities is None and beside.dataset.modalities is not None
    assert beside.dataset.modalities.names == ["audio", "image", "text"]
    digests = alone.digests(alone.dataset.images)
    assert alone.dataset.fingerprint(digests) != beside.dataset.fingerprint(digests)
    few = beside.dataset.take(np.array([1]))
    assert few.captions == ["c", "d"] and few.modalities is not None
    assert {name: list(ids) for name, ids in few.modalities.ids.items()} == {
        "audio": ["2", "3"], "image": ["two.jpg"], "text": ["c", "d"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": None, "video": None, "audio_to_text": None}, r"has audio, audio_ids: expected 'images' .*, or vectors of at least two"),
        ({"audio": np.ones((3, 4))}, r"'audio' has dimension 4 and 'text' 5"),
        ({"audio_to_text": np.array([0, 0])}, r"'audio_to_text' has 2 rows: expected 3, as 'audio' has"),
        ({"audio_to_text": np.array([0, 0, 2])}, r"'audio_to_text' has 2 in row 2: expected 0 to 1, a row of 'text'"),
        ({"text": np.ones(5)}, r"'text' is float64 of shape \(5,\): expected floating-point vectors"),
        ({"text_ids": np.array(["a"])}, r"'text_ids' has 1 rows: expected 2, as 'text' has"),
        ({"image": np.ones((2, 4))}, r"'image' has dimension 4 and 'audio' 5"),
        ({"audio_to_speech": np.array([0, 0, 1])}, r"unknown array 'audio_to_speech': did you mean 'audio_to_text'"),
        ({"text_to_audio": np.array([0, 2])}, r"has 'audio_to_text' and 'text_to_audio': give the one from the modality with more"),
        ({"text_to_image": np.array([0, 0])}, r"has 'text_to_image' but no 'images', whose rows it names"),
        ({"video-clip": np.ones((3, 5))}, r"vectors under the name 'video-clip': expected the name of a modality"),
        ({"texts": np.ones((2, 5))}, r"has 'text' and 'texts', two names of one array: keep one"),
        ({"audio_ids": np.array(["a", "a", "b"])}, r"'audio_ids' has 'a' twice: expected distinct"),
    ],
)  # fmt: skip
def test_arrays_of_modalities_that_do_not_fit_are_named(tmp_path: Path, changes: Arrays, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(str(write_npz(tmp_path, others(**changes))), LoadOptions())


def test_an_item_of_other_data_has_no_vector(tmp_path: Path) -> None:
    model = load(str(write_npz(tmp_path, others())), LoadOptions())
    with pytest.raises(DataError, match="has no vector for audio 'purr'"):
        model.encode("audio", [VectorRow(0, "purr")])
    with pytest.raises(DataError, match="has no vectors of depth: it has audio, text, video"):
        model.encode("depth", [VectorRow(0, "0")])


def test_vectors_in_a_file_are_not_copied_where_they_are_asked_for_in_its_order(tmp_path: Path) -> None:
    vectors = load(str(write_npy(tmp_path, arrays())), LoadOptions())
    data = vectors.dataset
    assert data.captions is not None
    for result, held in (
        (vectors.images(data.images), vectors.image_vectors),
        (vectors.texts(data.captions), vectors.text_vectors[0]),
        (vectors.texts(data.captions[1:3]), vectors.text_vectors[0]),
        (vectors.texts(["class: dog", "class: cow"]), vectors.text_vectors[1]),
    ):
        assert np.shares_memory(result, held) and not result.flags.writeable
    assert not np.shares_memory(vectors.images(data.images[::-1]), vectors.image_vectors)


def test_texts_in_any_order_have_the_vectors_of_their_names(tmp_path: Path) -> None:
    content = arrays()
    vectors = load(str(write_npz(tmp_path, content)), LoadOptions())
    by_name = dict(zip(content["text_ids"], content["texts"], strict=True))
    by_name |= {f"class: {name}": row for name, row in zip(content["class_names"], content["class_texts"], strict=True)}
    rng = np.random.default_rng(0)
    for size in (0, 1, 5, 30):
        names = [str(name) for name in rng.choice([*by_name], size)]
        expected = np.array([by_name[name] for name in names], np.float32).reshape(-1, 5)
        np.testing.assert_array_equal(vectors.texts(names), expected)
