"""CLIP_benchmark's tar shards: read in place, and refused when anything is missing or cut short."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from clipbench.data.dataset import DataOptions, Dataset, check
from clipbench.data.images import content_digest
from clipbench.data.readers import webdataset
from clipbench.errors import BadImage, DataError, UsageError
from clipbench.untrusted.reading import decode_array
from tests.clipbench.data.conftest import ImageBytes, labels_of, owners_of
from tests.miniatures import npy_of, shard_of

Sample = Mapping[str, bytes]


def write(
    root: Path,
    samples: Sequence[Sample],
    *,
    split: str = "test",
    per_shard: int = 2,
    texts: Mapping[str, str] | None = None,
) -> Path:
    """Write a data set as CLIP_benchmark's exporter does; ``texts`` are the files in the root."""
    shards = [samples[start : start + per_shard] for start in range(0, len(samples), per_shard)]
    (root / split).mkdir(parents=True, exist_ok=True)
    for number, shard in enumerate(shards):
        (root / split / f"{number}.tar").write_bytes(shard_of(shard, start=number * per_shard))
    (root / split / "nshards.txt").write_text(f"{len(shards)}\n")
    for name, text in (texts or {}).items():
        (root / f"{name}.txt").write_text(text)
    return root


def load(root: Path, *, allow_partial: bool = False, **options: str) -> Dataset:
    dataset = webdataset.load(root, DataOptions(allow_partial=allow_partial, options=options), "data")
    return check(dataset, allow_partial=allow_partial)


@pytest.fixture
def labelled(tmp_path: Path, image_bytes: ImageBytes) -> Path:
    """Five images of two classes in three shards."""
    samples = [{"png": image_bytes(number), "cls": b"%d" % (number % 2)} for number in range(5)]
    texts = {"classnames": "cat\n big dog \n\n", "zeroshot_classification_templates": "a {c}.\nthe {c}.\n"}
    return write(tmp_path, samples, texts=texts)


def test_classification_is_read_across_shards(labelled: Path, image_bytes: ImageBytes) -> None:
    dataset = load(labelled)
    assert dataset.class_names == ("cat", "big dog")
    assert dataset.templates == ("a {c}.", "the {c}.")
    assert dataset.image_ids == [f"s000000{number}" for number in range(5)]
    assert labels_of(dataset) == [0, 1, 0, 1, 0]
    assert [ref.digest() for ref in dataset.images] == [content_digest(image_bytes(number)) for number in range(5)]
    assert (dataset.split, dataset.captions) == ("test", None)


def test_captions_are_lines_and_an_escaped_newline_stays_as_the_peer_reads_it(
    tmp_path: Path, image_bytes: ImageBytes
) -> None:
    samples = [{"webp": image_bytes(0), "txt": b"one\ntwo\\nlines\n"}, {"webp": image_bytes(1), "txt": "é".encode()}]
    dataset = load(write(tmp_path, samples, texts={"dataset_type": "retrieval\n"}))
    assert dataset.captions == ["one", "two\\nlines", "é"]
    assert owners_of(dataset) == [0, 0, 1]
    assert (dataset.labels, dataset.class_names) == (None, None)


def test_multilabels_are_vectors(tmp_path: Path, image_bytes: ImageBytes) -> None:
    samples = [{"jpg": image_bytes(0), "npy": npy_of([0, 1, 1])}, {"jpg": image_bytes(1), "npy": npy_of([1, 0, 0])}]
    dataset = load(write(tmp_path, samples, texts={"dataset_type": "multilabel", "classnames": "a\nb\nc"}))
    assert dataset.multilabels is not None
    assert dataset.multilabels.tolist() == [[False, True, True], [True, False, False]]
    assert dataset.labels is None


