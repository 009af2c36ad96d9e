"""Fetching data sets from a Hub on this machine, with the true clients, while it misbehaves."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from clipbench.data.catalogue.download import Download, fetch, list_files, n_bytes_present
from clipbench.data.catalogue.entries import ORIGIN_FILE, CatalogueEntry, Source, WebFile
from clipbench.data.catalogue.resumable_downloads import RemoteFile, fetch_file
from clipbench.data.dataset import DataOptions
from clipbench.data.dataset_loading import load_data
from clipbench.errors import ClipbenchError, DataError, Unavailable, UsageError
from tests import hub_server, miniatures
from tests.clipbench.data.conftest import ImageBytes, labels_of

datasets = pytest.importorskip("datasets")
pytestmark = pytest.mark.usefixtures("library_cache")

REPOSITORY = "me/wds_pets"
FIRST, SECOND = "1" * 40, "2" * 40
SHARD = "test/0.tar"


def shard(image_bytes: ImageBytes, n_samples: int = 3) -> bytes:
    samples = [{"png": image_bytes(number), "cls": b"0"} for number in range(n_samples)]
    return miniatures.shard_of(samples)


@pytest.fixture
def pets(hub: Any, image_bytes: ImageBytes) -> Any:
    """A repository with CLIP_benchmark's layout; its shard is a large file, with a SHA-256."""
    files = {
        "classnames.txt": b"pet\n",
        "test/nshards.txt": b"1",
        SHARD: shard(image_bytes),
        "train/0.tar": b"not needed",
    }
    hub.add(REPOSITORY, files, FIRST)
    return hub


def plan(root: Path, revision: str | None = None, **source: Any) -> Download:
    source = {"form": "webdataset", "hub": REPOSITORY, "split": "test", **source}
    entry = CatalogueEntry(name="pets", title="Pets", kind="classification", licence="", places=("pets",))
    return Download(entry=entry, source=Source(**source), root=root, revision=revision, report=lambda line: None)


def bodies(hub: Any, path: str = SHARD) -> list[str | None]:
    """The ranges of the requests for the content of a file."""
    return [requests for method, where, requests in hub.requests if method == "GET" and where.endswith(path)]


def is_absent(root: Path) -> bool:
    """Whether nothing has the data set's name, so that no later run can take it for the data set."""
    return not (root / "pets").exists()


def test_what_is_needed_comes_with_its_commit_and_is_read_as_the_data_set(pets: Any, tmp_path: Path) -> None:
    folder = fetch(plan(tmp_path / "data"))
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert names == [ORIGIN_FILE, "classnames.txt", SHARD, "test/nshards.txt"]
    assert json.loads((folder / ORIGIN_FILE).read_text())["revision"] == FIRST
    assert len(load_data(str(folder), DataOptions())) == 3
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["pets"]


