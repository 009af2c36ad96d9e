"""The inputs of the towers: pixels of an image of any size and mode, and tokens of a text.

Tokens are CLIP's byte-pair encoding, with the paper's vocabulary or a small one learned from captions. A text is
cleaned, lower-cased and split into words, digits and punctuation. The bytes of each are merged, most frequent pairs
first. Ids are in OpenAI's order: the 256 bytes, the bytes that end a word, the merges, start of text, end of text. End
of text is the largest id, by which the text tower finds it.

Source: https://github.com/openai/CLIP, simple_tokenizer.py. The ids equal open_clip's.
"""

import html
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64, UInt8
from PIL import Image
from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.decoders import Replace
from tokenizers.decoders import Sequence as DecoderSequence
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Split
from tokenizers.pre_tokenizers import Sequence as PreTokenizerSequence

from clipbench.data.images import rgb
from clipbench.errors import DataError, ModelError
from clipbench.training.clip.config import CLIP_VOCABULARY, ClipConfig
from clipbench.untrusted.reading import is_file

CROP_AREA = (0.9, 1.0)
CROP_ASPECT = (3 / 4, 4 / 3)
"""Ranges of random crops: fraction of the image's area, and width over height (open_clip's defaults)."""


@dataclass(frozen=True)
class ClipPreprocess:
    """Resizes the shorter side to the model's, crops the middle and normalizes colours. It is picklable."""

    config: ClipConfig

    def __call__(self, image: Image.Image) -> Float32[np.ndarray, "channels height width"]:
        """Return the pixels that the model sees as (value / 255 - mean) / std of each channel."""
        mean, std = (np.array(values, np.float32)[:, None, None] for values in (self.config.mean, self.config.std))
        return (self.square(image).astype(np.float32) / np.float32(255) - mean) / std

    def square(self, image: Image.Image) -> UInt8[np.ndarray, "channels height width"]:
        """Return the square of pixels that the model sees, before normalization."""
        side = self.config.image_size
        resized = rgb(image)
        short = min(resized.size)
        if short != side:
            width, height = (int(side * length / short) for length in resized.size)
            resized = resized.resize((width, height), Image.Resampling.BICUBIC)
        left, top = (round((length - side) / 2) for length in resized.size)
        return _planes(resized.crop((left, top, left + side, top + side)))

    def random_crop(self, image: Image.Image, rng: np.random.Generator) -> UInt8[np.ndarray, "channels height width"]:
        """Return the pixels of a random crop, resized to the model's square without keeping its aspect."""
        rgb_image = rgb(image)
        side = self.config.image_size
        return _planes(rgb_image.resize((side, side), Image.Resampling.BICUBIC, box=random_box(rgb_image.size, rng)))


