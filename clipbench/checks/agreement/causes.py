"""The first stage that differs between two sides, found by experiment as far as both allow.

For each tower: does a vector change with its batch? Do pixels and tokens agree where both show them, and does one side
give the other's vectors when it is fed with the other's input? Otherwise, which change of one side gives the other's
vectors? Only what no experiment decides is inferred from the inputs that agree.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, zip_longest
from typing import Any, NamedTuple

import numpy as np

from clipbench.checks.agreement.alternatives import (
    Alternative,
    Stage,
    colour_alternatives,
    output_alternatives,
    reading_alternatives,
    rounded_vectors,
    shape_alternatives,
    string_alternatives,
    token_alternatives,
)
from clipbench.checks.agreement.fixed_inputs import FixedImage
from clipbench.checks.agreement.rounding import LARGEST, rounding_between, rounding_evidence
from clipbench.checks.agreement.shown_inputs import Feed, pixel_difference, token_difference
from clipbench.checks.agreement.sides import ComparedSide, Rows, cosines
from clipbench.checks.agreement.vector_agreement import (
    SAME,
    SAME_LENGTH,
    VectorAgreement,
    describe_difference,
    inputs_of,
)
from clipbench.data.modalities import IMAGE
from clipbench.errors import ModelError
from clipbench.models.introspection.modules import activations, other_activation
from clipbench.models.introspection.tower_outputs import OtherOutput
from clipbench.results.numbers import counted

OR = " or "
"""Between stages of which nothing decides."""
EXPLAINED = 0.1
"""Fraction of the distance of cosines from 1 that a change may leave if it explains a difference."""
EXACT = 1e-3
"""Median distance of cosines from 1 that another last step of a tower may leave, which is computed exactly."""
N_TRIED = 5
"""Inputs on which changes of the input are tried."""
DYNAMIC = 0.1
"""Distance up to which a vector may change with its batch if the scale of its int8 numbers is taken from the batch."""
N_OUTPUTS = 6
"""Inputs on which other last steps of a tower are tried."""
ROUNDED_ALIKE = 3.0
"""Factor by which two ways to round one model may differ in size."""


@dataclass(frozen=True, kw_only=True)
class DifferenceCause:
    """A stage in which two sides differ."""

    stage: str
    """One of ``Stage``, or several of them, as in ``precision or tower``, if nothing decides between them."""
    tower: str
    """``image`` or ``text``."""
    evidence: str
    """What was seen, in a sentence."""

    @property
    def stages(self) -> Sequence[str]:
        """The stages that it names."""
        return self.stage.split(OR)


class _Explanation(NamedTuple):
    """A change of one side that gives the other side's vectors."""

    stage: Stage
    side: ComparedSide
    other: ComparedSide
    description: str
    left: float
    """Median distance of the cosines from 1 that the change leaves."""
    was: float
    """The same before the change."""
    n: int
    """Inputs that it was tried on."""

    @property
    def evidence(self) -> str:
        """The experiment in words."""
        return (
            f"with {self.description}, {self.side.name} gives the vectors of {self.other.name} (median cosine of"
            f" {counted(self.n, 'input')} {1 - self.left:.5f}, {1 - self.was:.5f} before)"
        )


class _Direction(NamedTuple):
    """A side that is changed, and the vectors that it should give."""

    side: ComparedSide
    other: ComparedSide
    own: Rows
    target: Rows
    feed: Feed
    """Encodes inputs by id, as the side is."""


def find_causes(first: ComparedSide, second: ComparedSide, agreement: VectorAgreement) -> list[DifferenceCause]:
    """Return the stages in which one tower differs, the first of them first, none if nothing differs.

    Raises:
        ModelError: a side fails.
    """
    found = [("batch", evidence) for evidence in _batch_evidence(first, second, agreement)]
    if found:
        separate = _separate_agreement(first, second, agreement)
        causes = [] if separate.is_same else _CauseSearch(first, second, separate).causes()
        # Next to a batch that changes vectors, only what an experiment shows is a second cause.
        found += [(stage, evidence) for stage, evidence in causes if OR not in stage]
    elif not agreement.is_same:
        found += _CauseSearch(first, second, agreement).causes()
    found += [("normalization", evidence) for evidence in _length_evidence(first, second, agreement)]
    return [DifferenceCause(stage=stage, tower=agreement.modality, evidence=evidence) for stage, evidence in found]


