"""Text towers fed in batches of similar length, cut to the longest text where padding is ignored. Imported with
torch.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64

from clipbench.errors import ModelError
from clipbench.models.protocol import TokenCounts

Tokens = Mapping[str, torch.Tensor]
"""Arguments of a text tower by name: integers of shape (n_texts, n_tokens)."""

TextLengths = Int64[torch.Tensor, " n_texts"]
Tokenize = Callable[[list[str]], Tokens]

WINDOW_BATCHES = 64
"""Batches of texts that are tokenized and sorted at once, so that memory does not grow with the number of texts."""

PROBE_TEXTS = (
    "a photo of a cat",
    "A Photo, of: the_Cat!  (isn't it?) &amp; 3 naïve “dogs” 猫 🐈",
    "",
    " ".join(["one two three four five six seven eight"] * 40),
)
"""Texts whose token ids differ between tokenizers: case, punctuation, blanks, rare characters, the empty, the too
long.
"""


LOWERED = "texts are lower-cased: the model was trained on lower case, and its tokenizer keeps capitals"
"""Note on a model of SigLIP, whose adapter lowers them."""


@dataclass(frozen=True, kw_only=True)
class TextTower:
    """A tokenizer and the text tower behind it."""

    tokenize: Tokenize
    """Returns tokens padded and cut to the context length, whatever the texts."""
    encode: Callable[[Tokens], torch.Tensor]
    """Turns tokens on the device into raw vectors."""
    lengths: Callable[[Tokens], TextLengths] | None
    """Returns the number of tokens of each text that reach its vector. It is None if padding reaches the vector too, so
    that nothing may be cut.
    """
    count: Callable[[Sequence[str]], TokenCounts]
    """Returns the tokens of each text before any is cut off, start and end among them."""

    def batches(
        self, texts: Sequence[str], *, batch_size: int
    ) -> Iterator[tuple[Int64[torch.Tensor, " batch"], Tokens]]:
        """Yield batches of rows of ``texts`` with their tokens, as long as the longest text of a batch."""
        window = WINDOW_BATCHES * batch_size
        for start in range(0, len(texts), window):
            tokens = self.tokenize(list(texts[start : start + window]))
            n_texts, n_tokens = next(iter(tokens.values())).shape
            lengths = None if self.lengths is None else self.lengths(tokens)
            order = torch.arange(n_texts) if lengths is None else torch.argsort(lengths, stable=True)
            for rows in torch.split(order, batch_size):
                longest = n_tokens if lengths is None else int(lengths[rows].max())
                yield rows + start, {name: values[rows, :longest] for name, values in tokens.items()}


def first_position(token: int, ids: Int64[torch.Tensor, "n_texts n_tokens"]) -> TextLengths:
    """Return the first position of a token in each text, or 0 if it is absent, as in the libraries."""
    return (ids == token).int().argmax(dim=-1)


NO_LIMIT = 1 << 30
"""transformers writes a number above this if a tokenizer does not state its limit."""


def smallest_context(tokenizer: Any, limits: Iterable[int | None], model: str) -> int:
    """Return the tokens to which texts are padded and cut: the smallest of some limits, of which None are unknown.

    Args:
        tokenizer: of transformers, which has to know its padding.
        limits: a very large one is transformers' sign that a tokenizer has none.

    Raises:
        ModelError: no limit is stated, or the tokenizer has no padding.
    """
    stated = [limit for limit in limits if limit is not None and limit < NO_LIMIT]
    if not stated:
        raise ModelError(
            f"{model} does not say how many tokens its text tower takes: put model_max_length into"
            " tokenizer_config.json"
        )
    if tokenizer.pad_token is None:
        raise ModelError(f"the tokenizer of {model} names no padding: put pad_token into tokenizer_config.json")
    return min(stated)


def token_counts(tokenizer: Any, texts: Sequence[str]) -> TokenCounts:
    """Return the tokens that a tokenizer of transformers makes of each text before any is cut off."""
    ids = tokenizer(list(texts), padding=False, truncation=False, verbose=False).input_ids if texts else []
    return np.array([len(text_ids) for text_ids in ids], np.int64)


def check_vocabulary(tokenize: Tokenize, model: str) -> None:
    """Raise ModelError if different words get the same tokens: transformers 5 accepts missing tokenizer files."""
    try:
        cat, dog = tokenize(["a photo of a cat"]), tokenize(["a photo of a dog"])
    except Exception as error:  # a tokenizer may have come with the model, and raise anything
        raise ModelError(
            f"the tokenizer of {model} gives no tokens ({type(error).__name__}:"
            f" {' '.join(str(error).split())[:200]}): check that its files are complete, and that its context"
            " length is a number of tokens"
        ) from error
    if all(torch.equal(torch.as_tensor(cat[name]), torch.as_tensor(dog[name])) for name in cat):
        raise ModelError(
            f"the tokenizer of {model} gives 'a photo of a cat' and 'a photo of a dog' the same tokens: its"
            " vocabulary is missing. Add its files (tokenizer.json, vocab.json, spiece.model, ...)"
        )


def tokenizer_identity(tokenize: Tokenize, vocabulary: Mapping[str, int]) -> str:
    """Return a text that identifies a tokenizer: its vocabulary, and its tokens of the probe texts.

    The tokens reveal padding, truncation, casing and cleaning, whatever a library calls those settings.
    """
    probed = {name: values.tolist() for name, values in sorted(tokenize(list(PROBE_TEXTS)).items())}
    return repr((sorted(vocabulary.items()), probed))
