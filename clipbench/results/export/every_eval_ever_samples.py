"""The instance-level records of ``every-eval-ever``: a line per sample and metric, by version 0.3.0 of its schema.

An image is never part of a record, only the hash of its content. Texts of the data, such as captions and class names,
are part of it if their licence is recorded and allows it. Otherwise a record has their hashes, by which others who have
the data find the sample. An answer is the nearest item. If the sample does not keep it, the list is empty.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from clipbench.errors import ClipbenchError
from clipbench.results.numbers import listed
from clipbench.results.record import GROUP_COLUMN, EvaluationRecord, Metric
from clipbench.results.run import Run

if TYPE_CHECKING:
    import pandas

Object = dict[str, object]

OPEN_LICENCE = re.compile(
    r"(?:captions )?(?:generated|CC0|CC BY(?:-SA)? \d|MIT|Apache|BSD|CDLA-Permissive|public domain)", re.IGNORECASE
)
"""Beginnings of licences that allow everybody to publish the texts of the data."""
QUERY_TEXTS = ("asked_caption", "caption")
RIGHT_TEXTS, CHOSEN_TEXTS = (
    ("label", "written", "object", "caption"),
    ("predicted", "read", "preferred", "chosen_caption"),
)
CHOSEN_IMAGE = "chosen_image"
RIGHT_IMAGES, CHOSEN_IMAGES = ("right_image", "image"), (CHOSEN_IMAGE, "preferred_image")
"""Columns with queries, right answers and answers; the first that a sample has counts."""
OTHER_IMAGES = ("clean", "blank", "benign")
"""Metrics that begin so are of another image than the sample's, whose answer is not kept."""
ANSWERED = re.compile(
    r"acc1|acc5|text_acc|image_acc|reading_acc|attacked_acc|attack_success|(?:image|text)_retrieval_recall@\d+"
)
"""Metrics whose answer is the one that a sample keeps."""
AGAINST_RIVALS = ("text_acc", "image_acc")
"""Metrics whose samples keep the best wrong answer: it is the model's answer if the sample scores 0."""
METADATA = ("cluster", "subset", "direction")


class Question(NamedTuple):
    """What a model was asked, the right answers, and its answers."""

    raw: str
    reference: list[str]
    answers: list[str]


class SampleLines(NamedTuple):
    """Instance-level records as lines, and what they leave out."""

    lines: list[bytes]
    notes: list[str]


def sample_lines(run: Run, record: EvaluationRecord, results: Mapping[str, Metric], identity: Object) -> SampleLines:
    """Return the records of an evaluation.

    Args:
        results: metrics that the archive has of it.
        identity: fields that all records share.
    """
    try:
        table = run.samples(record) if run.has_samples(record) and "samples" in record.files else None
    except ClipbenchError as error:
        return SampleLines([], [f"{record.name}: no samples, {error}"])
    if table is None:
        return SampleLines([], [f"{record.name}: no samples, the run kept none"])
    credits = {
        name: metric
        for name, metric in results.items()
        if metric.column in table and metric.unit == "fraction" and metric.statistic is None
    }
    other_names = [name for name in results if name not in credits]
    notes = (
        [f"{record.name}: no samples of {listed(other_names)}, which are not means of credits"] if other_names else []
    )
    if not credits:
        return SampleLines([], notes)
    is_open = is_open_licence(record.dataset.licence)
    if not is_open:
        licence = record.dataset.licence or "it is not recorded"
        notes.append(
            f"{record.name}: hashes replace the texts of the data, whose licence does not allow it ({licence})"
        )
    lines = [
        json.dumps({**identity, **fields}, ensure_ascii=False, allow_nan=False).encode(errors="replace") + b"\n"
        for name, metric in credits.items()
        for fields in _metric_records(record, name, metric, table, is_open=is_open)
    ]
    return SampleLines(lines, notes)


def is_open_licence(licence: str | None) -> bool:
    """Return whether the texts of data may be published by everybody.

    Example:
        >>> is_open_licence("CC BY 4.0"), is_open_licence("CC BY-NC 4.0"), is_open_licence("MIT; gated: ask")
        (True, False, False)
    """
    return licence is not None and OPEN_LICENCE.match(licence) is not None and "gated" not in licence


def _metric_records(
    record: EvaluationRecord, name: str, metric: Metric, table: "pandas.DataFrame", *, is_open: bool
) -> Iterator[Object]:
    columns = {str(column): values for column, values in table.to_dict("list").items()}
    for row, score in enumerate(columns.get(str(metric.column), ())):
        if math.isnan(score):  # the sample has no part in the metric
            continue
        sample = {column: values[row] for column, values in columns.items()}
        raw, reference, answers = _question(name, score, sample, is_open=is_open)
        canonical = json.dumps({"raw": raw, "reference": reference}, sort_keys=True, separators=(",", ":"))
        yield {
            "evaluation_name": record.name,
            "evaluation_result_id": f"{record.name}/{name}",
            "sample_id": str(sample["sample_id"]),
            "sample_hash": hashlib.sha256(canonical.encode(errors="replace")).hexdigest(),
            "interaction_type": "single_turn",
            "input": {"raw": raw, "reference": reference},
            "output": {"raw": answers},
            "answer_attribution": [
                {
                    "turn_idx": 0,
                    "source": "output.raw",
                    "extracted_value": answer,
                    "extraction_method": "nearest embedding",
                    "is_terminal": True,
                }
                for answer in answers
            ],
            "evaluation": {"score": score, "is_correct": (score if metric.higher_is_better else 1 - score) > 1 - 1e-9},
            "metadata": {
                column: str(value)
                for column, value in sample.items()
                if (column in METADATA or column.startswith(GROUP_COLUMN)) and value not in (None, "")
            },
        }


def _question(name: str, score: float, sample: Mapping[str, object], *, is_open: bool) -> Question:
    """Return what a model was asked, the right answer, and its answer if the sample keeps the answer to this."""
    subset, _, kind = name.rpartition("/")
    condition = kind.partition("_")[0]
    asked: Sequence[str] = ("image",)
    right: Sequence[str] = RIGHT_TEXTS
    chosen: Sequence[str] = CHOSEN_TEXTS
    if kind == "image_acc" or sample.get(CHOSEN_IMAGE):
        asked, right, chosen = QUERY_TEXTS, RIGHT_IMAGES, CHOSEN_IMAGES
    raw = _contents(asked, sample, subset, is_open=is_open) or [f"sample {sample['sample_id']}"]
    if condition in OTHER_IMAGES and f"{condition}_image" in sample:
        raw = [f"{condition} image of sample {sample['sample_id']}"]
    reference = _contents(right, sample, subset, is_open=is_open)
    answers = _contents(chosen, sample, subset, is_open=is_open) if ANSWERED.fullmatch(kind) else []
    if kind in AGAINST_RIVALS and score:
        answers = reference if score == 1 else []
    return Question(raw[0], reference, answers)


def _contents(names: Sequence[str], sample: Mapping[str, object], subset: str, *, is_open: bool) -> list[str]:
    """Return the first of some columns that a sample has, an image as its hash; nothing if it has none."""
    for name in names:
        for column in (f"{subset}/{name}", name):
            if isinstance(content := sample.get(column), str) and content:
                return [f"image blake2b-128:{content}" if name.endswith("image") else _text(content, is_open=is_open)]
    return []


def _text(text: str, *, is_open: bool) -> str:
    return text if is_open else f"text sha256:{hashlib.sha256(text.encode(errors='replace')).hexdigest()}"
