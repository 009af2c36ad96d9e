"""Every metric of the tasks that ship is written out for a reader: title, description, headline, what it baselines."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from clipbench.data.scenes import scenes_dataset
from clipbench.evaluation.task import Evaluation, Task
from clipbench.models.protocol import ModelInfo
from clipbench.results.record import Metric
from clipbench.results.sample_inputs import split_query_id, usual_inputs
from clipbench.testing import INFO, StubEmbedder, ToyModel
from clipbench_tasks.composition.task import Composition
from clipbench_tasks.compression import Compression
from clipbench_tasks.few_shot import FewShot
from clipbench_tasks.long_caption import LongCaption
from clipbench_tasks.mixed_retrieval import MixedRetrieval
from clipbench_tasks.modality_gap.task import ModalityGap
from clipbench_tasks.operating_points import OperatingPoints
from clipbench_tasks.retrieval import Retrieval
from clipbench_tasks.text_in_image.task import TextInImage
from clipbench_tasks.zero_shot import ZeroShot

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        ZeroShot(),
        Retrieval(),
        Composition(),
        TextInImage(),
        LongCaption(),
        ModalityGap(),
        MixedRetrieval(),
        FewShot(draws=2),
        OperatingPoints(),
        Compression(dims=(8,)),
    )
}


class Toy(StubEmbedder):
    """A toy model over drawn scenes; it sees no pixels, which no title depends on."""

    info: ModelInfo = INFO

    def __init__(self) -> None:
        self.toy = ToyModel(embed_dim=INFO.embed_dim)

    def images(self, images: object) -> np.ndarray:
        return np.random.default_rng(0).standard_normal((len(images), INFO.embed_dim)).astype(np.float32)  # type: ignore[arg-type]

    def texts(self, texts: object) -> np.ndarray:
        return self.toy.encode_texts(texts)  # type: ignore[arg-type]


@cache
def evaluated(task: str) -> Evaluation:
    """Return the evaluation of a task on a few scenes, with the data's titles of subsets."""
    dataset = scenes_dataset(TASKS[task].data_form, n=24)
    evaluation = TASKS[task].evaluate(dataset, Toy(), np.random.default_rng(0))
    return replace(evaluation, subsets={**evaluation.subsets, **dataset.subsets})


@cache
def measured(task: str) -> tuple[dict[str, Metric], dict[str, Metric], dict[str, str]]:
    """Return metrics, baselines and titles of subsets of a task on a few scenes."""
    result, rng = evaluated(task), np.random.default_rng(0)
    metrics, baselines = (
        {name: measure.metric(result.samples, rng) for name, measure in part.items()}
        for part in (result.measures, result.baselines)
    )
    return metrics, baselines, dict(result.subsets)


@pytest.mark.parametrize("task", TASKS)
def test_every_metric_baseline_and_subset_is_written_out_and_so_is_the_task(task: str) -> None:
    metrics, baselines, subsets = measured(task)
    for name, metric in [*metrics.items(), *baselines.items()]:
        assert metric.title[:1].isupper() or metric.title.startswith("nDCG"), name
        assert metric.description.endswith(".") and ". " not in metric.description, name
    titles = [(name.rpartition("/")[0], metric.title) for name, metric in metrics.items()]
    assert len(set(titles)) == len(titles), "two metrics of a subset share a title"
    of_attacks = ("height=", "contrast=", "offset=")
    named_subsets = {name.rpartition("/")[0] for name in metrics} - {""}
    assert {name for name in named_subsets if not name.startswith(of_attacks)} <= set(subsets)
    assert all(text.endswith((".", "?")) for text in (TASKS[task].question, TASKS[task].scoring))


@pytest.mark.parametrize("task", TASKS)
def test_columns_with_usual_names_are_declared_as_inputs(task: str) -> None:
    """No task has fewer groups in `explain` than a task that declares nothing."""
    evaluation = evaluated(task)
    columns = dict(evaluation.samples)
    if not any(split_query_id(sample_id).modality for sample_id in columns["sample_id"]):
        del columns["sample_id"]
    assert evaluation.inputs.items() >= usual_inputs(columns).items()
    assert evaluation.inputs.keys() <= evaluation.samples.keys()
