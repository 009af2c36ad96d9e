"""The catalogue: complete entries, published prompts, and the size that the protocol has."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clipbench.data.dataset import Dataset
from clipbench.data.entries import (
    CatalogueEntry,
    catalogue,
    check_size,
    entry_of_repository,
    find_place,
    with_published_prompts,
)
from clipbench.errors import DataError, Unavailable
from clipbench.testing import NamedImage


def digits(names: tuple[str, ...] | None, n_classes: int = 10) -> Dataset:
    ids = [str(number) for number in range(n_classes)]
    labels = np.arange(n_classes)
    return Dataset(id="x", images=[NamedImage(id) for id in ids], image_ids=ids, labels=labels, class_names=names)


def test_the_names_that_suites_and_papers_use_are_there() -> None:
    assert {"imagenet", "imagenetv2", "cifar-10", "coco", "flickr30k", "flickr8k"} <= set(catalogue())


def test_entries_are_complete_and_repositories_are_of_one_entry() -> None:
    repositories = [repository for entry in catalogue().values() for repository in entry.hub]
    assert len(repositories) == len(set(repositories))
    assert all(repository.count("/") == 1 for repository in repositories)
    for name, entry in catalogue().items():
        assert entry.name == name == name.lower()
        assert entry.kind in ("classification", "retrieval")
        assert entry.title
        assert entry.licence
        assert entry.hub
        assert entry.places
        assert (entry.n_captions is not None) == (entry.kind == "retrieval")


def test_a_repository_leads_to_its_entry() -> None:
    found = entry_of_repository("clip-benchmark/wds_imagenet1k")
    assert found is catalogue()["imagenet"]
    assert entry_of_repository("me/pets") is None


def test_the_first_place_that_is_there_is_taken(tmp_path: Path) -> None:
    entry = catalogue()["imagenet"]
    (tmp_path / "imagenet").mkdir()
    assert find_place(entry, tmp_path) == tmp_path / "imagenet"
    (tmp_path / "imagenet" / "val").mkdir()
    assert find_place(entry, tmp_path) == tmp_path / "imagenet" / "val"


def test_data_that_are_nowhere_say_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    message = (
        r"^data set 'coco' \(COCO captions.*\) is not on this machine: looked for coco below .*; put it there as a"
        r" manifest.jsonl .*, or read it from the Hub as hf:clip-benchmark/wds_mscoco_captions \(licence: .*\)$"
    )
    with pytest.raises(Unavailable, match=message):
        find_place(catalogue()["coco"], tmp_path)
    with pytest.raises(Unavailable, match=r"in the current folder \(--data-root FOLDER looks in another\)"):
        find_place(catalogue()["imagenet"], None)


def test_published_names_and_templates_replace_those_of_the_data() -> None:
    dataset = with_published_prompts(digits(tuple("0123456789")), catalogue()["svhn"])
    assert dataset.class_names is not None
    assert dataset.class_names[:2] == ("zero", "one")
    assert dataset.templates is not None
    assert len(dataset.templates) == 6


def test_data_without_class_names_get_the_published_ones() -> None:
    assert with_published_prompts(digits(None), catalogue()["mnist"]).class_names == tuple("0123456789")


def test_another_number_of_classes_is_refused() -> None:
    with pytest.raises(DataError, match="the catalogue's mnist has 10 class names for data with 9 classes"):
        with_published_prompts(digits(tuple("012345678"), 9), catalogue()["mnist"])


def test_templates_beside_the_data_that_differ_are_noted() -> None:
    own = replace(digits(tuple("0123456789")), templates=("my {c}",))
    assert with_published_prompts(own, catalogue()["mnist"]).notes == (
        "the published templates of mnist are used, not those that lie beside the data",
    )


def test_another_size_than_the_published_one_is_an_error_that_allow_partial_turns_into_a_note() -> None:
    entry = CatalogueEntry(
        name="e", title="E", kind="retrieval", licence="", hub=(), places=(), n_images=10, n_captions=3
    )
    dataset = replace(digits(None), captions=["a", "b"], caption_image=np.array([0, 1]))
    with pytest.raises(DataError, match=r"e \(E\) has 2 captions, expected 3: numbers would not be comparable"):
        check_size(dataset, entry, allow_partial=False)
    assert check_size(dataset, entry, allow_partial=True).notes == ("e (E) has 2 captions, expected 3",)
    entry = replace(entry, n_images=50_000, n_captions=None)
    with pytest.raises(DataError, match=r"e \(E\) has 10 pictures, expected 50,000"):
        check_size(dataset, entry, allow_partial=False)
    assert check_size(dataset, replace(entry, n_images=10), allow_partial=False) is dataset
