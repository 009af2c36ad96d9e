"""Curves with the figure, series and role that tasks record, for runs that tests make by hand."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from clipbench.results.record import Curve
from clipbench_tasks import compression, retrieval
from clipbench_tasks.modality_gap import shift, structure, task

SHARE = {"unit": "fraction"}


def recorded(curves: Mapping[str, Curve]) -> dict[str, Curve]:
    """Return curves with the facts that tasks record; a curve of another name, or with facts, stays as it is."""
    described = {name: curve if curve.figure else replace(curve, **facts_of(name)) for name, curve in curves.items()}
    return {
        name: replace(curve, chance=chance.y) if (chance := curves.get(_chance_of(name))) else curve
        for name, curve in described.items()
    }


def facts_of(name: str) -> dict[str, Any]:
    """Return the facts of a curve by its name; none of a curve that no task records."""
    subset, _, own = name.rpartition("/")
    for pattern, describe in FACTS.items():
        if match := re.fullmatch(pattern, name if pattern.startswith("(?P<whole>") else own):
            return describe(subset, *match.groups())
    return {}


def _chance_of(name: str) -> str:
    return name.replace("gap_by_", "gap_chance_by_") if name.startswith("gap_by_") else f"{name}_chance"


def _recall(subset: str, way: str, end: str) -> dict[str, Any]:
    figure, series, role = retrieval.RECALL_CURVES[way]
    return {
        **SHARE,
        "y_label": "recall@k",
        "x_label": "k",
        "figure": figure,
        "series": "" if end else series,
        "role": role,
    }


def _moved(subset: str, score: str, way: str) -> dict[str, Any]:
    move = shift.MOVES[way]
    label = {"loss": "contrastive loss (nats)", "acc1": "zero-shot top-1 accuracy"}.get(
        score, shift.DRAWN.get(score, "")
    )
    facts = {
        "figure": move.figure,
        "x_label": shift.X_LABELS[move.figure],
        "y_label": label or score,
        "role": move.role,
    }
    return {
        **facts,
        "series": move.series if label else "",
        "unit": "fraction" if "@" in score or score == "acc1" else "",
    }


def _tokens(subset: str, way: str) -> dict[str, Any]:
    _, series, role = retrieval.RECALL_CURVES[way]
    labels = {"x_label": "tokens kept", "y_label": "recall@1"}
    return {**SHARE, **labels, "figure": "tokens kept", "series": series, "role": role}


def _bytes(subset: str, question: str) -> dict[str, Any]:
    labels = {"x_label": "bytes per vector", "y_label": compression.QUESTIONS[question][0]}
    return {**SHARE, **labels, "figure": f"{question} by bytes", "series": compression.SERIES[subset]}


def _response(subset: str, kind: str, name: str) -> dict[str, Any]:
    series, role = ("attacking word", "text") if kind == "attack_success" else ("object", "image")
    return {**SHARE, "y_label": "predicted class", "figure": f"by {name}", "series": series, "role": role}


FACTS: Mapping[str, Any] = {
    r"(image_retrieval|text_retrieval|image_image|text_text)_recall(_chance)?": _recall,
    r"(.+)_by_(shift_both|shift_image|shift_text|centring|standardising|collapse|realign)": _moved,
    r"(image_retrieval|text_retrieval)_recall@1_by_tokens": _tokens,
    r"(.+)_by_bytes": _bytes,
    r"(.+)_(?:most_lost|smallest)": lambda subset, question: {"figure": f"{question} by bytes"},
    r"(attack_success|attacked_acc)_by_(\w+)": _response,
    r"cosines_(\w+)": lambda subset, kind: {
        "figure": "cosines", "series": task.COSINES[kind][0], "role": task.COSINES[kind][1],
    },
    r"gap_spectrum": lambda subset: {**task.SPECTRUM, "y_label": "mean difference"},
    r"gap_share_by_dimensions": lambda subset: {**task.SPECTRUM, "series": "fraction of the squared gap", "role": "ink"},
    r"separability_by_dimensions": lambda subset: {**task.SPECTRUM, "series": "accuracy of a linear classifier", "role": "pair"},
    r"(.+)_by_ablation": lambda subset, name: {**task.ABLATED[name], "x_label": "dimensions removed", "figure": "ablation"},
    r"match_by_cosine_(\w+)": lambda subset, kind: {
        **SHARE, "figure": "matches", "series": structure.SERIES[kind][0], "role": structure.SERIES[kind][1],
        "x_label": "cosine", "y_label": "probability of a match",
    },
    r"(precision|recall)_by_cosine": lambda subset, name: {
        **SHARE, "figure": subset, "series": name, "role": "ink" if name == "precision" else "pair",
        "x_label": "cosine threshold", "y_label": "precision and recall",
    },
    r"reliability": lambda subset: {**SHARE, "figure": "reliability", "series": "accuracy"},
    r"templates": lambda subset: {**SHARE, "figure": "templates", "series": "single templates"},
    r"text_acc_by_position": lambda subset: {**SHARE, "figure": "positions", "series": "true caption chosen"},
    r"judged_(ndcg|recall)": lambda subset, name: {
        **SHARE, "figure": "relevance", "x_label": "k", "y_label": "nDCG@k and recall@k",
        "series": "nDCG@k" if name == "ndcg" else "recall@k of relevant documents",
        "role": "ink" if name == "ndcg" else "pair",
    },
    r"(?P<whole>.+)_recall@(\d+)/by_gallery": lambda subset, way, k: {
        **SHARE, "figure": "gallery size", "x_label": "images searched", "y_label": "recall@k", "series": f"R@{k}",
    },
}  # fmt: skip
"""The facts of curves, by patterns of their names without the label set."""
