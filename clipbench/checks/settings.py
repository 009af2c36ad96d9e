"""Checks of a model's settings against its checkpoint: tokenizer, preprocessing, activation, scale and weights."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from clipbench.checks.behaviour import SAME
from clipbench.checks.pairs import pair_separation, variant_improves
from clipbench.checks.subject import CheckOutcome, NotExamined, Subject, fault, healthy, largest_distance, warning
from clipbench.errors import NoTokenCounts
from clipbench.metrics.similarity import unit
from clipbench.models import fingerprint as probing
from clipbench.models.introspection import modules
from clipbench.models.introspection.preprocessing import remaining_detail
from clipbench.models.introspection.tokens import LONG, SHORT, TokenFacts, longer_than, token_lengths
from clipbench.models.introspection.variants import SQUARES, activation_variants
from clipbench.models.protocol import Preprocessing
from clipbench.results.numbers import percent

COMMON = (
    "cat dog horse bird fish tree house river stone cloud red green blue black white small large old new round man"
    " woman child king queen bread water wine apple orange car train ship plane road bridge door window table chair"
    " book letter music dance run jump sleep eat drink write under above left right two seven"
)
"""Words that a vocabulary knows."""
MAX_COLLAPSED = 0.2
"""Fraction of common words that may have the tokens of another."""
MAX_CONTEXT = 512
"""Contexts up to which texts are made that fill them."""
COLOUR_TOLERANCE = 0.01
"""Difference of means and standard deviations that rounding explains."""
UNSCALED = 0.02
"""A smaller standard deviation means pixels in [0, 255]."""
LEAST_DETAIL = 0.1
"""Fraction of the contrast of single pixels below which images were reduced: usual preprocessings leave a third."""
CLIP_END = 49407
"""Id of the end-of-text token in CLIP's vocabulary, the last one. The start-of-text token is the one before."""
SCALES = (5.0, 1_000.0)
"""Factors from cosine to logit that training reaches: SigLIP begins at 10, CLIP at 14 and ends at 100."""
LOGIT_TOLERANCE = 1e-2
"""Fraction of the scale by which logits may differ from the library's."""
HIDDEN = "the adapter shows no tokenizer"


def end_of_text(subject: Subject) -> CheckOutcome:
    """Look for the end-of-text token at the end of a text that was cut."""
    facts, tokenize = subject.tokens, subject.parts.tokenize
    if facts is None or tokenize is None:
        raise NotExamined(HIDDEN)
    (cut,) = tokenize([longer_than(subject.info.context_length)])[facts.name]
    if facts.end is None and _ends_with_padding(subject, facts):
        facts = replace(facts, end=facts.pad, keeps_end=bool(cut[-1] == facts.pad))
    if facts.end is None:
        raise NotExamined("short texts end with different tokens, so their end-of-text token is unknown")
    if facts.keeps_end:
        return healthy(f"a text that is cut ends with the end-of-text token too (id {facts.end})")
    token, positions = f"end-of-text token (id {facts.end})", np.flatnonzero(cut == facts.end)
    if len(positions):
        observation = f"a truncated text has its {token} misplaced: at position {positions[0] + 1} of {facts.width}"
    else:
        observation = (
            f"a text of more than {facts.width} tokens is truncated without its {token}, "
            "at which CLIP takes a text's vector"
        )
    return fault(observation, f"put id {facts.end} at the last position of each truncated text")