def _batch_evidence(first: ComparedSide, second: ComparedSide, agreement: VectorAgreement) -> Iterator[str]:
    """Yield a sentence for each side whose vectors change with their batch, or from call to call."""
    for side in (first, second):
        encoded, limit = side.encoded[agreement.modality], side.rounding_limit
        if encoded.repeated > limit:
            yield f"{side.name} encodes one input twice and gives vectors {encoded.repeated:.2g} apart"
        elif encoded.batch_distance > limit and not _is_dynamic_rounding(encoded.batch_distance, agreement):
            item = inputs_of(agreement.modality)[encoded.most_moved]
            input_name = f"picture {item.id}" if isinstance(item, FixedImage) else f"'{item.text:.40}'"
            distance = f"{encoded.batch_distance:.2g}"
            yield f"{side.name} moves the vector of {input_name} by {distance} when others are in its batch"


def _is_dynamic_rounding(batch_distance: float, agreement: VectorAgreement) -> bool:
    """Return whether a batch moves vectors no more than both sides differ, as in int8 with a scale per batch."""
    if batch_distance > DYNAMIC or not agreement.is_uniform:
        return False
    return batch_distance <= ROUNDED_ALIKE * float(np.median(agreement.distances))


def _separate_agreement(first: ComparedSide, second: ComparedSide, agreement: VectorAgreement) -> VectorAgreement:
    """Return the agreement of inputs in a batch of one, as far as each side has them."""
    one, other = (side.encoded[agreement.modality] for side in (first, second))
    ids = [id for id in agreement.ids if id in one.separate or id in other.separate]
    rows = []
    for encoded in (one, other):
        position = {id: row for row, id in enumerate(encoded.ids)}
        rows.append(np.concatenate([encoded.separate.get(id, encoded.rows([position[id]])) for id in ids]))
    return VectorAgreement(agreement.modality, ids, *rows)


def _length_evidence(first: ComparedSide, second: ComparedSide, agreement: VectorAgreement) -> Iterator[str]:
    """Yield a sentence if only one side scales its vectors to length 1, or the same vectors have other lengths."""
    lengths = [np.linalg.norm(rows.astype(np.float64), axis=1) for rows in (agreement.first, agreement.second)]
    are_unit = [bool(np.abs(values - 1).max() < SAME_LENGTH) for values in lengths]
    are_longer = agreement.is_same and bool((np.abs(lengths[1] / lengths[0] - 1) > SAME_LENGTH).any())
    if are_unit[0] != are_unit[1] or are_longer:
        ranges = []
        for is_unit, values in zip(are_unit, lengths, strict=True):
            ranges.append("length 1" if is_unit else f"lengths of {values.min():.3g} to {values.max():.3g}")
        yield (
            f"vectors have {ranges[0]} in {first.name}, and {ranges[1]} in {second.name}: an index of inner products"
            " needs length 1 from both"
        )


