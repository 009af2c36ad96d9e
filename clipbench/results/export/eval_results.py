"""``eval-results``: the YAML that a model's repository keeps in ``.eval_results/``, for the leaderboards of the Hub's benchmarks.

An entry has one value for a task of a benchmark, so that the first headline metric of each evaluation is exported. Its
interval, n and chance are words in ``notes``, where the format has a place for no more.
"""

import re
from collections.abc import Sequence

from clipbench.errors import UsageError
from clipbench.results.export.model_index import hub_name, lacking, one_model
from clipbench.results.export.rendered import Rendered
from clipbench.results.numbers import count, interval, interval_name, quantity
from clipbench.results.provenance import origin
from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.run import Run, model_name
from clipbench.results.titles import headlines
from clipbench.untrusted.terminal import one_line

COMMIT = re.compile(r"[0-9a-f]{40}")
DEFAULT = "default"
"""The task of a benchmark with a single one."""


def render(runs: Sequence[Run]) -> Rendered:
    """Return the entries of all evaluations on data sets of the Hub, of one model.

    Raises:
        UsageError: the runs are of several models, or nothing was measured on data of the Hub.
    """
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml
    from huggingface_hub.utils import yaml_dump

    name = one_model(runs, "a file of evaluation results")
    entries, notes = [], []
    for run in runs:
        for record in run.result.evaluations:
            found = {metric: each for metric, each in headlines(record).items() if each.value is not None}
            place = hub_name(record.dataset.id)
            if record.status != "ok":
                notes += list(lacking(record))
            elif place is None:
                notes.append(f"{record.name} is left out: its data are not named as a data set of the Hub, hf:ORG/NAME")
            elif not found:
                notes.append(f"{record.name} is left out: it has no headline metric with a value")
            else:
                (metric, value), *others = found.items()
                notes += [
                    f"{record.name} {other} is left out: a task of a benchmark has one value" for other, _ in others
                ]
                revision = record.dataset.revision or ""
                entries.append(
                    EvalResultEntry(
                        dataset_id=place[0],
                        task_id=place[1] or DEFAULT,
                        value=value.value,
                        dataset_revision=revision if COMMIT.fullmatch(revision) else None,
                        date=run.result.created or None,
                        notes=_words(record, metric, value, run),
                    )
                )
    notes = [one_line(note) for note in notes]
    if not entries:
        raise UsageError(f"no value of {name} on a data set of the Hub: {'; '.join(notes[:3]) or 'no evaluation'}")
    comments = ["# Made by `clipbench export --to eval-results`, for .eval_results/ in the model's repository."]
    comments += [f"# {one_line(f'{model_name(run)}: {origin(run)}')}" for run in runs]
    comments += [f"# {note}" for note in notes]
    text = yaml_dump(eval_result_entries_to_yaml(entries), sort_keys=False)
    return Rendered(content=("\n".join(comments) + f"\n{text}").encode("utf-8", errors="replace"), notes=notes)


def _words(record: EvaluationRecord, name: str, metric: Metric, run: Run) -> str:
    bounds = [] if metric.low is None else [f"{interval_name([metric])} {interval(metric)}"]
    chance = [] if metric.chance is None else [f"chance {quantity(metric.chance, metric.unit)}"]
    facts = [f"{record.task} {name} {quantity(metric.value, metric.unit)}", *bounds, *chance, f"n {count(metric.n)}"]
    return one_line("; ".join([*facts, f"clipbench {run.result.clipbench_version}"]))
