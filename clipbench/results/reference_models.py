"""Published accuracies of many models, in tables that come with clipbench, by full names of metrics."""

import csv
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

OPEN_CLIP = "open_clip docs/openclip_results.csv @89fb801"
"""Source of ``open_clip.csv`` (MIT licence)."""
TESTBED = "imagenet-testbed robustness_top1s.csv @0170eec"
"""Source of ``standard_models.csv`` (MIT licence): the testbed of Taori et al., NeurIPS 2020."""

Results = Mapping[str, Mapping[str, float]]
"""By model and full name of a metric. Names joined by plus signs are of the mean of several."""


@cache
def open_clip_results() -> Results:
    """Return the scores of open_clip's models on DataComp's 38 data sets, and their ``average``.

    OpenAI's weights are listed under the architecture with their activation, ``-quickgelu``, as they were measured.
    """
    scores = _read("open_clip.csv")
    return {re.sub("(?<!-quickgelu)/openai$", "-quickgelu/openai", model): scores[model] for model in scores}


@cache
def standard_results() -> Results:
    """Return the accuracies, on ImageNet and on shifted data, of models that were trained only on ImageNet.

    They are the testbed's models of standard training with an accuracy of 55 % or more, to which its authors fit their
    line.
    """
    return _read("standard_models.csv")


def read_table(package: str, name: str) -> list[dict[str, str]]:
    """Return the rows of a CSV file that is part of a package."""
    text = files(package).joinpath(name).read_text(encoding="utf-8")
    return [*csv.DictReader(text.splitlines())]


def _read(name: str) -> dict[str, Mapping[str, float]]:
    rows = read_table("clipbench.results", name)
    models: dict[str, Mapping[str, float]] = {}
    for row in rows:
        model = row.pop("model")
        models[model] = {column: float(cell) for column, cell in row.items() if cell}
    return models
