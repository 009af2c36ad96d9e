"""The code that shows the parts of a user's object, so that more checks can examine it."""

from dataclasses import fields

from clipbench.errors import FOREIGN, is_machine_error
from clipbench.models.protocol import Embedder, Internals, ModelEmbedder, capability

FAMILY = "python/"
"""Beginning of the family of a user's own objects. Other adapters show what they can."""
EXAMPLES = {
    "module": ("self.model", "the torch module of both towers"),
    "preprocess": ("self.preprocess", "from an RGB image to an array (3, height, width)"),
    "encode_pixels": ("self.encode_pixels", "from arrays (n, 3, height, width) to vectors"),
    "tokenize": ("self.tokenize", 'from texts to {"text": ids of shape (n, length)}'),
    "encode_tokens": ("self.encode_tokens", "from these to vectors"),
}
"""An expression for each part, and what it is."""


def code_to_add(embedder: Embedder) -> str:
    """Return the method that shows the hidden parts of a user's object, empty if it shows all or is not an object."""
    encoder = capability(embedder, ModelEmbedder)
    if encoder is None or not embedder.info.family.startswith(FAMILY):
        return ""
    try:
        return method_for(encoder.model.internals())
    except FOREIGN as error:  # the checks name it
        if is_machine_error(error):
            raise
        return ""


def method_for(parts: Internals) -> str:
    """Return the method that shows the parts that are None.

    Example:
        >>> shown = Internals(preprocess=len, encode_pixels=len, tokenize=len, encode_tokens=len)
        >>> print(method_for(shown))
        def internals(self):
            return clipbench.Internals(
                module=self.model,  # the torch module of both towers
            )
    """
    names = [part.name for part in fields(parts) if part.name in EXAMPLES]
    hidden = [name for name in names if getattr(parts, name) is None]
    if not hidden:
        return ""
    arguments = [f"        {name}={EXAMPLES[name][0]},  # {EXAMPLES[name][1]}" for name in hidden]
    return "\n".join(["def internals(self):", "    return clipbench.Internals(", *arguments, "    )"])
