"""Checks of what a model does: the same input gives the same vector, alone or in company, short or long, with capitals or not."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice, permutations
from typing import TypeVar

import numpy as np
from jaxtyping import Float

from clipbench.checks.check import Check, CheckOutcome, NotExamined, fault, healthy, warning
from clipbench.checks.evidence import better
from clipbench.checks.pairs import Pairs, largest_distance
from clipbench.checks.subject import Subject
from clipbench.metrics.similarity import unit
from clipbench.models import probes as probing
from clipbench.models.facts.tokens import padded
from clipbench.models.towers.variants import case_variants

Item = TypeVar("Item")


SMALL_BATCH, N_TURNED = 5, 20
"""Items of a small batch, and of all that are encoded once more from the last to the first."""
WORDS = ("cat", "dog", "red", "blue", "big")
"""Words whose orders are texts of as many tokens."""
RANDOM = "the same input has several vectors (see determinism)"
BATCH_MEND = (
    "return one vector an item, in order; put batch normalisation in evaluation mode; take no statistics over a batch"
)
UNMOVED = 1e-3
"""Distance up to which a vector in another row is the same."""


def distance(one: Float[np.ndarray, " dim"], other: Float[np.ndarray, " dim"]) -> float:
    """Return the distance of two vectors scaled to length 1; raise VectorError where one has no direction.

    Example:
        >>> distance(np.array([1.0, 0], np.float32), np.array([3.0, 0], np.float32))
        0.0
    """
    return largest_distance(one[None], other[None])


def evaluation_mode(subject: Subject) -> CheckOutcome:
    """Look for dropout and batch normalisation that work as in training while the model encodes."""
    _ = subject.module  # without one there is nothing to see
    training = subject.again.training
    if training:
        return fault(
            f"in training mode while the model encodes: {_first(training)} ({len(training)} of the module's parts)",
            "call model.eval() before encoding",
        )
    return healthy("no part of the module works in training mode while it encodes")


def determinism(subject: Subject) -> CheckOutcome:
    """Encode the same image and text twice."""
    found = subject.apart_twice
    if found > subject.limit:
        return fault(
            f"the same input encoded twice gives vectors {found:.2g} apart",
            "call model.eval(), and take random crops and other augmentation out of the preprocessing",
        )
    return healthy(f"encoded twice, vectors are at most {found:.1g} apart")


def batches(subject: Subject) -> CheckOutcome:
    """Encode the same image and text alone and among others of as many tokens, and (in full) in another order."""
    if subject.apart_twice > subject.limit:
        raise NotExamined(RANDOM)
    again = subject.again
    found = {"image": distance(again.image, subject.probes.images[0]), "text": distance(again.in_company, again.text)}
    is_moved = again.is_moved
    if not subject.is_quick:
        shown, model = subject.pairs, subject.model
        images = _backwards(model.encode_images, shown.images[:N_TURNED])
        texts = _backwards(model.encode_texts, shown.texts[:N_TURNED])
        found["image"] = max(found["image"], largest_distance(shown.image_vectors[: len(images)], images))
        words = [" ".join(order) for order in islice(permutations(WORDS), N_TURNED)]
        found["text"] = max(
            found["text"], largest_distance(model.encode_texts(words), _backwards(model.encode_texts, words))
        )
        is_moved |= _is_other_order(images, shown.image_vectors) or _is_other_order(texts, shown.text_vectors)
    kind = max(found, key=found.__getitem__)
    if found[kind] > subject.limit or is_moved:
        moved = "; the vectors are there in another order" if is_moved else ""
        return fault(f"the vector of the same {kind} is {found[kind]:.2g} away in another batch{moved}", BATCH_MEND)
    return healthy(
        f"in other batches and orders vectors are at most {max(found.values()):.1g} apart (floor of rounding)"
    )


def padding(subject: Subject) -> CheckOutcome:
    """Encode a text alone, beside a longer one, and (where tokens are shown) at full length."""
    text, limit, again = probing.TEXTS[0], subject.limit, subject.again
    if again.is_moved or max(subject.apart_twice, distance(again.in_company, again.text)) > limit:
        raise NotExamined("a text's vector changes in company of any length (see determinism and batches)")
    beside, full, facts = distance(again.beside_long, again.text), _full_length(subject, text), subject.tokens
    context = subject.info.context_length or (facts.width if facts else None)
    mend = f"pad every text to the context length{f' ({context} tokens)' if context else ''}: padding='max_length'"
    if beside > limit:
        return fault(f"the vector of '{text}' is {beside:.2g} away when a longer text is in its batch", mend)
    if full is not None and full > limit:
        return fault(
            f"the vector of '{text}' is {full:.2g} away when it is padded to full length: the tower reads its padding,"
            " and the adapter leaves it out",
            mend,
        )
    if subject.is_siglip and facts is not None and _has_mask(subject, text):
        return fault(
            "the text tower gets an attention mask, and SigLIP was trained without one, on padding as it is",
            "pass input_ids alone, padded to the context length",
        )
    seen = f"beside a longer text the vector is at most {beside:.1g} away"
    return healthy(seen if full is None else f"{seen}, at full length {full:.1g}")


def case(subject: Subject) -> CheckOutcome:
    """Encode a text with capitals and without; where they matter, ask the pairs whether lower case fits better."""
    model = subject.model
    plain, capitals, dotted = model.encode_texts(
        ["a photo of a red dog", "A Photo Of A Red Dog", "a photo of a red dog."]
    )
    by_case, by_dot = distance(plain, capitals), distance(plain, dotted)
    if by_case <= subject.limit:
        dot = f"a full stop changes it by {by_dot:.1g}" if by_dot > subject.limit else "nor does a full stop"
        return healthy(f"capitals do not change a text's vector, {dot}")
    seen = f"capitals change a text's vector by {by_case:.2g}"
    mend = "lower-case texts in the adapter, as the model was trained: [text.lower() for text in texts]"
    if subject.is_siglip:
        return fault(f"{seen}, and SigLIP was trained on lower-cased text", mend)
    pairs = subject.pairs if subject.pairs.is_own else _with_capitals(subject)
    lower = better(pairs, next(iter(case_variants(model))))
    if lower.is_better:
        speak = fault if pairs.is_own else warning  # the captions of scenes have capitals only for this check
        return speak(f"{seen}, and lower case fits the images better: {lower.text}", mend)
    return healthy(f"{seen}; lower case does not fit {pairs.source} better ({lower.text})")


def _backwards(
    encode: Callable[[Sequence[Item]], Float[np.ndarray, "n dim"]], items: Sequence[Item]
) -> Float[np.ndarray, "n dim"]:
    """Return the vectors of items, in order, encoded from the last to the first in small batches."""
    turned = items[::-1]
    batches = [encode(turned[start : start + SMALL_BATCH]) for start in range(0, len(turned), SMALL_BATCH)]
    return np.concatenate(batches)[::-1]


def _with_capitals(subject: Subject) -> Pairs:
    texts = [text.title() for text in subject.pairs.texts]
    return replace(subject.pairs, texts=texts, text_vectors=subject.model.encode_texts(texts))


def _full_length(subject: Subject, text: str) -> float | None:
    """Return how far a text's vector moves when its tokens are padded to full length."""
    parts, facts = subject.parts, subject.tokens
    if parts.tokenize is None or parts.encode_tokens is None or facts is None or facts.pad is None:
        return None
    context = max(subject.info.context_length or 0, facts.width)
    return distance(parts.encode_tokens(padded(parts.tokenize([text]), facts, context))[0], subject.again.text)


