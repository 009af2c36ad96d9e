"""All checks: documented, named once, and those of other packages beside ours; the quick ones cost next to nothing."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clipbench
from clipbench import Check, CheckOutcome, NotExamined, Subject, UsageError, doctor, plugins
from clipbench.checks.examination import OURS, all_checks, preflight
from clipbench.errors import LeftOutWarning
from clipbench.models import fingerprint as probes
from clipbench.testing import ToyModel
from tests.clipbench.checks.conftest import Bind

PAGE = Path(__file__).parents[3] / "docs" / "doctor.md"


def test_every_check_is_on_the_page_and_quick_ones_have_their_star() -> None:
    rows = re.findall(r"^(?:\||-) `([\w-]+)`( \*)?(?: \||:)", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert {name: bool(star) for name, star in rows if name != "loading"} == {
        check.name: check.is_quick for check in OURS
    }


def shortness(subject: Subject) -> CheckOutcome:
    if subject.info.embed_dim > 100:
        raise NotExamined("long vectors are another check's")
    return CheckOutcome("warning", f"{subject.info.embed_dim} dimensions", "see whether they are enough")


SHORT = Check(name="shortness", why="Few dimensions hold few classes.", examine=shortness, is_quick=True)


def test_checks_of_packages_are_made_beside_ours(embedder: Bind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "names", lambda group: ["mine"] if group == plugins.CHECKS else [])
    monkeypatch.setattr(plugins, "load", lambda group, name: SHORT)
    assert [warning.name for warning in all_checks()][-1] == "shortness"
    assert [(warning.check, warning.seen) for warning in preflight(embedder(ToyModel()))] == [
        ("shortness", "32 dimensions")
    ]
    assert preflight(embedder(ToyModel(embed_dim=101, fingerprint="long"))) == []
    monkeypatch.setattr(plugins, "load", lambda group, name: "no check")
    with pytest.warns(LeftOutWarning, match=r"plug-in 'mine' is not a check: expected an object of clipbench\.Check"):
        assert all_checks() == OURS
    monkeypatch.setattr(plugins, "load", lambda group, name: OURS[0])
    with pytest.warns(LeftOutWarning, match="has a check 'vectors', but a check of that name exists already"):
        assert all_checks() == OURS


def test_the_example_of_the_page_is_a_check(embedder: Bind) -> None:
    (code,) = re.findall(r"```python\n(from clipbench import Check.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    space: dict[str, Any] = {}
    exec(code, space)  # noqa: S102  the page's own example
    outcome = space["CHECK"].examine(Subject(embedder(ToyModel())))
    assert outcome == CheckOutcome("ok", "vectors have negative components")


def test_a_preflight_encodes_two_images_and_seven_texts(toy_clip: Any, embedder: Bind) -> None:
    model = toy_clip()
    encoded: dict[str, int] = {"pixels": 0, "tokens": 0}
    encode_pixels, encode_tokens = model.encode_pixels, model.encode_tokens

    def pixels(rows: np.ndarray) -> Any:
        encoded["pixels"] += len(rows)
        return encode_pixels(rows)

    def tokens(rows: Any) -> Any:
        encoded["tokens"] += len(rows["text"])
        return encode_tokens(rows)

    model.encode_pixels, model.encode_tokens = pixels, tokens
    bound = embedder(model)
    bound.probes = probes.encode_probes(model.encode_images, model.encode_texts)
    assert encoded == {"pixels": 3, "tokens": 3}
    assert preflight(bound) == []
    assert encoded == {"pixels": 3 + 2, "tokens": 3 + 7}


def test_the_function_takes_a_model_and_data_in_memory(
    toy_clip: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CLIPBENCH_CACHE", str(tmp_path))
    report = doctor(toy_clip(noise=0.1))
    assert not report.is_healthy and "1 fault, 0 warnings" in repr(report)
    assert report.frame().query("status == 'fault'")["check"].tolist() == ["determinism"]
    assert "determinism" in report._repr_html_()
    scenes = clipbench.load_data("scenes", data_options={"n": "40"})
    pairs = [(image.open(), caption) for image, caption in zip(scenes.images, scenes.captions or (), strict=True)]
    healthy = doctor(toy_clip(), data=pairs)
    assert healthy.is_healthy and "40 images of" in str(healthy.frame().set_index("check").loc["pairs", "seen"])
    with pytest.raises(UsageError, match="metric has no effect without expect"):
        doctor(toy_clip(), metric="acc1")
    with pytest.raises(UsageError, match="has no effect on a model in memory"):
        doctor(toy_clip(), precision="bf16")