class _CauseSearch:
    """The search for what differs in one tower, apart from lengths and batches."""

    def __init__(self, first: ComparedSide, second: ComparedSide, agreement: VectorAgreement) -> None:
        self.first, self.second, self.agreement = first, second, agreement
        self.is_image = agreement.modality == IMAGE
        self.inputs: dict[str, Any] = inputs_of(agreement.modality)
        self.input_stage: Stage = "pixels" if self.is_image else "tokens"
        self.side_length = first.side_length or second.side_length

    def causes(self) -> list[tuple[str, str]]:
        """Return stages with their evidence."""
        compare = pixel_difference if self.is_image else token_difference
        shown = compare(self.first, self.second, self.agreement)
        if shown is None:
            return self._causes_by_trial()
        causes: list[tuple[str, str]] = []
        if shown.differing:
            causes.append((self.input_stage, shown.evidence))
        if shown.fed is None or shown.fed.is_same:
            # Equal ids with other padding or masks have no other sign than that the other's arrays agree.
            return causes or [(self.input_stage, self._fed_evidence())]
        if shown.differing and _defect(shown.fed) <= EXPLAINED * _defect(self.agreement):
            return causes
        return [*causes, self._tower_cause(shown.fed, shown.feeds)]

    def _fed_evidence(self) -> str:
        noun = self.input_stage
        pattern = describe_difference(self.agreement, self.side_length)
        return f"fed with the {noun} of one side, both towers agree; {pattern}"

    # -- both towers got the same input

    def _tower_cause(self, agreement: VectorAgreement, feeds: tuple[Feed, Feed]) -> tuple[str, str]:
        """Return what differs in the towers."""
        rounding = rounding_between(self.first, self.second, agreement)
        if rounding is not None:
            return "precision", rounding_evidence(rounding, agreement)
        directions = self._directions(agreement, feeds)
        explanation = _best(self._tower_explanations(directions))
        if explanation is not None:
            return explanation.stage, explanation.evidence
        return self._undecided_tower(agreement, directions)

    def _directions(self, agreement: VectorAgreement, feeds: tuple[Feed, Feed]) -> list[_Direction]:
        return [
            _Direction(self.first, self.second, agreement.first, agreement.second, feeds[0]),
            _Direction(self.second, self.first, agreement.second, agreement.first, feeds[1]),
        ]

    def _tower_explanations(self, directions: Sequence[_Direction]) -> Iterator[_Explanation]:
        """Yield other activations and last steps of a tower that give the other side's vectors."""
        for direction in directions:
            module = direction.side.parts.module
            if module is None:
                continue
            rows = _spread(self.agreement, N_OUTPUTS)
            ids = [self.agreement.ids[row] for row in rows]
            own, target = direction.own[rows], direction.target[rows]
            explain = partial(_explanation, direction, own, target, is_exact=True)
            names = {name for names in activations(module).values() for name in names}
            if len(names) == 1:
                with other_activation(module):
                    vectors = direction.feed(ids)
                yield from explain("tower", f"the other of GELU and QuickGELU instead of {names.pop()}", vectors)
            lengths = None if self.is_image else self._token_lengths(direction.side, ids)
            outputs = output_alternatives(direction.side, partial(direction.feed, ids), lengths)
            own_outputs = [output for output in outputs if _is_nearly(output.vectors, own)]
            for output in outputs:
                stage = _stage_of_output(output, own_outputs)
                yield from explain(stage, f"{output.description} as the vector", output.vectors)

    def _token_lengths(self, side: ComparedSide, ids: Sequence[str]) -> "np.ndarray | None":
        return side.token_lengths([self.inputs[id].text for id in ids])

    def _undecided_tower(self, agreement: VectorAgreement, directions: Sequence[_Direction]) -> tuple[str, str]:
        """Return the stages that remain if nothing explains the difference of two towers."""
        pattern = describe_difference(agreement, self.side_length)
        rounded = self._rounded_alike(agreement, directions) if agreement.is_uniform else ""
        if rounded:
            return f"precision{OR}tower", f"{pattern}, and {rounded}"
        has_module = any(direction.side.parts.module is not None for direction in directions)
        return ("tower", pattern) if has_module else (f"tower{OR}pooling", pattern)

    def _rounded_alike(self, agreement: VectorAgreement, directions: Sequence[_Direction]) -> str:
        """Return that int8 moves the vectors of a side as far as the other side's are away, empty if it does not."""
        rows = _spread(agreement, N_OUTPUTS)
        ids = [agreement.ids[row] for row in rows]
        for direction in directions:
            rounded = rounded_vectors(direction.side, "int8", partial(direction.feed, ids))
            if rounded is None:
                continue
            away = _median_distance(direction.own[rows], direction.target[rows])
            moved = _median_distance(direction.own[rows], rounded)
            if away / ROUNDED_ALIKE <= moved <= away * ROUNDED_ALIKE:
                return f"int8 moves the vectors of {direction.side.name} as far: {moved:.2g}, and {away:.2g} is seen"
        return ""

    # -- a side shows no input

    def _causes_by_trial(self) -> list[tuple[str, str]]:
        """Return what differs, from changes of the side that can be changed."""
        agreement, causes = self.agreement, []
        if self.is_image:
            causes = self._reading_causes()
            of_reading = {"transparent", "16 bits", "turned by EXIF", "palette"} if causes else set()
            rows = [row for row, id in enumerate(agreement.ids) if self.inputs[id].reading not in of_reading]
            agreement = agreement.take(rows)
        if agreement.is_same:
            return causes
        rounding = rounding_between(self.first, self.second, agreement)
        if rounding is not None:
            return [*causes, ("precision", rounding_evidence(rounding, agreement))]
        explanation = _best(self._all_explanations(agreement))
        if explanation is not None:
            pattern = describe_difference(agreement, self.side_length)
            return [*causes, (explanation.stage, f"{pattern}; {explanation.evidence}")]
        return [*causes, self._inferred(agreement)]

    def _reading_causes(self) -> list[tuple[str, str]]:
        """Return the ways to read files that explain why pictures differ which are not plain RGB."""
        explanations = []
        for reading in ("turned by EXIF", "transparent", "16 bits", "palette"):
            rows = [row for row, id in enumerate(self.agreement.ids) if self.inputs[id].reading == reading]
            agreement = self.agreement.take(rows)
            if rows and not agreement.is_same:
                explanations.append(_best(self._input_explanations(agreement, reading_alternatives)))
        evidence = "; ".join(explanation.evidence for explanation in explanations if explanation is not None)
        return [("pixels", evidence)] if evidence else []

    def _all_explanations(self, agreement: VectorAgreement) -> Iterator[_Explanation]:
        """Yield changes of the input and of the tower that give the other side's vectors."""
        if self.is_image:
            yield from self._input_explanations(agreement, self._shape_alternatives)
            yield from self._input_explanations(agreement, colour_alternatives)
        else:
            yield from self._input_explanations(agreement, string_alternatives)
            yield from self._input_explanations(agreement, token_alternatives)
        if not agreement.is_partial:
            # A tower that differs moves every vector.
            search = _CauseSearch(self.first, self.second, agreement)
            yield from search._tower_explanations(self._directions(agreement, self._own_feeds()))

    def _shape_alternatives(self, side: ComparedSide) -> Iterator[Alternative]:
        return shape_alternatives(side, self.second if side is self.first else self.first)

    def _own_feeds(self) -> tuple[Feed, Feed]:
        return partial(self._encode_own, self.first), partial(self._encode_own, self.second)

    def _encode_own(self, side: ComparedSide, ids: Sequence[str]) -> Rows:
        items = [self.inputs[id] for id in ids]
        return side.encode_images(items) if self.is_image else side.encode_texts(items)

    def _input_explanations(
        self, agreement: VectorAgreement, alternatives: Callable[[ComparedSide], Iterable[Alternative]]
    ) -> Iterator[_Explanation]:
        """Yield the changes of either side's input that give the other side's vectors, on the inputs they concern."""
        for direction in self._directions(agreement, self._own_feeds()):
            if direction.side.model is None:
                continue
            for alternative in alternatives(direction.side):
                differing = [row for row in agreement.order if not agreement.is_equal[row]]
                if not alternative.explains_all(self.inputs[agreement.ids[row]] for row in differing):
                    continue
                rows = self._spread_over_shapes(agreement, differing, alternative)
                if not rows:
                    continue
                try:
                    vectors = alternative.encode([self.inputs[agreement.ids[row]] for row in rows])
                except ModelError:  # a change need not fit the side
                    continue
                own, target = direction.own[rows], direction.target[rows]
                yield from _explanation(direction, own, target, alternative.stage, alternative.description, vectors)

    def _spread_over_shapes(
        self, agreement: VectorAgreement, rows: Sequence[int], alternative: Alternative
    ) -> list[int]:
        """Return some rows that a change can be tried on, of pictures of all shapes in turn."""
        usable = [row for row in rows if alternative.applies(self.inputs[agreement.ids[row]])]
        by_shape: dict[str, list[int]] = {}
        for row in usable:
            by_shape.setdefault(getattr(self.inputs[agreement.ids[row]], "shape", ""), []).append(row)
        if len(by_shape) > 1:
            turns = chain.from_iterable(zip_longest(*by_shape.values()))
            return [row for row in turns if row is not None][:N_TRIED]
        return usable[:: max(1, len(usable) // N_TRIED)][:N_TRIED]

    def _inferred(self, agreement: VectorAgreement) -> tuple[str, str]:
        """Return the stage that the inputs which agree leave over."""
        pattern = describe_difference(agreement, self.side_length)
        if agreement.is_partial:
            return self.input_stage, f"{pattern}, so the tower is the same"
        median = float(np.median(agreement.distances))
        if agreement.is_uniform and median <= LARGEST["int8"]:
            rounded = self._rounded_alike(agreement, self._directions(agreement, self._own_feeds()))
            evidence = [pattern, rounded] if rounded else [pattern]
            if self.is_image and self._none_has_the_size_of_the_model(agreement):
                # Another interpolation moves all of them about as far as rounding does.
                evidence.append("none of them is known to have the size of the model")
                return OR.join([self.input_stage, "precision", "tower"]), ", and ".join(evidence)
            return f"precision{OR}tower", ", and ".join(evidence)
        if agreement.is_same_space:
            return f"{self.input_stage}{OR}pooling", f"{pattern}, and yet each is nearest to its own vector"
        return f"projection{OR}tower", f"{pattern}, and no input is found again by its vector"

    def _none_has_the_size_of_the_model(self, agreement: VectorAgreement) -> bool:
        """Return whether no picture is known to have the size of the model, which takes it as it is."""
        square = (self.side_length, self.side_length)
        images = [self.inputs[id] for id in agreement.ids]
        return all((image.width, image.height) != square for image in images)


def _defect(agreement: VectorAgreement) -> float:
    """Return the median distance of the cosines from 1."""
    return float(np.median(1 - agreement.cosines))


def _explanation(  # noqa: PLR0913  a change, and what it is held against
    direction: _Direction,
    unchanged: Rows,
    target: Rows,
    stage: Stage,
    description: str,
    vectors: Rows,
    *,
    is_exact: bool = False,
) -> Iterator[_Explanation]:
    """Yield a change if its vectors are nearly the vectors of the other side.

    Args:
        is_exact: the change is computed exactly, so that hardly a difference may be left.
    """
    if vectors.shape != target.shape or not np.isfinite(vectors).all() or not vectors.any(axis=1).all():
        return
    was, left = (float(np.median(1 - cosines(rows, target))) for rows in (unchanged, vectors))
    if left <= EXPLAINED * was and not (is_exact and left > EXACT):
        yield _Explanation(stage, direction.side, direction.other, description, left, was, len(target))


def _stage_of_output(output: OtherOutput, own_outputs: Sequence[OtherOutput]) -> Stage:
    """Return the stage in which a last step differs from the side's own.

    Args:
        own_outputs: the last steps that give the side's vectors. None may be known.
    """
    if not own_outputs:
        return "pooling" if output.is_projected else "projection"
    return "projection" if any(other.pooling == output.pooling for other in own_outputs) else "pooling"


def _is_nearly(vectors: Rows, target: Rows) -> bool:
    if vectors.shape != target.shape or not np.isfinite(vectors).all() or not vectors.any(axis=1).all():
        return False
    return float(np.median(1 - cosines(vectors, target))) <= EXACT


def _best(explanations: Iterable[_Explanation]) -> _Explanation | None:
    """Return the change that leaves least, the first of several that leave next to nothing, or None without one."""
    return min(explanations, key=lambda explanation: max(SAME, explanation.left), default=None)


def _spread(agreement: VectorAgreement, n: int) -> list[int]:
    """Return some rows that differ, from the most to the least differing."""
    differing = [row for row in agreement.order if not agreement.is_equal[row]] or list(agreement.order)
    return differing[:: max(1, len(differing) // n)][:n]


def _median_distance(first: Rows, second: Rows) -> float:
    """Return the median distance of the rows of two sides, scaled to length 1."""
    return float(np.median(np.sqrt(2 * (1 - cosines(first, second)))))