def start_of_text(subject: Subject) -> CheckOutcome:
    """Look for one token at the start of all texts. In CLIP's vocabulary it is the token before the end-of-text
    token.
    """
    facts, tokenize = subject.tokens, subject.parts.tokenize
    if facts is None or tokenize is None:
        raise NotExamined(HIDDEN)
    rows = tokenize([*SHORT, longer_than(subject.info.context_length)])[facts.name]
    if rows[0, 0] == rows[0, 1]:
        raise NotExamined("the tokenizer pads before the text, not after it")
    starts = [int(ids[0]) for ids in rows]
    start, *other_starts = sorted(set(starts), key=starts.count, reverse=True)
    is_clip = facts.end == CLIP_END and (
        subject.parts.module is None or modules.vocabulary_size(subject.parts.module) == CLIP_END + 1
    )
    if is_clip and (other_starts or start != CLIP_END - 1):
        return fault(
            f"texts begin with the ids {', '.join(map(str, (start, *other_starts)))}, "
            f"not with the start-of-text token (id {CLIP_END - 1})",
            f"put id {CLIP_END - 1} before each text, as CLIP was trained",
        )
    if not other_starts:
        return healthy(f"every text begins with the same token (id {start})")
    if len(other_starts) == 1 and starts.count(start) == len(starts) - 1:
        return fault(
            f"short texts begin with id {start}, and one that is cut with id {starts[-1]}",
            "truncate texts only at their end",
        )
    raise NotExamined("texts begin with different tokens, so they have no common start-of-text token")


def _ends_with_padding(subject: Subject, facts: TokenFacts) -> bool:
    """Return whether only the first padding token changes the vector: in transformers' CLIP it marks the end."""
    tokenize, encode = subject.parts.tokenize, subject.parts.encode_tokens
    if tokenize is None or encode is None or facts.pad is None:
        return False
    tokens = tokenize([SHORT[1], LONG])  # beside a long text a short one is padded
    ids = tokens[facts.name]
    n = int(token_lengths(ids[:1], facts)[0])
    first, rest = np.array(ids), np.array(ids)
    first[0, n], rest[0, n + 1 :] = ids[0, n - 1], ids[0, n - 1]
    plain, without_first, without_rest = (encode({**tokens, facts.name: rows})[:1] for rows in (ids, first, rest))
    return largest_distance(plain, without_rest) <= subject.limit < largest_distance(plain, without_first)


def tokenizer(subject: Subject) -> CheckOutcome:
    """Hold ids against the vocabulary, texts against the context length, and words against each other."""
    facts, tokenize = subject.tokens, subject.parts.tokenize
    if facts is None or tokenize is None:
        if subject.is_quick:
            raise NotExamined(HIDDEN)
        return _context_by_behaviour(subject)
    words = COMMON.split()
    rows = tokenize([*words, LONG, "naïve “dogs” 猫 🐈", ""])[facts.name]
    n_ids = None if subject.parts.module is None else modules.vocabulary_size(subject.parts.module)
    if n_ids is not None and int(rows.max()) >= n_ids:
        return fault(
            f"the tokenizer gives the id {int(rows.max()):,}, and the model has {n_ids:,} token embeddings",
            "use the tokenizer that was saved with the weights",
        )
    n_words = len(words)
    n_collapsed = n_words - len({row.tobytes() for row in rows[:n_words]})
    if n_collapsed > MAX_COLLAPSED * n_words:
        return fault(
            f"{n_collapsed} of {n_words} common words have the tokens of another word",
            "use the tokenizer that was saved with the weights: this vocabulary lacks these words",
        )
    context = subject.info.context_length
    if context is not None and facts.width != context:
        return fault(
            f"texts are cut to {facts.width} tokens, and the model says that it takes {context}",
            f"cut and pad texts to {context} tokens, or correct context_length",
        )
    return healthy(
        f"ids fit {f'{n_ids:,} embeddings' if n_ids else 'the model'}, texts are cut to {facts.width} tokens"
    )


def _context_by_behaviour(subject: Subject) -> CheckOutcome:
    """Change the last word of a text that just fits the stated context, which must count, and of one beyond it."""
    model, context = subject.model, subject.info.context_length
    if context is None or context > MAX_CONTEXT:
        raise NotExamined(HIDDEN)
    try:
        counts = model.count_tokens([" ".join([SHORT[0]] * n) for n in range(1, context + 1)])
    except NoTokenCounts as error:
        raise NotExamined(HIDDEN) from error
    n_words = max(int(np.searchsorted(counts, context, side="right")), 2)
    fitted, overlong = [SHORT[0]] * (n_words - 1), [SHORT[0]] * (2 * n_words)
    texts = ([*fitted, "red"], [*fitted, "red"], [*fitted, "blue"], [*overlong, "red"], [*overlong, "blue"])
    encoded = model.encode_texts([" ".join(words) for words in texts])
    repeated = largest_distance(encoded[[0]], encoded[[1]])
    within = largest_distance(encoded[[0]], encoded[[2]])
    beyond = largest_distance(encoded[[3]], encoded[[4]])
    fix = "correct context_length to the number of tokens that the tower gets"
    # One word of many moves a mean but little: it must move it more than the same text differs from itself.
    if within <= max(SAME, 10 * repeated):
        return fault(
            f"the last of {n_words} words, which by count_tokens fit into {context} tokens, does not change the vector",
            fix,
        )
    if beyond > subject.limit:
        return warning(f"a word beyond the {context} tokens of context_length changes the vector", fix)
    return healthy(f"words up to {context} tokens change a text's vector, words beyond do not")


