"""Data on the Hub, with the Hub's client replaced: what is asked of it, and what its refusals become."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import pytest

from clipbench import hub as network
from clipbench.data import hub_datasets
from clipbench.data.dataset import DataOptions, Dataset
from clipbench.data.hub_datasets import HubReference
from clipbench.errors import DataError, Unavailable, UsageError

datasets = pytest.importorskip("datasets")
huggingface_hub = pytest.importorskip("huggingface_hub")
pytestmark = pytest.mark.usefixtures("library_cache")

COMMIT = "0123456789abcdef"


class ImageBytes(Protocol):
    def __call__(self, number: int) -> bytes: ...


class FakeHub:
    """Repositories in folders; refuses like the real client while that is told to stay offline, or is down."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.is_down = False
        self.patterns: list[str] = []
        self.cached: set[str] = set()

    def dataset_info(self, repository: str, *, revision: str | None) -> Any:
        self._refuse(f"{repository}/info")
        if revision not in (None, COMMIT, "main"):
            raise huggingface_hub.errors.RevisionNotFoundError("404", response=_response(404))
        if not (self.root / repository).is_dir():
            raise huggingface_hub.errors.RepositoryNotFoundError("404", response=_response(404))
        files = [path for path in (self.root / repository).rglob("*") if path.is_file()]
        names = [str(path.relative_to(self.root / repository)) for path in files]
        return SimpleNamespace(sha=COMMIT, siblings=[SimpleNamespace(rfilename=name) for name in names])

    def snapshot_download(
        self, repository: str, *, allow_patterns: list[str], local_files_only: bool, **_: object
    ) -> str:
        if not local_files_only:
            self._refuse(repository)
        elif repository not in self.cached:
            raise huggingface_hub.errors.LocalEntryNotFoundError("not cached")
        self.patterns = allow_patterns
        self.cached.add(repository)
        link = self.root / "snapshots" / COMMIT
        link.parent.mkdir(exist_ok=True)
        if not link.exists():
            link.symlink_to(self.root / repository)
        return str(link)

    def _refuse(self, what: str) -> None:
        if huggingface_hub.constants.HF_HUB_OFFLINE or self.is_down:
            raise huggingface_hub.errors.OfflineModeIsEnabled(f"cannot reach {what}")


def _response(status: int) -> Any:
    return SimpleNamespace(status_code=status, headers={}, request=None, text="")


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    fake = FakeHub(tmp_path / "hub")
    load_builder = datasets.load_dataset_builder

    def load_dataset_builder(
        source: str, config: str | None, *, revision: str | None, cache_dir: str | None = None
    ) -> Any:
        fake._refuse(source)
        assert revision == COMMIT
        return load_builder(str(fake.root / source), config, cache_dir=cache_dir)

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", fake.dataset_info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fake.snapshot_download)
    monkeypatch.setattr(datasets, "load_dataset_builder", load_dataset_builder)
    monkeypatch.setattr(network, "unreachable", lambda: "no network in tests" if fake.is_down else None)
    return fake


@pytest.fixture
def parquet(fake: FakeHub, image_bytes: ImageBytes) -> FakeHub:
    """A repository with two splits in parquet files."""
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    (fake.root / "me" / "pets").mkdir(parents=True)
    for split, n in (("train", 4), ("test", 2)):
        images = [{"bytes": image_bytes(number), "path": None} for number in range(n)]
        made = datasets.Dataset.from_dict({"image": images, "label": [0, 1, 0, 1][:n]}, features=features)
        made.to_parquet(str(fake.root / "me" / "pets" / f"{split}.parquet"))
    return fake


