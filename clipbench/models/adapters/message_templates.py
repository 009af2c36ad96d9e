"""Chat messages in which a server wants texts and images: by a name, or from a file of the user's own."""

import re
from collections.abc import Mapping
from typing import Any

from clipbench.errors import UsageError, did_you_mean
from clipbench.models.protocol import ROLES, Role
from clipbench.untrusted.reading import is_file, read_json, user_path

Block = Mapping[str, Any]
"""Fields of a request, with places for the content."""

PLACE = re.compile(r"\{(text|image)\}")
"""Where a text, or the data URL of an image, stands in a block."""

NAMED: Mapping[str, Block] = {
    # As in vLLM's examples/pooling/embed/vision_embedding_online.py (dd30740): the vector is that of the last token, which is
    # another one where a turn is closed, or the tokenizer adds none.
    "qwen3-vl": {
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "Represent the user's input."}]},
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": "{image}"}},
                    {"type": "text", "text": "{text}"},
                ],
            },
            {"role": "assistant", "content": [{"type": "text", "text": ""}]},
        ],
        "continue_final_message": True,
        "add_special_tokens": True,
    }
}


def read_template(given: str) -> dict[Role, Block]:
    """Return the blocks of a template: that of every role under None, and those of the roles where they differ; then None has
    the block of documents.

    Args:
        given: a name, or a file with the JSON of a block, or of an object with a block for ``query`` and one for ``document``.

    Raises:
        UsageError: there is no such name or file, or a block has no ``messages`` with a place for each of text and image.
    """
    option = f"model option template={given}"
    path = user_path(given)
    if given not in NAMED and not is_file(path):
        raise UsageError(f"{option}: no such file, and no name of a template: {did_you_mean(given, NAMED)}")
    found = NAMED.get(given) or read_json(path, UsageError, name=option)
    by_role = isinstance(found, dict) and bool(found.keys() & {*ROLES})
    blocks: dict[Role, Any] = {role: found.get(role) for role in ROLES} if by_role else {None: found}
    if by_role and found.keys() != {*ROLES}:
        raise UsageError(f"{option} has {', '.join(found)}: expected a block for each of {' and '.join(ROLES)}")
    for role, block in blocks.items():
        name = option if role is None else f"{option}, block {role}"
        if not isinstance(block, dict) or not isinstance(block.get("messages"), list):
            raise UsageError(
                f'{name} has no messages: expected an object with "messages", a list as the server takes it'
            )
        lacking = [f"{{{place}}}" for place in ("text", "image") if place not in _places(block)]
        if lacking:
            raise UsageError(
                f"{name} has no place for the content: expected {' and '.join(lacking)} in one of its texts"
            )
    return {None: blocks["document"], **blocks} if by_role else blocks


def filled(value: Any, content: Mapping[str, str]) -> Any:
    """Return a block with the content in its places.

    A part of a list whose only places are for an image is left out without an image, and a text that is not there is empty.

    Example:
        >>> filled([{"text": "a {text}"}, {"url": "{image}"}], {"text": "dog {image}"})
        [{'text': 'a dog {image}'}]
    """
    if isinstance(value, str):
        return PLACE.sub(lambda place: content.get(place[1], ""), value)
    if isinstance(value, Mapping):
        return {name: filled(each, content) for name, each in value.items()}
    if isinstance(value, list):
        return [filled(each, content) for each in value if "image" in content or _places(each) != {"image"}]
    return value


def _places(value: Any) -> set[str]:
    """Return the kinds of content that there is a place for."""
    if isinstance(value, str):
        return set(PLACE.findall(value))
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return set().union(*map(_places, inner))