def preprocessing(subject: Subject) -> CheckOutcome:
    """Measure size, mean, standard deviation, crop and interpolation, and compare them with the stated ones."""
    measured = subject.measured
    if measured.fault is not None:
        return fault(measured.fault, "give the image tower RGB images, in channels first, as in training")
    assert measured.std is not None
    if max(measured.std) < UNSCALED:
        return fault(
            "pixels are normalized in [0, 255], not in [0, 1]", "divide pixels by 255 before the mean is subtracted"
        )
    module = subject.parts.module
    declared, source = (None if module is None else modules.declared_preprocessing(module)) or (None, "")
    if any("preprocessing" in note for note in subject.info.notes):  # that of bare weights, which state none
        source = "the architecture's default: the weights state none"
    side = subject.info.image_size
    differences = [] if declared is None else list(preprocessing_differences(measured, declared))
    if side is not None and measured.size is not None and side not in measured.size:
        differences.append(f"{_pixels(measured.size)}, and the model says that it takes {side}")
    if measured.size is not None and (lost := _lost_detail(subject, measured.size)) is not None:
        return lost
    if differences:
        return fault(
            f"preprocessing differs from what is stated ({source or 'image_size'}): {'; '.join(differences)}",
            "use the preprocessing of the training (open_clip's preprocess, transformers' AutoImageProcessor)",
        )
    described = ", ".join(f"{name} {text}" if name in ("mean", "std") else text for name, text in _settings(measured))
    if declared is None:
        return healthy(f"{described}, without a stated preprocessing to compare")
    return healthy(f"{described}, as stated ({source})")


def _lost_detail(subject: Subject, size: tuple[int, int]) -> CheckOutcome | None:
    """Return a fault if images are reduced below the size of the model's input before they are resized to it."""
    preprocess = subject.parts.preprocess
    detail = 1.0 if preprocess is None else remaining_detail(preprocess, size)
    if detail >= LEAST_DETAIL:
        return None
    return fault(
        f"images are reduced below {_pixels(size)} before they are resized to it: of details of one pixel,"
        f" {percent(detail)} % of the contrast is left",
        "resize each image once, to the size of the model's input",
    )


def preprocessing_differences(measured: Preprocessing, declared: Preprocessing) -> Iterator[str]:
    """Yield each setting in which two preprocessings differ, if both have it.

    Example:
        >>> list(preprocessing_differences(Preprocessing(resize="squash"), Preprocessing(resize="crop")))
        ['images squashed to a square, not the middle of an image cut out']
    """
    theirs = dict(_settings(declared))
    for name, text in _settings(measured):
        one, other = getattr(measured, name), getattr(declared, name)
        if not other or one == other:
            continue
        if name not in ("mean", "std"):
            yield f"{text}, not {theirs[name]}"
        elif max(abs(a - b) for a, b in zip(one, other, strict=True)) > COLOUR_TOLERANCE:
            yield f"{name} {text}, not {theirs[name]}"


def _settings(settings: Preprocessing) -> Iterator[tuple[str, str]]:
    if settings.size:
        yield "size", _pixels(settings.size)
    if settings.resize:
        yield "resize", SQUARES[settings.resize]
    if settings.interpolation:
        yield "interpolation", f"{settings.interpolation} interpolation"
    for name in ("mean", "std"):
        values = getattr(settings, name)
        if values:
            are_equal = len(set(values)) == 1
            yield name, f"{values[0]:.3g}" if are_equal else " ".join(f"{number:.3f}" for number in values)


