"""References: how a name, a path or a place on the Hub is told apart, and what each becomes."""

from pathlib import Path

import pytest

from clipbench.data import huggingface_data
from clipbench.data.catalogue.entries import catalogue
from clipbench.data.dataset import DataOptions, Dataset
from clipbench.data.dataset_loading import load_data, path_id
from clipbench.errors import DataError, UsageError
from tests.clipbench.data.conftest import ImageBytes


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


def test_a_path_is_tried_as_it_stands_and_then_below_the_data_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "root" / "pets", "cat/1.jpg", "dog/1.jpg")
    assert load("pets", tmp_path / "root").id == "pets"
    write_folder(tmp_path / "here" / "pets", "cow/1.jpg", "dog/1.jpg")
    monkeypatch.chdir(tmp_path / "here")
    assert load("pets", tmp_path / "root").class_names == ("cow", "dog")


def test_a_manifest_is_read_by_file_or_by_its_folder(tmp_path: Path) -> None:
    path = write_manifest(tmp_path / "shop")
    assert load(path).id == "shop/manifest.csv"
    assert load(path.parent).id == "shop"
    assert load(path).captions == load(path.parent).captions == ["one", "two"]


def test_names_in_the_catalogue_are_looked_up_below_the_root_and_checked(tmp_path: Path) -> None:
    write_folder(tmp_path / "mnist", *(f"{digit}/{digit}.png" for digit in range(10)))
    with pytest.raises(DataError, match=r"mnist \(MNIST, test\) has 10 images, expected 10,000: its numbers would not"):
        load("mnist", tmp_path)
    dataset = load("MNIST", tmp_path, allow_partial=True)
    assert (dataset.id, dataset.templates) == ("mnist", ('a photo of the number: "{c}".',))
    assert dataset.notes == ("mnist (MNIST, test) has 10 images, expected 10,000",)
    assert dataset.cite is not None and dataset.cite.startswith("LeCun, Bottou, Bengio and Haffner")
    assert dataset.licence == catalogue()["mnist"].terms
    own = load(tmp_path / "mnist")  # as a path it is data like any other
    assert (own.id, own.templates, own.cite, own.licence) == ("mnist", None, None, None)


def test_numbered_classes_must_be_named(tmp_path: Path) -> None:
    write_folder(tmp_path, "a.png", "b.png")
    (tmp_path / "list.csv").write_text("path,label\na.png,0\nb.png,1\n")
    with pytest.raises(
        DataError, match=r"numbers its classes and does not name them: .* data_options={'class_names': 'FILE'}"
    ):
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
    with pytest.raises(
        DataError, match=r"names.txt has 2 class names for data of 3 classes: expected one name per class"
    ):
        load(write_folder(tmp_path / "x", "n3/1.jpg"), class_names=names)
    with pytest.raises(
        UsageError, match=r"data set y/manifest.csv has no labels: remove data_options={'class_names': "
    ):
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
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[object, ...]]:
    """The references that reach the Hub, which always answers with the same ten digits."""
    references: list[tuple[object, ...]] = []
    digits = load(write_folder(tmp_path / "ten", *(f"{digit}/{digit}.png" for digit in range(10))))

    def answer(repository: str, config: str | None, options: DataOptions) -> Dataset:
        references.append((repository, config, options.options))
        return digits

    monkeypatch.setattr(huggingface_data, "load_hub", answer)
    return references


@pytest.mark.parametrize(
    ("reference", "options", "expected"),
    [
        ("hf:me/pets", {}, (None, {})),
        ("hf:me/pets:small", {}, ("small", {})),
        ("hf:me/pets:small:val", {}, ("small", {"split": "val"})),
        ("hf:me/pets::val", {"split": "val"}, (None, {"split": "val"})),
        ("hf:me/pets", {"split": "val", "revision": "v2"}, (None, {"split": "val", "revision": "v2"})),
    ],
)
def test_references_to_the_hub_are_taken_apart(
    asked: list[object], reference: str, options: dict[str, str], expected: tuple[object, ...]
) -> None:
    load_data(reference, DataOptions(options=options))
    assert asked == [("me/pets", *expected)]


def test_a_repository_of_the_catalogue_is_prompted_as_published(asked: list[object]) -> None:
    assert load("hf:me/digits").class_names == tuple("0123456789")
    dataset = load("hf:clip-benchmark/wds_vtab-svhn")
    assert dataset.class_names is not None
    assert dataset.class_names[0] == "zero"
    assert dataset.templates is not None
    assert dataset.cite is not None and dataset.cite.startswith("Netzer, Wang, Coates")


@pytest.mark.usefixtures("library_cache", "no_hub")
def test_a_folder_is_read_through_the_library_where_hf_says_so(tmp_path: Path, image_bytes: ImageBytes) -> None:
    folder = tmp_path / "pets"
    for number, name in enumerate(("test/cat/0.png", "test/dog/1.png", "train/cat/2.png", "train/dog/3.png")):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(image_bytes(number))
    dataset = load(f"hf:{folder}::train")
    assert (dataset.id, dataset.split, dataset.class_names) == ("pets", "train", ("cat", "dog"))
    assert load(f"hf:{folder}").split == "test"


@pytest.mark.parametrize(
    ("name", "message"),
    {
        "photos.xlsx": "spreadsheets are not read: got {}. Save it as CSV.",
        "photos.ZIP": "archives are not read: got {}. Unpack it, and give the folder or table in it.",
        "captions.csv.gz": "archives are not read: got {}. Unpack it, and give the folder or table in it.",
        "weights.pt": "unknown form of data: got {}, expected a table (.csv, .tsv, .jsonl, .json) or a folder with one"
        " folder of images per class (docs/data.md)",
        "a.jsonlines": "unknown form of data: got {}, expected DOCCI (docci_descriptions.jsonlines) or a table (.csv,"
        " .tsv, .jsonl, .json) (docs/data.md)",
    }.items(),
)
def test_a_file_in_another_form_is_refused_in_a_short_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(b"PK")
    with pytest.raises(UsageError) as refused:
        load_data(f"./{name}", DataOptions())
    assert str(refused.value) == message.format(name) and len(str(refused.value)) <= 200
