"""Where numbers come from, in words: the model, the data, the seed, the date and the version."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from clipbench.results.costs import cost_facts
from clipbench.results.numbers import count, counted, significant
from clipbench.results.record import DatasetRecord, EvaluationRecord
from clipbench.results.run import Run

FINGERPRINT_LENGTH = 12
"""Characters that tell one model from another; result.json has all."""


def origin(run: Run) -> str:
    """Return which weights a run is of, and how and when it was made.

    Example:
        fingerprint 1a2b3c4d5e6f, seed 0, 2026-11-24 14:15 UTC, clipbench 0.1.0
    """
    result = run.result
    fingerprint = str(result.model.get("fingerprint") or "not recorded")[:FINGERPRINT_LENGTH]
    created = moment(result.created) or "date not recorded"
    return f"fingerprint {fingerprint}, seed {result.seed}, {created}, clipbench {result.clipbench_version}"


def model_facts(run: Run) -> list[str]:
    """Return short facts on the model: its full name, sizes, scale, and what it ran on; those that are not known are left out."""
    model, environment = run.result.model, run.result.environment
    return [
        *_known("{}", model.get("family") if model.get("id") in (None, model.get("ref")) else model["id"]),
        *_known("step {}", _number(model, "step")),
        *_known("{} px", model.get("image_size")),
        *cost_facts(run.result),
        *_known("{} tokens", model.get("context_length")),
        *_known("{} dimensions", model.get("embed_dim")),
        *_known("logit scale {}", _number(model, "logit_scale")),
        *_known("{}", " on ".join(str(environment[key]) for key in ("precision", "device") if environment.get(key))),
    ]


def data_facts(data: DatasetRecord) -> str:
    """Return which samples of a data set were used.

    Example:
        >>> data_facts(DatasetRecord(id="coco", split="test", n_samples=5000))
        'split test, 5,000 images'
    """
    facts = [
        *_known("revision {}", data.revision),
        *_known("split {}", data.split),
        counted(data.n_samples, data.sample),
    ]
    return ", ".join(facts)


def encoded_facts(counts: Mapping[str, int]) -> str | None:
    """Return how many images, texts and others went through the model, and how many came from the cache.

    Example:
        >>> encoded_facts({"images": 3, "stored_images": 5, "texts": 0, "stored_texts": 1000})
        '3 images encoded and 5 from cache, 1,000 texts from cache'
    """
    if not counts.keys() >= {"images", "stored_images", "texts", "stored_texts"}:
        return None  # vectors that were there before, or an old run
    parts = []
    for noun in ("image", "text"):
        encoded, stored = counts[f"{noun}s"], counts[f"stored_{noun}s"]
        if encoded and stored:
            parts.append(f"{counted(encoded, noun)} encoded and {count(stored)} from cache")
        else:
            parts.append(f"{counted(encoded, noun)} encoded" if encoded else f"{counted(stored, noun)} from cache")
    for name in (name for name in counts if f"stored_{name}" in counts and name not in ("images", "texts")):
        encoded, stored = counts[name], counts[f"stored_{name}"]
        found = [
            *([f"{count(encoded)} encoded"] if encoded else []),
            *([f"{count(stored)} from cache"] if stored else []),
        ]
        parts.append(f"{name}: {' and '.join(found) or '0 encoded'}")
    return ", ".join(parts)


def moment(created: str) -> str:
    """Return an ISO 8601 time for reading.

    Example:
        >>> moment("2026-11-24T14:15:00+00:00"), moment("some day")
        ('2026-11-24 14:15 UTC', 'some day')
    """
    try:
        time = datetime.fromisoformat(created)
    except ValueError:
        return created
    return f"{time:%Y-%m-%d %H:%M} {time.tzname() or 'UTC'}"


def why_missing(record: EvaluationRecord) -> str:
    """Return why an evaluation has no numbers, such as ``unavailable: no data in data/coco``."""
    return f"{record.status}: {record.reason or 'no reason was recorded'}"


def _known(words: str, fact: object) -> list[str]:
    return [] if fact in (None, "") else [words.replace("{}", str(fact))]


def _number(model: Mapping[str, Any], name: str) -> str | None:
    value = model.get(name)
    return significant(value) if isinstance(value, int | float) else None
