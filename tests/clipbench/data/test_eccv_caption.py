"""ECCV Caption: both directions as the authors' files have them, their metrics, and what is said of files that are not
there.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipbench.data import DataOptions, Dataset
from clipbench.data.dataset_loading import load_data
from clipbench.errors import ClipbenchError, DataError, Unavailable, UsageError
from clipbench.testing import FixedEmbedder
from clipbench_tasks.retrieval import Retrieval

ORIGINAL = {1: [11, 12], 2: [21, 22], 3: [31, 32], 4: [41, 42]}
"""The captions of each image."""
OF_IMAGES = {1: [12, 11, 21], 3: [31, 99]}
OF_CAPTIONS = {21: [1, 2, 4], 41: [4], 32: [2, 3]}
"""Matches that people found right: 99 is a caption of COCO beyond those that are searched."""


def folder(root: Path, *, judgements: str = "", annotations: str = "annotations", images: str = "val2014") -> Path:
    def write(path: Path, content: object) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))

    for name, content in (("eccv_image_to_caption", OF_IMAGES), ("eccv_caption_to_image", OF_CAPTIONS)):
        write(root / judgements / f"{name}.json", content)
    write(root / judgements / "original_image_to_caption.json", ORIGINAL)
    write(root / judgements / "cxc_caption_to_image.json", {21: [3]})
    captions = {caption: image for image, own in ORIGINAL.items() for caption in own} | {99: 4, 98: 4}
    coco = {
        "images": [{"id": image, "file_name": f"COCO_{image}.png"} for image in ORIGINAL],
        "annotations": [{"id": c, "image_id": image, "caption": f"caption {c}\n"} for c, image in captions.items()],
    }
    write(root / annotations / "captions_val2014.json", coco)
    (root / images).mkdir(parents=True, exist_ok=True)
    for image in ORIGINAL:
        Image.new("RGB", (4, 4), (image, 0, 0)).save(root / images / f"COCO_{image}.png")
    return root


def load(path: Path, *, allow_partial: bool = False, **options: str) -> Dataset:
    return load_data(str(path), DataOptions(allow_partial=allow_partial, options=options))


def judged(dataset: Dataset) -> dict[int, list[int]]:
    judgements = dataset.judgements
    assert judgements is not None and set(judgements.grade.tolist()) == {1}
    right: dict[int, list[int]] = {}
    for query, document in zip(judgements.query.tolist(), judgements.document.tolist(), strict=True):
        right.setdefault(int(judgements.queries.ids[query]), []).append(int(judgements.documents.ids[document]))
    return right


def by_definition(ranked: Mapping[int, Sequence[int]], right: Mapping[int, Sequence[int]]) -> dict[str, float]:
    """Return mAP@R, R-Precision and R@1 as the authors' evaluation computes them, from ranked ids."""
    result: dict[str, list[float]] = {"map@R": [], "r_precision": [], "hit_rate@1": []}
    for query, relevant in right.items():
        hits = [document in set(relevant) for document in ranked[query][: len(set(relevant))]]
        precisions = [sum(hits[: at + 1]) / (at + 1) for at in range(len(hits))]
        result["map@R"].append(float(np.mean([p if hit else 0 for p, hit in zip(precisions, hits, strict=True)])))
        result["r_precision"].append(precisions[-1])
        result["hit_rate@1"].append(float(hits[0]))
    return {name: float(np.mean(values)) for name, values in result.items()}


def test_each_direction_has_its_queries_and_all_that_they_search(tmp_path: Path) -> None:
    root = folder(tmp_path)
    images, captions = load(root, direction="i2t"), load(root, direction="t2i")
    assert judged(images) == OF_IMAGES and judged(captions) == OF_CAPTIONS
    assert images.judgements is not None and captions.judgements is not None
    assert images.judgements.documents.ids == ("11", "12", "21", "22", "31", "32", "41", "42", "99")
    assert images.judgements.documents.texts[-1] == "caption 99" and images.image_ids == ["COCO_1.png", "COCO_3.png"]
    assert images.notes == ("captions judged right beyond the 8 of the split (1): searched too",)
    assert captions.judgements.documents.ids == ("1", "2", "3", "4") and captions.notes == ()
    assert (images.split, captions.split) == ("i2t", "t2i")
    cxc = load(root, direction="t2i", judgements="cxc")
    assert judged(cxc) == {21: [3]} and cxc.split == "cxc-t2i"


