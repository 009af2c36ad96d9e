"""All checks: ours, and those that packages bring by the entry point ``clipbench.checks``."""

from collections.abc import Sequence

from clipbench import plugins
from clipbench.checks import behaviour, data_checks, images, tokens, vectors, weights
from clipbench.checks.check import Check
from clipbench.errors import UsageError

OURS: Sequence[Check] = (
    *vectors.VECTORS,
    *behaviour.CHECKS,
    *tokens.CHECKS,
    *images.CHECKS,
    *weights.CHECKS,
    *vectors.PAIRS,
    *data_checks.CHECKS,
)


def all_checks() -> list[Check]:
    """Return our checks, then those of packages by their names.

    Raises:
        UsageError: an entry point names something else, or a check whose name is taken.
    """
    checks = list(OURS)
    for name in plugins.names(plugins.CHECKS):
        check = plugins.load(plugins.CHECKS, name)
        if not isinstance(check, Check):
            raise UsageError(f"plug-in '{name}' is no check: expected an object of clipbench.Check")
        if check.name in {each.name for each in checks}:
            raise UsageError(f"plug-in '{name}' brings a check '{check.name}', and there is one of that name already")
        checks.append(check)
    return checks
