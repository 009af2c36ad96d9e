"""A torch module as a model, with functions that turn images and texts into its inputs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from clipbench.errors import ModelError, error_summary
from clipbench.models.introspection.modules import evaluation_mode, run_tower, tower_methods
from clipbench.models.protocol import TOWERS, Internals, Tokens

if TYPE_CHECKING:
    import torch

ONLY = "tokens"
"""Name of the tokens of a tokenizer that returns a tensor without one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TorchEncoders:
    """A torch module with its preprocessing and tokenizer, made by ``torch_model``."""

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

        return self._run_tower(
            self.image_tower, torch.stack([torch.as_tensor(self.preprocess(image)) for image in images])
        )

    def encode_texts(self, texts: list[str]) -> "torch.Tensor":
        """Return raw vectors (n, dim) of texts.

        Raises:
            ModelError: the text tower takes other tokens than the tokenizer gives.
        """
        import torch

        tokens = self.tokenizer(texts)
        try:
            return self._run_tower(self.text_tower, tokens)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, IndexError) as error:
            arrays = tokens if isinstance(tokens, Mapping) else {ONLY: tokens}
            shapes = [f"{name} of shape {tuple(getattr(array, 'shape', ()))}" for name, array in arrays.items()]
            raise ModelError(
                f"the text tower fails on what the tokenizer gives, {' and '.join(shapes)} ({error_summary(error)}):"
                " expected the tokenizer of this model, with its context length and vocabulary"
            ) from error

    def internals(self) -> Internals:
        """Return the module, and the parts that were given with it."""
        import torch

        def tokenize(texts: Sequence[str]) -> Tokens:
            tokens = self.tokenizer(list(texts))
            arrays = tokens if isinstance(tokens, Mapping) else {ONLY: tokens}
            return {key: np.asarray(value) for key, value in arrays.items()}

        def encode_tokens(tokens: Tokens) -> np.ndarray:
            tensors = {key: torch.as_tensor(value) for key, value in tokens.items()}
            return self._run_tower(self.text_tower, tensors.get(ONLY, tensors)).float().cpu().numpy()

        return Internals(
            module=self.net,
            preprocess=lambda image: np.asarray(self.preprocess(image), np.float32),
            encode_pixels=lambda pixels: (
                self._run_tower(self.image_tower, torch.as_tensor(pixels)).float().cpu().numpy()
            ),
            tokenize=tokenize,
            encode_tokens=encode_tokens,
        )

    def _run_tower(self, tower: Callable[..., Any], inputs: Any) -> "torch.Tensor":
        """Return the output of a tower on the module's device, without gradients and in evaluation mode."""
        import torch

        weight = next((value for value in self.net.parameters() if value.is_floating_point()), torch.empty(0))
        with evaluation_mode(self.net):
            return run_tower(tower, inputs, weight.device, weight.dtype)


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
        logit_scale: factor from cosine to logit, exponentiated, above 0: ``net.logit_scale.exp()``, as it is now: wrap
            the module again when it has changed. With None (the default), calibration and losses are undefined. Ranks
            do not depend on it.
        logit_bias: number that is added to the scaled cosine, 0.0 (the default) for CLIP.
        context_length: number of tokens that the text tower takes. None (the default) if it is unknown.
        name: the model's name in results. None (the default) is the name of its class.
        fingerprint: a name of these very weights, preprocessing and tokenizer. With it, vectors are stored and used
            again by a later run. With None (the default), nothing is stored, so that a module measured before and
            after a step of training never shares a vector.

    Raises:
        ModelError: the module has no towers under these names, or ``logit_scale`` or ``logit_bias`` is not a number.

    Example:
        >>> import torch
        >>> class Net(torch.nn.Module):
        ...     def encode_image(self, pixels): return pixels.flatten(1)
        ...     def encode_text(self, tokens): return tokens.float()
        >>> to_pixels = lambda image: torch.full((2,), float(image.size[0]))
        >>> model = torch_model(Net(), to_pixels, lambda texts: torch.ones(len(texts), 2))
        >>> model.encode_images([Image.new("RGB", (3, 3))])
        tensor([[3., 3.]])

    See Also:
        run: measure the model.
        vectors: vectors that are there already.
    """
    names = tower_methods(net)
    if names is None:
        raise ModelError(
            f"clipbench.torch_model got an object of type {type(net).__name__} without"
            f" {' and without '.join(' and '.join(methods) for methods in TOWERS)}: expected one of these pairs"
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


def _as_number(value: object, name: str) -> float:
    try:
        return float(value.detach() if hasattr(value, "detach") else value)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError) as error:  # the last: a tensor of several numbers
        raise ModelError(f"clipbench.torch_model: {name} is {value!r:.60}: expected a number") from error
