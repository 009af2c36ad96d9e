"""Checks of a model's behaviour: vectors that must not move, vectors that must differ, and the margin of true pairs.

Each check varies one condition (the batch, the padding, capitals, the pairing), measures how far vectors move, and
compares it with a bound: rounding at the model's precision, or chance.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice, permutations
from typing import TypeVar

import numpy as np
from jaxtyping import Float

from clipbench.checks.pairs import (
    MIN_PAIRS,
    N_MORE_PAIRS,
    USEFUL,
    Pairs,
    compare_margins,
    first_pairs,
    pair_separation,
    scene_pairs,
    user_pairs,
    variant_improves,
)
from clipbench.checks.subject import CheckOutcome, NotExamined, Rows, Subject, fault, healthy, largest_distance, warning
from clipbench.data.modalities import IMAGE, TEXT
from clipbench.errors import model_option, on_command_line, option
from clipbench.metrics.similarity import unit
from clipbench.models import fingerprint as probing
from clipbench.models.introspection.modules import untrained_towers
from clipbench.models.introspection.tokens import pad_tokens
from clipbench.models.introspection.variants import case_variants, images_as, texts_as
from clipbench.models.protocol import Role
from clipbench.results.grouping import group_values
from clipbench.results.numbers import counted
from clipbench.stats.intervals import Interval

Item = TypeVar("Item")

SAME = 1e-6
"""Distance of unit vectors below which they are one."""
UNMOVED = 1e-3
"""Distance up to which a vector in another row is the same."""
SMALL_BATCH, N_TURNED = 5, 20
"""Items of a small batch, and of all that are encoded once more from the last to the first."""
WORDS = ("cat", "dog", "red", "blue", "big")
"""Words whose orders are texts of equally many tokens."""
N_SHIFTS = 8
"""Rows by which texts are tried shifted, both ways."""
SERVED = "api"
"""Family of the models behind a server, which may need other messages than it was sent."""
CROWDED = 0.7
"""Mean cosine of images and unrelated texts above which messages are suspect.

Qwen3-VL-Embedding has .78 to .93 with wrong messages and .28 to .44 with its own. CLIP and SigLIP are below .3.
"""
OF_DATA = ("images of the data", "texts of the data")
TOO_LITTLE = "too little to retrieve anything"
FOUND_AGAIN = 4.0
"""Gain of a shifted pairing, in its standard errors, that names it. In simulations without a shift, one of the 17
pairings was named in 0 of 1,000 draws of 64 pairs, and in at most 7 of 1,000 of 16 pairs.
"""
LEAST_MARGIN = 0.5
"""Mean margin of a pairing that is worth naming, in standard deviations."""


def vectors(subject: Subject) -> CheckOutcome:
    """Look for vectors that are not finite, zero, all equal, or equal for different inputs."""
    for kind, rows, names in (*_inputs(subject), *_data_inputs(subject)):
        for flags, defect in ((~np.isfinite(rows).all(axis=1), "not finite"), (~rows.any(axis=1), "zero")):
            if flags.any():
                first = names[int(np.flatnonzero(flags)[0])]
                return fault(
                    f"{int(flags.sum())} of {len(rows)} {kind} have a vector that is {defect}, the first '{first}'",
                    "encode in fp32, and look for overflow or an empty text",
                )
        groups = _equal_rows(rows)
        if len(groups) == 1 and len(rows) > 1:
            return fault(f"all {len(rows)} {kind} have the same vector", "check that the tower gets its input")
        if kind in OF_DATA:  # which may hold an image or a text twice
            continue
        example = next((f"'{names[group[0]]}' and '{names[group[1]]}'" for group in groups if len(group) > 1), None)
        if example is not None and not subject.encodes:
            return warning(
                f"{len(rows) - len(groups)} of {len(rows)} {kind} have the vector of another: {example}",
                "check that these are different images or texts, and that no cache returns the wrong vector",
            )
        if example is not None:
            return fault(
                f"different {kind} have the same vector: {example}",
                "check that tokens and pixels reach the tower",
            )
    return healthy("vectors are finite and not zero, and different inputs have different vectors")


def _inputs(subject: Subject) -> Iterator[tuple[str, Rows, Sequence[str]]]:
    """Yield vectors of inputs that all differ, with the names of the inputs."""
    if subject.encodes:
        yield "images", subject.probes.images, [f"probe image {number}" for number in range(len(probing.SIZES))]
        yield "texts", subject.probes.texts, probing.TEXTS
    else:
        assert subject.dataset is not None
        yield "images", subject.pairs.image_vectors, subject.dataset.image_ids
        texts = subject.pairs.text_vectors
        yield "texts", texts, [f"text {row}" for row in range(len(texts))]


def _data_inputs(subject: Subject) -> Iterator[tuple[str, Rows, Sequence[str]]]:
    """Yield vectors of the data's own images and texts, as far as the full form has encoded them for other checks."""
    if not subject.encodes or subject.is_quick or subject.dataset is None:
        return
    pairs = subject.pairs
    if pairs.is_own:
        numbers = range(1, 1 + len(pairs.image_vectors))
        yield OF_DATA[0], pairs.image_vectors, [f"number {number} of the sample" for number in numbers]
        yield OF_DATA[1], pairs.text_vectors, pairs.texts


