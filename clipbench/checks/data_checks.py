"""Checks of data: images that cannot be read or are there twice, captions and classes that cannot be told apart."""

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from jaxtyping import Int16
from PIL import Image

from clipbench.checks.check import Check, CheckOutcome, NotExamined, fault, healthy, warning
from clipbench.checks.subject import Subject
from clipbench.data.dataset import Dataset, LabelSet
from clipbench.data.images import ImageRef, opened
from clipbench.errors import BadImage, NoTokenCounts
from clipbench.results.numbers import count, counted
from clipbench.seeding import generator
from clipbench.untrusted.reading import MOST_SHOWN, shortened

N_IMAGES = 500
"""Images that are decoded."""
N_CAPTIONS = 2_000
"""Captions whose tokens are counted."""
SIDE = 16
"""Pixels of the small copies by which near-duplicates are found."""
SAME_PIXELS = 12
"""Largest difference of two small copies, of 255, that another encoding or size of the same image makes."""


class Decoded(NamedTuple):
    """A sample of a data set's images, decoded."""

    rows: Sequence[int]
    small: Int16[np.ndarray, "n values"]
    """Small copies of the images that could be decoded."""
    digests: Sequence[str]
    causes: dict[str, str]
    """Cause by name of each image that could not."""
    n: int
    """Images that were tried."""


def images(subject: Subject) -> CheckOutcome:
    """Decode a sample of the images."""
    found = decoded(subject)
    if found.causes:
        name, cause = next(iter(found.causes.items()))
        return fault(
            f"{len(found.causes)} of {counted(found.n, 'image')} cannot be read, the first {name}: {cause}",
            "replace them, or run with --on-bad-image skip to leave them out and say so",
        )
    return healthy(f"{counted(found.n, 'image')} can be read{_of_all(subject, found.n)}")


def duplicates(subject: Subject) -> CheckOutcome:
    """Compare the content and small copies of a sample of the images."""
    dataset, found = _dataset(subject), decoded(subject)
    same = list(_same(found.digests))
    near = [pair for pair in _near(found.small) if found.digests[pair[0]] != found.digests[pair[1]]]
    if not same and not near:
        return healthy(f"no image is there twice or nearly so among {count(len(found.rows))}")
    shown = (same or near)[0]
    names = [dataset.image_ids[found.rows[place]] for place in shown]
    counts = [
        counted(len(same), "exact copy", "exact copies") if same else "",
        counted(len(near), "near-duplicate") if near else "",
    ]
    return warning(
        f"among {counted(len(found.rows), 'image')} {' and '.join(filter(None, counts))}: '{names[0]}' and '{names[1]}'",
        "drop one of each: retrieval counts the other as a wrong answer, and test images may be among training's",
    )


def captions(subject: Subject) -> CheckOutcome:
    """Look for one caption on several images."""
    dataset = _dataset(subject)
    if dataset.captions is None or dataset.caption_image is None:
        raise NotExamined("the data have no captions")
    owners: dict[str, set[int]] = {}
    for caption, image in zip(dataset.captions, dataset.caption_image.tolist(), strict=True):
        owners.setdefault(" ".join(caption.casefold().split()), set()).add(image)
    shared = {caption: rows for caption, rows in owners.items() if len(rows) > 1}
    if not shared:
        return healthy(f"each of {count(len(owners))} captions belongs to one image")
    worst = max(shared, key=lambda caption: len(shared[caption]))
    return warning(
        f"{_some(len(shared), counted(len(owners), 'caption'), 'stands', 'stand')} on several images,"
        f" '{shortened(worst, MOST_SHOWN)}' on {len(shared[worst])}",
        "give each image a caption that is true of it alone: retrieval takes the others for wrong answers",
    )


def labels(subject: Subject) -> CheckOutcome:
    """Look for labels that name no class."""
    sets = list(_label_sets(_dataset(subject)))
    if not sets:
        raise NotExamined("the data have no labels")
    for name, each in sets:
        out = np.flatnonzero((each.labels < 0) | (each.labels >= len(each.class_names)))
        if len(out):
            image = _dataset(subject).image_ids[out[0]]
            return fault(
                f"{_some(len(out), counted(len(each.labels), 'label') + name, 'names', 'name')} no class: image '{image}'"
                f" has {each.labels[out[0]]}, and there are {len(each.class_names)} classes, from 0",
                "number the classes from 0, in the order of their names",
            )
    return healthy(f"all labels name one of {' and '.join(str(len(each.class_names)) for _, each in sets)} classes")


def classes(subject: Subject) -> CheckOutcome:
    """Look for classes without images."""
    sets = list(_label_sets(_dataset(subject)))
    if not sets:
        raise NotExamined("the data have no labels")
    for name, each in sets:
        empty = sorted(set(range(len(each.class_names))) - set(each.labels.tolist()))
        if empty:
            return warning(
                f"{_some(len(empty), counted(len(each.class_names), 'class', 'classes') + name, 'has', 'have')} no image,"
                f" the first '{each.class_names[empty[0]]}'",
                "add images or drop the class: recall by class is undefined there, and its prompts still draw answers",
            )
    return healthy("every class has images")


def class_names(subject: Subject) -> CheckOutcome:
    """Look for two classes of one name."""
    sets = list(_label_sets(_dataset(subject)))
    if not sets:
        raise NotExamined("the data have no classes")
    for name, each in sets:
        names = Counter(" ".join(class_name.casefold().replace("_", " ").split()) for class_name in each.class_names)
        twice = [class_name for class_name, n in names.items() if n > 1]
        if twice:
            return fault(
                f"{counted(len(twice), 'name')}{name} {'stands' if len(twice) == 1 else 'stand'} for several classes:"
                f" '{twice[0]}' for {names[twice[0]]}",
                "rename them ('crane bird', 'construction crane'): their prompts are the same, so that one never wins",
            )
    return healthy("every class has a name of its own")


