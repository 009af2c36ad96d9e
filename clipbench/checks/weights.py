"""Checks of the weights: their activation, scale and bias, and whether they were trained at all."""

import numpy as np

from clipbench.checks.check import Check, CheckOutcome, NotExamined, fault, healthy, warning
from clipbench.checks.evidence import better
from clipbench.checks.pairs import shuffle_test
from clipbench.checks.subject import Subject
from clipbench.checks.vectors import MAX_P
from clipbench.metrics.similarity import unit
from clipbench.models import probes as probing
from clipbench.models.facts.modules import activations, library_logits, untrained_towers
from clipbench.models.towers.variants import activation_variants

SCALES = (5.0, 1_000.0)
"""Factors from cosine to logit that training reaches: SigLIP begins at 10, CLIP at 14 and ends at 100."""
LOGIT_TOLERANCE = 1e-2
"""Share of the scale by which logits may differ from the library's."""


def activation(subject: Subject) -> CheckOutcome:
    """Name the activation of each tower, and ask the pairs whether the other one fits better."""
    found = {tower: names for tower, names in activations(subject.module).items() if names}
    if not found:
        raise NotExamined("the module has neither GELU nor QuickGELU as a part")
    kinds = {name for names in found.values() for name in names}
    seen = " and ".join(f"{', '.join(names)} in the {tower}" for tower, names in found.items())
    seen = f"{kinds.pop()} in both towers" if len(kinds) == 1 and len(found) > 1 else seen
    other = next(activation_variants(subject.model, subject.parts), None)
    if other is None:
        return warning(f"{seen}: the towers differ", "see which activation each tower was trained with")
    if shuffle_test(subject.pairs).p_value > MAX_P:
        raise NotExamined(f"{seen}; the pairs do not stand out, so that they cannot tell which one was trained")
    evidence = better(subject.pairs, other)
    if evidence.is_better:
        return fault(
            f"{seen}, and {other.setting} fits better: {evidence.text}",
            "name the architecture with the other activation (open_clip's ...-quickgelu, hidden_act in config.json)",
        )
    return healthy(f"{seen}; {other.setting} would not fit better ({evidence.text})")


def scale(subject: Subject) -> CheckOutcome:
    """Hold scale and bias against what training reaches, and against the logits of the library's own code."""
    factor, bias = subject.info.logit_scale, subject.info.logit_bias
    if factor is None:
        raise NotExamined("the model has no logit_scale: confidences and losses are undefined")
    seen = f"scale {factor:.4g}, bias {bias:.4g}"
    if not SCALES[0] <= factor <= SCALES[1]:
        return fault(
            f"{seen}: expected a scale of {SCALES[0]:g} to {SCALES[1]:g}",
            "give the factor itself as logit_scale: exp() of the learned logarithm, or 1 / temperature",
        )
    if bias > 0:
        return fault(
            f"{seen}: a positive bias calls every pair a match",
            "take logit_bias from the model: SigLIP's is about -10 to -17",
        )
    is_compared = subject.encodes and not subject.is_quick and subject.apart_twice <= subject.limit
    apart = _from_library(subject, factor, bias) if is_compared else None
    if apart is None:
        return healthy(seen)
    if apart > factor * max(LOGIT_TOLERANCE, subject.limit):
        return fault(
            f"{seen}: logits differ from those of the library's own code by {apart:.3g}",
            "take scale and bias from the model as its forward pass applies them, clamps included",
        )
    return healthy(f"{seen}, as in the library's own logits (largest difference {apart:.1g})")


def _from_library(subject: Subject, factor: float, bias: float) -> float | None:
    """Return how far logits of the probes are from those of the library's code; None where there is none to ask."""
    parts = subject.parts
    if parts.module is None or parts.preprocess is None or parts.tokenize is None:
        return None
    pixels = np.stack([parts.preprocess(image) for image in probing.probe_images()])
    theirs = library_logits(parts.module, pixels, parts.tokenize(list(probing.TEXTS)))
    if theirs is None:
        return None
    images, texts = (unit(vectors).astype(np.float64) for vectors in subject.probes)
    return float(np.abs(factor * images @ texts.T + bias - theirs).max())


def weights(subject: Subject) -> CheckOutcome:
    """Look for towers whose normalisations are as they were before training."""
    towers = untrained_towers(subject.module)
    if towers:
        return fault(
            f"every normalisation of the {' and the '.join(towers)} has the weights of its initialisation: nothing was"
            " learned",
            "load the weights into the module, and see which names of the checkpoint were left over",
        )
    return healthy("the normalisations of both towers have been trained")


CHECKS = (
    Check(
        name="activation",
        why="Weights trained with QuickGELU lose points under GELU, and the reverse, without an error.",
        examine=activation,
    ),
    Check(
        name="scale",
        why="Confidences, calibration and losses are made with scale and bias; ranks are not.",
        examine=scale,
        is_quick=True,
        needs_model=False,
    ),
    Check(
        name="weights",
        why="Weights that do not fit by name stay random, and some libraries only log it.",
        examine=weights,
        is_quick=True,
    ),
)
