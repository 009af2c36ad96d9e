"""``hf:`` data read by the true clients from a Hub on this machine: as it should be, and while it misbehaves."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from clipbench.data.dataset import DataOptions
from clipbench.data.dataset_loading import load_data
from clipbench.data.huggingface_data import HubReference
from clipbench.errors import ClipbenchError, DataError, Unavailable, UsageError
from tests import hub_server
from tests.clipbench.data.conftest import ImageBytes
from tests.miniatures import shard_of

datasets = pytest.importorskip("datasets")
pytestmark = pytest.mark.usefixtures("library_cache")


@pytest.fixture
def pets(hub: Any, image_bytes: ImageBytes, tmp_path: Path) -> Any:
    """A repository in parquet files, ``me/pets``, and one in tar shards, ``me/wds_pets``."""
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    rows = {"image": [{"bytes": image_bytes(n), "path": None} for n in range(2)], "label": [1, 0]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(str(tmp_path / "x"))
    hub.add("me/pets", {"data/test-00000-of-00001.parquet": (tmp_path / "x").read_bytes()})
    shard = shard_of([{"png": image_bytes(0), "cls": b"0"}])
    hub.add("me/wds_pets", {"classnames.txt": b"pet\n", "test/nshards.txt": b"1", "test/0.tar": shard})
    return hub


def test_parquet_and_shards_are_read_at_their_commit(pets: Any) -> None:
    parquet, shards = load_data("hf:me/pets", DataOptions()), load_data("hf:me/wds_pets", DataOptions())
    assert (parquet.revision, parquet.split, parquet.class_names) == ("a" * 40, "test", ("cat", "dog"))
    assert (shards.revision, shards.split, shards.class_names) == ("a" * 40, "test", ("pet",))


@pytest.mark.parametrize("data", ["hf:me/pets", "hf:me/wds_pets"])
def test_what_is_cached_serves_when_the_hub_is_down(pets: Any, data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    before = load_data(data, DataOptions())
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    after = load_data(data, DataOptions())
    assert [ref.digest() for ref in after.images] == [ref.digest() for ref in before.images]
    assert after.notes == ("the Hub did not answer, so the newest copy in the cache was read",)


FAULTS = {
    "gate": (401, {"X-Error-Code": "GatedRepo"}, r"gated: accept the licence at https://.*/datasets/{name}, then `hf auth login`$"),
    "closed": (403, {"X-Error-Code": "GatedRepo"}, r"gated: accept the licence at https://.*/datasets/{name}, then `hf auth login`$"),
    "busy": (429, {}, r"429"),
    "broken": (500, {}, r"500"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ["me/pets", "me/wds_pets"])
def test_a_refusal_is_one_line_and_is_got_over(pets: Any, name: str, fault: str) -> None:
    status, headers, message = FAULTS[fault]
    pets.faults = [
        hub_server.Fault(rf"{name}/resolve/.*(parquet|tar|txt|md)", "status", status=status, headers=headers)
    ]
    with pytest.raises(Unavailable, match=message.format(name=name)) as caught:
        load_data(f"hf:{name}", DataOptions())
    assert "\n" not in str(caught.value)
    pets.faults = []
    assert len(load_data(f"hf:{name}", DataOptions())) > 0


@pytest.mark.parametrize("name", ["me/pets", "me/wds_pets"])
def test_a_cut_connection_is_one_line_and_no_half_file_is_believed(pets: Any, name: str) -> None:
    pets.faults = [hub_server.Fault(r"(parquet|0.tar)$", "cut", after=0)]
    with pytest.raises((Unavailable, DataError)) as caught:
        load_data(f"hf:{name}", DataOptions())
    assert "\n" not in str(caught.value)
    pets.faults = []
    assert len(load_data(f"hf:{name}", DataOptions())) > 0


@pytest.mark.parametrize(
    ("reference", "options", "error", "message"),
    [
        ("hf:me/none", {}, Unavailable, "the Hub has no such repository, or it is private: check the name"),
        ("hf:me/pets", {"revision": "v2"}, UsageError, "hf:me/pets has no revision 'v2' on the Hub"),
        ("hf:me/pets::val", {}, UsageError, "me/pets has no split 'val': it has test"),
        ("hf:me/wds_pets::val", {}, UsageError, "hf:me/wds_pets has no split 'val': it has "),
        ("hf:me/wds_pets:x", {}, UsageError, "hf:me/wds_pets:x: the repository has no configurations, only splits"),
        ("hf:me/pets", {"revison": "main"}, UsageError, "has no option 'revison': did you mean 'revision'"),
    ],
)
def test_what_the_hub_does_not_have_is_one_line(
    pets: Any, reference: str, options: dict[str, str], error: type[ClipbenchError], message: str
) -> None:
    with pytest.raises(error, match=message):
        load_data(reference, DataOptions(options=options))


def test_the_rows_of_a_conversion_that_was_killed_are_no_copy(pets: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    load_data("hf:me/pets", DataOptions())
    (rows,) = {file.parent for file in (Path(datasets.config.HF_DATASETS_CACHE) / "clipbench").rglob("*.arrow")}
    shutil.copytree(rows, rows.with_name("fedcba.incomplete"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load_data("hf:me/pets", DataOptions()).revision == rows.name
    shutil.rmtree(rows)
    with pytest.raises(Unavailable, match="cannot get data set hf:me/pets"):
        load_data("hf:me/pets", DataOptions())


def test_a_copy_of_a_revision_is_none_of_a_configuration_of_that_name() -> None:
    names = [("v2", None), (None, "v2"), ("v@2", None), ("v", "2")]
    keys = {HubReference("me/pets", config, None, revision).key for config, revision in names}
    assert len(keys) == 4 and not any("/" in key for key in keys)
