"""Skipped tests are counted by reason, and in CI a skip that nobody expects is a failure: tests cannot get lost in
silence.

`conftest.py` registers this plug-in.
"""

import re
from collections import Counter

import pytest

EXPECTED = {
    "slow-only libraries": (r"needs (mteb|mlflow|trackio|tensorboard|every-eval-ever)", 5),
    "published vectors that are not given": (r"published vectors of \w+ are not at", 3),
    "published predictions that are not given": (r"published predictions of \w+ are not at", 3),
    "published files of others": (r"published files of make proof are not at", 4),
    "a TeX system": (r"xelatex|no TeX system", 7),
    "an environment of its own": (r"only where `make test-wheel`|needs the extra docs", 6),
}
"""Requirements that CI lacks: a pattern of the reasons, and the most tests that may be skipped for them."""

NEEDED = {
    "a browser": r"no Chromium on the path|playwright is not installed|pdftotext is not on the path",
    "axe": r"axe-core is not installed",
}
"""Tools that the tests of pages need; a machine for development may lack them."""


def reasons(reports: list[pytest.TestReport]) -> Counter[str]:
    """Return how many tests were skipped for each reason."""
    counts: Counter[str] = Counter()
    for report in reports:
        where = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        counts[where.removeprefix("Skipped: ")] += 1
    return counts


def faults(counts: Counter[str]) -> list[str]:
    """Return a line for each kind of skip that is not expected, or is met more often than it is."""
    left, lines = Counter(counts), []
    for name, (pattern, most) in EXPECTED.items():
        matching = [reason for reason in left if re.search(pattern, reason)]
        n = sum(left.pop(reason) for reason in matching)
        if n > most:
            lines.append(f"{n} tests were skipped for want of {name}: expected at most {most}")
    for reason, n in left.items():
        missing = next((name for name, pattern in NEEDED.items() if re.search(pattern, reason)), None)
        lines.append(
            f"{n} tests were skipped, and CI has to have {missing}: {reason}"
            if missing
            else f"{n} tests were skipped for a reason that tests/skips.py does not expect: {reason}"
        )
    return lines


class Skips:
    """The plug-in.

    Args:
        is_ci: fail where tests were skipped that CI should run.
    """

    def __init__(self, *, is_ci: bool) -> None:
        self.is_ci = is_ci

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Have CI fail where tests were skipped that it should run."""
        if self.is_ci and session.exitstatus == pytest.ExitCode.OK and faults(_counts(session.config)):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
        """Say why tests were skipped, and what of it CI does not allow."""
        counts = _counts(config)
        for reason, n in counts.most_common():
            terminalreporter.write_line(f"skipped {n}: {reason}")
        for line in faults(counts) if self.is_ci else ():
            terminalreporter.write_line(f"FAILED: {line}", red=True)


def _counts(config: pytest.Config) -> Counter[str]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return Counter() if reporter is None else reasons(reporter.stats.get("skipped", []))
