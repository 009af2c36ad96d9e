"""The report on mixed retrieval: its sentences, and the documents that came first instead."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from clipbench.results.record import Metric
from clipbench_reports.galleries import Gallery
from clipbench_reports.sections.mixed_retrieval import TEXTS_FIRST, findings
from clipbench_reports.sections.retrieval import failure_gallery
from tests.reports.conftest import MakeRun


def mixed(fraction: Callable[..., Metric], *, preference: float = 0.9) -> dict[str, Any]:
    """Return the parts of an evaluation of 400 captions, of which 200 look for an image."""
    samples: dict[str, list[Any]] = {
        "sample_id": ["text:a", "text:b"],
        "direction": ["mixed"] * 2,
        "image": ["a" * 32, "b" * 32],
        "caption": ["a sea", "a wood"],
        "target_text": ["", "trees"],
        "target_image": ["a" * 32, ""],
        "predicted_text": ["waves", "trees"],
        "predicted_image": ["", ""],
        "target_cosine": [0.25, 0.8],
        "predicted_cosine": [0.75, 0.8],
        "mixed_cosine_margin": [-0.5, 0.0],
        "mixed_rank": [7.0, 1.0],
        "margin": [-5.5, 0.5],
    }
    ndcg = Metric(**{**vars(fraction(0.5, 400, chance=0.01)), "title": "nDCG@10", "is_headline": True})
    return {
        "samples": {
            name: np.array(sample, object if isinstance(sample[0], str) else None) for name, sample in samples.items()
        },
        "metrics": {
            "texts=50/ndcg@10": ndcg,
            "texts=50/text_preference": fraction(preference, 200, chance=0.5, higher_is_better=False),
            "texts=50/centring_gain": Metric(value=0.3, low=0.25, high=0.35, unit="difference", n=400),
        },
    }


def test_sentences_name_a_preference_only_where_a_test_shows_it(make_run: MakeRun, parts: SimpleNamespace) -> None:
    run = make_run({"mixed-retrieval@scenes": mixed(parts.fraction)})
    ndcg, preference, gain = findings(run.result.evaluations[0])
    assert ndcg.text.startswith("If half of the documents are texts, nDCG@10 is 50.0 % [45.1, 54.9] over 400 captions")
    assert preference.text.startswith(
        "For 90.0 % [85.8, 94.2] of 200 captions whose right document is an image, the nearest document is a text"
    )
    assert (preference.mark, preference.weakness) == ("weak", TEXTS_FIRST)
    assert gain.text == "With each modality centred, nDCG@10 changes by +30.00 pp (95 % interval [+25.00, +35.00])."
    task_parts = mixed(parts.fraction, preference=0.1)
    task_parts["metrics"]["texts=50/recall@10"] = parts.fraction(0.6, 400, chance=0.1)
    _, sentences, preference, _ = findings(
        make_run({"mixed-retrieval@scenes": task_parts}, name="fair").result.evaluations[0]
    )
    assert sentences.text.startswith(
        "The first ten results hold the right document for 60.0 % [55.2, 64.8] of 400 captions"
    )
    assert preference.mark == "good"


def test_a_failure_has_the_right_image_and_the_text_that_came_first(
    hang: Callable[..., Gallery], parts: SimpleNamespace
) -> None:
    (only,) = hang(failure_gallery("mixed"), **mixed(parts.fraction)["samples"]).failures
    assert [(fact.term, fact.words) for fact in only.facts] == [
        ("Caption", "a sea"), ("Right", ""), ("Came first", "waves"), ("Margin", "")
    ]  # fmt: skip
    assert [image.role for image in only.images] == ["Right"]
