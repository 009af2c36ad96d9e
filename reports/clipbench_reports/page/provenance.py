"""The origin of numbers: the model, the data, the command, the machine."""

import shlex
from collections.abc import Sequence

from clipbench.results import numbers as fmt
from clipbench.results.provenance import encoded_facts, model_facts, moment
from clipbench.results.record import EvaluationRecord, as_json
from clipbench.results.run import Run

MODEL_FACTS = {
    "ref": "Reference",
    "id": "Resolved to",
    "family": "Family",
    "n_parameters": "Parameters",
    "embed_dim": "Dimensions",
    "context_length": "Context, tokens",
    "image_size": "Image side, pixels",
    "logit_scale": "Logit scale",
    "logit_bias": "Logit bias",
    "fingerprint": "Fingerprint",
}

STEPS = {"load": "Load", "encode_images": "Encode images", "encode_texts": "Encode texts", "score": "Score"}


def origin(run: Run, label: str, position: int) -> dict[str, object]:
    """Return the facts to repeat a run: its command in words quoted for a shell, and versions, settings and data."""
    result = run.result
    model = [(words, _fact(result.model.get(name))) for name, words in MODEL_FACTS.items()]
    checks = "not made"
    if result.preflight is not None:
        checks = ", ".join(finding.check for finding in result.preflight) or "nothing found"
    environment = {
        "clipbench": result.clipbench_version,
        "created": moment(result.created),
        "seed": str(result.seed),
    }
    versions = [(str(name), _plain(value)) for name, value in result.environment.items()]
    return {
        "label": label,
        "position": position,
        "command": [shlex.quote(word) for word in result.command],
        "model": [*model, ("Quick checks", checks)],
        "model_notes": [str(note) for note in result.model.get("notes") or ()],
        "environment": [*environment.items(), *versions],
        "evaluations": [_evaluation(evaluation) for evaluation in result.evaluations],
    }


def headline_facts(run: Run) -> str:
    """Return the facts on a model in one line. The work of its towers has a table of its own."""
    facts = [fact for fact in model_facts(run) if "FLOPs" not in fact]
    return " · ".join(fact.replace(" ", "\N{NO-BREAK SPACE}") for fact in facts)


def _evaluation(evaluation: EvaluationRecord) -> dict[str, object]:
    dataset = evaluation.dataset
    data = {
        "id": dataset.id,
        "revision": dataset.revision,
        "split": dataset.split,
        "n": fmt.count(dataset.n_samples) if dataset.n_samples else None,
        "fingerprint": dataset.fingerprint,
    }
    work = []
    for step, seconds in evaluation.seconds.items():
        title = STEPS.get(step) or step.replace("_", " ").capitalize()
        work.append((title, fmt.duration(seconds)))
    if encoded := encoded_facts(evaluation.encoded):
        work.append(("Vectors", encoded))
    params = [(name, _plain(value)) for name, value in evaluation.params.items()]
    return {
        "name": evaluation.name,
        "status": evaluation.status,
        "data": [(name, value or "not recorded") for name, value in data.items()],
        "task": [("version", str(evaluation.task_version)), *params],
        "work": work,
    }


def citations(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Return the citation of each data set that was measured, or a hint for a data set without one."""
    cited: dict[str, str | None] = {}
    for run in runs:
        for evaluation in run.result.evaluations:
            if evaluation.status == "ok":
                data = evaluation.dataset
                cited[data.id] = cited.get(data.id) or data.cite
    return [(data, cite or "not recorded: see where you got the data") for data, cite in cited.items()]


def _fact(value: object) -> str:
    if value is None:
        return "not known"
    return fmt.significant(float(value)) if isinstance(value, int | float) else str(value)


def _plain(value: object) -> str:
    return value if isinstance(value, str) else as_json(value)
