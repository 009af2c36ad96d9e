"""Checks of data: images that cannot be read or are duplicates, captions and classes that are ambiguous."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from jaxtyping import Int16
from PIL import Image

from clipbench.checks.subject import CheckOutcome, NotExamined, Subject, fault, healthy, warning
from clipbench.data.dataset import Dataset
from clipbench.data.images import ImageRef, open_image
from clipbench.data.labels import LabelSet
from clipbench.errors import BadImage, option
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
    decoded, n_all = _decoded_sample(subject), len(_dataset(subject))
    if decoded.causes:
        name, cause = next(iter(decoded.causes.items()))
        return fault(
            f"{len(decoded.causes)} of {counted(decoded.n, 'image')} cannot be read, the first {name}: {cause}",
            f"replace them, or leave them out of a run with {option('on_bad_image', 'skip')}",
        )
    of_all = "" if decoded.n == n_all else f", a sample of {count(n_all)}"
    return healthy(f"{counted(decoded.n, 'image')} can be read{of_all}")


def duplicates(subject: Subject) -> CheckOutcome:
    """Compare the content and small copies of a sample of the images."""
    dataset, decoded = _dataset(subject), _decoded_sample(subject)
    first: dict[str, int] = {}
    same = []
    for position, digest in enumerate(decoded.digests):
        first_position = first.setdefault(digest, position)
        if first_position != position:
            same.append((first_position, position))
    near = []
    for position, small in enumerate(decoded.small):
        matches = np.flatnonzero(np.abs(decoded.small[:position] - small).max(axis=1, initial=0) <= SAME_PIXELS)
        is_flat = np.ptp(small) <= 2 * SAME_PIXELS  # images of one colour look alike and need not be
        if len(matches) and not is_flat and decoded.digests[matches[0]] != decoded.digests[position]:
            near.append((int(matches[0]), position))
    if not same and not near:
        return healthy(f"no duplicates or near duplicates among {counted(len(decoded.rows), 'image')}")
    example = (same or near)[0]
    names = [dataset.image_ids[decoded.rows[position]] for position in example]
    counts = [
        counted(len(same), "exact copy", "exact copies") if same else "",
        counted(len(near), "near-duplicate") if near else "",
    ]
    return warning(
        f"among {counted(len(decoded.rows), 'image')} {' and '.join(filter(None, counts))}: "
        f"'{names[0]}' and '{names[1]}'",
        "remove one of each pair: retrieval counts the other as a wrong answer, "
        "and a test image may also be a training image",
    )


def captions(subject: Subject) -> CheckOutcome:
    """Look for one caption on several images."""
    dataset = _dataset(subject)
    if dataset.captions is None or dataset.caption_image is None:
        raise NotExamined("the data set has no captions")
    owners: dict[str, set[int]] = {}
    for caption, image in zip(dataset.captions, dataset.caption_image.tolist(), strict=True):
        owners.setdefault(" ".join(caption.casefold().split()), set()).add(image)
    shared = {caption: rows for caption, rows in owners.items() if len(rows) > 1}
    if not shared:
        return healthy(f"each of {count(len(owners))} captions belongs to one image")
    worst = max(shared, key=lambda caption: len(shared[caption]))
    return warning(
        f"{_some(len(shared), counted(len(owners), 'caption'), 'belongs', 'belong')} to several images,"
        f" '{shortened(worst, MOST_SHOWN)}' on {len(shared[worst])}",
        "give each image a caption that is true only of this image: retrieval counts the other images as wrong answers",
    )


def classes(subject: Subject) -> CheckOutcome:
    """Look for classes without images."""
    for name, label_set in _label_sets(subject):
        empty = sorted(set(range(len(label_set.class_names))) - set(label_set.labels.tolist()))
        if empty:
            n_classes = counted(len(label_set.class_names), "class", "classes")
            return warning(
                f"{_some(len(empty), n_classes + name, 'has', 'have')} no image, the first"
                f" '{label_set.class_names[empty[0]]}'",
                "add images or remove the class: its recall is undefined, and its prompts still attract answers",
            )
    return healthy("every class has images")


def class_names(subject: Subject) -> CheckOutcome:
    """Look for two classes of one name."""
    for name, label_set in _label_sets(subject):
        names = Counter(
            " ".join(class_name.casefold().replace("_", " ").split()) for class_name in label_set.class_names
        )
        repeated = [class_name for class_name, n in names.items() if n > 1]
        if repeated:
            return fault(
                f"{counted(len(repeated), 'name')}{name} {'names' if len(repeated) == 1 else 'name'} several"
                f" classes: '{repeated[0]}' names {names[repeated[0]]}",
                "rename them ('crane bird', 'construction crane'): their prompts are the same, so one of"
                " them is never the answer",
            )
    return healthy("every class has a distinct name")


def caption_length(subject: Subject) -> CheckOutcome:
    """Count the captions that are longer than the text tower reads."""
    dataset, context = _dataset(subject), subject.info.context_length
    if dataset.captions is None:
        raise NotExamined("the data set has no captions")
    if context is None:
        raise NotExamined("the model does not state its context length")
    n_tokens = subject.model.count_tokens(dataset.captions[:N_CAPTIONS])
    n_cut, longest = int((n_tokens > context).sum()), int(n_tokens.max())
    read = counted(len(n_tokens), "caption")
    if len(n_tokens) < len(dataset.captions):
        read = f"the first {read}"
    if not n_cut:
        return healthy(f"{read} have up to {longest} tokens, of {context} that the model reads")
    return warning(
        f"{_some(n_cut, read, 'is', 'are')} longer than the {context} tokens that the model reads, up to {longest}",
        "use a model with a longer context, or measure with the task long-caption what the truncation costs",
    )


def _decoded_sample(subject: Subject) -> Decoded:
    if isinstance(subject.sample, Decoded):
        return subject.sample
    dataset = _dataset(subject)
    rows = np.sort(generator(subject.seed, "doctor", "images").permutation(len(dataset))[:N_IMAGES]).tolist()
    with ThreadPoolExecutor(max_workers=8) as pool:  # decoding releases the interpreter lock
        outcomes = list(pool.map(_small_or_cause, [dataset.images[row] for row in rows]))
    decoded_rows, small_copies, digests, causes = [], [], [], {}
    for row, outcome in zip(rows, outcomes, strict=True):
        if isinstance(outcome, BadImage):
            causes[outcome.name] = outcome.cause
        else:
            small, digest = outcome
            decoded_rows.append(row)
            small_copies.append(small)
            digests.append(digest)
    subject.sample = Decoded(
        rows=decoded_rows,
        small=np.stack(small_copies) if small_copies else np.empty((0, SIDE * SIDE * 3), np.int16),
        digests=digests,
        causes=causes,
        n=len(rows),
    )
    return subject.sample


def _small_or_cause(ref: ImageRef) -> tuple[np.ndarray, str] | BadImage:
    try:
        small = open_image(ref, 0).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
        return np.asarray(small, np.int16).ravel(), ref.digest()
    except BadImage as error:
        return error


def _label_sets(subject: Subject) -> list[tuple[str, LabelSet]]:
    """Return the ways to sort the images into classes, each with its name for messages."""
    dataset = _dataset(subject)
    sets = [(f" of '{name}'", label_set) for name, label_set in (dataset.label_sets or {}).items()]
    if dataset.labels is not None and dataset.class_names is not None:
        sets.insert(0, ("", LabelSet(dataset.labels, dataset.class_names)))
    if not sets:
        raise NotExamined("the data set has no labels")
    return sets


def _dataset(subject: Subject) -> Dataset:
    assert subject.dataset is not None
    return subject.dataset


def _some(n: int, all_of_them: str, verb: str, plural: str) -> str:
    return f"{count(n)} of {all_of_them} {verb if n == 1 else plural}"
