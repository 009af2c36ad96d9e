"""Where the numbers of a run come from, in words: its model, data, origin, and what was encoded."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from clipbench.results.model_costs import cost_facts, price_facts
from clipbench.results.numbers import count, counted, significant
from clipbench.results.record import DatasetRecord, EvaluationRecord
from clipbench.results.run import Run

FINGERPRINT_LENGTH = 12
"""Characters that distinguish models. result.json has all."""


def origin(run: Run) -> str:
    """Return which weights a run is of, and how and when it was made: ``fingerprint 1a2b3c4d5e6f, seed 0, ...``."""
    result = run.result
    fingerprint = str(result.model.get("fingerprint") or "not recorded")[:FINGERPRINT_LENGTH]
    created = moment(result.created) or "date not recorded"
    return f"fingerprint {fingerprint}, seed {result.seed}, {created}, clipbench {result.clipbench_version}"


def model_facts(run: Run) -> list[str]:
    """Return the known facts on the model: its full name, sizes, scale and device."""
    model, environment = run.result.model, run.result.environment
    # A resolved name says more than the family, unless it is the name that was given.
    has_resolved_name = model.get("id") not in (None, model.get("ref"))
    computation = [str(environment[key]) for key in ("precision", "device") if environment.get(key)]
    return [
        *_fact("{}", model["id"] if has_resolved_name else model.get("family")),
        *_fact("step {}", _number(model, "step")),
        *_fact("{} px", model.get("image_size")),
        *cost_facts(run.result),
        *price_facts(run.result),
        *_fact("{} tokens", model.get("context_length")),
        *_fact("{} dimensions", model.get("embed_dim")),
        *_fact("logit scale {}", _number(model, "logit_scale")),
        *_fact("{}", " on ".join(computation)),
    ]


def data_facts(data: DatasetRecord) -> str:
    """Return which samples of a data set were used.

    Example:
        >>> data_facts(DatasetRecord(id="coco", split="test", n_samples=5000))
        'split test, 5,000 images'
    """
    facts = [
        *_fact("revision {}", data.revision),
        *_fact("split {}", data.split),
        counted(data.n_samples, data.sample),
    ]
    return ", ".join(facts)


def encoded_facts(counts: Mapping[str, int]) -> str | None:
    """Return how many images, texts and others went through the model, and how many came from the cache."""
    if not counts.keys() >= {"images", "stored_images", "texts", "stored_texts"}:
        return None  # vectors that were there before
    parts = []
    for name, encoded in counts.items():
        if f"stored_{name}" not in counts:
            continue
        stored = counts[f"stored_{name}"]
        is_plural = name in ("images", "texts")
        first = counted(encoded or stored, name[:-1]) if is_plural else f"{name}: {count(encoded or stored)}"
        if encoded and stored:
            parts.append(f"{first} encoded and {count(stored)} from cache")
        else:
            parts.append(f"{first} {'from cache' if stored else 'encoded'}")
    return ", ".join(parts)


def moment(created: str) -> str:
    """Return an ISO 8601 time for reading."""
    try:
        time = datetime.fromisoformat(created)
    except ValueError:
        return created
    return f"{time:%Y-%m-%d %H:%M} {time.tzname() or 'UTC'}"


def missing_reason(record: EvaluationRecord) -> str:
    """Return why an evaluation has no numbers, such as ``unavailable: no data in data/coco``."""
    return f"{record.status}: {record.reason or 'no reason was recorded'}"


def _fact(words: str, fact: object) -> list[str]:
    return [] if fact in (None, "") else [words.replace("{}", str(fact))]


def _number(model: Mapping[str, Any], name: str) -> str | None:
    value = model.get(name)
    return significant(value) if isinstance(value, int | float) else None
