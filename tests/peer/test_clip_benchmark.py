"""The same weights on the same webdataset folder, measured by clipbench and by CLIP_benchmark 1.6.2.

`make test-peer` installs it in an environment of its own (it needs numpy below 2.3) and names it in CLIPBENCH_PEER.
"""

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pandas
import pytest

DATA = Path(__file__).parents[3] / "shared" / "data"
TEMPLATES = ["a photo of a {c}.", "an image of the {c}.", "{c}"]

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"needs the photographs in {DATA}"),
    pytest.mark.skipif("CLIPBENCH_PEER" not in os.environ, reason="run by `make test-peer`, which installs the peer"),
]


def write_tar(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    (path.parent / "nshards.txt").write_text("1")


@pytest.fixture(scope="module")
def classification(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 372 test photographs of clothes."""
    root = tmp_path_factory.mktemp("data") / "clothing"
    classes = sorted(folder.name for folder in (DATA / "clothing10/images/test").iterdir())
    members: list[tuple[str, bytes]] = []
    for label, name in enumerate(classes):
        for file in sorted((DATA / "clothing10/images/test" / name).iterdir()):
            key = f"s{len(members) // 2:07d}"
            members += [(f"{key}.jpg", file.read_bytes()), (f"{key}.cls", str(label).encode())]
    write_tar(root / "test/0.tar", members)
    (root / "classnames.txt").write_text("\n".join(classes))
    (root / "zeroshot_classification_templates.txt").write_text("\n".join(TEMPLATES))
    return root


@pytest.fixture(scope="module")
def retrieval(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Distinct images with distinct captions, one to three each: nothing is tied by being the same."""
    root = tmp_path_factory.mktemp("data") / "captions"
    members: list[tuple[str, bytes]] = []
    names: set[str] = set()
    images: set[bytes] = set()
    for line in (DATA / "captions/manifest.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        caption = row["captions"][0]
        image = (DATA / "captions" / row["image"]).read_bytes()
        if caption.lower() in names or image in images or not row["image"].endswith("jpg"):
            continue
        names.add(caption.lower())
        images.add(image)
        key = f"s{len(members) // 2:07d}"
        captions = [caption, f"a drawing of {caption}", f"{caption}, in colour"][: 1 + len(names) % 3]
        members += [
            (f"{key}.jpg", image),
            (f"{key}.txt", "\n".join(captions).encode()),
        ]
    write_tar(root / "test/0.tar", members)
    (root / "dataset_type.txt").write_text("retrieval")
    return root


def theirs(checkpoint: Path, data: Path, task: str, out: Path) -> dict[str, float]:
    command = [os.environ["CLIPBENCH_PEER"], "eval", "--model", "ViT-B-32", "--pretrained", str(checkpoint)]
    command += ["--dataset", f"wds/{data.name}", "--dataset_root", str(data), "--task", task, "--no_amp"]
    command += ["--recall_k", "1", "5", "10", "--num_workers", "0", "--output", str(out)]
    subprocess.run(command, check=True)
    metrics: dict[str, float] = json.loads(out.read_text())["metrics"]
    return metrics


def ours(checkpoint: Path, data: Path, task: str, out: Path) -> dict[str, float]:
    code = "from clipbench.cli import main; main()"
    command = [sys.executable, "-c", code, "run", "--model", str(checkpoint), "--arch", "ViT-B-32"]
    environment = {**os.environ, "CLIPBENCH_CACHE": str(out.parent / "cache")}
    subprocess.run([*command, "--tasks", f"{task}@{data}", "--out", str(out)], check=True, env=environment)
    (evaluation,) = json.loads((out / "result.json").read_text())["evaluations"]
    table = pandas.read_parquet(out / evaluation["files"]["samples"])
    for column in ("tied", "image_retrieval_tied", "text_retrieval_tied"):
        if column in table:  # a tie of random weights far down the ranks decides nothing
            rank = table.get(column.replace("tied", "rank"), 0)
            assert not ((table[column] > 0) & (rank <= 11)).any(), column
    return {name: metric["value"] for name, metric in evaluation["metrics"].items()}


@pytest.mark.parametrize(
    ("kind", "their_task", "our_task"),
    [("classification", "zeroshot_classification", "zero-shot"), ("retrieval", "zeroshot_retrieval", "retrieval")],
)
def test_both_give_the_same_numbers(
    kind: str,
    their_task: str,
    our_task: str,
    vit_b_32_checkpoint: Path,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    data: Path = request.getfixturevalue(kind)
    result = ours(vit_b_32_checkpoint, data, our_task, tmp_path / "ours")
    expected = theirs(vit_b_32_checkpoint, data, their_task, tmp_path / "theirs.json")
    print("\nmetric, CLIP_benchmark, clipbench")
    for name, value in expected.items():
        print(f"{name}, {value:.6f}, {result[name]:.6f}")
    assert len(expected) >= 3
    assert {name: result[name] for name in expected} == pytest.approx(expected, abs=1e-4)
