"""Examining a model, and data if there are some: every check, or the quick ones before a run."""

from collections.abc import Iterator

from clipbench.checks.check import Check, CheckOutcome, NotExamined, fault
from clipbench.checks.registry import OURS, all_checks
from clipbench.checks.subject import GIVEN, Subject
from clipbench.data.dataset import Dataset
from clipbench.data.modalities import IMAGE, TEXT
from clipbench.errors import ModelError, NoTokenCounts, UsageError, VectorError
from clipbench.models.protocol import Embedder
from clipbench.results.record import CheckFinding

CRASH_MEND = (
    "let the adapter take any RGB image and any text, empty and long ones too; --traceback shows where it fails"
)


def examine(
    embedder: Embedder, dataset: Dataset | None = None, *, seed: int = 0, raise_bugs: bool = False
) -> Iterator[CheckFinding]:
    """Yield the finding of each check, as it is made.

    Args:
        embedder: the model with a store, or vectors that are given.
        dataset: data of the user's own.
        seed: of samples.
        raise_bugs: let an error of a check, or of the model in it, out with its traceback.
    """
    if _lacks_a_tower(embedder):
        raise UsageError(f"doctor examines models of images and texts, and {embedder.info.ref} is of other modalities")
    subject = Subject(embedder, dataset, seed=seed)
    for check in all_checks():
        if check.about == "model" or subject.dataset is not None:
            yield finding(check, subject, raise_bugs=raise_bugs)


def preflight(embedder: Embedder) -> list[CheckFinding]:
    """Return the warnings and faults of the quick checks of a model, which are made of one that is loaded.

    A model without images or without texts has none: all checks are about the two.
    """
    checks = all_checks()
    recalled = embedder.recalled_findings()
    if recalled is not None and len(checks) == len(OURS):  # nobody knows what a check of others goes by
        return recalled
    if _lacks_a_tower(embedder):
        return []
    subject = Subject(embedder, is_quick=True)
    chosen = [each for each in checks if each.about == "model" and (each.is_quick or not subject.encodes)]
    found = [finding(check, subject) for check in chosen]
    return [each for each in found if each.status in ("warning", "fault")]


def _lacks_a_tower(embedder: Embedder) -> bool:
    return embedder.model is not None and not {IMAGE, TEXT} <= set(embedder.model.modalities)


def finding(check: Check, subject: Subject, *, raise_bugs: bool = False) -> CheckFinding:
    """Return what a check finds: one that fails itself has examined nothing, and a model that fails has a fault."""
    try:
        if check.needs_model and not subject.encodes:
            raise NotExamined(GIVEN)
        outcome = check.examine(subject)
    except NotExamined as error:
        outcome = CheckOutcome("not examined", str(error))
    except VectorError:
        outcome = CheckOutcome("not examined", "a vector has no direction (see vectors)")
    except NoTokenCounts as error:
        outcome = CheckOutcome("not examined", str(error))
    except ModelError as error:
        if raise_bugs:
            raise
        outcome = fault(str(error), CRASH_MEND)
    except Exception as error:
        if raise_bugs:
            raise
        cause = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        outcome = CheckOutcome("not examined", f"the check failed ({cause})")
    return CheckFinding(check=check.name, status=outcome.status, seen=outcome.seen, why=check.why, mend=outcome.mend)
