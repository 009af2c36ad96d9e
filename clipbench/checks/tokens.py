"""Checks of the tokenizer: the end of cut texts, the vocabulary, the context length."""

from dataclasses import replace

import numpy as np

from clipbench.checks.behaviour import distance
from clipbench.checks.check import Check, CheckOutcome, NotExamined, fault, healthy, warning
from clipbench.checks.subject import Subject
from clipbench.errors import NoTokenCounts
from clipbench.models.facts.modules import vocabulary_size
from clipbench.models.facts.tokens import LONG, SHORT, TokenFacts, lengths, longer_than
from clipbench.models.protocol import Model

HIDDEN = "the adapter shows no tokenizer"

WORDS = [
    "cat",
    "dog",
    "horse",
    "bird",
    "fish",
    "tree",
    "house",
    "river",
    "stone",
    "cloud",
    "red",
    "green",
    "blue",
    "black",
    "white",
    "small",
    "large",
    "old",
    "new",
    "round",
    "man",
    "woman",
    "child",
    "king",
    "queen",
    "bread",
    "water",
    "wine",
    "apple",
    "orange",
    "car",
    "train",
    "ship",
    "plane",
    "road",
    "bridge",
    "door",
    "window",
    "table",
    "chair",
    "book",
    "letter",
    "music",
    "dance",
    "run",
    "jump",
    "sleep",
    "eat",
    "drink",
    "write",
    "under",
    "above",
    "left",
    "right",
    "two",
    "seven",
]
MAX_COLLAPSED = 0.2
"""Share of common words that may have the tokens of another."""
SAME = 1e-6
"""Distance of the vectors of two texts that are the same to a model."""
MAX_CONTEXT = 512
"""Contexts up to which texts are made that fill them."""


def end_of_text(subject: Subject) -> CheckOutcome:
    """Look for the end-of-text token at the end of a text that was cut."""
    facts, tokenize = subject.tokens, subject.parts.tokenize
    if facts is None or tokenize is None:
        raise NotExamined(HIDDEN)
    if facts.end is None and _ends_with_padding(subject, facts):
        (cut,) = tokenize([longer_than(subject.info.context_length)])[facts.name]
        facts = replace(facts, end=facts.pad, keeps_end=bool(cut[-1] == facts.pad))
    if facts.end is None:
        raise NotExamined("short texts have no last token in common that would mark their end")
    if facts.keeps_end:
        return healthy(f"a text that is cut ends with the end-of-text token too (id {facts.end})")
    return fault(
        f"a text of more than {facts.width} tokens is cut without its end-of-text token (id {facts.end}), at which"
        " CLIP takes a text's vector",
        f"put id {facts.end} at the last position of each cut text",
    )


def _ends_with_padding(subject: Subject, facts: TokenFacts) -> bool:
    """Return whether the first token of the padding marks the end, as in transformers' CLIP: it counts, the others do not."""
    tokenize, encode = subject.parts.tokenize, subject.parts.encode_tokens
    if tokenize is None or encode is None or facts.pad is None:
        return False
    tokens = tokenize([SHORT[1], LONG])  # beside a long text a short one is padded
    ids = tokens[facts.name]
    n = int(lengths(ids[:1], facts)[0])
    first, rest = np.array(ids), np.array(ids)
    first[0, n], rest[0, n + 1 :] = ids[0, n - 1], ids[0, n - 1]
    plain, without_first, without_rest = (encode({**tokens, facts.name: rows})[0] for rows in (ids, first, rest))
    return distance(plain, without_rest) <= subject.limit < distance(plain, without_first)


def tokenizer(subject: Subject) -> CheckOutcome:
    """Hold ids against the vocabulary, texts against the context length, and words against each other."""
    facts, tokenize = subject.tokens, subject.parts.tokenize
    if facts is None or tokenize is None:
        if subject.is_quick:
            raise NotExamined(HIDDEN)
        return _context_by_behaviour(subject)
    rows = tokenize([*WORDS, LONG, "naïve “dogs” 猫 🐈", ""])[facts.name]
    n_ids = None if subject.parts.module is None else vocabulary_size(subject.parts.module)
    if n_ids is not None and int(rows.max()) >= n_ids:
        return fault(
            f"the tokenizer gives the id {int(rows.max()):,}, and the model has {n_ids:,} token embeddings",
            "use the tokenizer that was saved with the weights",
        )
    n_distinct = len({row.tobytes() for row in rows[: len(WORDS)]})
    if len(WORDS) - n_distinct > MAX_COLLAPSED * len(WORDS):
        return fault(
            f"of {len(WORDS)} common words, {len(WORDS) - n_distinct} have the tokens of another",
            "use the tokenizer that was saved with the weights: its vocabulary does not know these words",
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
        fitting = _words_that_fit(model, context)
    except NoTokenCounts as error:
        raise NotExamined(HIDDEN) from error
    long = [*fitting, *fitting, "red"]
    texts = (fitting, fitting, [*fitting[:-1], "blue"], long, [*long[:-1], "blue"])
    inside, twice, other_inside, beyond, other_beyond = model.encode_texts([" ".join(words) for words in texts])
    # One word of many moves a mean but little: it must move it more than the same text differs from itself.
    if distance(inside, other_inside) <= max(SAME, 10 * distance(inside, twice)):
        return fault(
            f"the last of {len(fitting)} words, which by count_tokens fit into {context} tokens, does not change the vector",
            "correct context_length to the number of tokens that the tower gets",
        )
    if distance(beyond, other_beyond) > subject.limit:
        return warning(
            f"a word beyond the {context} tokens of context_length changes the vector",
            "correct context_length to the number of tokens that the tower gets",
        )
    return healthy(f"words up to {context} tokens change a text's vector, words beyond do not")


def _words_that_fit(model: Model, context: int) -> list[str]:
    """Return as many words as fit into a context by the model's own count, the last of them ``red``."""
    words = [SHORT[0]] * context
    counts = model.count_tokens([" ".join(words[:n]) for n in range(1, context + 1)])
    n_words = int(np.searchsorted(counts, context, side="right"))
    return [*words[: max(n_words - 1, 1)], "red"]


CHECKS = (
    Check(
        name="end-of-text",
        why="CLIP takes a text's vector at its end-of-text token; cut away, the vector is that of some word.",
        examine=end_of_text,
        is_quick=True,
    ),
    Check(
        name="tokenizer",
        why="With the tokenizer of another model, or another context length, texts become others, without an error.",
        examine=tokenizer,
        is_quick=True,
    ),
)
