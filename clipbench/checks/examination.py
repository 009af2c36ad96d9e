"""Examining a model, and data if there are some: every check, or the quick ones before a run."""

from collections.abc import Iterator, Sequence

from clipbench import plugins
from clipbench.checks.behaviour import (
    batches,
    case,
    constancy,
    determinism,
    evaluation_mode,
    padding,
    roles,
    true_pairs,
    vectors,
)
from clipbench.checks.data_checks import caption_length, captions, class_names, classes, duplicates, images
from clipbench.checks.settings import activation, end_of_text, preprocessing, scale, start_of_text, tokenizer, weights
from clipbench.checks.subject import GIVEN, Check, CheckOutcome, NotExamined, Subject, fault
from clipbench.data.dataset import Dataset
from clipbench.data.modalities import IMAGE, TEXT
from clipbench.errors import (
    FOREIGN,
    ModelError,
    NoTokenCounts,
    UsageError,
    VectorError,
    error_summary,
    on_command_line,
)
from clipbench.models.protocol import Embedder, ModelEmbedder, capability
from clipbench.results.record import CheckFinding

MODEL = {
    "vectors": (
        vectors,
        "A vector that is zero or not finite has no direction, and equal vectors for all inputs score at chance.",
    ),
    "evaluation-mode": (
        evaluation_mode,
        "Dropout and batch normalisation of training make vectors random or mix a batch.",
    ),
    "determinism": (
        determinism,
        "If one input has two vectors, no score can be reproduced, and small differences are lost.",
    ),
    "batches": (batches, "A vector that depends on its batch makes scores depend on batch size and order."),
    "padding": (
        padding,
        "SigLIP reads its padding: if texts are padded to the longest of a batch, it loses tens of points.",
    ),
    "case": (case, "SigLIP and SigLIP 2 were trained on lower-cased text: capitals cost up to 12 points."),
    "end-of-text": (
        end_of_text,
        "CLIP takes a text's vector at its end-of-text token, or at some word if that token is cut off.",
    ),
    "start-of-text": (start_of_text, "CLIP was trained on texts that begin with a start-of-text token."),
    "tokenizer": (tokenizer, "Another model's tokenizer, or another context length, changes texts without an error."),
    "preprocessing": (preprocessing, "Another size, mean, crop or interpolation than in training costs points."),
    "activation": (
        activation,
        "Weights trained with QuickGELU lose points under GELU, and the reverse, without an error.",
    ),
    "scale": (scale, "Confidences, calibration and losses depend on scale and bias. Ranks do not."),
    "weights": (weights, "Weights that do not fit by name stay random, and some libraries only log it."),
    "roles": (roles, "A query encoded as a document, or the reverse, costs points without an error."),
    "pairs": (
        true_pairs,
        "If true pairs score no higher than shuffled ones, the pairs are wrong, or the model never saw such images.",
    ),
}
"""The checks of the model, each with why it matters."""
DATA = {
    "images": (images, "An image that cannot be read ends a run, or is left out of its numbers."),
    "duplicates": (
        duplicates,
        "One of two equal images is always the wrong answer, and an image of the training set does not test a model.",
    ),
    "captions": (captions, "A caption of several images has several right answers, and is scored as if it had one."),
    "classes": (classes, "Mean recall by class is undefined for a class without images."),
    "class-names": (class_names, "Classes of one name have the same prompts, so no model can distinguish them."),
    "caption-length": (caption_length, "The model does not read text beyond the context length."),
}
"""The checks of the data."""
QUICK = MODEL.keys() - {"case", "activation", "roles", "pairs"}
WITHOUT_MODEL = {"vectors", "scale", "pairs", "classes", "class-names"}
OURS: Sequence[Check] = [
    Check(
        name=name,
        why=reason,
        examine=function,
        about="model" if name in MODEL else "data",
        needs_model=name not in WITHOUT_MODEL,
        is_quick=name in QUICK,
    )
    for name, (function, reason) in (MODEL | DATA).items()
]