@pytest.fixture
def shards(fake: FakeHub, image_bytes: ImageBytes) -> FakeHub:
    """A repository with CLIP_benchmark's layout."""
    import io
    import tarfile

    folder = fake.root / "me" / "wds_pets"
    for split in ("train", "test"):
        (folder / split).mkdir(parents=True)
        (folder / split / "nshards.txt").write_text("1")
        with tarfile.open(folder / split / "0.tar", "w") as tar:
            for extension, content in (("png", image_bytes(0)), ("cls", b"0")):
                member = tarfile.TarInfo(f"s0000000.{extension}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    (folder / "classnames.txt").write_text("pet\n")
    (folder / "zeroshot_classification_templates.txt").write_text("my {c}.\n")
    return fake


def load(repository: str, **options: str) -> Dataset:
    reference = HubReference(
        repository=repository,
        config=options.pop("config", None),
        split=options.get("split"),
        revision=options.get("revision"),
    )
    return hub_datasets.load(reference, DataOptions(options=options))


def test_the_commit_is_recorded(parquet: FakeHub) -> None:
    dataset = load("me/pets")
    assert (dataset.id, dataset.revision, dataset.split, len(dataset)) == ("hf:me/pets", COMMIT, "test", 2)
    assert dataset.notes == ()
    assert load("me/pets", split="train", revision="main").revision == COMMIT


def test_without_a_network_the_copy_in_the_cache_is_read_and_said(parquet: FakeHub) -> None:
    online = load("me/pets")
    parquet.is_down = True
    dataset = load("me/pets")
    assert [ref.digest() for ref in dataset.images] == [ref.digest() for ref in online.images]
    assert dataset.class_names == ("a", "b")
    assert dataset.notes == ("the Hub did not answer, so the newest copy in the cache was read",)
    with pytest.raises(Unavailable, match="cannot get data set hf:me/pets"):
        load("me/pets", split="train")
    with pytest.raises(Unavailable, match="cannot get data set hf:me/pets:other"):
        load("me/pets", config="other")


def test_the_rows_of_a_conversion_that_was_killed_are_no_copy(parquet: FakeHub) -> None:
    load("me/pets")
    (rows,) = {file.parent for file in (Path(datasets.config.HF_DATASETS_CACHE) / "clipbench").rglob("*.arrow")}
    shutil.copytree(rows, rows.with_name("fedcba.incomplete"))
    parquet.is_down = True
    assert load("me/pets").revision == rows.name
    shutil.rmtree(rows)
    with pytest.raises(Unavailable, match="cannot get data set hf:me/pets"):
        load("me/pets")


def test_a_copy_of_a_revision_is_none_of_a_configuration_of_that_name() -> None:
    names = [{"config": "v2"}, {"revision": "v2"}, {"config": "v@2"}, {"config": "v", "revision": "2"}]
    keys = {hub_datasets._key(HubReference(repository="me/pets", **each)) for each in names}
    assert len(keys) == 4 and not any("/" in key for key in keys)


def test_without_network_and_copy_it_is_unavailable_in_one_line(fake: FakeHub) -> None:
    fake.is_down = True
    with pytest.raises(Unavailable, match=r"data set hf:me/pets: not on this machine.*no network in tests.*hf:PATH\)$"):
        load("me/pets")


def test_the_layout_of_shards_is_read_as_such_and_only_its_split_is_fetched(shards: FakeHub) -> None:
    dataset = load("me/wds_pets")
    assert (dataset.id, dataset.revision, dataset.split) == ("hf:me/wds_pets", COMMIT, "test")
    assert (dataset.class_names, dataset.templates) == (("pet",), ("my {c}.",))
    assert shards.patterns == ["*.txt", "test/*"]
    shards.is_down = True
    assert load("me/wds_pets").notes == ("the Hub did not answer, so the newest copy in the cache was read",)


def test_a_wrong_split_or_configuration_of_shards_is_bad_usage(shards: FakeHub) -> None:
    with pytest.raises(UsageError, match="hf:me/wds_pets has no split 'val': it has "):
        load("me/wds_pets", split="val")
    with pytest.raises(UsageError, match="hf:me/wds_pets:x: the repository has no configurations, only splits"):
        load("me/wds_pets", config="x")


def test_what_the_hub_does_not_have_is_one_line(fake: FakeHub, parquet: FakeHub) -> None:
    with pytest.raises(Unavailable, match=r"data set hf:me/none .*no such repository, or it is private"):
        load("me/none")
    with pytest.raises(UsageError, match="hf:me/pets has no revision 'v2' on the Hub"):
        load("me/pets", revision="v2")
    with pytest.raises(UsageError, match="me/pets has no split 'val': it has train, test"):
        load("me/pets", split="val")


def test_a_closed_repository_is_one_line(parquet: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise datasets.exceptions.DatasetNotFoundError("Dataset 'me/pets' is a gated dataset on the Hub.\nMore.")

    monkeypatch.setattr(datasets, "load_dataset_builder", refuse)
    with pytest.raises(Unavailable, match=r": gated: accept the licence at https://.*/me/pets, then `hf auth login`$"):
        load("me/pets")


def test_a_script_is_refused_with_advice(parquet: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise RuntimeError("Dataset scripts are no longer supported, but found pets.py")

    monkeypatch.setattr(datasets, "load_dataset_builder", refuse)
    with pytest.raises(DataError, match=r"hf:me/pets is loaded by a script.* revision=refs/convert/parquet"):
        load("me/pets")


def test_an_unknown_option_is_an_error_before_any_request(fake: FakeHub) -> None:
    with pytest.raises(UsageError, match=r"data 'hf:me/pets' take no option 'revison': did you mean 'revision'\?"):
        load("me/pets", revison="main")
