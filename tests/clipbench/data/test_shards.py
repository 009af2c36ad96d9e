"""A part of a data set: only the shards that are needed, the same ones and more for a larger limit."""

import io
from pathlib import Path
from typing import Any

import pytest

from clipbench.data.catalogue.download import Download, fetch, list_files
from clipbench.data.catalogue.entries import CatalogueEntry, Source
from clipbench.data.catalogue.needs import Use, find_needs, look_up_needs
from clipbench.data.catalogue.shards import n_samples
from clipbench.data.dataset import DataOptions, Dataset
from clipbench.data.dataset_loading import load_data
from clipbench.errors import DataError
from tests.clipbench.data.conftest import ImageBytes
from tests.miniatures import shard_of, tar_of

datasets = pytest.importorskip("datasets")
pytestmark = pytest.mark.usefixtures("library_cache")

N_SHARDS, N_EACH = 5, 3


def entry_of(form: str, **more: Any) -> CatalogueEntry:
    columns = {"image": "image", "label": "label"}
    source = Source(form=form, hub=f"me/{form}", split="test", columns=columns if form == "parquet" else {})
    return CatalogueEntry(
        name="pets", title="Pets", kind="classification", licence="", places=("pets",), sources=(source,), **more
    )


def webdataset(image_bytes: ImageBytes) -> dict[str, bytes]:
    files = {"classnames.txt": b"cat\ndog\nowl\nfox\nemu\n", "test/nshards.txt": str(N_SHARDS).encode()}
    for shard in range(N_SHARDS):  # sorted by class, as the sets of CLIP_benchmark are
        start = shard * N_EACH
        samples = [{"png": image_bytes(start + row), "cls": str(shard).encode()} for row in range(N_EACH)]
        files[f"test/{shard}.tar"] = shard_of(samples, start)
    return files


def test_samples_of_one_name_in_two_folders_are_two(tmp_path: Path) -> None:
    names = ("a/0.png", "a/0.cls", "b/0.png", "b/0.cls")
    (tmp_path / "0.tar").write_bytes(tar_of(dict.fromkeys(names, b"")))
    assert n_samples(tmp_path / "0.tar") == 2


def parquet(image_bytes: ImageBytes) -> dict[str, bytes]:
    names = datasets.ClassLabel(names=["cat", "dog", "owl", "fox", "emu"])
    features = datasets.Features({"image": datasets.Image(), "label": names})
    files = {}
    for shard in range(N_SHARDS):
        numbers = range(shard * N_EACH, (shard + 1) * N_EACH)
        rows = {"image": [{"bytes": image_bytes(n), "path": None} for n in numbers], "label": [shard] * N_EACH}
        buffer = io.BytesIO()
        datasets.Dataset.from_dict(rows, features=features).to_parquet(buffer)
        files[f"data/test-{shard:05}-of-{N_SHARDS:05}.parquet"] = buffer.getvalue()
    return files


@pytest.fixture(params=["webdataset", "parquet"])
def entry(request: Any, hub: Any, image_bytes: ImageBytes, monkeypatch: pytest.MonkeyPatch) -> CatalogueEntry:
    """A data set on the Hub, in the form of each kind of shards; it is all there is in the catalogue."""
    form: str = request.param
    hub.add(f"me/{form}", {"webdataset": webdataset, "parquet": parquet}[form](image_bytes))
    entry_of_form = entry_of(form, n_images=N_SHARDS * N_EACH)
    for module in ("dataset_loading", "catalogue.needs"):
        monkeypatch.setattr(f"clipbench.data.{module}.catalogue", lambda: {"pets": entry_of_form})
    return entry_of_form


def get(entry: CatalogueEntry, root: Path, n_images: int | None) -> Path:
    return fetch(Download(entry=entry, source=entry.sources[0], root=root, n_images=n_images, report=lambda line: None))


def shards_asked_for(hub: Any) -> list[str]:
    result = [path.rpartition("/")[2] for method, path, _ in hub.requests if method == "GET" and "/resolve/" in path]
    hub.requests.clear()
    return [name for name in result if name.endswith((".tar", ".parquet"))]


def load(root: Path, n_images: int | None) -> Dataset:
    return load_data("pets", DataOptions(data_root=root, n_images=n_images))


def contents(dataset: Dataset) -> set[str]:
    return {image.digest() for image in dataset.images}


def test_a_larger_limit_takes_the_same_shards_and_some_more(hub: Any, entry: CatalogueEntry, tmp_path: Path) -> None:
    part = get(entry, tmp_path, 2)
    first = shards_asked_for(hub)
    few = load(tmp_path, 2)
    assert len(first) == 1 and len(few) == N_EACH
    assert few.notes[-1] == (
        "1 of 5 shards are on this machine (3 images), with 1 of 5 classes: no estimate for the others"
    )
    assert few.class_names == ("cat", "dog", "owl", "fox", "emu")
    get(entry, tmp_path, 7)
    shards = shards_asked_for(hub)
    assert len(shards) == 2 and not {*shards} & {*first}
    assert contents(few) < contents(load(tmp_path, 7)) and len(load(tmp_path, 7)) == 3 * N_EACH
    assert contents(load(tmp_path, 3)) == contents(few), "the same images, whatever else has been fetched"
    assert get(entry, tmp_path, 5) == part and shards_asked_for(hub) == []
    folder = get(entry, tmp_path, None)
    assert folder == tmp_path / "pets" and len(shards_asked_for(hub)) == N_SHARDS
    dataset = load(tmp_path, 2)
    assert len(dataset) == N_SHARDS * N_EACH and not dataset.notes


def test_what_is_there_is_no_need_and_what_is_not_is_said_with_its_share(
    hub: Any, entry: CatalogueEntry, tmp_path: Path
) -> None:
    (need,) = look_up_needs(find_needs({"pets": Use(["zero-shot"], 4)}, tmp_path))
    assert need.shards == (2, 5)
    assert need.listing is not None and need.download is not None
    n_bytes = list_files(Download(entry=entry, source=entry.sources[0], root=tmp_path)).n_bytes
    assert need.n_bytes is not None and 0.3 < need.n_bytes / n_bytes < 0.5
    fetch(need.download, need.listing)
    assert find_needs({"pets": Use(["zero-shot"], 4)}, tmp_path) == []
    assert [need.n_images for need in find_needs({"pets": Use(["zero-shot"], 7)}, tmp_path)] == [7]
    (need,) = look_up_needs(find_needs({"pets": Use(["zero-shot"], 15)}, tmp_path))
    assert need.shards is None and need.download is not None and need.download.target == tmp_path / "pets"


def test_a_damaged_shard_is_named(hub: Any, entry: CatalogueEntry, tmp_path: Path) -> None:
    (tmp_path / "0.tar").write_bytes(b"no tar")
    (tmp_path / "0.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match=r"0\.tar is damaged or cut short \(.*\): download it again$"):
        n_samples(tmp_path / "0.tar")
    with pytest.raises(DataError, match=r"0\.parquet cannot be read: .*\. Remove it, and it is fetched again$"):
        n_samples(tmp_path / "0.parquet")