def _has_mask(subject: Subject, text: str) -> bool:
    tokenize = subject.parts.tokenize
    return tokenize is not None and any("mask" in name for name in tokenize([text]))


def _is_other_order(vectors: Float[np.ndarray, "n dim"], others: Float[np.ndarray, "m dim"]) -> bool:
    """Return whether each vector is among the others, but not in its row."""
    if largest_distance(vectors, others[: len(vectors)]) <= UNMOVED:
        return False
    nearest = (unit(vectors) @ unit(others).T).argmax(axis=1)
    return len(set(nearest.tolist())) > len(vectors) // 2 and largest_distance(vectors, others[nearest]) <= UNMOVED


def _first(names: Sequence[str], n: int = 3) -> str:
    return ", ".join(names[:n]) + (", ..." if len(names) > n else "")


CHECKS = (
    Check(
        name="evaluation-mode",
        why="Dropout and batch normalisation of training make vectors random, or mix the images of a batch.",
        examine=evaluation_mode,
        is_quick=True,
    ),
    Check(
        name="determinism",
        why="If the same input has two vectors, no number can be made again, nor a small difference be seen.",
        examine=determinism,
        is_quick=True,
    ),
    Check(
        name="batches",
        why="A vector that depends on its batch makes scores depend on batch size and order.",
        examine=batches,
        is_quick=True,
    ),
    Check(
        name="padding",
        why="SigLIP reads its padding: texts padded to the longest of a batch cost it tens of points.",
        examine=padding,
        is_quick=True,
    ),
    Check(
        name="case",
        why="SigLIP and SigLIP 2 were trained on lower-cased text: capitals cost up to 12 points.",
        examine=case,
    ),
)