CONSTANCY = Check(name="determinism", why=MODEL["determinism"][1], examine=constancy)
"""The check after a run."""


def all_checks() -> list[Check]:
    """Return the built-in checks, then the checks of packages by the entry point ``clipbench.checks``, by name.

    A plug-in that cannot be imported, is not a check, or has a name that exists already is left out with a warning.
    """
    checks = list(OURS)

    def add(name: str) -> None:
        check = plugins.load(plugins.CHECKS, name)
        if not isinstance(check, Check):
            raise UsageError(f"plug-in '{name}' is not a check: expected an object of clipbench.Check")
        if check.name in {existing.name for existing in checks}:
            raise UsageError(
                f"plug-in '{name}' has a check '{check.name}', but a check of that name exists already: rename it"
            )
        checks.append(check)

    plugins.load_usable(plugins.CHECKS, add)
    return checks


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
        raise UsageError(
            f"doctor examines only models of images and texts: got {embedder.info.ref} of other modalities"
        )
    subject = Subject(embedder, dataset, seed=seed)
    for check in all_checks():
        if check.about == "model" or subject.dataset is not None:
            yield finding(check, subject, raise_bugs=raise_bugs)


def preflight(embedder: Embedder) -> list[CheckFinding]:
    """Return the warnings and faults of the quick checks of a model, which are made of one that is loaded.

    A model without images or without texts has none: all checks are about the two.
    """
    checks = all_checks()
    encoder = capability(embedder, ModelEmbedder)
    stored = encoder.stored_findings() if encoder else None
    if stored is not None and len(checks) == len(OURS):  # a check of a plug-in may depend on anything
        return stored
    if _lacks_a_tower(embedder):
        return []
    subject = Subject(embedder, is_quick=True)
    chosen = [check for check in checks if check.about == "model" and (check.is_quick or not subject.encodes)]
    findings = [finding(check, subject) for check in chosen]
    return [result for result in findings if result.status in ("warning", "fault")]


def change_during_run(embedder: Embedder, findings: Sequence[CheckFinding]) -> list[CheckFinding]:
    """Return the fault of a model that has changed since it was loaded or checked, or nothing.

    The checks before a run cannot see a later change, for example of a model behind a server, or of a part that goes
    back to training mode. The change is found by six fixed inputs, which are encoded once more.

    Args:
        findings: of the checks before the run. A model whose vectors were random then has its fault already.
    """
    encoder = capability(embedder, ModelEmbedder)
    if encoder is None or encoder.probes is None or _lacks_a_tower(embedder):  # without probes it was not loaded
        return []
    if any(earlier.check == CONSTANCY.name and earlier.status == "fault" for earlier in findings):
        return []
    result = finding(CONSTANCY, Subject(embedder, is_quick=True))
    return [result] if result.status == "fault" else []


def _lacks_a_tower(embedder: Embedder) -> bool:
    encoder = capability(embedder, ModelEmbedder)
    return encoder is not None and not {IMAGE, TEXT} <= set(encoder.model.modalities)


def finding(check: Check, subject: Subject, *, raise_bugs: bool = False) -> CheckFinding:
    """Return the finding of a check. A check that fails has examined nothing, and a model that fails has a fault."""
    try:
        if check.needs_model and not subject.encodes:
            raise NotExamined(GIVEN)
        outcome = check.examine(subject)
    except VectorError:
        outcome = CheckOutcome("not examined", "a vector has no direction (see vectors)")
    except (NotExamined, NoTokenCounts) as error:
        outcome = CheckOutcome("not examined", str(error))
    except FOREIGN as error:
        if raise_bugs:
            raise
        if isinstance(error, ModelError):
            fix = "let the adapter accept any RGB image and any text, including empty and long texts"
            outcome = fault(str(error), fix + on_command_line(". --traceback shows where it fails"))
        else:
            outcome = CheckOutcome("not examined", f"the check failed ({error_summary(error)[:200]})")
    return CheckFinding(check=check.name, status=outcome.status, seen=outcome.seen, why=check.why, fix=outcome.fix)
