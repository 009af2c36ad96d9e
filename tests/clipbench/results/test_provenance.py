"""Where numbers come from, in words: all that a run recorded, and nothing made up for what it did not."""

from pathlib import Path
from typing import Any

from clipbench.results.provenance import encoded_facts, model_facts, origin
from clipbench.results.record import Result
from clipbench.results.run import Run


def run(model: dict[str, Any], environment: dict[str, Any] | None = None, created: str = "") -> Run:
    result = Result(
        clipbench_version="9",
        created=created,
        command=[],
        seed=3,
        environment=environment or {},
        model=model,
        evaluations=[],
    )
    return Run(Path("run"), result)


def test_an_origin_has_the_start_of_the_fingerprint_the_seed_the_date_and_the_version() -> None:
    found = run({"fingerprint": "0123456789abcdef"}, created="2026-11-24T14:15:00+00:00")
    assert origin(found) == "fingerprint 0123456789ab, seed 3, 2026-11-24 14:15 UTC, clipbench 9"
    assert origin(run({})) == "fingerprint not recorded, seed 3, date not recorded, clipbench 9"


def test_a_model_has_its_full_name_or_else_its_family() -> None:
    assert model_facts(run({"ref": "vit", "id": "open_clip:ViT/x", "family": "open_clip"})) == ["open_clip:ViT/x"]
    assert model_facts(run({"ref": "tiny", "id": "tiny", "family": "bundled"})) == ["bundled"]
    assert model_facts(run({})) == []


def test_sizes_are_rounded_and_what_is_not_known_is_left_out() -> None:
    model = {"n_parameters": 1_900_000, "step": 1200, "logit_scale": 14.2857, "image_size": None}
    facts = model_facts(run(model, {"device": "cpu"}))
    assert facts == ["step 1,200", "1.90 M parameters", "logit scale 14.3", "cpu"]
    assert model_facts(run({}, {"device": "cpu", "precision": "fp32"})) == ["fp32 on cpu"]


def test_counts_of_encoded_images_are_told_only_where_they_were_kept() -> None:
    counts = {"images": 12, "stored_images": 0, "texts": 0, "stored_texts": 1}
    assert encoded_facts(counts) == "12 images encoded, 1 text from cache"
    assert encoded_facts({"images": 12}) is None and encoded_facts({}) is None