def _equal_rows(rows: Rows) -> list[list[int]]:
    """Return the rows that have the same direction, in groups."""
    directions = np.round(unit(rows) / SAME).astype(np.int64)
    return list(group_values((direction.tobytes(), row) for row, direction in enumerate(directions)).values())


def evaluation_mode(subject: Subject) -> CheckOutcome:
    """Look for dropout and batch normalisation that work as in training while the model encodes."""
    _ = subject.module  # without one there is nothing to see
    training = subject.repeated.training
    if not training:
        return healthy("no part of the module works in training mode while it encodes")
    first = ", ".join(training[:3]) + (", ..." if len(training) > 3 else "")
    return fault(
        f"in training mode while the model encodes: {first} ({len(training)} of the module's parts)",
        "call model.eval() before encoding",
    )


def determinism(subject: Subject) -> CheckOutcome:
    """Encode the same image and text twice."""
    distance = subject.repeat_distance
    if distance <= subject.limit:
        return healthy(f"encoded twice, vectors are at most {distance:.1g} apart")
    return fault(
        f"the same input encoded twice gives vectors {distance:.2g} apart",
        "call model.eval(), and take random crops and other augmentation out of the preprocessing",
    )


def constancy(subject: Subject) -> CheckOutcome:
    """Encode the probes after a run, and compare their vectors with the vectors from the loading of the model."""
    before = subject.probes
    after = probing.encode_probes(subject.model.encode_images, subject.model.encode_texts)
    distance = max(largest_distance(before.images, after.images), largest_distance(before.texts, after.texts))
    if distance <= subject.limit:
        return healthy(f"encoded before and after the run, vectors are at most {distance:.1g} apart")
    return fault(
        f"the same input encoded before and after the run gives vectors {distance:.2g} apart: the model has changed"
        " meanwhile, and its stored vectors are of both states",
        "keep the model unchanged while it is measured, remove its stored vectors"
        + on_command_line(f" (`clipbench cache prune --model {subject.info.ref}`)")
        + ", and measure again",
    )


def batches(subject: Subject) -> CheckOutcome:
    """Encode one image and one text separately and in batches of equally long texts, and (in full) in another order."""
    if subject.repeat_distance > subject.limit:
        raise NotExamined("one input gives different vectors from call to call (see determinism)")
    repeated, model = subject.repeated, subject.model
    distances = {"image": repeated.image_among, "text": repeated.text_among}
    is_moved = repeated.is_moved
    if not subject.is_quick:
        pairs = subject.pairs
        images = _backwards(model.encode_images, pairs.images[:N_TURNED])
        texts = _backwards(model.encode_texts, pairs.texts[:N_TURNED])
        words = [" ".join(order) for order in islice(permutations(WORDS), N_TURNED)]
        distances["image"] = max(distances["image"], largest_distance(pairs.image_vectors[: len(images)], images))
        distances["text"] = max(
            distances["text"], largest_distance(model.encode_texts(words), _backwards(model.encode_texts, words))
        )
        is_moved |= _is_other_order(images, pairs.image_vectors) or _is_other_order(texts, pairs.text_vectors)
    kind = max(distances, key=distances.__getitem__)
    if distances[kind] <= subject.limit and not is_moved:
        return healthy(
            f"in other batches and orders vectors are at most {distances[kind]:.1g} apart (floor of rounding)"
        )
    moved = ", and the vectors are in another order" if is_moved else ""
    return fault(
        f"the vector of the same {kind} is {distances[kind]:.2g} away in another batch{moved}",
        "return one vector per item, in order, put batch normalization in evaluation mode, and compute no"
        " statistics over a batch",
    )


def _backwards(encode: Callable[[Sequence[Item]], Rows], items: Sequence[Item]) -> Rows:
    """Return the vectors of items, in order, encoded from the last to the first in small batches."""
    turned = items[::-1]
    batches = [encode(turned[start : start + SMALL_BATCH]) for start in range(0, len(turned), SMALL_BATCH)]
    return np.concatenate(batches)[::-1]


def _is_other_order(vectors: Rows, reference: Float[np.ndarray, "m dim"]) -> bool:
    """Return whether each vector equals one of the reference, but not the one in its row."""
    if largest_distance(vectors, reference[: len(vectors)]) <= UNMOVED:
        return False
    nearest = (unit(vectors) @ unit(reference).T).argmax(axis=1)
    return len(set(nearest.tolist())) > len(vectors) // 2 and largest_distance(vectors, reference[nearest]) <= UNMOVED


