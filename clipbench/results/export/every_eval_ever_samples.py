"""The instance-level records of ``every-eval-ever``: a line per sample and metric, by version 0.3.0 of its schema.

An image is never part of a record, only the hash of its content. Texts of the data, such as captions and class names,
are part of it if their licence is recorded and allows it. Otherwise a record has their hashes, by which others who have
the data find the sample. Question and answer are of a metric whose samples keep them.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from clipbench.results.export.formats import Object
from clipbench.results.metric_name import split_subset
from clipbench.results.numbers import listed
from clipbench.results.record import EvaluationRecord, Metric, Metrics
from clipbench.results.run import Run

if TYPE_CHECKING:
    import pandas

OPEN_LICENCE = re.compile(
    r"(?:captions )?(?:generated|CC0|CC BY(?:-SA)? \d|MIT|Apache|BSD|CDLA-Permissive|public domain)(?!.*gated)",
    re.IGNORECASE,
)
"""Licences that allow everybody to publish the texts of the data."""
IMAGE, CAPTION = ("image",), ("query_caption", "caption")
QUESTIONS: Mapping[str, tuple[Sequence[str], Sequence[str], Sequence[str]]] = {
    r"acc[15]|attacked_acc|attack_success": (IMAGE, ("label", "object"), ("predicted",)),
    "reading_acc": (IMAGE, ("written",), ("read",)),
    "text_acc": (IMAGE, ("caption",), ("preferred",)),
    "image_acc": (CAPTION, ("target_image",), ("predicted_image",)),
    r"text_retrieval_recall@\d+": (IMAGE, ("caption",), ("predicted_caption",)),
    r"image_retrieval_recall@\d+": (CAPTION, IMAGE, ("predicted_image",)),
}
"""Columns of the question, the right answer and the answer of a metric, by its name without the subset; of several
columns, the first that a sample has.
"""
AGAINST_RIVALS = ("text_acc", "image_acc")
"""Metrics whose samples keep the best wrong answer: it is the model's answer if the sample scores 0."""


class SampleLines(NamedTuple):
    """Instance-level records as lines, and what they leave out."""

    lines: list[bytes]
    notes: list[str]


def sample_lines(run: Run, record: EvaluationRecord, results: Metrics, identity: Object) -> SampleLines:
    """Return the records of an evaluation; raise ClipbenchError if its samples are damaged.

    Args:
        results: metrics that the archive has of it.
        identity: fields that all records share.
    """
    if "samples" not in record.files or not run.has_samples(record):
        return SampleLines([], [f"{record.name}: no samples, the run kept none"])
    table = run.samples(record)
    credits = {
        name: metric
        for name, metric in results.items()
        if metric.column in table and metric.unit == "fraction" and metric.statistic is None
    }
    other_names = [name for name in results if name not in credits]
    notes = []
    if other_names:
        notes.append(f"{record.name}: no samples of {listed(other_names)}, which are not means over samples")
    licence = record.dataset.licence or "it is not recorded"
    is_open = OPEN_LICENCE.match(licence) is not None
    if not is_open:
        notes.append(
            f"{record.name}: hashes replace the texts of the data, whose licence does not allow publishing them"
            f" ({licence})"
        )
    lines = []
    for name, metric in credits.items():
        for fields in _metric_records(record, name, metric, table, is_open=is_open):
            line = json.dumps({**identity, **fields}, ensure_ascii=False, allow_nan=False) + "\n"
            lines.append(line.encode(errors="replace"))
    return SampleLines(lines, notes)


def _metric_records(
    record: EvaluationRecord, name: str, metric: Metric, table: "pandas.DataFrame", *, is_open: bool
) -> Iterator[Object]:
    subset, kind = split_subset(name)
    question = next((columns for pattern, columns in QUESTIONS.items() if re.fullmatch(pattern, kind)), ((), (), ()))
    contents = [_contents(table, columns, subset, is_open=is_open) for columns in question]
    for sample, score, query, reference, chosen in zip(
        table["sample_id"].map(str), table[metric.column].tolist(), *contents, strict=True
    ):
        if math.isnan(score):  # the sample has no part in the metric
            continue
        answers = chosen
        if kind in AGAINST_RIVALS and score:
            answers = reference if score == 1 else []
        inputs = {"raw": query[0] if query else f"sample {sample}", "reference": reference}
        canonical = json.dumps(inputs, sort_keys=True, separators=(",", ":"))
        attribution = {"turn_idx": 0, "source": "output.raw", "extraction_method": "nearest embedding"}
        credit = score if metric.higher_is_better else 1 - score
        yield {
            "evaluation_name": record.name,
            "evaluation_result_id": f"{record.name}/{name}",
            "sample_id": sample,
            "sample_hash": hashlib.sha256(canonical.encode(errors="replace")).hexdigest(),
            "interaction_type": "single_turn",
            "input": inputs,
            "output": {"raw": answers},
            "answer_attribution": [
                {**attribution, "extracted_value": answer, "is_terminal": True} for answer in answers
            ],
            "evaluation": {"score": score, "is_correct": credit > 1 - 1e-9},
        }


def _contents(table: "pandas.DataFrame", names: Sequence[str], subset: str, *, is_open: bool) -> list[list[str]]:
    """Return, for each sample, the first text or image that it has in some columns, images as hashes."""

    def content(name: str, cell: object) -> list[str]:
        if not isinstance(cell, str) or not cell:
            return []
        if name.endswith("image"):
            return [f"image blake2b-128:{cell}"]
        return [cell if is_open else f"text sha256:{hashlib.sha256(cell.encode(errors='replace')).hexdigest()}"]

    contents: list[list[str]] = [[] for _ in range(len(table))]
    for name in names:
        column = f"{subset}/{name}" if f"{subset}/{name}" in table else name
        for row, cell in enumerate(table.get(column, ())):
            contents[row] = contents[row] or content(name, cell)
    return contents
