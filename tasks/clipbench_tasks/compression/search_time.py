"""Time of an exhaustive search over vectors of a format, on this machine: no metric, as it varies from run to run."""

import time
from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Float32, Shaped

from clipbench.errors import Unavailable
from clipbench.metrics.compression import N_SEARCHED, Format
from clipbench.plugins import optional

N_QUERIES = 15
"""Queries that are timed, one at a time; their median counts."""


def search_seconds(forms: Iterable[Format]) -> dict[str, float]:
    """Return the median time of a search for the nearest of ``N_SEARCHED`` random vectors, by number type and dimensions.

    Searched by faiss, in one thread, a query at a time: ``IndexFlatIP``, ``IndexScalarQuantizer`` (float16 and 8 bits) and
    ``IndexBinaryFlat``. Components take the time of as many dimensions, and the projection of a query next to none.

    Returns:
        Seconds by ``Format.timing_name``.

    Raises:
        Unavailable: faiss is not installed.
    """
    faiss = optional("faiss", extra="faiss", needed_by="the time of a search", kind=Unavailable)
    by_name = {form.timing_name: form for form in forms}
    dim = max(form.dim for form in by_name.values())
    vectors = np.random.default_rng(0).standard_normal((N_SEARCHED + N_QUERIES, dim), np.float32)
    seconds = {}
    n_before = faiss.omp_get_max_threads()
    try:
        faiss.omp_set_num_threads(1)
        for name, form in by_name.items():
            seconds[name] = _median_seconds(*_index(faiss, form, vectors))
    finally:
        faiss.omp_set_num_threads(n_before)
    return seconds


def _index(
    faiss: Any, form: Format, vectors: Float32[np.ndarray, "n most_dims"]
) -> tuple[Any, Shaped[np.ndarray, "n_queries n_numbers"]]:
    """Return an index of the vectors after the first ``N_QUERIES``, cut to a format's dimensions, and those first ones: the queries."""
    vectors = np.ascontiguousarray(vectors[:, : form.dim])
    if form.number == "binary":
        signs = np.packbits(vectors > 0, axis=1)
        index = faiss.IndexBinaryFlat(8 * form.n_bytes)
        index.add(signs[N_QUERIES:])
        return index, signs[:N_QUERIES]
    if form.number == "float32":
        index = faiss.IndexFlatIP(form.dim)
    else:
        numbers = {"float16": faiss.ScalarQuantizer.QT_fp16, "int8": faiss.ScalarQuantizer.QT_8bit}
        index = faiss.IndexScalarQuantizer(form.dim, numbers[form.number], faiss.METRIC_INNER_PRODUCT)
        index.train(vectors[:1_000])
    index.add(vectors[N_QUERIES:])
    return index, vectors[:N_QUERIES]


def _median_seconds(index: Any, queries: np.ndarray) -> float:
    index.search(queries[:1], 1)
    times = []
    for row in range(len(queries)):
        start = time.perf_counter()
        index.search(queries[row : row + 1], 1)
        times.append(time.perf_counter() - start)
    return float(np.median(times))
