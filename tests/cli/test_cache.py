"""`clipbench cache`: what is stored and where, and that nothing is removed unasked, and nothing of others ever."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from clipbench.data.modalities import IMAGE, TEXT
from clipbench.models.encoding.store import MODEL_FILE, Shelf
from tests.cli.conftest import Call

DAY = 86400


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the store, with an old model, a new one, and one that an older version stored."""
    monkeypatch.setenv("CLIPBENCH_CACHE", str(tmp_path))
    for fingerprint, n, names in (
        ("0ld0ld0ld", 3, ("vit-b-32", "open_clip:ViT-B-32/openai")),
        ("new0new0new", 1500, ("tiny", "bundled:tiny")),
        ("unnamed", 2, ()),
    ):
        for modality in (IMAGE, TEXT):
            keys = [number.to_bytes(16, "little") for number in range(n)]
            Shelf(tmp_path, fingerprint, modality, 4, names).put(keys, np.ones((n, 4), np.float32))
    for path in (tmp_path / "store/0ld0ld0ld").rglob("*"):
        os.utime(path, times=(time.time() - 40 * DAY,) * 2)
    return tmp_path / "store"


def keep_copies(store: Path, *ages: float) -> list[Path]:
    """Keep small copies of images, so many days old."""
    copies = [store.parent / f"thumbnails/160-80/{number:02}/{number:032}.webp" for number in range(len(ages))]
    for copy, age in zip(copies, ages, strict=True):
        copy.parent.mkdir(parents=True)
        copy.write_bytes(b"RIFF")
        os.utime(copy, times=(time.time() - age * DAY,) * 2)
    return copies


def test_small_copies_of_images_are_shown_and_the_old_ones_removed(store: Path, call: Call) -> None:
    old, new = keep_copies(store, 40, 2)
    assert call("cache").out.splitlines()[-1] == "also stored: 2 small copies of images for reports, 8 B"
    answer = call("cache", "prune", "--older-than", "50d")
    assert "nothing to remove" in answer.out
    call("cache", "prune", "--model", "tiny", "--older-than", "30d", "--yes")
    assert old.exists()
    done = call("cache", "prune", "--older-than", "30d", "--yes")
    assert done.out.splitlines()[-1].endswith("and 1 small copy of images for reports, 4 B")
    assert not old.exists() and new.exists() and models(store) == {"new0new0new", "unnamed"}


def test_vectors_of_a_clock_that_was_ahead_are_shown_and_kept(store: Path, call: Call) -> None:
    later = time.time() + 400 * DAY
    for path in (store / "new0new0new").rglob("*"):
        os.utime(path, times=(later, later))
    answer = call("cache")
    assert answer.status == 0 and time.strftime("%Y-%m-%d", time.localtime(later)) in answer.out
    assert call("cache", "prune", "--older-than", "30d", "--yes").status == 0
    assert models(store) == {"new0new0new", "unnamed"}


def models(store: Path) -> set[str]:
    return {path.name for path in store.iterdir()}


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        (["--older-than", "30d"], {"new0new0new", "unnamed"}),
        (["--older-than", "6w"], {"new0new0new", "0ld0ld0ld", "unnamed"}),
        (["--model", "Tiny"], {"0ld0ld0ld", "unnamed"}),
        (["--model", "open_clip:vit-b-32/openai", "--model", "unnamed"], {"new0new0new"}),
        (["--model", "tiny", "--older-than", "30d"], {"0ld0ld0ld", "new0new0new", "unnamed"}),
        (["--model", "new0new"], {"0ld0ld0ld", "unnamed"}),
    ],
)
def test_prune_removes_what_it_is_told_to(arguments: list[str], left: set[str], store: Path, call: Call) -> None:
    answer = call("cache", "prune", *arguments)
    assert models(store) == {"0ld0ld0ld", "new0new0new", "unnamed"}
    assert answer.status == (2 if len(left) < 3 else 0)
    assert ("not a terminal, so pass --yes to confirm" in answer.err) == (len(left) < 3)
    done = call("cache", "prune", *arguments, "--yes")
    assert (done.status, models(store)) == (0, left)
    assert answer.out and done.out.startswith(answer.out) and ("\nremoved " in done.out) == (len(left) < 3)


@pytest.mark.parametrize(("answer", "is_removed"), [(True, True), (False, False)])
def test_a_person_is_asked(
    answer: bool, is_removed: bool, store: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions: list[tuple[str, object]] = []

    def confirm(text: str, *, default: bool, err: bool) -> bool:
        questions.append((text, default))
        return answer

    monkeypatch.setattr("clipbench.cli.commands.cache.is_interactive", lambda: True)
    monkeypatch.setattr("click.confirm", confirm)
    done = call("cache", "prune", "--older-than", "30d")
    assert questions == [("Remove 1 model, 777 B?", False)] and done.status == 0
    assert ("0ld0ld0ld" not in models(store)) == is_removed and ("nothing was removed" in done.out) != is_removed


def test_a_damaged_store_is_shown_and_pruned_and_files_of_others_stay(store: Path, call: Call) -> None:
    (chunk,) = (store / "new0new0new/image").iterdir()
    chunk.write_bytes(chunk.read_bytes()[:1000])
    (store / "new0new0new" / MODEL_FILE).write_text("[[[")
    (store / "new0new0new/text/thesis.tex").write_text("precious")
    (store / "new0new0new/text/.x.vectors.half").write_text("")
    outside = store.parent / "outside.vectors"
    outside.write_text("precious")
    (store / "new0new0new/text/link.vectors").symlink_to(outside)
    (store / "elsewhere").symlink_to(store / "unnamed")
    (store / "a-file").write_text("precious")
    (store / "mine").mkdir()
    done = call("cache")
    assert done.status == 0 and "  (1) 1 file of it is damaged or of an old version" in done.out
    assert [line.split()[:6] for line in done.out.splitlines() if "new0" in line] == [
        ["name", "not", "recorded", "new0new0new", "1,500", "(1)"]
    ]
    assert call("cache", "prune", "--model", "new0new0new", "--yes").status == 0
    left = {str(path.relative_to(store / "new0new0new")) for path in (store / "new0new0new").rglob("*")}
    assert left == {"text", "text/thesis.tex", "text/link.vectors"}
    assert {"elsewhere", "a-file", "mine", "unnamed"} <= models(store) and outside.read_text() == "precious"
    assert (store / "unnamed/image").is_dir() and "new0" not in call("cache").out
