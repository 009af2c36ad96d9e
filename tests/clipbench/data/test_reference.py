"""References: how a name, a path or a place on the Hub is told apart, and what each becomes."""

import json
from pathlib import Path
from types import ModuleType
from typing import Protocol

import pytest

import clipbench.data
from clipbench.data import hub_datasets, load_data
from clipbench.data.dataset import DataOptions, Dataset
from clipbench.data.hub_datasets import HubReference
from clipbench.data.reference import path_id
from clipbench.errors import DataError, Unavailable, UsageError


class ImageBytes(Protocol):
    def __call__(self, number: int) -> bytes: ...


def load(reference: str | Path, root: Path | None = None, *, allow_partial: bool = False, **options: str) -> Dataset:
    return load_data(str(reference), DataOptions(data_root=root, allow_partial=allow_partial, options=options))


def write_folder(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def write_manifest(folder: Path, name: str = "manifest.csv") -> Path:
    write_folder(folder, "a.png", "b.png")
    (folder / name).write_text("image,caption\na.png,one\nb.png,two\n")
    return folder / name


def test_the_package_exports_what_it_says() -> None:
    public = {name for name, value in vars(clipbench.data).items() if not isinstance(value, ModuleType)}
    assert {name for name in public if not name.startswith("_")} == set(clipbench.data.__all__)


def test_a_path_is_tried_as_it_stands_and_then_below_the_data_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "root" / "pets", "cat/1.jpg", "dog/1.jpg")
    assert load("pets", tmp_path / "root").id == "pets"
    write_folder(tmp_path / "here" / "pets", "cow/1.jpg", "dog/1.jpg")
    monkeypatch.chdir(tmp_path / "here")
    assert load("pets", tmp_path / "root").class_names == ("cow", "dog")


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_folder(tmp_path / "pets", "cat/1.jpg")
    assert load("~/pets").image_ids == ["cat/1.jpg"]


def test_a_manifest_is_read_by_file_or_by_its_folder(tmp_path: Path) -> None:
    path = write_manifest(tmp_path / "shop")
    assert load(path).id == "shop/manifest.csv"
    assert load(path.parent).id == "shop"
    assert load(path).captions == load(path.parent).captions == ["one", "two"]


def test_two_manifests_in_a_folder_are_a_choice(tmp_path: Path) -> None:
    write_manifest(tmp_path)
    (tmp_path / "metadata.jsonl").write_text("{}")
    with pytest.raises(
        UsageError, match=r"has manifest.csv and metadata.jsonl: name the one to read, as .*/manifest.csv"
    ):
        load(tmp_path)


def test_what_is_no_data_lists_what_would_be(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(
        UsageError, match=r"notes.txt holds no data in a known layout: expected .*a manifest .*; or one folder"
    ):
        load(tmp_path / "notes.txt")


def test_names_in_the_catalogue_are_looked_up_below_the_root_and_checked(tmp_path: Path) -> None:
    write_folder(tmp_path / "mnist", *(f"{digit}/{digit}.png" for digit in range(10)))
    with pytest.raises(DataError, match=r"mnist \(MNIST, test\) has 10 images, expected 10,000: numbers would not"):
        load("mnist", tmp_path)
    dataset = load("MNIST", tmp_path, allow_partial=True)
    assert (dataset.id, dataset.templates) == ("mnist", ('a photo of the number: "{c}".',))
    assert dataset.notes == ("mnist (MNIST, test) has 10 images, expected 10,000",)
    assert dataset.cite is not None and dataset.cite.startswith("LeCun, Bottou, Bengio and Haffner")
    own = load(tmp_path / "mnist")  # as a path it is data like any other
    assert (own.id, own.templates, own.cite) == ("mnist", None, None)


def test_a_name_in_the_catalogue_that_is_not_here_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"data set 'imagenet' .* hf:clip-benchmark/wds_imagenet1k"):
        load("imagenet", tmp_path)