def random_box(size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of a crop of random area, aspect and position.

    If ten draws do not fit into the image, the whole image is returned.
    """
    width, height = size
    for _ in range(10):
        area = width * height * rng.uniform(*CROP_AREA)
        aspect = math.exp(rng.uniform(math.log(CROP_ASPECT[0]), math.log(CROP_ASPECT[1])))
        wide, high = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < wide <= width and 0 < high <= height:
            left, top = int(rng.integers(width - wide + 1)), int(rng.integers(height - high + 1))
            return left, top, left + wide, top + high
    return 0, 0, width, height


def _planes(image: Image.Image) -> UInt8[np.ndarray, "channels height width"]:
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


START, END = "<start_of_text>", "<end_of_text>"
WORD_END = "</w>"
BLANK = "Ġ"
"""The character that represents the byte of a blank."""
FILE = "tokenizer.json"

_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
"""OpenAI's pattern of the pieces that are encoded separately."""

SymbolPair = tuple[str, str]
Merges = Sequence[SymbolPair]


class ClipTokenizer:
    """Turns texts into rows of ids. It is picklable, for worker processes."""

    def __init__(self, tokenizer: Tokenizer, context_length: int) -> None:
        self.context_length = context_length
        self.vocab_size: int = tokenizer.get_vocab_size()
        self._tokenizer = tokenizer
        self._start, self._end = self.vocab_size - 2, self.vocab_size - 1

    def encode(self, texts: Sequence[str]) -> Int64[np.ndarray, "n_texts context"]:
        """Return each text's ids between start and end tokens, padded with 0. Long texts lose ids before the end token.

        Example:
            >>> train_tokenizer(["a cat"], vocab_size=514, context_length=6).encode(["a", "a cat, a cat"])
            array([[512, 320, 513,   0,   0,   0],
                   [512, 320,  66,  64, 339, 513]])
        """
        out = np.zeros((len(texts), self.context_length), np.int64)
        for row, text in zip(out, texts, strict=True):
            ids = self._ids(text)[: self.context_length - 2]
            row[: len(ids) + 2] = [self._start, *ids, self._end]
        return out

    def count(self, texts: Sequence[str]) -> Int64[np.ndarray, " n_texts"]:
        """Return the number of tokens of each text before it is cut, including start and end.

        Example:
            >>> train_tokenizer(["a cat"], vocab_size=514, context_length=6).count(["a", "a cat, a cat"])
            array([ 3, 11])
        """
        return np.array([len(self._ids(text)) + 2 for text in texts], np.int64)

    def with_context(self, context_length: int) -> "ClipTokenizer":
        """Return the same tokenizer for texts of another length."""
        return ClipTokenizer(self._tokenizer, context_length)

    def vocabulary(self) -> dict[str, int]:
        """Return the id of each token."""
        return self._tokenizer.get_vocab()

    def save(self, folder: Path) -> None:
        """Write ``tokenizer.json``, which the ``tokenizers`` library reads too."""
        text = self._tokenizer.to_str(pretty=True)  # its own save hides why it failed
        (folder / FILE).write_text(text, encoding="utf-8")

    def _ids(self, text: str) -> list[int]:
        # One text at a time: encode_batch starts threads, which do not survive the fork of a worker.
        return self._tokenizer.encode(clean(text), add_special_tokens=False).ids


def tokenizer_for(config: ClipConfig, captions: Iterable[str]) -> ClipTokenizer:
    """Return CLIP's tokenizer if the vocabulary has its size, otherwise a tokenizer learned from captions."""
    if config.vocab_size == CLIP_VOCABULARY:
        return clip_tokenizer(config.context_length)
    return train_tokenizer(captions, vocab_size=config.vocab_size, context_length=config.context_length)


def clip_tokenizer(context_length: int = 77) -> ClipTokenizer:
    """Return the tokenizer of OpenAI's models: 49,408 ids, with merges from open_clip's copy of the vocabulary."""
    from open_clip.tokenizer import SimpleTokenizer

    ranks = SimpleTokenizer().bpe_ranks
    return ClipTokenizer(_pipeline(sorted(ranks, key=ranks.__getitem__)), context_length)


def train_tokenizer(captions: Iterable[str], *, vocab_size: int, context_length: int) -> ClipTokenizer:
    """Return a tokenizer with the most frequent merges of some captions. It depends only on the captions.

    Among equally frequent pairs, the first in alphabetical order is merged. The trainer of the ``tokenizers`` library
    is not used because it takes them in the order of a hash table, which differs between processes.

    Args:
        vocab_size: at least 514, for bytes, start and end. Fewer ids are used if the captions have no more merges.

    Raises:
        DataError: no captions, or a vocabulary that is too small.
    """
    smallest = 2 * len(_byte_characters()) + 2
    if vocab_size < smallest:
        raise DataError(f"a vocabulary of {vocab_size} is too small: expected at least {smallest}")
    splitter = _pipeline([]).pre_tokenizer
    piece_counts: Counter[str] = Counter()
    for caption in captions:
        piece_counts.update(piece for piece, _ in splitter.pre_tokenize_str(clean(caption)))
    if not piece_counts:
        raise DataError("no captions to learn a vocabulary from: expected at least one")
    n_pieces = {(*piece[:-1], piece[-1] + WORD_END): n for piece, n in piece_counts.items()}
    return ClipTokenizer(_pipeline(_learn_merges(n_pieces, vocab_size - smallest)), context_length)


def load_tokenizer(folder: Path, context_length: int) -> ClipTokenizer:
    """Return the tokenizer that was saved in a folder.

    Raises:
        ModelError: the file is missing or damaged.
    """
    path = folder / FILE
    if not is_file(path):
        raise ModelError(f"{path} cannot be read (no such file): expected what clipbench train wrote")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        raise ModelError(f"{path} cannot be read ({error}): expected what clipbench train wrote") from error
    n_tokens = tokenizer.get_vocab_size()
    if (tokenizer.token_to_id(START), tokenizer.token_to_id(END)) != (n_tokens - 2, n_tokens - 1):
        raise ModelError(f"{path} does not end with {START} and {END}: expected what clipbench train wrote")
    return ClipTokenizer(tokenizer, context_length)


def clean(text: str) -> str:
    """Return a text with its encoding repaired, HTML entities decoded, single blanks, in lower case.

    Example:
        >>> clean("  A  photo of\\n caf&eacute;s ")
        'a photo of cafés'
    """
    import ftfy

    text = html.unescape(html.unescape(ftfy.fix_text(text)))  # twice, as OpenAI's code does
    return " ".join(text.split()).lower()


def _learn_merges(n_pieces: Mapping[tuple[str, ...], int], n_tokens: int) -> Merges:
    """Return the merges, most frequent first, that make at most ``n_tokens`` distinct tokens."""
    pieces, weights = list(n_pieces), list(n_pieces.values())
    n_pairs: Counter[SymbolPair] = Counter()
    pieces_of_pair: defaultdict[SymbolPair, set[int]] = defaultdict(set)
    for number, piece in enumerate(pieces):
        for pair in pairwise(piece):
            n_pairs[pair] += weights[number]
            pieces_of_pair[pair].add(number)
    queue = [(-n, pair) for pair, n in n_pairs.items()]
    heapify(queue)
    merges: dict[SymbolPair, str] = {}
    tokens: set[str] = set()  # two merges may make one token, as a+bc and ab+c do
    while queue and len(tokens) < n_tokens:
        negative, pair = heappop(queue)
        if -negative != n_pairs[pair] or negative == 0:
            continue  # a count of the past: the present one is in the queue too
        merges[pair] = "".join(pair)
        tokens.add(merges[pair])
        changed: set[SymbolPair] = set()
        for number in pieces_of_pair.pop(pair):
            before, pieces[number] = pieces[number], _merged(pieces[number], pair)
            for old in pairwise(before):
                n_pairs[old] -= weights[number]
                changed.add(old)
            for new in pairwise(pieces[number]):
                n_pairs[new] += weights[number]
                pieces_of_pair[new].add(number)
                changed.add(new)
        for changed_pair in changed:
            heappush(queue, (-n_pairs[changed_pair], changed_pair))
    return list(merges)


def _merged(piece: tuple[str, ...], pair: SymbolPair) -> tuple[str, ...]:
    out: list[str] = []
    for symbol in piece:
        if out and (out[-1], symbol) == pair:
            out[-1] += symbol
        else:
            out.append(symbol)
    return tuple(out)


def _pipeline(merges: Merges) -> Tokenizer:
    vocabulary = _byte_characters()
    vocabulary += [character + WORD_END for character in vocabulary]
    vocabulary = list(dict.fromkeys([*vocabulary, *(left + right for left, right in merges)]))
    ids = {token: number for number, token in enumerate([*vocabulary, START, END])}
    tokenizer = Tokenizer(BPE(ids, list(merges), end_of_word_suffix=WORD_END))
    tokenizer.pre_tokenizer = PreTokenizerSequence(
        [Split(Regex(_WORDS), behavior="removed", invert=True), ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = DecoderSequence([Replace(WORD_END, BLANK), ByteLevelDecoder()])
    tokenizer.add_special_tokens([AddedToken(START, special=True), AddedToken(END, special=True)])
    return tokenizer


def _byte_characters() -> list[str]:
    """Return the printable character that stands for each byte, printable bytes first: the order of OpenAI's ids."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    n_unprintable = 256 - len(printable)
    return [chr(byte) for byte in printable] + [chr(256 + number) for number in range(n_unprintable)]
