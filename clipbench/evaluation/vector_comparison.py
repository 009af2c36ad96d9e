"""Do two ways to run the same weights give the same vectors? The comparison of ``doctor --against``."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from html import escape
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from PIL import Image

from clipbench.checks.agreement.causes import DifferenceCause, find_causes
from clipbench.checks.agreement.dimensions import check_dimensions
from clipbench.checks.agreement.fixed_inputs import FixedImage
from clipbench.checks.agreement.rounding import LARGEST
from clipbench.checks.agreement.sides import ComparedSide
from clipbench.checks.agreement.vector_agreement import VectorAgreement, agreement_of, inputs_of
from clipbench.data import DataOptions, Dataset
from clipbench.data.modalities import IMAGE, TEXT
from clipbench.errors import UsageError, for_model_of
from clipbench.evaluation.shared_index import SharedIndex, load_index_data, measure_shared_index
from clipbench.models.encoding.loading import load_embedder
from clipbench.models.options import LoadOptions
from clipbench.models.protocol import DOT, Embedder
from clipbench.models.reference import check_references
from clipbench.results.frames import as_frame
from clipbench.results.numbers import counted, listed
from clipbench.results.table import Table, as_html, as_text, columns
from clipbench.untrusted.terminal import printable

if TYPE_CHECKING:
    import pandas

Verdict = Literal["same", "same up to precision", "same space, other inputs", "other space"]
N_WORST = 5
"""Inputs of each tower that are listed."""
HARMLESS = ("normalization",)
"""Stages that move no cosine."""


@dataclass(frozen=True, kw_only=True)
class InputAgreement:
    """The two vectors of one input."""

    input: str
    """Id of the input, as ``--write-inputs`` names it."""
    cosine: float


class ShownInput(NamedTuple):
    """One input that differs, as a reader sees it."""

    id: str
    cosine: float
    description: str
    """The text, or size and kind of the picture."""
    picture: Image.Image | None
    """The picture, upright and on white, None for a text."""


@dataclass(frozen=True, kw_only=True)
class TowerAgreement:
    """The agreement of both sides on pictures, or on texts."""

    cosine_min: float
    cosine_median: float
    n: int
    """Inputs that were compared."""
    length_ratio: float
    """Median length of the second side's vectors over the first's."""
    worst: Sequence[InputAgreement]
    """The inputs that differ most, none if all are the same."""


@dataclass(frozen=True, kw_only=True, repr=False)
class VectorComparison:
    """Whether two sides give the same vectors, what differs, and whether both may share an index.

    Example:
        >>> from clipbench import doctor
        >>> comparison = doctor("tiny", against="tiny", device="cpu")
        >>> comparison.verdict, comparison.causes
        ('same', [])
    """

    model: str
    against: str
    verdict: Verdict
    image: TowerAgreement
    text: TowerAgreement
    causes: Sequence[DifferenceCause]
    share_index: SharedIndex | None = None
    """None without data."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Inputs that were left out, with the reason."""

    def __repr__(self) -> str:
        return f"<comparison of {self.model} with {self.against}: {self.verdict}>"

    def __str__(self) -> str:
        return "\n".join(map(printable, self.lines(width=100)))

    @property
    def is_same(self) -> bool:
        """True if both give the same vectors, at least up to precision."""
        return self.verdict in ("same", "same up to precision")

    @property
    def towers(self) -> Mapping[str, TowerAgreement]:
        """The agreement of each tower by modality."""
        return {IMAGE: self.image, TEXT: self.text}

    @property
    def sentence(self) -> str:
        """The verdict in a sentence."""
        if self.verdict == "same":
            return "Both give the same vectors"
        stages = list(dict.fromkeys(cause.stage for cause in self.causes if cause.stage not in HARMLESS))
        if self.verdict == "same up to precision":
            return "Both give the same vectors up to precision"
        what = "Not the same space" if self.verdict == "other space" else "Not the same vectors"
        return f"{what}: {listed(stages)} differ" if stages else what

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as values of JSON."""
        return asdict(self)

    def frame(self) -> "pandas.DataFrame":
        """Return a row per listed input: tower, input, cosine."""
        rows = []
        for modality, tower in self.towers.items():
            rows += [{"tower": modality, **asdict(agreement)} for agreement in tower.worst]
        return as_frame(rows, ["tower", "input", "cosine"])

    def lines(self, width: int | None = None) -> Iterator[str]:
        """Yield the comparison for a terminal.

        Args:
            width: columns of the terminal. None (the default) breaks no line.
        """
        yield f"{self.model} against {self.against}"
        yield ""
        yield from as_text(self.tower_table(), width=width).splitlines()
        for cause in self.causes:
            yield ""
            yield f"{cause.stage} ({cause.tower}): {cause.evidence}"
        worst = self.worst_table()
        if worst.rows:
            yield ""
            yield from as_text(worst, width=width).splitlines()
        if self.share_index is not None:
            yield ""
            yield from as_text(self.share_index.table(), width=width).splitlines()
        yield from (f"note: {note}" for note in self.notes())
        yield ""
        yield f"verdict: {self.verdict}"
        if self.share_index is not None:
            yield self.share_index.sentence

    def notes(self) -> Iterator[str]:
        """Yield what was left out, and what was not measured."""
        if self.refused:
            reason = next(iter(self.refused.values()))
            yield f"{counted(len(self.refused), 'input')} left out: {', '.join(self.refused)} ({reason})"
        if self.verdict == "same up to precision" and self.share_index is None:
            yield "give data with captions to measure the recall that the rounding costs"

    def tower_table(self) -> Table:
        """Return the cosines of both towers."""
        rows = []
        for modality, tower in self.towers.items():
            cosines = [f"{tower.cosine_median:.6f}", f"{tower.cosine_min:.6f}"]
            rows.append([modality, f"{tower.n}", *cosines, f"{tower.length_ratio:.4g}"])
        headers = columns("tower", numbers=["inputs", "median cosine", "lowest cosine", "length ratio"])
        return Table(columns=headers, rows=rows)

    def shown_inputs(self, modality: str) -> Iterator[ShownInput]:
        """Yield the inputs of a tower that differ most, as a reader sees them.

        Args:
            modality: the tower: ``"images"`` or ``"texts"``.
        """
        for agreement in self.towers[modality].worst:
            item = inputs_of(modality)[agreement.input]
            if isinstance(item, FixedImage):
                description = f"{item.width} x {item.height}, {item.reading}"
                yield ShownInput(item.id, agreement.cosine, description, item.thumbnail())
            else:
                yield ShownInput(item.id, agreement.cosine, item.text, None)

    def worst_table(self) -> Table:
        """Return the inputs that differ most."""
        rows = []
        for modality in self.towers:
            for item in self.shown_inputs(modality):
                text = f"'{item.description:.50}'" if item.picture is None else item.description
                rows.append([modality, item.id, text, f"{item.cosine:.6f}"])
        return Table(columns=columns("tower", "input that differs most", "", numbers=["cosine"]), rows=rows)

    def _repr_html_(self) -> str:
        parts = [f"<p><b>{escape(self.sentence)}.</b></p>", as_html(self.tower_table())]
        parts += [f"<p><b>{cause.stage}</b> ({cause.tower}): {escape(cause.evidence)}</p>" for cause in self.causes]
        parts += [as_html(self.worst_table())] if self.worst_table().rows else []
        if self.share_index is not None:
            parts += [f"<p><b>{escape(self.share_index.sentence)}.</b></p>", as_html(self.share_index.table())]
        return "\n".join(parts)


@dataclass(frozen=True, kw_only=True)
class ComparisonOptions:
    """Options of a comparison of two models."""

    data: str | Dataset | None = None
    """Images with captions, to measure whether both may share an index."""
    loading: DataOptions = field(default_factory=DataOptions)
    limit: int | None = None
    """Largest number of images of the data."""
    seed: int = 0


def against_load_options(load: LoadOptions, against_options: Mapping[str, str]) -> LoadOptions:
    """Return how the second model is loaded: as the first, with its own model options.

    Device, precision, batch size and architecture may be among them where the two models differ.

    Raises:
        UsageError: the batch size is not an integer.

    Example:
        >>> loading = against_load_options(LoadOptions(device="cpu"), {"precision": "bf16", "context": "248"})
        >>> loading.device, loading.precision, loading.options
        ('cpu', 'bf16', {'context': '248'})
    """
    own = {name: value for name, value in against_options.items() if name in ("device", "precision", "arch")}
    options = {name: value for name, value in against_options.items() if name not in (*own, "batch_size")}
    batch_size = LoadOptions(options=against_options).whole_number("batch_size")
    if batch_size == 0:
        raise UsageError("model option batch_size=0: expected 1 or more")
    loading = replace(load, options=options, batch_size=batch_size or load.batch_size)
    return replace(loading, **own)  # type: ignore[arg-type]


def compare_vectors(
    model: "str | Embedder",
    against: "str | Embedder",
    load: LoadOptions,
    against_load: LoadOptions,
    options: ComparisonOptions,
) -> VectorComparison:
    """Return whether two models give the same vectors of the fixed inputs.

    Args:
        model, against: references, models that are loaded already, or vectors of the fixed inputs by their ids.
        load, against_load: how references are loaded.

    Raises:
        ClipbenchError: a model or the data is wrong, a model refuses inputs, or vectors have other dimensions.
    """
    if load.arch is not None:
        check_references(list(dict.fromkeys(name for name in (model, against) if isinstance(name, str))), load)
    data = None
    if options.data is not None:  # before a model is loaded, because loading takes long
        data = load_index_data(options.data, options.loading, limit=options.limit, seed=options.seed)
    one = load_embedder(model, load) if isinstance(model, str) else model
    with for_model_of("against"):
        other = load_embedder(against, against_load) if isinstance(against, str) else against
    names = _side_names(one.info.ref, other.info.ref)
    first = ComparedSide(one, names[0], allows_partial=options.loading.allow_partial)
    second = ComparedSide(other, names[1], allows_partial=options.loading.allow_partial)
    for side in (first, second):
        if side.model is None and data is not None:
            raise UsageError(
                f"{side.name} holds vectors of the fixed inputs, not of {data.dataset.id}: remove the data, or give a"
                " model on both sides"
            )
    check_dimensions(first, second)
    comparison = _compare_sides(first, second)
    if data is None:
        return comparison
    return replace(comparison, share_index=measure_shared_index(one, other, data, seed=options.seed))


def _side_names(first: str, second: str) -> tuple[str, str]:
    """Return the names of both sides in sentences: their references, unless these are equal."""
    return (first, second) if first != second else ("the first", "the second")


def _compare_sides(first: ComparedSide, second: ComparedSide) -> VectorComparison:
    agreements = {modality: agreement_of(first, second, modality) for modality in (IMAGE, TEXT)}
    causes = []
    for agreement in agreements.values():
        causes += find_causes(first, second, agreement)
    is_dot = DOT in (first.embedder.info.similarity, second.embedder.info.similarity)
    return VectorComparison(
        model=first.embedder.info.ref,
        against=second.embedder.info.ref,
        verdict=_verdict(list(agreements.values()), causes, is_dot=is_dot),
        image=_tower_agreement(agreements[IMAGE]),
        text=_tower_agreement(agreements[TEXT]),
        causes=causes,
        refused={**first.refused, **second.refused},
    )


def _verdict(agreements: Sequence[VectorAgreement], causes: Sequence[DifferenceCause], *, is_dot: bool) -> Verdict:
    """Return the verdict on both towers.

    Args:
        is_dot: a side ranks by inner products, so that lengths are part of its vectors.
    """
    moving = [cause for cause in causes if is_dot or cause.stage not in HARMLESS]
    if not moving and all(agreement.is_same for agreement in agreements):
        return "same"
    largest = max(float(np.median(agreement.distances)) for agreement in agreements)
    if all(cause.stage == "precision" for cause in moving) and largest <= max(LARGEST.values()):
        return "same up to precision"
    if any(agreement.is_same_space for agreement in agreements):
        return "same space, other inputs"
    return "other space"


def _tower_agreement(agreement: VectorAgreement) -> TowerAgreement:
    worst = [row for row in agreement.order[:N_WORST] if not agreement.is_equal[row]]
    return TowerAgreement(
        cosine_min=float(agreement.cosines.min()),
        cosine_median=float(np.median(agreement.cosines)),
        n=len(agreement.ids),
        length_ratio=float(np.median(agreement.length_ratios)),
        worst=[InputAgreement(input=agreement.ids[row], cosine=float(agreement.cosines[row])) for row in worst],
    )
