"""An explanation of two finished runs, with the inputs of their images that the cache has."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from clipbench.comparison.compare_runs import Side
from clipbench.comparison.explanation import ExplainOptions, explain, opened_run
from clipbench.comparison.explanation_records import Explanation
from clipbench.comparison.phrase_groups import InputEmbeddings
from clipbench.data.modalities import IMAGE, TEXT
from clipbench.errors import Unavailable, UsageError, option
from clipbench.metrics.similarity import unit
from clipbench.models.encoding.image_inputs import stored_image_inputs, stored_rows
from clipbench.models.encoding.sharing import SharingEmbedder
from clipbench.models.protocol import Embedder
from clipbench.results.run import Run


def explain_runs(
    base: Side,
    candidate: Side,
    *,
    metric: str | None = None,
    columns: Path | None = None,
    model: Embedder | None = None,
    seed: int = 0,
) -> Explanation:
    """Return where the candidate got worse, by ``comparison.explanation``.

    Args:
        model: the base's model, for groups of phrases and of similar classes.

    Raises:
        UsageError: the model is not the base's.
    """
    base = opened_run(base)
    embed = None if model is None else partial(_embed_inputs, _checked_model(model, base))
    options = ExplainOptions(metric=metric, columns=columns, seed=seed, image_inputs=stored_image_inputs, embed=embed)
    return explain(base, candidate, options)


def _checked_model(model: Embedder, base: Run) -> Embedder:
    expected, got = base.result.model.get("fingerprint"), model.info.fingerprint
    if got != expected:
        raise UsageError(
            f"{option('model', model.info.ref)} is not the model of the base: got the fingerprint {got}, expected"
            f" {expected} of {base.result.model.get('ref')}"
        )
    return model


def _embed_inputs(model: Embedder, digests: Sequence[str], texts: Sequence[str]) -> InputEmbeddings:
    if not isinstance(model, SharingEmbedder):
        raise Unavailable("the base's embeddings are precomputed, so that no phrase can be encoded")
    images = stored_rows(model.shelf(IMAGE), digests)
    if len(images) < len(digests):
        raise Unavailable(
            f"{len(digests) - len(images):,} of {len(digests):,} images have no stored embedding: run the base again"
        )
    of_images = np.stack([images[digest] for digest in digests])
    return InputEmbeddings(unit(of_images), unit(model.encode(TEXT, texts, "query")))