def padding(subject: Subject) -> CheckOutcome:
    """Encode a text separately, in a batch with a longer one, and (if tokens are available) at full length."""
    text, limit, repeated, facts = probing.TEXTS[0], subject.limit, subject.repeated, subject.tokens
    if repeated.is_moved or max(subject.repeat_distance, repeated.text_among) > limit:
        raise NotExamined(
            "a text's vector depends on the other texts of its batch, whatever their length (see"
            " determinism and batches)"
        )
    tokenize, encode = subject.parts.tokenize, subject.parts.encode_tokens
    full = None
    if tokenize is not None and encode is not None and facts is not None and facts.pad is not None:
        width = max(subject.info.context_length or 0, facts.width)
        full = largest_distance(encode(pad_tokens(tokenize([text]), facts, width)), repeated.text)
    context = subject.info.context_length or (facts.width if facts else None)
    fix = f"pad every text to the context length{f' ({context} tokens)' if context else ''}: padding='max_length'"
    if repeated.with_long_text > limit:
        return fault(
            f"the vector of '{text}' is {repeated.with_long_text:.2g} away when a longer text is in its batch", fix
        )
    if full is not None and full > limit:
        return fault(
            f"the vector of '{text}' is {full:.2g} away when it is padded to full length: the tower reads its padding,"
            " and the adapter leaves it out",
            fix,
        )
    if subject.is_siglip and tokenize is not None and any("mask" in name for name in tokenize([text])):
        return fault(
            "the text tower gets an attention mask, but SigLIP was trained without one, with its padding",
            "pass only input_ids, padded to the context length",
        )
    observation = f"next to a longer text the vector is at most {repeated.with_long_text:.1g} away"
    return healthy(observation if full is None else f"{observation}, at full length {full:.1g}")


def case(subject: Subject) -> CheckOutcome:
    """Encode a text with and without capitals. If they matter, test on the pairs whether lower case fits better."""
    model = subject.model
    encoded = model.encode_texts(["a photo of a red dog", "A Photo Of A Red Dog", "a photo of a red dog."])
    by_case, by_dot = (largest_distance(encoded[:1], encoded[row : row + 1]) for row in (1, 2))
    if by_case <= subject.limit:
        dot = f"a full stop changes it by {by_dot:.1g}" if by_dot > subject.limit else "nor does a full stop"
        return healthy(f"capitals do not change a text's vector, {dot}")
    observation = f"capitals change a text's vector by {by_case:.2g}"
    fix = "lower-case texts in the adapter, as the model was trained: [text.lower() for text in texts]"
    if subject.is_siglip:
        return fault(f"{observation}, and SigLIP was trained on lower-cased text", fix)
    pairs = subject.ranked_pairs
    if not pairs.is_own:  # captions of scenes have no capitals
        texts = [text.title() for text in pairs.texts]
        pairs = replace(pairs, texts=texts, text_vectors=model.encode_texts(texts))
    is_better, margins = variant_improves(pairs, next(iter(case_variants(model))))
    if not is_better:
        return healthy(f"{observation}, but lower case does not separate {pairs.source} better ({margins})")
    return (fault if pairs.is_own else warning)(f"{observation}, and lower case fits the images better: {margins}", fix)


def roles(subject: Subject) -> CheckOutcome:
    """Search images by texts with the roles swapped, and test on the pairs whether that fits better."""
    model, model_roles = subject.model, subject.info.roles
    if not model_roles:
        raise NotExamined("the model has no roles: an item has one vector, both as query and as document")

    def pairs(of_texts: Role, of_images: Role) -> Pairs:
        images = images_as(model, subject.ranked_pairs.images, of_images if IMAGE in model_roles else None)
        texts = texts_as(model, subject.ranked_pairs.texts, of_texts if TEXT in model_roles else None)
        return replace(subject.ranked_pairs, image_vectors=images, text_vectors=texts)

    is_better, margins = compare_margins(pairs("query", "document"), pairs("document", "query"))
    if not is_better:
        return healthy(f"texts as queries of images: with the roles swapped, {margins}")
    fix = "check in the model's card which prompt is for queries and which is for documents"
    return warning(f"the roles swapped fit {subject.ranked_pairs.source} better: {margins}", fix)


