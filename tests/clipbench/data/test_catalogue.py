"""The catalogue: complete entries, published prompts, and the size that the protocol has."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clipbench.data.catalogue.entries import (
    FORMS,
    KINDS,
    CatalogueEntry,
    Source,
    catalogue,
    check_size,
    entry_of_repository,
    find_place,
    with_published_prompts,
)
from clipbench.data.contrast_and_attack import Contrast
from clipbench.data.dataset import Dataset
from clipbench.data.prompts import known_prompts
from clipbench.errors import DataError, Unavailable, UsageError
from clipbench.testing import NamedImage


def digits(names: tuple[str, ...] | None, n_classes: int = 10) -> Dataset:
    ids = [str(number) for number in range(n_classes)]
    labels = np.arange(n_classes)
    return Dataset(id="x", images=[NamedImage(id) for id in ids], image_ids=ids, labels=labels, class_names=names)


NAMED = """imagenet-o caltech101 clevr-counts clevr-distance country211 dtd eurosat fgvc-aircraft gtsrb kitti-distance
    flowers102 oxford-pets voc2007 pcam resisc45 stanford-cars stl10 sun397 iwildcam camelyon17 fmow dollar-street geode fairface
    imagenet imagenetv2 imagenet-a imagenet-r imagenet-sketch objectnet cifar-10 cifar-100 food101 mnist svhn
    rendered-sst2 coco eccv-caption-t2i eccv-caption-i2t flickr30k flickr8k sugarcrepe sugarcrepe-pp aro-vg-relation aro-vg-attribution aro-coco-order
    aro-flickr-order winoground colorswap bivlc valse nlvr winogavil mmvp-vlm whatsup
    countbench cola svo-probes negbench-coco negbench-voc negbench-coco-retrieval crepe
    crepe-systematicity spec vl-checklist xm3600
    xm3600-first xtd-10 flickr30k-200 babel-imagenet scam rta-100 paint materzynska urban-1k docci dci sharegpt4v-1k iiw"""


def test_the_names_that_suites_and_papers_use_are_there() -> None:
    assert set(NAMED.split()) == set(catalogue())


def test_entries_are_complete_and_repositories_are_of_one_entry() -> None:
    repositories = [repository for entry in catalogue().values() for repository in entry.hub]
    assert len(repositories) == len(set(repositories))
    assert all(repository.count("/") == 1 for repository in repositories)
    for name, entry in catalogue().items():
        assert entry.name == name == name.lower()
        assert entry.kind in KINDS
        assert entry.title and entry.purpose and entry.licence and entry.protocol and entry.tasks and entry.sources
        assert name in entry.places, "data get makes the folder of this name"
        assert entry.n_captions is None or entry.kind == "retrieval"
        assert entry.n_items is None or entry.kind in ("contrasts", "attacks")
        assert all(0 < chance < 1 for chance in entry.chance.values())


def test_every_entry_names_a_paper_and_its_year() -> None:
    for entry in catalogue().values():
        assert re.search(r", .+\b(19|20)\d\d\b", entry.cite), entry.name


def test_every_source_says_how_it_is_to_be_had() -> None:
    for entry in catalogue().values():
        for source in entry.sources:
            assert source.form in FORMS
            assert bool(source.hub) == (source.form in ("webdataset", "parquet", "archive", "script"))
            assert bool(source.urls) == (source.form == "urls")
            assert source.form != "by-hand" or source.note
            assert source.form != "webdataset" or source.split
            assert source.revision is None or len(source.revision) >= 7


def test_the_patterns_of_a_split_take_the_files_of_that_split_alone() -> None:
    from fnmatch import fnmatch

    source = Source(form="parquet", hub="me/pets", split="test")
    files = ["data/test-00000-of-00001.parquet", "plain_text/test/0000.parquet", "data/train-00000-of-00001.parquet"]
    assert [any(fnmatch(file, pattern) for pattern in source.patterns) for file in files] == [True, True, False]


@pytest.mark.parametrize(
    ("name", "first", "last"), [("imagenet-a", "stingray", "acorn"), ("imagenet-r", "goldfish", "bell pepper")]
)
def test_subsets_of_imagenet_have_their_own_200_names_in_its_order(name: str, first: str, last: str) -> None:
    timm_data = pytest.importorskip("timm.data")
    root = Path(timm_data.__file__).parent / "_info"
    wanted = [int(line) for line in (root / f"{name.replace('-', '_')}_indices.txt").read_text().split()]
    all_names, names = known_prompts("imagenet").class_names, known_prompts(name).class_names
    assert all_names is not None and names is not None
    assert names == tuple(all_names[row] for row in wanted)
    assert len(names) == 200
    assert first in names and last in names


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
        r"^data set 'coco' \(COCO captions.*\) is not on this machine: looked for coco below .*; `clipbench data get coco`"
        r" fetches it, or read it from the Hub as hf:clip-benchmark/wds_mscoco_captions; or put it there as a"
        r" manifest.jsonl .* \(licence: .*\)$"
    )
    with pytest.raises(Unavailable, match=message):
        find_place(catalogue()["coco"], tmp_path)
    with pytest.raises(Unavailable, match=r"in the current folder \(--data-root FOLDER looks in another\)"):
        find_place(catalogue()["imagenet"], None)
    with pytest.raises(Unavailable, match=r"fetches it \(first accept the licence on the Hub\)"):
        find_place(catalogue()["winoground"], tmp_path)
    with pytest.raises(
        Unavailable, match=r"cannot be fetched by command, so put it there by hand: typographic_attack_data"
    ):
        find_place(catalogue()["paint"], tmp_path)


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
    entry = CatalogueEntry(name="e", title="E", kind="retrieval", licence="", places=(), n_images=10, n_captions=3)
    dataset = replace(digits(None), captions=["a", "b"], caption_image=np.array([0, 1]))
    with pytest.raises(DataError, match=r"e \(E\) has 2 captions, expected 3: numbers would not be comparable"):
        check_size(dataset, entry, allow_partial=False)
    assert check_size(dataset, entry, allow_partial=True).notes == ("e (E) has 2 captions, expected 3",)
    entry = replace(entry, n_images=50_000, n_captions=None)
    with pytest.raises(DataError, match=r"e \(E\) has 10 images, expected 50,000"):
        check_size(dataset, entry, allow_partial=False)
    assert check_size(dataset, replace(entry, n_images=10), allow_partial=False) is dataset


def test_the_number_of_items_counts_where_data_are_questions() -> None:
    entry = CatalogueEntry(name="e", title="E", kind="contrasts", licence="", places=(), n_items=2)
    item = Contrast("1", "", (0,), ("a", "b"), ((True, False),))
    dataset = replace(digits(None), contrasts=(item,))
    with pytest.raises(DataError, match=r"e \(E\) has 1 item, expected 2: numbers would not be comparable"):
        check_size(dataset, entry, allow_partial=False)


def test_a_catalogue_of_one_s_own_adds_entries_and_replaces_some(own_catalogue: Callable[[str], None]) -> None:
    entry = 'title = "{0}"\nkind = "retrieval"\nlicence = "ours"\nplaces = ["{0}"]\nsource = [{{form = "by-hand", note = "ask"}}]\n'
    own_catalogue(f"[birds]\n{entry.format('birds')}[coco]\n{entry.format('coco')}")
    assert (catalogue()["birds"].by_hand, catalogue()["coco"].licence) == ("ask", "ours")
    assert catalogue()["imagenet"].can_be_fetched


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[birds", "is not TOML"),
        ('[birds]\ntitle = "x"', r"\[birds\] is no entry of a catalogue: 'source'"),
        ('[birds]\nsource = []\ntitel = "x"', r"\[birds\] is no entry of a catalogue: .*titel"),
        ('birds = "x"', r"\[birds\] is no entry of a catalogue"),
        ("[Birds]\nsource = []", r"\[Birds\] is a name with capitals, expected \[birds\]"),
        (
            '[birds]\nsource = []\ntitle = "x"\nkind = "retrieve"\nlicence = ""\nplaces = []',
            r"\[birds\] has kind 'retrieve': did you mean 'retrieval'",
        ),
    ],
)
def test_what_is_wrong_in_a_catalogue_of_one_s_own_is_said(
    own_catalogue: Callable[[str], None], text: str, message: str
) -> None:
    own_catalogue(text)
    with pytest.raises(UsageError, match=f"^CLIPBENCH_CATALOGUE: .*{message}"):
        catalogue()


@pytest.fixture
def own_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """A function that writes the catalogue of one's own."""

    def write(text: str) -> None:
        (tmp_path / "own.toml").write_text(text)

    monkeypatch.setenv("CLIPBENCH_CATALOGUE", str(tmp_path / "own.toml"))
    catalogue.cache_clear()
    yield write
    catalogue.cache_clear()