@pytest.mark.parametrize("reference", ["no/such", "./no", "list.csv", "../no/such"])
def test_what_looks_like_a_path_is_called_one(reference: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^no such file or folder: .* \(nor below .*\)$"):
        load(reference, tmp_path)


def test_an_unknown_name_gets_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"unknown data 'imagnet': did you mean 'imagenet'\? \(clipbench list data; or"
    ):
        load("imagnet", tmp_path)
    with pytest.raises(UsageError, match="no data named"):
        load(" ", tmp_path)


def test_numbered_classes_must_be_named(tmp_path: Path) -> None:
    write_folder(tmp_path, "a.png", "b.png")
    (tmp_path / "list.csv").write_text("path,label\na.png,0\nb.png,1\n")
    with pytest.raises(DataError, match=r"numbers its classes and does not name them: .* class_names=FILE"):
        load(tmp_path / "list.csv")
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    assert load(tmp_path / "list.csv", class_names=str(tmp_path / "names.txt")).class_names == ("cat", "dog")


def test_class_names_can_be_given_for_a_folder_and_not_for_captions(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("tench\ngoldfish\n")
    names = str(tmp_path / "names.txt")
    assert load(write_folder(tmp_path / "x", "n1/1.jpg", "n2/1.jpg"), class_names=names).class_names == (
        "tench",
        "goldfish",
    )
    with pytest.raises(DataError, match=r"names.txt has 2 class names for data with 3 classes: expected one each"):
        load(write_folder(tmp_path / "x", "n3/1.jpg"), class_names=names)
    with pytest.raises(UsageError, match=r"data set y/manifest.csv has no labels: drop --data-option class_names="):
        load(write_manifest(tmp_path / "y"), class_names=names)
    with pytest.raises(DataError, match=r"cannot read class names from none.txt: .*No such file"):
        load(tmp_path / "x", class_names="none.txt")


@pytest.mark.parametrize(
    ("path", "root", "id"),
    [
        ("/data/clothing10/images/test", None, "clothing10/images/test"),
        ("/data/clothing10/images/test", "/data", "clothing10/images/test"),
        ("/data/a/b", "/data", "a/b"),
        ("/data/a/b", "/elsewhere", "b"),
        ("/data/shop/manifest.csv", None, "shop/manifest.csv"),
        ("/data/shop/summer.csv", None, "summer.csv"),
        ("/data/x/../pets/", None, "pets"),
        ("/test", None, "test"),
    ],
)
def test_ids_of_paths_are_short_and_the_same_on_every_machine(path: str, root: str | None, id: str) -> None:
    assert path_id(Path(path), None if root is None else Path(root)) == id


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[HubReference]:
    """The references that reach the Hub, which always answers with the same ten digits."""
    references: list[HubReference] = []
    digits = load(write_folder(tmp_path / "ten", *(f"{digit}/{digit}.png" for digit in range(10))))

    def answer(reference: HubReference, options: DataOptions) -> Dataset:
        references.append(reference)
        return digits

    monkeypatch.setattr(hub_datasets, "load", answer)
    return references


@pytest.mark.parametrize(
    ("reference", "options", "expected"),
    [
        ("hf:me/pets", {}, HubReference(repository="me/pets")),
        ("hf:me/pets:small", {}, HubReference(repository="me/pets", config="small")),
        ("hf:me/pets:small:val", {}, HubReference(repository="me/pets", config="small", split="val")),
        ("hf:me/pets::val", {"split": "val"}, HubReference(repository="me/pets", split="val")),
        (
            "hf:me/pets",
            {"split": "val", "revision": "v2"},
            HubReference(repository="me/pets", split="val", revision="v2"),
        ),
    ],
)
def test_references_to_the_hub_are_taken_apart(
    asked: list[HubReference], reference: str, options: dict[str, str], expected: HubReference
) -> None:
    load_data(reference, DataOptions(options=options))
    assert asked == [expected]


def test_a_repository_of_the_catalogue_is_prompted_as_published(asked: list[HubReference]) -> None:
    assert load("hf:me/digits").class_names == tuple("0123456789")
    dataset = load("hf:clip-benchmark/wds_vtab-svhn")
    assert dataset.class_names is not None
    assert dataset.class_names[0] == "zero"
    assert dataset.templates is not None
    assert dataset.cite is not None and dataset.cite.startswith("Netzer, Wang, Coates")


@pytest.mark.parametrize(
    ("reference", "options", "message"),
    [
        ("hf:", {}, r"data 'hf:': expected hf:ORG/NAME\[:CONFIG\[:SPLIT\]\] or hf:PATH"),
        ("hf:a/b:c:d:e", {}, r"expected hf:ORG/NAME"),
        ("hf:a/b/c", {}, r"no such folder: a/b/c \(data on the Hub are hf:ORG/NAME\)"),
        ("hf:./here", {}, r"no such folder: ./here"),
        ("hf:a/b::test", {"split": "train"}, r"name the split 'test', and --data-option split=train: drop one"),
    ],
)
def test_malformed_references_to_the_hub_are_bad_usage(
    asked: list[HubReference], reference: str, options: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        load_data(reference, DataOptions(options=options))
    assert asked == []


@pytest.mark.usefixtures("library_cache", "no_hub")
def test_a_folder_is_read_through_the_library_where_hf_says_so(tmp_path: Path, image_bytes: ImageBytes) -> None:
    folder = tmp_path / "pets"
    for number, name in enumerate(("test/cat/0.png", "test/dog/1.png", "train/cat/2.png", "train/dog/3.png")):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(image_bytes(number))
    dataset = load(f"hf:{folder}::train")
    assert (dataset.id, dataset.split, dataset.class_names) == ("pets", "train", ("cat", "dog"))
    assert load(f"hf:{folder}").split == "test"


@pytest.mark.usefixtures("library_cache", "no_hub")
def test_saved_and_parquet_folders_are_known_without_hf(tmp_path: Path, image_bytes: ImageBytes) -> None:
    datasets = pytest.importorskip("datasets")
    made = datasets.Dataset.from_dict({"image": [{"bytes": image_bytes(1), "path": None}], "caption": ["x"]})
    made = made.cast_column("image", datasets.Image())
    made.save_to_disk(str(tmp_path / "saved"))
    (tmp_path / "files" / "data").mkdir(parents=True)
    made.to_parquet(str(tmp_path / "files" / "data" / "test.parquet"))
    assert load(tmp_path / "saved").captions == load(tmp_path / "files").captions == ["x"]


def test_shards_are_known_even_when_a_file_is_missing(tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "0.tar").write_bytes(b"")
    with pytest.raises(DataError, match=r"nshards.txt is missing"):
        load(tmp_path)


def test_class_names_in_the_root_do_not_make_a_folder_one_of_shards(tmp_path: Path) -> None:
    write_folder(tmp_path, "n1/1.jpg", "n2/1.jpg")
    (tmp_path / "classnames.txt").write_text("tench\ngoldfish\n")
    assert load(tmp_path).class_names == ("tench", "goldfish")


def test_the_real_data_by_folder(shared_data: Path) -> None:
    assert len(load("captions", shared_data)) == 669
    assert load("clothing10/images/test", shared_data).id == "clothing10/images/test"
    rows = (shared_data / "typographic" / "manifest.csv").read_text().splitlines()[1:]
    dataset = load("typographic", shared_data, label="object")
    assert dataset.class_names == tuple(sorted({row.split(",")[2] for row in rows}))


def test_a_karpathy_list_is_a_manifest(tmp_path: Path) -> None:
    write_folder(tmp_path, "val2014/COCO_1.jpg", "val2014/COCO_2.jpg")
    rows = [{"image": f"val2014/COCO_{number}.jpg", "caption": ["a", "b"]} for number in (1, 2)]
    (tmp_path / "coco_karpathy_test.json").write_text(json.dumps(rows))
    dataset = load(tmp_path / "coco_karpathy_test.json")
    assert (dataset.image_ids, dataset.captions) == (["val2014/COCO_1.jpg", "val2014/COCO_2.jpg"], ["a", "b"] * 2)
