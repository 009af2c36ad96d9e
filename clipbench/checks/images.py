"""The check of image preprocessing: what is measured against what the checkpoint's own files say."""

from collections.abc import Iterator

from clipbench.checks.check import Check, CheckOutcome, fault, healthy
from clipbench.checks.subject import Subject
from clipbench.models.facts.modules import declared_preprocessing
from clipbench.models.internals import Preprocessing
from clipbench.models.towers.variants import SQUARES

COLOUR_TOLERANCE = 0.01
"""Difference of means and standard deviations that rounding explains."""
UNSCALED = 0.02
"""A smaller standard deviation means pixels in [0, 255]."""


def preprocessing(subject: Subject) -> CheckOutcome:
    """Measure size, mean, standard deviation, crop and interpolation, and compare them with the files."""
    measured = subject.measured
    if measured.fault is not None:
        return fault(measured.fault, "give the image tower RGB images, in channels first, as in training")
    assert measured.std is not None
    if max(measured.std) < UNSCALED:
        return fault(
            "pixels are normalized in [0, 255], not in [0, 1]", "divide pixels by 255 before the mean is taken off"
        )
    module = subject.parts.module
    declared = None if module is None else declared_preprocessing(module)
    side = subject.info.image_size
    differences = [] if declared is None else list(differing(measured, declared))
    if side is not None and measured.size is not None and side not in measured.size:
        differences.append(f"{_pixels(measured.size)} where the model says that it takes {side}")
    if differences:
        return fault(f"preprocessing differs from the checkpoint's own: {'; '.join(differences)}", MEND)
    if declared is None:
        return healthy(f"{described(measured)}; the checkpoint has no file to hold it against")
    return healthy(f"{described(measured)}, as the checkpoint's own files say")


MEND = "use the checkpoint's own preprocessing (open_clip's preprocess, transformers' AutoImageProcessor)"


def differing(measured: Preprocessing, declared: Preprocessing) -> Iterator[str]:
    """Yield each setting in which two preprocessings differ, where both have it.

    Example:
        >>> list(differing(Preprocessing(resize="squash"), Preprocessing(resize="crop")))
        ['images squashed to a square where the files say the middle of an image cut out']
    """
    if measured.size and declared.size and measured.size != declared.size:
        yield f"{_pixels(measured.size)} where the files say {_pixels(declared.size)}"
    for name in ("mean", "std"):
        one, other = getattr(measured, name), getattr(declared, name)
        if one and other and max(abs(a - b) for a, b in zip(one, other, strict=True)) > COLOUR_TOLERANCE:
            yield f"{name} {_colour(one)} where the files say {_colour(other)}"
    if measured.resize and declared.resize and measured.resize != declared.resize:
        yield f"{SQUARES[measured.resize]} where the files say {SQUARES[declared.resize]}"
    if measured.interpolation and declared.interpolation and measured.interpolation != declared.interpolation:
        yield f"{measured.interpolation} interpolation where the files say {declared.interpolation}"


def described(settings: Preprocessing) -> str:
    """Return the settings in words."""
    parts = [
        _pixels(settings.size) if settings.size else "",
        SQUARES[settings.resize] if settings.resize else "",
        settings.interpolation or "",
        f"mean {_colour(settings.mean)}" if settings.mean else "",
        f"std {_colour(settings.std)}" if settings.std else "",
    ]
    return ", ".join(filter(None, parts))


def _pixels(size: tuple[int, int]) -> str:
    return f"{size[0]} px" if size[0] == size[1] else f"{size[0]} x {size[1]} px"


def _colour(values: tuple[float, ...]) -> str:
    return f"{values[0]:.3g}" if len(set(values)) == 1 else " ".join(f"{value:.3f}" for value in values)


CHECKS = (
    Check(
        name="preprocessing",
        why="Another size, mean, crop or interpolation than in training costs points on every image.",
        examine=preprocessing,
        is_quick=True,
    ),
)
