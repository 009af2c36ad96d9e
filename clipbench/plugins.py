"""Plug-ins: named entry points of the installed distributions, imported only when they are used.

Tasks, model adapters, reports and their sections, checks and exports are found this way, clipbench's own exactly as a
third party's.
"""

import os
import re
import sys
import warnings
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from importlib.metadata import Distribution, EntryPoint, EntryPoints, entry_points, requires
from typing import Any, TypeVar, cast

from clipbench.errors import (
    FOREIGN,
    ClipbenchError,
    LeftOutWarning,
    ModelError,
    UsageError,
    did_you_mean,
    error_summary,
)

TASKS = "clipbench.tasks"
MODELS = "clipbench.models"
REPORTS = "clipbench.reports"
SECTIONS = "clipbench.sections"
CHECKS = "clipbench.checks"
EXPORTS = "clipbench.exports"
OURS = "clipbench"
"""Name of the distribution whose plug-ins are clipbench's own."""

T = TypeVar("T")

_imported: set[str] = set()
"""Distributions that something was imported of."""


def names(group: str) -> list[str]:
    """Return the names that a group declares, sorted, without importing anything.

    Args:
        group: ``TASKS``, ``MODELS``, ``REPORTS``, ``SECTIONS``, ``CHECKS`` or ``EXPORTS``.

    Example:
        >>> "open_clip" in names(MODELS)
        True
    """
    return sorted({point.name for point in declared(group)})


def declared(group: str) -> EntryPoints:
    """Return the entry points of a group, and read them again only if a package was installed meanwhile."""
    return _read_entry_points(group, tuple((folder, _modified_ns(folder)) for folder in sys.path))


def load(group: str, name: str) -> Any:
    """Import and return the object that a group declares under a name, ignoring case.

    The caller checks its type, since anyone may declare anything.

    Raises:
        UsageError: no distribution declares the name.
        ClipbenchError: two other distributions declare it, or what one declares cannot be imported.
    """
    points = [point for point in declared(group) if point.name.casefold() == name.casefold()]
    if not points:
        plural = group.rpartition(".")[2]
        raise UsageError(
            f"unknown {plural.removesuffix('s')} '{name}': {did_you_mean(name, names(group))} (clipbench list {plural})"
        )
    if len(points) > 1:
        raise ClipbenchError(
            f"'{name}' in {group} is declared by {' and '.join(sorted(map(distribution_of, points)))}: "
            "uninstall one of them"
        )
    return _import(points[0])


def load_usable(group: str, load: Callable[[str], T]) -> dict[str, T]:
    """Return the result of ``load`` for each name of a group. A warning lists the names for which it raises."""
    loaded = {}
    for name in names(group):
        try:
            loaded[name] = load(name)
        except ClipbenchError as error:
            warn_left_out(str(error))
    return loaded


def warn_left_out(reason: str) -> None:
    """Warn that something is left out. The command line shows each warning once per process."""
    warnings.warn(reason, LeftOutWarning, stacklevel=2)


def distribution(group: str, name: str) -> str:
    """Return the name of the distribution that declares a name, ignoring case, or the alphabetically first of
    several.
    """
    points = [point for point in declared(group) if point.name.casefold() == name.casefold()]
    return min(map(distribution_of, points), default="no distribution")


def distribution_of(point: EntryPoint) -> str:
    """Return the name of the distribution that an entry point is of."""
    return "an unnamed distribution" if point.dist is None else _name_of(point.dist)


@lru_cache(maxsize=64)
def _name_of(distribution: Distribution) -> str:
    """Return the name of a distribution, whose metadata take a millisecond to parse, and have all its entry points."""
    return distribution.name


def has_foreign_code() -> bool:
    """Return whether another distribution's plug-in was imported in this process: it may have changed any library."""
    return bool(_imported - {OURS})


def report_writer() -> Callable[..., None]:
    """Return what writes the HTML report of runs into a file: ``write_report(runs, path, prints_all=False)``."""
    return cast("Callable[..., None]", load(REPORTS, "html"))


def plotter() -> Any:
    """Return the module of figures: ``plots``, ``PlotOptions``, ``draw_plot`` and ``write_plot``."""
    return load(REPORTS, "plots")


def import_optional(package: str, *, extra: str, needed_by: str, kind: type[ClipbenchError] = ModelError) -> Any:
    """Import and return an optional package.

    Args:
        package: the name by which it is imported, such as ``onnxruntime``.
        extra: the extra of clipbench that installs it.
        needed_by: the model reference, or the option, that needs it.
        kind: class of the error.

    Raises:
        ClipbenchError: it is not installed, or cannot be imported.
    """
    try:
        return import_module(package)
    except ImportError as error:
        is_missing = isinstance(error, ModuleNotFoundError) and error.name == package.partition(".")[0]
        problem = "is not installed" if is_missing else f"cannot be imported ({error})"
        of_extra = [line for line in requires(OURS) or () if re.search(rf"extra == .{extra}\b", line)]
        requirement = of_extra[0].partition(";")[0]
        raise kind(
            f"{needed_by} needs the package {package.partition('.')[0]}, which {problem}: pip install '{requirement}'"
        ) from error


@lru_cache(maxsize=16)
def _read_entry_points(group: str, folders: tuple[tuple[str, int], ...]) -> EntryPoints:
    """Return the entry points of a group, as they are as long as no folder of packages changes.

    Where two have one name, and one of them is clipbench's own, the other is left out.
    """
    points = entry_points(group=group)
    our_names = {point.name.casefold() for point in points if distribution_of(point) == OURS}
    shadowed = [point for point in points if point.name.casefold() in our_names and distribution_of(point) != OURS]
    for point in shadowed:
        whose = distribution_of(point)
        warn_left_out(
            f"'{point.name}' of {whose} in {group} is left out, because clipbench has one of that name:"
            f" rename it, or uninstall {whose}"
        )
    return EntryPoints(point for point in points if point not in shadowed)


def _modified_ns(folder: str) -> int:
    """Return the time of a folder's last added or removed file, or 0 if it does not exist. "" is the current folder."""
    try:
        return os.stat(folder or os.curdir).st_mtime_ns
    except OSError:
        return 0


def _import(point: EntryPoint) -> object:
    _imported.add(distribution_of(point))
    try:
        return point.load()
    except FOREIGN as error:  # importing a plug-in may raise anything
        raise ClipbenchError(
            f"'{point.name}' of {distribution_of(point)} cannot be imported from {point.value}"
            f" ({error_summary(error)}): fix or uninstall {distribution_of(point)}"
        ) from error
