"""The vectors that a run kept: nearest neighbours of a pair both ways, and a flat map of all."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float32, Shaped

from clipbench.errors import option
from clipbench.results import numbers as fmt
from clipbench.results.metric_name import base_name
from clipbench.results.run import Run
from clipbench.results.shown_samples import evenly_spaced
from clipbench_reports.evidence import Evidence, MissingEvidence
from clipbench_reports.figures.maps import PROJECTIONS
from clipbench_reports.view.samples import MARGIN, STATES, Samples, read_samples

N_NEIGHBOURS = 8
MOST_PAIRS = {"pca": 25_000, "umap": 5_000}
"""Pairs of a map, each with two points, evenly spaced if there are more."""
N_LABELS = 8
"""Labels with a colour of their own, the commonest. The rest are grey."""


@dataclass(frozen=True)
class Vectors:
    """Unit vectors of pairs, and the samples that they are of."""

    images: Float32[np.ndarray, "n dim"]
    texts: Float32[np.ndarray, "n dim"]
    rows: Sequence[int]
    """Rows of the pairs among the samples."""
    samples: Samples

    @cached_property
    def digests(self) -> Shaped[np.ndarray, " n"]:
        """Content hashes of the images, empty if the run kept none."""
        return np.array([self.samples.text("image", row) for row in self.rows], object)

    def pair_of(self, samples: Samples, row: int) -> int:
        """Return the pair with the image of a sample, that with its caption before others.

        Raises:
            MissingEvidence: the vectors are of other samples.
        """
        digest, caption = samples.text("image", row), samples.text("caption", row)
        pairs = np.flatnonzero(self.digests == digest).tolist() if digest else []
        if not pairs:
            raise MissingEvidence(
                "The run kept the vectors of other samples, not of this one. The task modality-gap keeps the vectors of"
                f" 2,000 pairs, and of all with {option('keep_arrays', True)}."
            )
        for pair in pairs:
            if self.samples.text("caption", self.rows[pair]) == caption:
                return pair
        return pairs[0]

    def neighbours(self, pair: int) -> Iterator[tuple[str, str, list[tuple[int, str, bool]]]]:
        """Yield the texts nearest to a pair's image, and the images nearest to its text.

        Each has a title, the rank of the pair's match as text, and the nearest: the row among the samples of the
        vectors, the cosine, and True for the match.
        """
        for title, query, gallery in (
            ("Texts nearest to this image", self.images[pair], self.texts),
            ("Images nearest to this text", self.texts[pair], self.images),
        ):
            cosines = gallery @ query
            n = min(N_NEIGHBOURS, len(cosines))
            nearest = np.argpartition(-cosines, n - 1)[:n]
            nearest = nearest[np.argsort(-cosines[nearest], kind="stable")]
            rank = fmt.count(1 + int((cosines > cosines[pair]).sum()))
            cosine_texts = [fmt.number(float(cosines[k]), "cosine") for k in (pair, *nearest)]
            rank_text = f"its own is number {rank} of {fmt.count(len(cosines))}, cosine {cosine_texts[0]}"
            near = zip(nearest.tolist(), cosine_texts[1:], strict=True)
            yield title, rank_text, [(self.rows[k], cosine, k == pair) for k, cosine in near]


def find_vectors(run: Run, data: str) -> Vectors:
    """Return the vectors that a run kept of a data set.

    Raises:
        MissingEvidence: it kept none, and the text says how to have them, or they do not fit together.
    """
    for record in run.result.evaluations:
        if record.status == "ok" and record.dataset.id == data and "arrays" in record.files:
            evidence = Evidence(run, record)
            if evidence.has_array("images") and evidence.has_array("texts"):
                break
    else:
        raise MissingEvidence(
            f"The run kept no vectors of {data}. Run the task modality-gap on this data: it keeps the vectors of 2,000"
            f" pairs, and of all with {option('keep_arrays', True)}."
        )
    images, texts = (evidence.matrix(name).astype(np.float32) for name in ("images", "texts"))
    samples = read_samples([run], record.name)
    ids = evidence.array("pair_id").astype(str).tolist() if evidence.has_array("pair_id") else []
    row_of = {name: row for row, name in enumerate(samples.tables[0].get("sample_id", ()))}
    if images.shape != texts.shape or not all(name in row_of for name in ids) or len(ids) != len(images):
        raise MissingEvidence(
            f"The vectors of the run do not match its samples: got images {images.shape}, texts {texts.shape},"
            f" {len(ids)} pair ids and {len(samples)} samples. Measure it again."
        )
    return Vectors(_unit(images), _unit(texts), [row_of[name] for name in ids], samples)


def _unit(vectors: Float32[np.ndarray, "n dim"]) -> Float32[np.ndarray, "n dim"]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norms > 0, norms, 1)


def flat_map(vectors: Vectors, projection: str, colours: dict[str, list[str]]) -> dict[str, object]:
    """Return positions of images and texts on a plane, and the rest of the map's content, as plain JSON.

    Args:
        vectors: of the pairs.
        projection: one of ``MOST_PAIRS``.
        colours: by the name of a colouring, the label of each pair.
    """
    pairs = evenly_spaced(len(vectors.rows), MOST_PAIRS[projection])
    both = np.concatenate([vectors.images[pairs], vectors.texts[pairs]]).astype(np.float64)
    flat = PROJECTIONS[projection](both, 0)
    low = flat.coordinates.min(axis=0)
    widest = float(np.ptp(flat.coordinates, axis=0).max())
    span = max(widest, 1e-12)
    points = np.rint(10_000 * (flat.coordinates - low) / span).astype(int)
    rows = [vectors.rows[pair] for pair in pairs]
    coded_colours = {}
    for name, labels in colours.items():
        coded_colours[name] = _coded([labels[pair] for pair in pairs])
    return {
        "reading": flat.reading,
        "n_pairs": len(vectors.rows),
        "x": points[:, 0].tolist(),
        "y": points[:, 1].tolist(),
        "rows": rows,
        "ids": [vectors.samples.text("sample_id", row)[:80] for row in rows],
        "colours": coded_colours,
    }


def colourings(vectors: Vectors, run: Run) -> dict[str, list[str]]:
    """Return the colourings of the pairs: labels and failures of all evaluations of the same images."""
    import pandas

    data = vectors.samples.records[0].dataset.id
    labels: dict[str, list[str]] = {}
    for record in run.result.evaluations:
        if record.status != "ok" or record.dataset.id != data or "samples" not in record.files:
            continue
        samples = read_samples([run], record.name)
        table = samples.tables[0]
        if "image" not in table.columns:
            continue
        images = table["image"].astype(str).to_numpy()
        for name in map(str, table.columns):
            end = base_name(name)
            if end == "label":
                of_image = dict(zip(images, table[name].astype(str), strict=True))
                labels[f"Label: {record.task} {name}"] = [of_image.get(digest, "") for digest in vectors.digests]
            elif end == MARGIN:
                margins = pandas.Series(samples.margin(name)[0]).groupby(images).min()
                worst = margins.reindex(vectors.digests).to_numpy()
                states = ["" if np.isnan(margin) else STATES[int(np.sign(margin))] for margin in worst]
                labels[f"Failure: {record.task} {name}"] = states
    return labels


def _coded(labels: Sequence[str]) -> dict[str, object]:
    """Return the commonest labels, and the index among them of each pair's label, or -1 for other labels and none."""
    names, counts = np.unique([label for label in labels if label], return_counts=True)
    common = names[np.argsort(-counts, kind="stable")][:N_LABELS].tolist()
    code = {name: k for k, name in enumerate(common)}
    return {"names": [str(name)[:60] for name in common], "codes": [code.get(label, -1) for label in labels]}