def true_pairs(subject: Subject) -> CheckOutcome:
    """Measure how far true pairs are above shuffled ones, with a fault if the interval excludes a useful distance."""
    if subject.encodes and subject.parts.module is not None and untrained_towers(subject.parts.module):
        raise NotExamined("a tower is untrained, so pairs cannot be distinguished (see weights)")
    pairs = subject.ranked_pairs
    if len(pairs.truth) < MIN_PAIRS:
        raise NotExamined(f"{len(pairs.truth)} pairs are too few: expected {MIN_PAIRS} or more")
    if min(len(_equal_rows(pairs.image_vectors)), len(_equal_rows(pairs.text_vectors))) == 1:
        raise NotExamined("all vectors are equal (see vectors)")
    crowding = pairs.unrelated_cosine()
    if subject.info.family == SERVED and crowding > CROWDED:
        return warning(
            f"images and texts of {pairs.source} that do not belong together have a mean cosine of {crowding:.2f}",
            "check whether the server needs other messages, such as a system instruction or an open"
            f" assistant turn: {model_option(template='FILE')}, for Qwen3-VL-Embedding on vLLM"
            f" {model_option(template='qwen3-vl')}",
        )
    pairs, (mean, (low, high, _)) = _deciding_pairs(subject, pairs)
    if low is None or high is None:
        raise NotExamined(f"{pairs.source} have too few different texts to decide")
    observation = (
        f"true pairs of {pairs.source} are {mean:.2f} [{low:.2f}, {high:.2f}] standard deviations above shuffled ones"
    )
    other_pairing = next(_better_pairings(pairs), None) or _shift_of_data(subject)
    if other_pairing is not None:
        return fault(
            f"{observation}, but {other_pairing}",
            "put images and texts in the same order (text_to_image in a file of vectors)",
        )
    if low > 0:
        return healthy(observation)
    if high >= USEFUL:
        raise NotExamined(f"{observation}: too few pairs to decide")
    return _unrelated_pairs(subject, pairs, f"{observation}: {'they are lower' if high < 0 else TOO_LITTLE}")


def _deciding_pairs(subject: Subject, pairs: Pairs) -> tuple[Pairs, tuple[float, Interval]]:
    """Return the pairs with their separation, or more of the user's pairs where the first ones do not decide."""
    separation = pair_separation(pairs)
    low, high = separation[1].low, separation[1].high
    is_open = low is not None and high is not None and low <= 0 and high >= USEFUL
    if not (is_open and pairs.is_own and subject.encodes and subject.dataset is not None):
        return pairs, separation
    more = user_pairs(subject.dataset, subject.model, subject.seed, n=N_MORE_PAIRS)
    return (pairs, separation) if more is None else (more, pair_separation(more))


def _unrelated_pairs(subject: Subject, pairs: Pairs, observation: str) -> CheckOutcome:
    """Return the fault that true pairs do not stand out. Generated scenes show whether the model or the texts are."""
    scenes = _margin_of_scenes(subject) if pairs.is_own and subject.encodes else None
    if scenes is not None:
        return fault(
            f"{observation}, but generated scenes with English captions are at {scenes:.2f}, so both towers fit",
            "check that the texts belong to these images and are in a language that the model reads, and whether it was"
            " trained on such images at all",
        )
    fix = "check that both towers are trained, that they belong to one model, and that the texts belong to these images"
    if pairs.is_own and subject.encodes:
        return fault(observation, f"{fix}, in a language that the model reads, with the tokenizer of its training")
    if not pairs.is_own:
        fix += (
            f". For a model of another language or domain, give captioned images of that domain with {option('data')}"
        )
    return fault(observation, fix)


def _shift_of_data(subject: Subject) -> str | None:
    """Return another pairing that fits the first images of the data better, None if there is none."""
    if not subject.encodes or subject.dataset is None or subject.dataset.captions is None:
        return None
    first = first_pairs(subject.dataset, subject.model)
    return None if first is None else next(_better_pairings(first), None)


def _margin_of_scenes(subject: Subject) -> float | None:
    """Return how far true pairs of generated scenes are above shuffled ones, None if not far."""
    mean, (low, _, _) = pair_separation(scene_pairs(subject.model))
    return mean if low is not None and low > USEFUL else None


def _better_pairings(pairs: Pairs) -> Iterator[str]:
    """Yield the names of other pairings that fit surely better: rows shifted, or in reverse order.

    In sorted data, neighbours look alike, so that shifted texts are clearly above random ones. Therefore a pairing is
    compared with the given one, and not with chance.
    """
    truths = {}
    for size in range(1, N_SHIFTS + 1):
        truths[f"the text of each image is {counted(size, 'row')} below it"] = np.roll(pairs.truth, -size)
        truths[f"the text of each image is {counted(size, 'row')} above it"] = np.roll(pairs.truth, size)
    truths["the texts are in the reverse order of the images"] = pairs.truth[::-1]
    given = pairs.margins()
    for name, truth in truths.items():
        margins = replace(pairs, truth=truth).margins()
        gains = margins - given
        error = float(gains.std(ddof=1)) / math.sqrt(len(gains))
        if error > 0 and gains.mean() / error > FOUND_AGAIN and margins.mean() > LEAST_MARGIN:
            yield name
