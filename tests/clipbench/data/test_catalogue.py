"""The catalogue: complete entries, published prompts, and the size that the protocol has."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipbench.data.catalogue.entries import ORIGIN_FILE, CatalogueEntry, catalogue, check_size
from clipbench.data.catalogue.needs import Use, find_needs
from clipbench.data.dataset import DataOptions, Dataset
from clipbench.data.dataset_loading import load_data
from clipbench.data.prompts import published_prompts
from clipbench.errors import DataError, Unavailable, UsageError
from tests.made import data_of


def digits(names: tuple[str, ...] | None, n_classes: int = 10) -> Dataset:
    ids = [str(number) for number in range(n_classes)]
    labels = np.arange(n_classes)
    return data_of(ids, labels=labels, class_names=names)


def test_entries_are_complete_and_repositories_are_of_one_entry() -> None:
    repositories = [repository for entry in catalogue().values() for repository in entry.hub]
    assert len(repositories) == len(set(repositories)) and all(template.count("/") == 1 for template in repositories)
    for name, entry in catalogue().items():
        assert entry.purpose and entry.protocol and entry.tasks and entry.sources, name
        assert re.search(r", .+\b(19|20)\d\d\b", entry.cite), f"{name}: a paper and its year"
        assert name in entry.places, "data get makes the folder of this name"
        assert entry.n_captions is None or entry.kind == "retrieval"
        assert entry.n_items is None or entry.kind in ("contrasts", "attacks")
        assert all(0 < chance < 1 for chance in entry.chance.values())
        assert entry.prompts is None or all(
            "{c}" in template for template in published_prompts(entry.prompts).templates
        )
        for source in entry.sources:
            assert bool(source.hub) == (source.form in ("webdataset", "parquet", "judged", "archive", "script"))
            assert bool(source.urls) == (source.form == "urls")
            assert source.revision is None or len(source.revision) >= 7


def test_suites_name_data_of_the_catalogue() -> None:
    from clipbench.evaluation.plan import read_suite, suites

    named = {str(request.data) for suite in suites() for request in read_suite(suite, needs_data=False) if request.data}
    assert {name for name in named if name not in catalogue()} <= {"scenes"}


def test_a_first_look_is_as_small_as_the_pages_say_where_no_server_can_be_asked(tmp_path: Path) -> None:
    from clipbench.evaluation.plan import read_suite

    uses = {
        str(evaluation.data): Use([evaluation.task], evaluation.limit)
        for evaluation in read_suite("quick", needs_data=False)
    }
    assert sum(need.n_bytes or 0 for need in find_needs(uses, tmp_path)) == pytest.approx(0.7e9, rel=0.01)


@pytest.mark.parametrize(
    ("name", "first", "last"), [("imagenet-a", "stingray", "acorn"), ("imagenet-r", "goldfish", "bell pepper")]
)
def test_subsets_of_imagenet_have_their_own_200_names_in_its_order(name: str, first: str, last: str) -> None:
    timm_data = pytest.importorskip("timm.data")
    root = Path(timm_data.__file__).parent / "_info"
    wanted = [int(line) for line in (root / f"{name.replace('-', '_')}_indices.txt").read_text().split()]
    all_names, names = published_prompts("imagenet").class_names, published_prompts(name).class_names
    assert all_names is not None and names is not None
    assert names == tuple(all_names[row] for row in wanted)
    assert len(names) == 200
    assert first in names and last in names


def test_another_size_than_the_published_one_is_an_error_that_allow_partial_turns_into_a_note() -> None:
    entry = CatalogueEntry(name="e", title="E", kind="retrieval", licence="", places=(), n_images=10, n_captions=3)
    dataset = replace(digits(None), captions=["a", "b"], caption_image=np.array([0, 1]))
    with pytest.raises(DataError, match=r"e \(E\) has 2 captions, expected 3: its numbers would not be comparable"):
        check_size(dataset, entry, allow_partial=False)
    assert check_size(dataset, entry, allow_partial=True).notes == ("e (E) has 2 captions, expected 3",)
    entry = replace(entry, n_images=50_000, n_captions=None)
    with pytest.raises(DataError, match=r"e \(E\) has 10 images, expected 50,000"):
        check_size(dataset, entry, allow_partial=False)
    assert check_size(dataset, replace(entry, n_images=10), allow_partial=False) is dataset


TEN_LINES = """
[birds]
title = "Birds of our street"
kind = "{kind}"
licence = "ours"
n_images = 2
[[birds.source]]
form = "by-hand"
note = "ask"
"""


def test_an_entry_of_ten_lines_is_a_data_set(own_catalogue: Callable[[str], None], tmp_path: Path) -> None:
    own_catalogue(TEN_LINES.format(kind="retrieval"))
    assert catalogue()["birds"].by_hand == "ask" and catalogue()["imagenet"].can_be_fetched
    write_birds(tmp_path / "birds")
    dataset = load_data("birds", DataOptions(data_root=tmp_path))
    assert (dataset.id, dataset.captions, dataset.labels) == ("birds", ["an owl", "an emu"], None)
    assert dataset.revision == "abc", "the record of data get is no second table"
    own_catalogue('[coco]\ntitle = "mirror"\nkind = "retrieval"\nlicence = "ours"')
    assert (catalogue()["coco"].licence, catalogue()["coco"].places) == ("ours", ("coco",))
    with pytest.raises(Unavailable, match="looked for coco below"):
        load_data("coco", DataOptions(data_root=tmp_path))


def test_a_folder_with_one_table_is_read_as_the_kind_of_its_entry_says(
    own_catalogue: Callable[[str], None], tmp_path: Path
) -> None:
    own_catalogue(TEN_LINES.format(kind="classification"))
    write_birds(tmp_path / "birds", "image,label\nphotos/a.png,owl\nphotos/b.png,emu\n")
    assert load_data("birds", DataOptions(data_root=tmp_path)).class_names == ("emu", "owl")
    for name in ("owl", "emu"):
        (tmp_path / "birds" / name).mkdir()
        Image.new("RGB", (4, 4)).save(tmp_path / "birds" / name / "1.png")
    (tmp_path / "birds/photos/a.png").unlink()
    (tmp_path / "birds/photos/b.png").unlink()
    (tmp_path / "birds/photos").rmdir()
    assert load_data("birds", DataOptions(data_root=tmp_path)).image_ids == ["emu/1.png", "owl/1.png"]
    own_catalogue(TEN_LINES.format(kind="retrieval"))
    (tmp_path / "birds/captions.csv").write_text("image,caption\nowl/1.png,an owl\nemu/1.png,an emu\n")
    assert load_data("birds", DataOptions(data_root=tmp_path)).captions == ["an owl", "an emu"]


def test_prompts_that_are_not_there_are_said(own_catalogue: Callable[[str], None], tmp_path: Path) -> None:
    own_catalogue(TEN_LINES.format(kind="retrieval").replace("n_images", 'prompts = "imagnet"\nn_images'))
    write_birds(tmp_path / "birds")
    with pytest.raises(
        UsageError, match=r"prompts = 'imagnet', but prompts.toml has no such table: did you mean 'imagenet"
    ):
        load_data("birds", DataOptions(data_root=tmp_path))


def write_birds(folder: Path, table: str = "image,caption\nphotos/a.png,an owl\nphotos/b.png,an emu\n") -> None:
    (folder / "photos").mkdir(parents=True)
    (folder / "captions.csv").write_text(table)
    (folder / ORIGIN_FILE).write_text('{"revision": "abc"}')
    for name in ("a", "b"):
        Image.new("RGB", (4, 4)).save(folder / f"photos/{name}.png")


WHOLE = 'title = "x"\nkind = "retrieval"\nlicence = "ours"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[birds", "is not TOML"),
        ('[birds]\ntitle = "x"', r"\[birds\]: kind is not there \(an entry needs title, kind \(classification, .*and licence"),
        (f'[birds]\n{WHOLE}titel = "y"', r"\[birds\]: unknown key 'titel': did you mean 'title'\? \(an entry needs"),
        (f"[birds]\n{WHOLE}n_images = 'many'", r"\[birds\]: n_images is 'many', expected an integer \(an entry needs"),
        (f'[birds]\n{WHOLE}[[birds.source]]\nhub = "a/b"', r"\[birds\]: sources\[0\].form is not there \(.* needs form"),
        (f'[birds]\n{WHOLE}[[birds.source]]\nfrom = "urls"', r"\[birds\]: unknown key 'from': did you mean 'form'"),
        (f"[birds]\n{WHOLE}source = 3", r"\[birds\] has source = 3, expected \[\[birds.source\]\]"),
        (f'[birds]\n{WHOLE}[[birds.source]]\nform = "zip"', r"\[birds\] has form 'zip': known: archive, by-hand"),
        (f'[birds]\n{WHOLE}[[birds.source]]\nform = "parquet"', r"\[birds\] has a source of form 'parquet' without hub \(an entry"),
        (f'[birds]\n{WHOLE}[[birds.source]]\nform = "webdataset"\nhub = "a/b"', r"form 'webdataset' without split \(an entry"),
        (f'[birds]\n{WHOLE}[[birds.source]]\nform = "urls"', r"form 'urls' without urls \(an entry"),
        (f'[birds]\n{WHOLE}[[birds.source]]\nform = "urls"\nurls = [{{ url = "u", sha265 = "0" }}]', "'sha265': did you mean 'sha256'"),
        (f"[birds]\n{WHOLE}images = 'coconut'", r"\[birds\] has images = 'coconut', expected the name of an entry"),
        ('birds = "x"', r"\[birds\] is 'x', expected a table \(an entry needs"),
        ("[Birds]\nsource = []", r"\[Birds\] is a name with capitals, expected \[birds\]"),
        (f"[birds]\n{WHOLE}".replace("retrieval", "retrieve"), r"\[birds\] has kind 'retrieve': did you mean 'retrieval'"),
    ],
)  # fmt: skip
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
        catalogue.cache_clear()

    monkeypatch.setenv("CLIPBENCH_CATALOGUE", str(tmp_path / "own.toml"))
    catalogue.cache_clear()
    yield write
    catalogue.cache_clear()


def test_the_licence_of_gated_data_names_the_gate() -> None:
    gated = [entry for entry in catalogue().values() if entry.gate or any(source.is_gated for source in entry.sources)]
    for entry in gated:
        assert entry.terms.startswith(f"{entry.licence}; gated: ")
    assert gated and catalogue()["mnist"].terms == catalogue()["mnist"].licence