def _pixels(size: tuple[int, int]) -> str:
    return f"{size[0]} px" if size[0] == size[1] else f"{size[0]} x {size[1]} px"


def activation(subject: Subject) -> CheckOutcome:
    """Name the activation of each tower, and test on the pairs whether the other one fits better."""
    activations = {tower: names for tower, names in modules.activations(subject.module).items() if names}
    if not activations:
        raise NotExamined(
            "no part of the module is called GELU or QuickGELU: an activation that is written by hand, as a function or"
            " in a forward method, cannot be examined"
        )
    kinds = {name for names in activations.values() for name in names}
    observation = " and ".join(f"{', '.join(names)} in the {tower}" for tower, names in activations.items())
    observation = f"{kinds.pop()} in both towers" if len(kinds) == 1 and len(activations) > 1 else observation
    other = next(activation_variants(subject.model, subject.parts), None)
    if other is None:
        return warning(f"{observation}: the towers differ", "check which activation each tower was trained with")
    if (pair_separation(subject.ranked_pairs)[1].low or 0) <= 0:
        raise NotExamined(
            f"{observation}, and true pairs do not score higher than shuffled ones, "
            "so they cannot show which activation the model was trained with"
        )
    is_better, margins = variant_improves(subject.pairs, other)
    if not is_better:
        return healthy(f"{observation}, and {other.setting} does not separate true pairs better ({margins})")
    return fault(
        f"{observation}, and {other.setting} separates true pairs better: {margins}",
        "name the architecture with the other activation (open_clip's ...-quickgelu, hidden_act in config.json)",
    )


def scale(subject: Subject) -> CheckOutcome:
    """Hold scale and bias against what training reaches, and against the logits of the library's own code."""
    factor, bias = subject.info.logit_scale, subject.info.logit_bias
    if factor is None:
        raise NotExamined("the model has no logit_scale: confidences and losses are undefined")
    observation = f"scale {factor:.4g}, bias {bias:.4g}"
    if not SCALES[0] <= factor <= SCALES[1]:
        return fault(
            f"{observation}: expected a scale of {SCALES[0]:g} to {SCALES[1]:g}",
            "give the factor itself as logit_scale: exp() of the learned logarithm, or 1 / temperature",
        )
    if bias > 0:
        return fault(
            f"{observation}: a positive bias calls every pair a match",
            "take logit_bias from the model: SigLIP's is about -10 to -17",
        )
    is_compared = subject.encodes and not subject.is_quick and subject.repeat_distance <= subject.limit
    difference = _from_library(subject, factor, bias) if is_compared else None
    if difference is None:
        return healthy(observation)
    if difference > factor * max(LOGIT_TOLERANCE, subject.limit):
        return fault(
            f"{observation}: logits differ from the library's own logits by {difference:.3g}",
            "take scale and bias from the model as its forward pass applies them, including clamps",
        )
    return healthy(f"{observation}, as in the library's own logits (largest difference {difference:.1g})")


def _from_library(subject: Subject, factor: float, bias: float) -> float | None:
    """Return the largest difference of the probes' logits from the library's, or None if the library computes none."""
    parts = subject.parts
    if parts.module is None or parts.preprocess is None or parts.tokenize is None:
        return None
    pixels = np.stack([parts.preprocess(image) for image in probing.probe_images()])
    library_logits = modules.library_logits(parts.module, pixels, parts.tokenize(list(probing.TEXTS)))
    if library_logits is None:
        return None
    images, texts = (unit(vectors).astype(np.float64) for vectors in subject.probes)
    return float(np.abs(factor * images @ texts.T + bias - library_logits).max())


def weights(subject: Subject) -> CheckOutcome:
    """Look for towers whose normalisations are as they were before training."""
    towers = modules.untrained_towers(subject.module)
    if not towers:
        return healthy("the normalization layers of both towers have been trained")
    return fault(
        f"every normalization of the {' and the '.join(towers)} has the weights of its initialization:"
        " nothing was learned there",
        "load the weights into the module, and check which names of the checkpoint were left over",
    )