def caption_length(subject: Subject) -> CheckOutcome:
    """Count the captions that are longer than the text tower reads."""
    dataset, context = _dataset(subject), subject.info.context_length
    if dataset.captions is None:
        raise NotExamined("the data have no captions")
    if context is None:
        raise NotExamined("the model does not say how many tokens it takes")
    try:
        n_tokens = subject.model.count_tokens(dataset.captions[:N_CAPTIONS])
    except NoTokenCounts as error:
        raise NotExamined(str(error)) from error
    n_cut = int((n_tokens > context).sum())
    all_read = len(n_tokens) == len(dataset.captions)
    if n_cut:
        read = counted(len(n_tokens), "caption") if all_read else f"the first {count(len(n_tokens))} captions"
        return warning(
            f"{_some(n_cut, read, 'is', 'are')} longer than the {context} tokens that the model reads, up to"
            f" {int(n_tokens.max())}",
            "measure with a model of a longer context, or see with the task long-caption what the cut ends cost",
        )
    read = "captions" if all_read else f"the first {count(len(n_tokens))} captions"
    return healthy(f"{read} have up to {int(n_tokens.max())} tokens, of {context} that the model reads")


def decoded(subject: Subject) -> Decoded:
    """Return a sample of the data's images, decoded once for all checks."""
    if subject.sample is None:
        subject.sample = _decode(_dataset(subject), subject.seed)
    found = subject.sample
    assert isinstance(found, Decoded)
    return found


def _decode(dataset: Dataset, seed: int) -> Decoded:
    rows = np.sort(generator(seed, "doctor", "images").permutation(len(dataset))[:N_IMAGES]).tolist()
    refs = [dataset.images[row] for row in rows]
    with ThreadPoolExecutor(max_workers=8) as pool:  # decoding releases the interpreter lock
        found = list(pool.map(_small_or_cause, refs))
    good = [place for place, each in enumerate(found) if not isinstance(each, BadImage)]
    small = [each[0] for each in found if not isinstance(each, BadImage)]
    return Decoded(
        rows=[rows[place] for place in good],
        small=np.stack(small) if small else np.empty((0, SIDE * SIDE * 3), np.int16),
        digests=[each[1] for each in found if not isinstance(each, BadImage)],
        causes={each.name: each.cause for each in found if isinstance(each, BadImage)},
        n=len(rows),
    )


def _small_or_cause(ref: ImageRef) -> tuple[np.ndarray, str] | BadImage:
    try:
        small = opened(ref, 0).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
        return np.asarray(small, np.int16).ravel(), ref.digest()
    except BadImage as error:
        return error


def _same(digests: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield each image that has the content of an earlier one, after the earlier one."""
    first: dict[str, int] = {}
    for place, digest in enumerate(digests):
        if first.setdefault(digest, place) != place:
            yield first[digest], place


def _near(small: Int16[np.ndarray, "n values"]) -> Iterator[tuple[int, int]]:
    """Yield each image that looks like an earlier one, after the earlier one."""
    for place in range(1, len(small)):
        alike = np.flatnonzero(np.abs(small[:place] - small[place]).max(axis=1) <= SAME_PIXELS)
        if len(alike) and np.ptp(small[place]) > 2 * SAME_PIXELS:  # images of one colour look alike and need not be
            yield int(alike[0]), place


def _label_sets(dataset: Dataset) -> Iterator[tuple[str, LabelSet]]:
    """Yield the ways to sort the images into classes, each with its name for messages."""
    if dataset.labels is not None and dataset.class_names is not None:
        yield "", LabelSet(dataset.labels, dataset.class_names)
    for name, each in (dataset.label_sets or {}).items():
        yield f" of '{name}'", each


def _dataset(subject: Subject) -> Dataset:
    assert subject.dataset is not None
    return subject.dataset


def _of_all(subject: Subject, n: int) -> str:
    n_all = len(_dataset(subject))
    return "" if n == n_all else f", a sample of {count(n_all)}"


def _some(n: int, all_of_them: str, verb: str, plural: str) -> str:
    """Return how many of some do something, such as ``1 of 3 classes has``."""
    return f"{count(n)} of {all_of_them} {verb if n == 1 else plural}"


CHECKS = (
    Check(
        name="images",
        about="data",
        why="An image that cannot be read ends a run, or is left out of its numbers.",
        examine=images,
    ),
    Check(
        name="duplicates",
        about="data",
        why="Of two equal images one is always the wrong answer, and an image of the training set is no test.",
        examine=duplicates,
    ),
    Check(
        name="captions",
        about="data",
        why="A caption that is true of several images has several right answers, and is scored as if it had one.",
        examine=captions,
    ),
    Check(
        name="labels",
        about="data",
        why="A label that names no class, or another than meant, makes right answers wrong.",
        examine=labels,
        needs_model=False,
    ),
    Check(
        name="classes",
        about="data",
        why="Mean recall by class is undefined for a class without images.",
        examine=classes,
        needs_model=False,
    ),
    Check(
        name="class-names",
        about="data",
        why="Classes of one name have the same prompts, so that no model can tell them apart.",
        examine=class_names,
        needs_model=False,
    ),
    Check(
        name="caption-length",
        about="data",
        why="What is said behind the context length does not reach the model.",
        examine=caption_length,
    ),
)
