"""Vectors stored smaller: the first dimensions, principal components, float16, int8 and signs.

A format turns vectors into stored vectors and queries, whose dot products are its scores. It stores no length next to
them. Queries stay float32, as they are not stored; only signs are compared with signs. Scales follow from the stored
vectors, and components are an argument.
"""

from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float32, Float64

from clipbench.metrics.similarity import Queries, Vector, Vectors, round_to_steps, unit

Kind = Literal["first", "pca", "float16", "int8", "pca_int8", "binary"]

LARGEST_CODE = 127
"""Largest int8 code. The smallest is its negative, so that 0 is stored as 0."""
STEPS = 2.0**26
"""Components are multiples of 1 / STEPS, as in ``similarity.unit``, so that equal vectors have equal scores."""


class Format(NamedTuple):
    """One way to store a vector."""

    kind: Kind
    dim: int
    """Dimensions, or components, that are stored."""

    @property
    def name(self) -> str:
        """Its name in metrics, such as ``int8@128``."""
        return f"{self.kind}@{self.dim}"

    @property
    def label(self) -> str:
        """Its name in a column of a table, such as ``64 PCA, int8``."""
        storage = {"pca": "PCA", "pca_int8": "PCA, int8", "binary": "signs"}.get(self.kind, self.number)
        return f"{self.dim:,} {storage}"

    @property
    def is_fitted(self) -> bool:
        """True where it stores principal components."""
        return self.kind in ("pca", "pca_int8")

    @property
    def number(self) -> str:
        """The type of its numbers: ``float32``, ``float16``, ``int8`` or ``binary``."""
        return {"first": "float32", "pca": "float32", "pca_int8": "int8"}.get(self.kind, self.kind)

    @property
    def n_bytes(self) -> int:
        """Bytes of a vector.

        Example:
            >>> Format("int8", 128).n_bytes, Format("binary", 100).n_bytes
            (128, 13)
        """
        return -(-self.dim * {"float32": 32, "float16": 16, "int8": 8, "binary": 1}[self.number] // 8)

    @classmethod
    def from_name(cls, name: str) -> "Format | None":
        """Return the format of a name, or None if no format has it.

        Example:
            >>> Format.from_name("int8@128"), Format.from_name("kind")
            (Format(kind='int8', dim=128), None)
        """
        kind, _, dim = name.partition("@")
        return cls(kind, int(dim)) if kind in get_args(Kind) and dim.isdecimal() else None  # type: ignore[arg-type]


class Components(NamedTuple):
    """Mean and principal components of stored vectors."""

    mean: Vector
    axes: Float64[np.ndarray, "dim dim"]
    """One column per component, the largest variance first."""


def principal_components(stored: Vectors) -> Components:
    """Return the mean of vectors and the eigenvectors of their covariance: PCA, without labels and without a query.

    Example:
        >>> mean, axes = principal_components(np.array([[0.6, 0.8], [0.6, -0.8]], np.float32))
        >>> mean.round(4).tolist(), np.abs(axes[:, 0]).round(4).tolist()
        ([0.6, 0.0], [0.0, 1.0])
    """
    mean = stored.mean(axis=0, dtype=np.float64)
    centred = stored - mean
    _, axes = np.linalg.eigh(centred.T @ centred)
    return Components(mean, axes[:, ::-1])


def compress(
    form: Format, stored: Float32[np.ndarray, "n_stored dim"], queries: Queries, components: Components | None = None
) -> tuple[Float32[np.ndarray, "n_stored n_numbers"], Float32[np.ndarray, "n_queries n_numbers"]]:
    """Return stored vectors and queries in a format, whose dot products are its scores.

    - ``first``: the first dimensions, at length 1 again, of both.
    - ``pca``: components of the stored vectors, minus the mean. A query q scores q · mean + (its components) · (stored
      components), which is its dot product with the reconstructed vector: with all components, its cosine. So centring
      moves no score, and the mean takes no component.
    - ``float16``: rounded to it.
    - ``int8``: codes of the first dimensions, at length 1 again. Symmetric, with one scale per dimension: the largest
      absolute value there is 127. ``pca_int8``: the same for components.
    - ``binary``: the signs of the first dimensions, 0 as below 0, of both. The dot product falls by the same amount
      with each sign that differs, so that it ranks as the Hamming distance does.

    Args:
        stored, queries: unit vectors.
        components: of the stored vectors, or of others like them, None for formats that have none.

    Example:
        >>> stored, queries = np.array([[0.6, 0.64, 0.48]], np.float32), np.array([[0.6, -0.8, 0]], np.float32)
        >>> x, q = compress(Format("first", 2), stored, queries)
        >>> x.round(2), q.round(2)
        (array([[0.68, 0.73]], dtype=float32), array([[ 0.6, -0.8]], dtype=float32))
        >>> x, q = compress(Format("binary", 2), stored, queries)
        >>> (x @ q.T).round(6).tolist()  # one sign of two differs
        [[0.0]]
    """
    if form.is_fitted:
        assert components is not None, form
        axes = components.axes[:, : form.dim]
        coordinates, compressed_queries = (stored - components.mean) @ axes, queries @ axes
        coordinates = _through_int8(coordinates) if form.number == "int8" else coordinates
        with_mean = np.column_stack([coordinates, np.ones(len(coordinates))])
        query_with_mean = np.column_stack([compressed_queries, queries @ components.mean])
        return round_to_steps(with_mean, STEPS), round_to_steps(query_with_mean, STEPS)
    if form.kind == "float16":
        return stored.astype(np.float16).astype(np.float32), queries
    first, compressed_queries = (_at_length_1(vectors[:, : form.dim]) for vectors in (stored, queries))
    if form.kind == "int8":
        return round_to_steps(_through_int8(first), STEPS), compressed_queries
    if form.kind == "binary":
        return _signs(first), _signs(compressed_queries)
    return first, compressed_queries


def _through_int8(vectors: Vectors | Float64[np.ndarray, "n dim"]) -> Float64[np.ndarray, "n dim"]:
    """Return vectors as they are read from int8 codes, with a scale for each dimension."""
    largest = np.abs(vectors).max(axis=0).astype(np.float64)
    scales = np.where(largest > 0, largest, 1.0) / LARGEST_CODE
    return np.rint(vectors / scales) * scales


def _signs(vectors: Vectors) -> Vectors:
    return unit(np.where(vectors > 0, 1, -1).astype(np.float32))


def _at_length_1(vectors: Vectors) -> Vectors:
    """Return vectors at length 1. Vectors of length 0, equally similar to all queries, stay."""
    out, is_long = np.zeros(vectors.shape, np.float32), vectors.any(axis=1)
    out[is_long] = unit(vectors[is_long])
    return out