def test_parquet_comes_by_split_and_its_columns_are_those_of_the_entry(
    hub: Any, image_bytes: ImageBytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = datasets.Features(
        {"img": datasets.Image(), "one": datasets.Value("int64"), "class": datasets.Value("int64")}
    )
    rows = {"img": [{"bytes": image_bytes(n), "path": None} for n in range(2)], "one": [1, 0], "class": [0, 0]}
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict(rows, features=features).to_parquet(str(tmp_path / "x"))
    content = (tmp_path / "x").read_bytes()
    hub.add("me/pets", {"data/test-00000-of-00001.parquet": content, "data/train-00000-of-00001.parquet": content})
    requests = plan(tmp_path / "data", form="parquet", hub="me/pets", columns={"image": "img", "label": "one"})
    folder = fetch(requests)
    assert [path.name for path in folder.rglob("*.parquet")] == ["test-00000-of-00001.parquet"]
    entry = CatalogueEntry(**{**vars(requests.entry), "sources": (requests.source,), "prompts": "rendered-sst2"})
    monkeypatch.setattr("clipbench.data.dataset_loading.catalogue", lambda: {"pets": entry})
    dataset = load_data("pets", DataOptions(data_root=tmp_path / "data"))
    assert (labels_of(dataset), dataset.revision) == ([1, 0], "a" * 40)


GATED = (
    r"^cannot get data set pets .*: gated: accept the licence at https://huggingface.co/datasets/me/wds_pets, "
    r"then `hf auth login`$"
)
FAULTS = {
    "a gate without a login": ("resolve", 401, {"X-Error-Code": "GatedRepo"}, GATED),
    "a gate that is closed to one": ("resolve", 403, {"X-Error-Code": "GatedRepo"}, GATED),
    "a gate before the list of files": ("/tree/", 401, {"X-Error-Code": "GatedRepo"}, GATED),
    "no repository": (
        "/api/",
        404,
        {"X-Error-Code": "RepoNotFound"},
        r"the Hub has no such repository, or it is private",
    ),
    "a private repository": (
        "/api/",
        401,
        {},
        r"the Hub answered 401: ask for access at https.*, then `hf auth login`$",
    ),
    "no file": (
        SHARD,
        404,
        {"X-Error-Code": "EntryNotFound"},
        r"the repository lacks a file that is needed: see https",
    ),
    "too many requests": ("resolve", 429, {}, r"the Hub answered 429, too many requests: wait some minutes"),
    "a broken server": (
        "resolve",
        500,
        {},
        r"the Hub answered 500\. Fix: once the Hub can be reached, repeat the command, which resumes where it ended$",
    ),
    "a broken list": (
        "/tree/",
        500,
        {},
        r"the Hub answered 500\. Fix: once the Hub can be reached, repeat the command",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_refusal_is_one_line_leaves_nothing_and_is_got_over(pets: Any, tmp_path: Path, name: str) -> None:
    path, status, headers, message = FAULTS[name]
    pets.faults = [hub_server.Fault(path, "status", status=status, headers=headers)]
    with pytest.raises(Unavailable, match=message) as caught:
        fetch(plan(tmp_path))
    assert "\n" not in str(caught.value)
    assert is_absent(tmp_path)
    pets.faults = []
    assert len(load_data(str(fetch(plan(tmp_path))), DataOptions())) == 3


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_refusal_is_waited_for(pets: Any, tmp_path: Path, status: int) -> None:
    is_listed_again = (
        int(huggingface_hub.__version__.partition(".")[0]) >= 2
    )  # older clients do not wait for the list of files
    text = f"/tree/|{SHARD}" if is_listed_again else SHARD
    pets.faults = [hub_server.Fault(text, "status", status=status, times=2, method="GET|HEAD")]
    assert fetch(plan(tmp_path)).is_dir()


def test_a_cut_is_taken_up_where_it_was(pets: Any, tmp_path: Path) -> None:
    pets.faults = [hub_server.Fault(SHARD, "cut", after=700, times=1)]
    folder = fetch(plan(tmp_path))
    assert bodies(pets) == [None, "bytes=700-"]
    assert (folder / SHARD).read_bytes() == (pets.root / REPOSITORY / FIRST / SHARD).read_bytes()


def test_a_connection_that_keeps_breaking_is_one_line_and_the_next_run_goes_on(
    pets: Any, image_bytes: ImageBytes, tmp_path: Path
) -> None:
    pets.add(REPOSITORY, {"test/nshards.txt": b"2", "test/1.tar": shard(image_bytes, 4)}, FIRST)
    pets.faults = [hub_server.Fault("test/1.tar", "cut", after=0)]
    with pytest.raises(
        Unavailable,
        match=r"the connection broke\. Fix: once the Hub can be reached, repeat the command, which resumes where it ended$",
    ):
        fetch(plan(tmp_path))
    assert is_absent(tmp_path)
    assert len(bodies(pets)) == 1
    pets.faults, pets.requests = [], []
    folder = fetch(plan(tmp_path))
    assert (bodies(pets), bodies(pets, "test/1.tar")) == ([], [None])
    assert bodies(pets, "nshards.txt") == []
    (folder / "classnames.txt").write_text("pet\n")
    with pytest.raises(DataError, match="twice"):  # both shards are read: they number their samples alike
        load_data(str(folder), DataOptions())


def test_a_file_of_the_hub_that_broke_in_an_earlier_run_goes_on_from_its_last_byte(pets: Any, tmp_path: Path) -> None:
    pets.faults = [hub_server.Fault(SHARD, "cut", after=700, times=1), hub_server.Fault(SHARD, "cut", after=0)]
    with pytest.raises(Unavailable, match="the connection broke"):
        fetch(plan(tmp_path))
    pets.faults, pets.requests = [], []
    grown: list[int] = []
    requests = plan(tmp_path)
    listing = list_files(requests)
    present = n_bytes_present(requests, listing)
    folder = fetch(replace(requests, on_bytes=grown.append), listing)
    assert bodies(pets) == ["bytes=700-"]
    assert present == 700 + len(b"pet\n" + b"1") and present + sum(grown) == listing.n_bytes
    assert len(load_data(str(folder), DataOptions())) == 3


def test_a_path_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    for path in ("../x", "/x", "a/../../x"):
        with pytest.raises(DataError, match=r"outside .*: do not trust its server$"):
            fetch_file(RemoteFile(url="http://127.0.0.1:9/x", path=path), tmp_path / "in", print)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", [SHARD, "classnames.txt"])
def test_a_wrong_checksum_is_an_error_and_the_file_comes_anew(pets: Any, tmp_path: Path, path: str) -> None:
    pets.faults = [hub_server.Fault(path, "corrupt")]
    with pytest.raises(DataError, match=rf"^http.*/{path} has \w[\w ]+ [0-9a-f]+, expected [0-9a-f]+: repeat the"):
        fetch(plan(tmp_path))
    assert is_absent(tmp_path)
    pets.faults = []
    assert len(load_data(str(fetch(plan(tmp_path))), DataOptions())) == 3


def test_a_pinned_commit_is_fetched_though_the_head_has_moved(
    pets: Any, image_bytes: ImageBytes, tmp_path: Path
) -> None:
    pets.add(REPOSITORY, {"classnames.txt": b"cat\n", "test/nshards.txt": b"1", SHARD: shard(image_bytes, 5)}, SECOND)
    assert len(load_data(str(fetch(plan(tmp_path / "new"))), DataOptions())) == 5
    requests = plan(tmp_path / "old")
    source = Source(form="webdataset", hub=REPOSITORY, split="test", revision=FIRST[:7])
    folder = fetch(Download(entry=requests.entry, source=source, root=tmp_path / "old", report=requests.report))
    assert len(load_data(str(folder), DataOptions())) == 3
    assert json.loads((folder / ORIGIN_FILE).read_text())["revision"] == FIRST


@pytest.mark.parametrize("pinned", ["9" * 7, "9" * 40])
def test_a_pinned_commit_that_is_gone_is_said_and_not_replaced(pets: Any, tmp_path: Path, pinned: str) -> None:
    requests = plan(tmp_path)
    source = Source(form="webdataset", hub=REPOSITORY, split="test", revision=pinned)
    with pytest.raises(UsageError, match=rf"me/wds_pets has no revision '{pinned}' \(any more\)\. --revision main"):
        fetch(Download(entry=requests.entry, source=source, root=tmp_path, report=requests.report))
    assert is_absent(tmp_path)
    assert fetch(
        Download(entry=requests.entry, source=source, root=tmp_path, revision="main", report=requests.report)
    ).is_dir()
    with pytest.raises(UsageError, match=r"has no revision 'v9' \(any more\)$"):
        fetch(plan(tmp_path / "other", revision="v9"))


def test_what_was_begun_is_ended_with_the_same_commit_unless_that_is_gone(
    pets: Any, image_bytes: ImageBytes, tmp_path: Path
) -> None:
    for root in (tmp_path / "a", tmp_path / "b"):
        pets.faults = [hub_server.Fault(SHARD, "status", status=500, method="GET")]
        with pytest.raises(Unavailable):
            fetch(plan(root))
        pets.faults = []
        pets.heads[REPOSITORY] = FIRST
    pets.add(REPOSITORY, {"classnames.txt": b"cat\n", "test/nshards.txt": b"1", SHARD: shard(image_bytes, 5)}, SECOND)
    assert len(load_data(str(fetch(plan(tmp_path / "a"))), DataOptions())) == 3
    pets.remove(REPOSITORY, FIRST)
    notes: list[str] = []
    requests = plan(tmp_path / "b")
    folder = fetch(Download(entry=requests.entry, source=requests.source, root=requests.root, report=notes.append))
    assert notes[0] == "pets: commit 1111111 is gone from me/wds_pets: starting over"
    assert len(load_data(str(folder), DataOptions())) == 5
    assert (folder / "classnames.txt").read_text() == "cat\n"


def test_of_two_downloads_of_one_data_set_the_second_waits_for_the_first(pets: Any, tmp_path: Path) -> None:
    pets.faults.append(hub_server.Fault(SHARD, "slow", seconds=0.5, method="GET", times=1))
    notes: list[str] = []
    with ThreadPoolExecutor(1) as other:
        first = other.submit(fetch, plan(tmp_path / "data"))
        while not bodies(pets):
            assert not first.done(), first.result()
        second = fetch(replace(plan(tmp_path / "data"), report=notes.append))
        assert first.result() == second == tmp_path / "data/pets"
    assert notes == [f"pets: another clipbench process downloads it to {tmp_path / 'data'}: waiting until it ends"]
    assert len(bodies(pets)) == 1 and [path.name for path in (tmp_path / "data").iterdir()] == ["pets"]


def zipped(name: str = "Urban1k/caption/1.txt") -> bytes:
    return miniatures.zip_of({name: b"A long caption. " * 200})


def test_an_archive_on_the_hub_is_checked_and_unpacked(hub: Any, tmp_path: Path) -> None:
    content = zipped()
    hub.add("me/urban", {"Urban1k.zip": content})
    digest = hashlib.sha256(content).hexdigest()
    requests = plan(tmp_path, form="archive", hub="me/urban", split=None, files=("*.zip",), sha256=digest[:8])
    folder = fetch(requests)
    assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == [ORIGIN_FILE, "1.txt"]
    other = plan(tmp_path / "b", form="archive", hub="me/urban", split=None, files=("*.zip",), sha256="0" * 8)
    with pytest.raises(DataError, match=r"has sha256 [0-9a-f]{64}, expected 00000000...: it is another file than"):
        fetch(other)
    assert is_absent(tmp_path / "b")


def urls(hub: Any, tmp_path: Path, **more: Any) -> Download:
    files = (WebFile(url=f"{hub.address}/files/a.json", into="data"), WebFile(url=f"{hub.address}/files/b.zip", **more))
    return plan(tmp_path / "data", form="urls", hub=None, split=None, urls=files)


@pytest.fixture
def files(hub: Any) -> Any:
    (hub.root / "files").mkdir(parents=True)
    (hub.root / "files/a.json").write_bytes(b"{}")
    (hub.root / "files/b.zip").write_bytes(zipped())
    return hub


def test_files_outside_the_hub_come_to_their_folders_and_archives_are_unpacked(files: Any, tmp_path: Path) -> None:
    digest = hashlib.sha256(zipped()).hexdigest()
    folder = fetch(urls(files, tmp_path, sha256=digest))
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert names == [ORIGIN_FILE, "Urban1k/caption/1.txt", "data/a.json"]


def test_a_cut_file_outside_the_hub_is_taken_up_and_a_changed_one_begun_anew(files: Any, tmp_path: Path) -> None:
    for changes in (False, True):
        files.faults = [
            hub_server.Fault("b.zip", "cut", after=50, times=1),
            hub_server.Fault("b.zip", "cut", after=0),
        ]
        with pytest.raises(Unavailable, match=r"cannot get pets from http.*b.zip: the connection broke .*resumes"):
            fetch(urls(files, tmp_path / str(changes)))
        assert is_absent(tmp_path / str(changes) / "data")
        files.faults, files.requests = [], []
        if changes:
            (files.root / "files/b.zip").write_bytes(zipped("other.txt"))
        folder = fetch(urls(files, tmp_path / str(changes)))
        assert bodies(files, "b.zip") == ([None] if changes else ["bytes=50-"])
        assert (folder / ("other.txt" if changes else "Urban1k/caption/1.txt")).is_file()


def test_what_is_wrong_outside_the_hub_is_one_line(files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(match: str, error: type[ClipbenchError] = Unavailable, **more: Any) -> None:
        with pytest.raises(error, match=match):
            fetch(urls(files, tmp_path, **more))
        assert is_absent(tmp_path / "data")

    files.faults = [hub_server.Fault("b.zip", "status", status=404)]
    refused(
        r"cannot get pets from http.*/files/b.zip: the server answered 404\. Fix: check the address, or choose another"
    )
    files.faults = []
    refused(r"b.zip has sha256 [0-9a-f]{64}, expected 0000: repeat the command", DataError, sha256="0000")
    files.faults = [hub_server.Fault("b.zip", "corrupt")]
    refused(r"b.zip is damaged and was removed \(File is not a zip file\)|damaged", DataError)
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refused("HF_HUB_OFFLINE or offline=True is set")


def test_an_archive_cannot_write_outside_its_folder(hub: Any, tmp_path: Path) -> None:
    hub.add("me/bad", {"x.tar": miniatures.tar_of({"../../outside.txt": b""})})
    with pytest.raises(DataError, match=r"x.tar is damaged and was removed \(.*outside"):
        fetch(plan(tmp_path / "data", form="archive", hub="me/bad", split=None, files=("*.tar",)))
    assert not list(tmp_path.rglob("outside.txt"))