def test_numbers_beside_a_label_are_groups_where_they_are_named(
    tmp_path: Path, image_bytes: ImageBytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = [{"png": image_bytes(k), "cls": b"0", "npy": npy_of([k % 2, 20_020_001 + k, 0])} for k in range(3)]
    write(tmp_path, samples)
    decode = Mock(side_effect=decode_array)
    monkeypatch.setattr(webdataset, "decode_array", decode)
    groups = load(tmp_path, group="region:0, year:1").groups
    assert decode.call_count == len(samples)
    assert {name: list(group.values) for name, group in groups.items()} == {
        "region": ["0", "1", "0"],
        "year": ["20020001", "20020002", "20020003"],
    }
    assert load(tmp_path).groups == {}
    with pytest.raises(DataError, match=r"0.tar, sample 's0000000': .npy has shape \(3,\), expected a number at"):
        load(tmp_path, group="region:3")
    with pytest.raises(UsageError, match=r"'group': 'region'}: expected NAME:INDEX, such as"):
        load(tmp_path, group="region")


def test_numbers_are_labels_where_classes_and_a_template_have_their_name(
    tmp_path: Path, image_bytes: ImageBytes
) -> None:
    samples = [{"png": image_bytes(k), "npy": npy_of([k % 2, k % 3])} for k in range(3)]
    classes = "age:young\nage:old\nrace:black\nrace:white\nrace:indian\ntoxic:thief"
    templates = "age:a photo of a {c} person\nrace:a {c} person\ntoxic:a {c}"
    write(tmp_path, samples, texts={"classnames": classes, "zeroshot_classification_templates": templates})
    dataset = load(tmp_path, label="age:0,race:1", group="race:1, region:0")
    assert {name: label_set_.labels.tolist() for name, label_set_ in (dataset.label_sets or {}).items()} == {
        "age": [0, 1, 0],
        "race": [0, 1, 2],
    }
    assert (dataset.label_sets or {})["age"].class_names == ("a photo of a young person", "a photo of a old person")
    assert dataset.templates == ("{c}",) and dataset.labels is None and dataset.class_names is None
    assert {name: list(label_set_.values) for name, label_set_ in dataset.groups.items()} == {
        "race": ["black", "white", "indian"],
        "region": ["0", "1", "0"],
    }
    with pytest.raises(DataError, match=r"has 0 classes and 0 templates that begin with 'sex:'"):
        load(tmp_path, label="sex:0")
    with pytest.raises(DataError, match=r"image 's0000002' has 'age' label 2, expected 0 to 1"):
        load(tmp_path, label="age:1")


def test_the_first_of_several_forms_of_one_image_is_read(tmp_path: Path, image_bytes: ImageBytes) -> None:
    sample = {"jpg": image_bytes(1), "png": image_bytes(2), "webp": image_bytes(3), "cls": b"0"}
    assert load(write(tmp_path, [sample])).images[0].digest() == content_digest(image_bytes(3))


def test_the_split_is_test_unless_named(labelled: Path, image_bytes: ImageBytes) -> None:
    write(labelled, [{"png": image_bytes(9), "cls": b"0"}, {"png": image_bytes(8), "cls": b"1"}], split="train")
    assert len(load(labelled)) == 5
    assert len(load(labelled, split="train")) == 2
    assert (load(labelled / "train").split, load(labelled / "train").class_names) == ("train", ("cat", "big dog"))
    with pytest.raises(UsageError, match=r"has no split 'val': it has test, train. Choose one with data_options="):
        load(labelled, split="val")
    with pytest.raises(UsageError, match=r"is the split 'train': remove data_options={'split': 'test'}"):
        load(labelled / "train", split="test")


@pytest.mark.parametrize(
    ("sample", "texts", "message"),
    [
        ({"cls": b"0"}, {}, r"0.tar, sample 's0000000' has no image: expected one of webp, png, jpg, jpeg"),
        ({"png": b"x"}, {}, r"sample 's0000000' has no .cls \(it has png\)"),
        ({"png": b"x", "cls": b"dog"}, {}, r"sample 's0000000': .cls holds b'dog', expected an integer"),
        ({"png": b"x", "cls": b"2"}, {"classnames": "a\nb"}, r"image 's0000000' has label 2, expected 0 to 1"),
        ({"png": b"x", "cls": b"0"}, {"classnames": "a\n\nb"}, r"classnames.txt, line 2 is empty"),
        ({"png": b"x", "cls": b"0"}, {"classnames": ""}, r"classnames.txt holds no class names"),
        ({"png": b"x", "cls": b"0"}, {"dataset_type": "captioning"}, r"dataset_type.txt says 'captioning', expected"),
        ({"png": b"x", "cls": b"0"}, {"zeroshot_classification_templates": "a {}."}, r"templates.txt: template 'a"),
        ({"png": b"x", "cls": b"0"}, {"dataset_type": "retrieval"}, r"sample 's0000000' has no .txt \(it has png"),
        ({"png": b"x", "txt": b"\xff"}, {"dataset_type": "retrieval"}, r".txt is not UTF-8 text"),
        ({"png": b"x", "txt": b""}, {"dataset_type": "retrieval"}, r"1 images without a caption, the first 's0000000'"),
        ({"png": b"x", "txt": b"a\n\nb"}, {"dataset_type": "retrieval"}, r"an empty caption for image 's0000000'"),
        ({"png": b"x", "npy": b"?"}, {"dataset_type": "multilabel"}, r"sample 's0000000': .npy cannot be read"),
        (
            {"png": b"x", "npy": npy_of([0, 2])},
            {"dataset_type": "multilabel"},
            r".npy holds an array of .* with shape \(2,\), expected a vector with one 0 or",
        ),
        (
            {"png": b"x", "npy": npy_of([0, 1])},
            {"dataset_type": "multilabel", "classnames": "a\nb\nc"},
            r"labels for 2 classes, but 3 class names",
        ),
    ],
)
def test_a_malformed_sample_names_shard_and_key(
    tmp_path: Path, sample: Sample, texts: Mapping[str, str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        load(write(tmp_path, [sample], texts=texts))


def test_pickled_labels_are_never_loaded(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(DataError, match=r".npy cannot be read: it holds Python objects"):
        load(write(tmp_path, [{"png": b"x", "npy": buffer.getvalue()}], texts={"dataset_type": "multilabel"}))


def test_a_missing_shard_is_named(labelled: Path) -> None:
    (labelled / "test" / "1.tar").unlink()
    with pytest.raises(DataError, match=r"test lacks 1 of 3 shards, the first 1.tar"):
        load(labelled)


def test_the_number_of_shards_must_be_there_and_a_number(labelled: Path) -> None:
    (labelled / "test" / "nshards.txt").write_text("three")
    with pytest.raises(DataError, match=r"nshards.txt holds b'three', expected the number of shards"):
        load(labelled)
    (labelled / "test" / "nshards.txt").unlink()
    with pytest.raises(DataError, match=r"nshards.txt is missing .*: expected the number of shards"):
        load(labelled)


@pytest.mark.parametrize("n_bytes", [100, 512, 700, 1024, 1536, 2048, 3072, 4096])
def test_a_shard_cut_anywhere_is_refused(labelled: Path, n_bytes: int) -> None:
    shard = labelled / "test" / "0.tar"
    content = shard.read_bytes()
    assert content[4096:] == bytes(len(content) - 4096)  # two samples of two members of a header and a block each
    shard.write_bytes(content[:n_bytes])
    with pytest.raises(DataError, match=r"0.tar is damaged or cut short .*: download it again"):
        load(labelled)


def test_a_shard_that_vanishes_later_is_a_bad_image(labelled: Path) -> None:
    ref = load(labelled).images[0]
    (labelled / "test" / "0.tar").unlink()
    with pytest.raises(BadImage, match=r"cannot read image .*0.tar:s0000000.png: No such file"):
        ref.open()
