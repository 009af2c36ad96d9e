"""Let the site show the example of a docstring as code: griffe knows a section Examples, and ours are called
Example.
"""

from typing import Any

import griffe


class Examples(griffe.Extension):  # type: ignore[misc]
    """Names the sections as griffe expects them."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")
