"""What the columns of an evaluation's samples say about the inputs of the samples, as the task declares it."""

import re
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from clipbench.results.metric_name import base_name

InputKind = Literal["class", "caption", "condition", "number", "tokens", "tokens cut off", "query"]
"""``class``: name of the right class. ``caption``: a text. ``condition``: how the sample was made, such as a language.
``number``: a measured input. ``tokens``, ``tokens cut off``: their number in the caption. ``query``: an id of the form
``search:MODALITY:ID``, with the modality of the query and its id in the data.
"""
NUMERIC_KINDS: tuple[InputKind, ...] = ("number", "tokens", "tokens cut off")
Inputs = Mapping[str, InputKind]
"""Kinds of inputs by the column of the samples."""

USUAL_INPUTS: Inputs = {
    "caption": "caption",
    "label": "class",
    "subset": "condition",
    "condition": "condition",
    "language": "condition",
    "sample_id": "query",
}
"""Inputs of tasks that declare none, by the usual names of columns, in all samples or in a subset."""
_QUERY_ID = re.compile(r"[^:]+:(text|image|query):(.*)", re.DOTALL)


class QueryId(NamedTuple):
    """The parts of an id of the kind ``query``."""

    modality: str
    """``text``, ``image`` or ``query``, empty if the id has another form."""
    item: str
    """Id in the data."""


def split_query_id(sample_id: str) -> QueryId:
    """Return the modality and the id in the data of a query.

    Example:
        >>> split_query_id("text_retrieval:image:photos/1.jpg"), split_query_id("photos/1.jpg")
        (QueryId(modality='image', item='photos/1.jpg'), QueryId(modality='', item='photos/1.jpg'))
    """
    match = _QUERY_ID.fullmatch(sample_id)
    return QueryId("", sample_id) if match is None else QueryId(match[1], match[2])


def usual_inputs(columns: Iterable[str]) -> Inputs:
    """Return the inputs that columns have by their usual names.

    Example:
        >>> usual_inputs(["sample_id", "kind/label", "margin"])
        {'sample_id': 'query', 'kind/label': 'class'}
    """
    return {name: USUAL_INPUTS[base_name(name)] for name in columns if base_name(name) in USUAL_INPUTS}
