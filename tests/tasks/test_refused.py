"""Parameters that mean nothing, and data without what a task asks about, are refused in one line."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from clipbench.errors import MissingPart, UsageError
from clipbench.evaluation.task import Task
from clipbench_tasks.composition.task import Composition
from clipbench_tasks.compression import Compression
from clipbench_tasks.few_shot import FewShot
from clipbench_tasks.long_caption import LongCaption
from clipbench_tasks.mixed_retrieval import MixedRetrieval
from clipbench_tasks.modality_gap.task import ModalityGap
from clipbench_tasks.operating_points import OperatingPoints
from clipbench_tasks.perturbation.task import Perturbation
from clipbench_tasks.retrieval import Retrieval
from clipbench_tasks.zero_shot import ZeroShot
from tests.made import data_of

NAN = float("nan")
ASCENDING = "expected ascending numbers from 2 up"


@pytest.mark.parametrize(
    ("task", "parameters", "message"),
    [
        *((Retrieval, {"ks": ks}, "task retrieval: ks = ") for ks in ((), (0, 1))),
        *(
            (Retrieval, {"queries": queries}, r"task retrieval: queries = .*, expected an integer of 1 or more")
            for queries in (0, -1, 2.5, True, "500")
        ),
        *((Compression, {"dims": dims}, f"task compression: dims = .*{ASCENDING}") for dims in ((), (8, 4), (1, 4), (4, 4))),
        *((Compression, {"points": points}, "task compression: points = ") for points in (0.0, 100.0, NAN)),
        *(
            (OperatingPoints, {"precisions": given}, "task operating-points: precisions = ")
            for given in ((), (0.95, 0.9), (0.5,), (1.0,))
        ),
        *((OperatingPoints, {"prevalence": p}, "task operating-points: prevalence = ") for p in (0.0, 1.0, -0.1)),
        (OperatingPoints, {"prevalence": 0.92}, r"above the prevalence \(0.92\)"),
        (LongCaption, {"ks": ()}, r"task long-caption: ks = \[\]"),
        (LongCaption, {"tokens": ()}, r"task long-caption: tokens = \[\]"),
        (LongCaption, {"tokens": (0,)}, r"task long-caption: tokens = \[0\]"),
        (LongCaption, {"share": 1.0}, "task long-caption: share = 1.0"),
        (MixedRetrieval, {"ks": ()}, r"ks = \[\], expected numbers from 1 up"),
        (MixedRetrieval, {"shares": (0.0, 1.0)}, r"shares = \[0\.0, 1\.0\], expected numbers from 0 to 1, 0\.5 among them"),
        (MixedRetrieval, {"shares": (0.5, 2.0)}, "expected numbers from 0 to 1"),
        (FewShot, {"shots": (2, 1)}, r"task few-shot: shots = \[2, 1\]"),
        (FewShot, {"shots": ()}, "task few-shot: shots"),
        (FewShot, {"draws": 1}, "task few-shot: draws = 1"),
        (ModalityGap, {"pairwise_sample": 0}, "task modality-gap: pairwise_sample = 0, expected 1 or more"),
        (Perturbation, {"disturbances": ("blurr",)}, "task perturbation: unknown disturbance 'blurr': did you mean 'blur'"),
        (Perturbation, {"disturbances": ()}, r"task perturbation: disturbances = \[\], expected one or more, such as jpeg"),
        (Perturbation, {"score": "acc"}, "task perturbation: score = 'acc', expected 'retrieval' or 'zero-shot'"),
    ],
)  # fmt: skip
def test_parameters_that_mean_nothing_are_refused(task: type[Task], parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        task(**parameters)


@pytest.mark.parametrize(
    ("task", "parts", "needs"),
    [
        (Retrieval, {}, "captions"),
        (Retrieval, {"labels": [0, 1, 2]}, "captions, or two images of a class"),
        (Retrieval, {"labels": [0, 0, 0]}, "captions, or images of two classes"),
        (Composition, {}, "contrasts"),
        (LongCaption, {}, "captions"),
        (ModalityGap, {}, "captions"),
        (OperatingPoints, {}, "captions"),
        (Compression, {}, "captions"),
        (Compression, {"labels": [0, 0, 1]}, "class names"),
        (ZeroShot, {}, "class names"),
        (ZeroShot, {"class_names": ("cat",)}, "labels"),
        (FewShot, {"class_names": ("cat",)}, "labels"),
        (Perturbation, {}, "captions, or labels, and data set"),
        (Perturbation, {"labels": [0, 1, 1]}, "class names, and data set"),
        (
            partial(Perturbation, score="retrieval"),
            {"labels": [0, 1, 1], "class_names": ("cat", "dog")},
            "captions, and data set",
        ),
        (
            partial(Perturbation, score="zero-shot"),
            {"captions": ["a", "b", "c"], "caption_image": np.arange(3)},
            "labels, and data set",
        ),
    ],
)
def test_a_part_that_data_lack_is_named(task: Callable[[], Task], parts: dict[str, Any], needs: str) -> None:
    fields = {name: np.array(part) if name == "labels" else part for name, part in parts.items()}
    data = data_of("abc", **fields)
    with pytest.raises(MissingPart, match=f"the task needs {needs}"):
        task().check(data)
