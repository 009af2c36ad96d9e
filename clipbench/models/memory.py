"""Models in memory: a torch module, arrays of vectors, or any object with two methods."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from clipbench.errors import ModelError, UsageError
from clipbench.models import python
from clipbench.models._vector_arrays import checked_arrays
from clipbench.models.embedder import StoreEmbedder
from clipbench.models.embeddings import Embeddings, of_arrays
from clipbench.models.internals import TOWERS, Internals, Tokens
from clipbench.models.module_facts import evaluating
from clipbench.models.protocol import Embedder, Model, ModelInfo

if TYPE_CHECKING:
    import torch

ONLY = "tokens"
"""Name of the tokens of a tokenizer that returns a tensor without one."""


def vectors(*, images: object = None, texts: object = None, name: str = "vectors", **arrays: object) -> Embeddings:
    """Return vectors that are there already as a model for ``clipbench.run``, with the samples that they belong to.

    Every array may be a numpy array, a torch tensor or a list. Vectors are raw or unit ones; they are scaled to length 1
    where a metric asks for it.

    Args:
        images: one vector an image, (n_images, dim); ``image`` is the same.
        texts: one vector a text, (n_texts, dim); ``text`` is the same. Without ``text_to_image``, text i belongs to image i.
        name: the model's name in results.
        arrays: ``text_to_image`` (n_texts,), the row of each text's image; ``labels`` (n_images,), rows of
            ``class_texts`` (n_classes, dim), for zero-shot classification; the names ``image_ids``, ``text_ids`` and
            ``class_names``; the numbers ``logit_scale`` and ``logit_bias``, from cosines to logits. Floating-point arrays of any
            other name, (n, dim), are modalities, such as ``audio``, beside images and texts or in place of them;
            ``audio_to_text`` (n_audio,) is then the row of each recording's text, and ``audio_ids`` their names. Without
            such rows, item i of two modalities with as many items belongs to item i.

    Raises:
        DataError: an array is unknown, or has another length or dimension than the others say.
        VectorError: a vector is zero, or holds a NaN or an infinity.

    Example:
        >>> import numpy as np
        >>> x = np.eye(3)
        >>> vectors(images=x, texts=x[[0, 0, 1, 2]], text_to_image=[0, 0, 1, 2]).dataset.caption_image
        array([0, 0, 1, 2])
        >>> vectors(audio=x, text=x, video=x)
        <vectors of 3 of audio, 3 of text, 3 of video, 3 dimensions>
    """
    given = {"images": images, "texts": texts, **arrays}
    given_arrays = {key: _as_array(key, value) for key, value in given.items() if value is not None}
    return of_arrays(checked_arrays(given_arrays, "clipbench.vectors"), name, "clipbench.vectors(...)")


@dataclass(frozen=True, kw_only=True, eq=False)
class TorchEncoders:
    """A torch module with what turns images and texts into its inputs; made by ``torch_model``."""

    net: "torch.nn.Module"
    name: str
    image_tower: Callable[..., Any]
    text_tower: Callable[..., Any]
    preprocess: Callable[[Image.Image], Any]
    tokenizer: Callable[[list[str]], Any]
    logit_scale: float | None
    logit_bias: float
    context_length: int | None
    fingerprint: str | None

    def encode_images(self, images: list[Image.Image]) -> "torch.Tensor":
        """Return raw vectors (n, dim) of RGB images."""
        import torch

        with _inference(self.net) as place:
            pixels = torch.stack([torch.as_tensor(self.preprocess(image)) for image in images])
            return _as_tensor(self.image_tower(place(pixels)))

    def encode_texts(self, texts: list[str]) -> "torch.Tensor":
        """Return raw vectors (n, dim) of texts."""
        return self._encode_tokens(self.tokenizer(texts))

    def internals(self) -> Internals:
        """Return the module, and the parts that were given with it."""
        return Internals(
            module=self.net,
            preprocess=lambda image: np.asarray(self.preprocess(image), np.float32),
            encode_pixels=self._encode_pixel_array,
            tokenize=self._token_arrays,
            encode_tokens=self._encode_token_arrays,
        )

    def _encode_tokens(self, tokens: Any) -> "torch.Tensor":
        with _inference(self.net) as place:
            if isinstance(tokens, Mapping):
                return _as_tensor(self.text_tower(**{key: place(value) for key, value in tokens.items()}))
            return _as_tensor(self.text_tower(place(tokens)))

    def _encode_pixel_array(self, pixels: np.ndarray) -> np.ndarray:
        import torch

        with _inference(self.net) as place:
            return _as_tensor(self.image_tower(place(torch.as_tensor(pixels)))).float().cpu().numpy()

    def _token_arrays(self, texts: Sequence[str]) -> Tokens:
        tokens = self.tokenizer(list(texts))
        named = tokens if isinstance(tokens, Mapping) else {ONLY: tokens}
        return {key: np.asarray(value) for key, value in named.items()}

    def _encode_token_arrays(self, tokens: Tokens) -> np.ndarray:
        import torch

        tensors = {key: torch.as_tensor(value) for key, value in tokens.items()}
        return self._encode_tokens(tensors.get(ONLY, tensors)).float().cpu().numpy()


def torch_model(  # noqa: PLR0913  what a module lacks to be measured, each by its name
    net: "torch.nn.Module",
    preprocess: Callable[[Image.Image], Any],
    tokenizer: Callable[[list[str]], Any],
    *,
    logit_scale: object = None,
    logit_bias: object = 0.0,
    context_length: int | None = None,
    name: str | None = None,
    fingerprint: str | None = None,
) -> TorchEncoders:
    """Return a torch module as a model for ``clipbench.run``: the one that is being trained, as it is at each run.

    The module has ``encode_image`` and ``encode_text`` (open_clip, OpenAI) or ``get_image_features`` and
    ``get_text_features`` (transformers). It runs where its weights are, without gradients and in evaluation mode, and
    each of its parts has its own mode again afterwards.

    Args:
        net: the module.
        preprocess: from an RGB image to the input of the image tower, (channels, height, width).
        tokenizer: from a list of n texts to the input of the text tower: a tensor, or a mapping of tensors that is
            passed by name, such as ``lambda texts: tok(texts, padding=True, truncation=True, return_tensors="pt")``.
        logit_scale: factor from cosine to logit, exponentiated, above 0: ``net.logit_scale.exp()``, as it is now: wrap the
            module again when it has changed. Without it calibration and losses are undefined; ranks do not depend on it.
        logit_bias: added to the scaled cosine; 0 for CLIP.
        context_length: tokens that the text tower takes; None where it is not known.
        name: the model's name in results; None takes that of its class.
        fingerprint: a name of these very weights, preprocessing and tokenizer. With it vectors are stored and found again
            by a later run; without it nothing is stored, so that a module measured before and after a step of training
            never shares a vector.

    Raises:
        ModelError: the module has no towers under these names, or ``logit_scale`` or ``logit_bias`` is no number.

    Example:
        >>> import torch
        >>> class Net(torch.nn.Module):
        ...     def encode_image(self, pixels): return pixels.flatten(1)
        ...     def encode_text(self, tokens): return tokens.float()
        >>> to_pixels = lambda image: torch.full((2,), float(image.size[0]))
        >>> model = torch_model(Net(), to_pixels, lambda texts: torch.ones(len(texts), 2))
        >>> model.encode_images([Image.new("RGB", (3, 3))])
        tensor([[3., 3.]])
    """
    names = next((names for names in TOWERS if all(callable(getattr(net, name, None)) for name in names)), None)
    if names is None:
        raise ModelError(
            f"clipbench.torch_model got an object of type {type(net).__name__} without"
            f" {' and without '.join(' and '.join(each) for each in TOWERS)}: give it methods of these names"
        )
    if not callable(preprocess) or not callable(tokenizer):
        raise ModelError("clipbench.torch_model needs two functions, preprocess(image) and tokenizer(texts)")
    return TorchEncoders(
        net=net,
        name=type(net).__name__ if name is None else name,
        image_tower=getattr(net, names[0]),
        text_tower=getattr(net, names[1]),
        preprocess=preprocess,
        tokenizer=tokenizer,
        logit_scale=None if logit_scale is None else _as_number(logit_scale, "logit_scale"),
        logit_bias=_as_number(logit_bias, "logit_bias"),
        context_length=context_length,
        fingerprint=fingerprint,
    )


def embedder_of(
    model: object, root: Path, own_root: Path, *, batch_size: int, workers: int | None, show_progress: bool
) -> Embedder:
    """Return a model in memory as an embedder.

    Args:
        root: the store of models that have a fingerprint.
        own_root: a store for this model alone, which is to be thrown away.

    Raises:
        ModelError: it is no model: no vectors, and no object with both methods.
    """
    if isinstance(model, type):
        raise ModelError(f"got the class {model.__name__}: expected an object of it, {model.__name__}(...)")
    if isinstance(model, Embedder):
        return model
    if not isinstance(model, Model) or not isinstance(model.info, ModelInfo):
        found = [name for names in TOWERS for name in names if callable(getattr(model, name, None))]
        if found and not callable(getattr(model, "state_dict", None)):  # no torch module
            raise ModelError(
                f"got an object of type {type(model).__name__} with {' and '.join(found)}: expected encode_images, which takes a"
                " list of PIL images, and encode_texts, which takes a list of strings; where its methods take tensors, wrap"
                " it with its preprocessing and tokenizer, clipbench.torch_model(net, preprocess, tokenizer)"
            )
        if found:
            raise ModelError(
                f"got an object of type {type(model).__name__}, which takes tensors: wrap it with its preprocessing and tokenizer,"
                " clipbench.torch_model(net, preprocess, tokenizer)"
            )
        is_stored = getattr(model, "fingerprint", None) is not None
        name = getattr(model, "name", None)
        label = name if isinstance(name, str) else type(model).__name__
        model = python.wrap(model, label, batch_size=batch_size)
        root = root if is_stored else own_root
    return StoreEmbedder(model, root, batch_size=batch_size, workers=workers, show_progress=show_progress)


def _as_array(name: str, value: object) -> np.ndarray:
    for step in ("detach", "cpu"):
        if hasattr(value, step):
            value = getattr(value, step)()
    if str(getattr(value, "dtype", "")) == "torch.bfloat16":  # numpy has no such type
        value = value.float()  # type: ignore[attr-defined]
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise UsageError(f"clipbench.vectors: '{name}' is no array ({error}): expected rows of one length") from error
    return array.astype(str) if array.dtype == object else array


def _as_number(value: object, name: str) -> float:
    try:
        return float(value.detach() if hasattr(value, "detach") else value)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError) as error:  # the last: a tensor of several numbers
        raise ModelError(f"clipbench.torch_model: {name} is {value!r:.60}: expected a number") from error


def _as_tensor(output: Any) -> "torch.Tensor":
    """Return what a tower gave, out of the record that transformers may put it into."""
    return output if hasattr(output, "detach") else output.pooler_output


@contextmanager
def _inference(net: "torch.nn.Module") -> "Iterator[Callable[[torch.Tensor], torch.Tensor]]":
    """Yield what moves inputs to the module's device and type; afterwards each part has the mode that it had."""
    import torch

    weight = next((each for each in net.parameters() if each.is_floating_point()), torch.empty(0))

    def place(inputs: "torch.Tensor") -> "torch.Tensor":
        return inputs.to(weight.device, weight.dtype) if inputs.is_floating_point() else inputs.to(weight.device)

    with evaluating(net):
        yield place
