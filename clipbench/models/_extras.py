"""Optional packages: imported when an adapter needs them, and named with the install command where they are missing."""

from importlib import import_module
from typing import Any

from clipbench.errors import ModelError


def optional(package: str, *, extra: str, needed_by: str) -> Any:
    """Return an optional package, imported.

    Args:
        package: the name by which it is imported, such as ``onnxruntime``.
        extra: the extra of clipbench that installs it.
        needed_by: the model reference that needs it.

    Raises:
        ModelError: it is not installed, or cannot be imported.
    """
    try:
        return import_module(package)
    except ImportError as error:
        is_missing = isinstance(error, ModuleNotFoundError) and error.name == package.partition(".")[0]
        found = "is not installed" if is_missing else f"cannot be imported ({error})"
        raise ModelError(
            f"{needed_by} needs the package {package.partition('.')[0]}, which {found}: pip install 'clipbench[{extra}]'"
        ) from error