@pytest.mark.parametrize("direction", ["t2i", "i2t"])
def test_metrics_are_those_of_the_authors_on_random_rankings(tmp_path: Path, direction: str) -> None:
    data = load(folder(tmp_path), direction=direction)
    assert data.judgements is not None
    rng = np.random.default_rng(3)
    texts = {f"caption {number}": rng.normal(size=8).tolist() for number in (11, 12, 21, 22, 31, 32, 41, 42, 99)}
    images = {image.name: rng.normal(size=8).tolist() for image in data.images}
    evaluation = Retrieval(ks=(1, 2)).evaluate(data, FixedEmbedder(images, texts), rng)
    of_text = {int(name.split()[1]): np.array(vector) / np.linalg.norm(vector) for name, vector in texts.items()}
    of_image = {int(name[-5]): np.array(vector) / np.linalg.norm(vector) for name, vector in images.items()}
    queries, documents = (of_text, of_image) if direction == "t2i" else (of_image, of_text)
    ranked = {q: sorted(documents, key=lambda number: -(documents[number] @ queries[q])) for q in judged(data)}
    expected = by_definition(ranked, judged(data))
    assert {name: float(evaluation.samples[name].mean()) for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize("judgements", ["eccv_caption/data", "data"])
def test_the_repository_and_coco_may_lie_as_they_come(tmp_path: Path, judgements: str) -> None:
    root = folder(tmp_path / "eccv-caption", judgements=judgements, annotations="coco", images="coco/images")
    assert len(load(root, direction="t2i")) == 4
    (root / "coco").rename(tmp_path / "elsewhere")
    assert len(load(root, direction="t2i", coco=str(tmp_path / "elsewhere"))) == 4
    dataset = load_data(
        "eccv-caption-t2i",
        DataOptions(data_root=tmp_path, allow_partial=True, options={"coco": str(tmp_path / "elsewhere")}),
    )
    assert (dataset.id, dataset.split) == ("eccv-caption-t2i", "t2i") and "expected 5,000" in dataset.notes[-1]


def test_by_name_other_judgements_have_numbers_of_their_own(tmp_path: Path) -> None:
    root = folder(tmp_path / "eccv-caption", judgements="data")
    (root / "data/cxc_image_to_caption.json").write_text(json.dumps({1: [11], 2: [22], 4: [31, 42]}))

    def by_name(name: str, **options: str) -> Dataset:
        return load_data(name, DataOptions(data_root=tmp_path, options=options))

    with pytest.raises(DataError, match="2 images, expected 1,261"):
        by_name("eccv-caption-i2t")
    cxc = by_name("eccv-caption-i2t", judgements="cxc")
    assert (len(cxc), cxc.split, cxc.notes) == (3, "cxc-i2t", ())
    assert len(by_name("eccv-caption-i2t", judgements="original")) == 4
    assert judged(by_name("eccv-caption-t2i", judgements="cxc")) == {21: [3]}
    with pytest.raises(Unavailable, match=r"eccv-caption-t2i lacks .*/data/original_caption_to_image.json: fetch"):
        by_name("eccv-caption-t2i", judgements="original")


def test_queries_that_coco_lacks_are_left_out_where_that_is_allowed(tmp_path: Path) -> None:
    root = folder(tmp_path)
    (root / "eccv_caption_to_image.json").write_text('{"21": [1], "77": [2], "78": [3]}')
    with pytest.raises(DataError, match=r"has no caption 77, which is a query: .*\. allow_partial=True leaves out"):
        load(root, direction="t2i")
    dataset = load(root, direction="t2i", allow_partial=True)
    assert judged(dataset) == {21: [1]}
    assert dataset.notes == ("captions that search and are not in captions_val2014.json (2): left out",)
    (root / "eccv_image_to_caption.json").write_text('{"1": [11, 77], "9": [11]}')
    dataset = load(root, direction="i2t", allow_partial=True)
    assert judged(dataset) == {1: [11]} and dataset.notes == (
        "captions judged right beyond the 8 of the split (1): searched too",
        "captions that are searched and are not in captions_val2014.json (1): left out",
        "images that search and are not in captions_val2014.json (1): left out",
    )
    (root / "eccv_image_to_caption.json").write_text('{"9": [11]}')
    with pytest.raises(DataError, match="has none of the images that are queries, such as image 9: expected"):
        load(root, direction="i2t", allow_partial=True)


def test_files_of_another_form_are_refused(tmp_path: Path) -> None:
    root = folder(tmp_path)
    cases: list[tuple[type[ClipbenchError], str, dict[str, str]]] = [
        (UsageError, "both directions of search: choose data_options={'direction': 't2i'} or data_options={'dir", {}),
        (UsageError, "data_options={'direction': 't2t'}: did you mean", {"direction": "t2t"}),
        (UsageError, "data_options={'judgements': 'pm'}", {"direction": "t2i", "judgements": "pm"}),
        (UsageError, "has no option 'split'", {"split": "test"}),
    ]
    for kind, message, options in cases:
        with pytest.raises(kind, match=message):
            load_data(str(root), DataOptions(options=options))
    (root / "eccv_image_to_caption.json").write_text('{"1": [11, "x"]}')
    with pytest.raises(DataError, match=r"eccv_image_to_caption.json: '1' has .*, expected an id of COCO and a list"):
        load(root, direction="i2t")
    (root / "eccv_image_to_caption.json").write_text('{"1": [11, 77]}')
    with pytest.raises(DataError, match="has no caption 77, which is searched"):
        load(root, direction="i2t")
    assert judged(load(root, direction="i2t", allow_partial=True)) == {1: [11]}
    (root / "annotations/captions_val2014.json").write_text(
        '{"images": [{"id": 1, "file_name": "../x.png"}], "annotations": []}'
    )
    with pytest.raises(DataError, match="expected no folders"):
        load(root, direction="t2i")
