"""Models that are broken in one way each, which the check of that name says, and healthy ones of which none says
anything.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clipbench import vectors
from clipbench.checks.examination import examine, finding, preflight
from clipbench.checks.settings import end_of_text, start_of_text
from clipbench.checks.subject import Check, CheckOutcome, Subject
from clipbench.errors import ModelError
from clipbench.models.introspection.tokens import token_facts
from clipbench.models.protocol import Embedder, Role
from clipbench.results.record import CheckFinding
from clipbench.testing import INFO, ToyModel
from tests.clipbench.checks.conftest import Bind


def found(embedder: Embedder, **options: Any) -> dict[str, CheckFinding]:
    return {finding.check: finding for finding in examine(embedder, raise_bugs=True, **options)}


def named(findings: Mapping[str, CheckFinding]) -> dict[str, str]:
    return {name: finding.status for name, finding in findings.items() if finding.status in ("warning", "fault")}


BROKEN: dict[str, tuple[dict[str, Any], str, str]] = {
    "noise": ({"noise": 0.1}, "determinism", "encoded twice"),
    "a mean over the batch": ({"centres": True}, "batches", "in another batch"),
    "another order": ({"reverses": True}, "batches", "in another order"),
    "padding to the longest": ({"pads_to_longest": True, "reads_padding": True}, "padding", "when a longer text is in its batch"),
    "capitals kept": ({"lowers": False}, "case", "lower case fits the images better"),
    "end cut off": ({"keeps_end": False}, "end-of-text", "truncated without its end-of-text token (id 2)"),
    "another vocabulary": ({"knows": 0.5}, "tokenizer", "have the tokens of another"),
    "blue for red": ({"swaps_channels": True}, "preprocessing", "order blue, green, red"),
    "pixels of 0 to 255": ({"mean": 0.5 / 255, "std": 0.5 / 255}, "preprocessing", "in [0, 255]"),
    "one vector for all images": ({"images_are": np.ones_like}, "vectors", "all 3 images have the same vector"),
    "NaN": ({"texts_are": lambda rows: rows * np.nan}, "vectors", "that is not finite"),
    "zero": ({"texts_are": lambda rows: rows * 0}, "vectors", "that is zero"),
    "two texts alike": (
        {"texts_are": lambda rows: rows[np.minimum(np.arange(len(rows)), 1)]}, "vectors", "'two red cubes on a table' and"
    ),
    "towers of two models": ({"images_are": lambda rows: rows[:, ::-1]}, "pairs", "standard deviations above shuffled ones: "),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_model_broken_in_one_way_is_named_for_it(name: str, toy_clip: Any, embedder: Bind) -> None:
    fields, check, symptom = BROKEN[name]
    findings = found(embedder(toy_clip(**fields)))
    assert findings[check].status in ("warning", "fault")
    assert symptom in findings[check].seen and findings[check].why and findings[check].fix
    # A text that is read otherwise fits its image no longer: that much may follow from the fault.
    assert set(named(findings)) <= {check, "pairs", *(("batches",) if name == "two texts alike" else ())}


HEALTHY: dict[str, dict[str, Any]] = {
    "as it is": {},
    "padding that does not matter": {"pads_to_longest": True},
    "padding that matters, to full length": {"reads_padding": True},
    "images squashed": {"resize": "squash"},
    "images padded, bilinear": {"resize": "pad", "interpolation": "bilinear"},
}


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_model_is_left_alone(name: str, toy_clip: Any, embedder: Bind) -> None:
    bound = embedder(toy_clip(**HEALTHY[name]))
    assert not named(found(bound)) and preflight(bound) == []


def tokens_of(start: Sequence[int], ending: Callable[[list[int]], list[int]]) -> Any:
    """Return a subject of which only the tokens of its texts are known: eight, and the ids of CLIP."""

    def tokenize(texts: Sequence[str]) -> dict[str, np.ndarray]:
        rows = [[*start, *(len(word) for word in text.split()), 49407] for text in texts]
        rows = [row if len(row) <= 8 else ending(row[:8]) for row in rows]
        return {"text": np.array([row + [0] * (8 - len(row)) for row in rows])}

    shown = SimpleNamespace(tokenize=tokenize, encode_tokens=None, module=None)
    return SimpleNamespace(tokens=token_facts(tokenize), parts=shown, info=replace(INFO, context_length=8))


@pytest.mark.parametrize(
    ("check", "start", "ending", "status", "seen"),
    [
        (end_of_text, [49406], lambda row: [*row[:7], 49407], "ok", "ends with the end-of-text token"),
        (end_of_text, [49406], lambda row: [*row[:6], 49407, 0], "fault", "misplaced: at position 7 of 8"),
        (end_of_text, [49406], lambda row: row, "fault", "truncated without its end-of-text token"),
        (start_of_text, [49406], lambda row: row, "ok", "begins with the same token (id 49406)"),
        (start_of_text, [], lambda row: row, "fault", "not with the start-of-text token (id 49406)"),
        (start_of_text, [49406], lambda row: [5, *row[1:]], "fault", "begin with the ids 49406, 5"),
    ],
)
def test_both_ends_of_a_text_are_looked_at(check: Any, start: Any, ending: Any, status: str, seen: str) -> None:
    outcome = check(tokens_of(start, ending))
    assert outcome.status == status and seen in outcome.seen


@pytest.mark.parametrize(
    ("info", "seen"),
    [
        ({"logit_scale": 4.6052}, "expected a scale of 5 to 1000"),
        ({"logit_scale": 0.01}, "expected a scale of 5 to 1000"),
        ({"logit_bias": 10.0}, "positive bias"),
    ],
)
def test_a_scale_that_training_does_not_reach_is_named(
    info: dict[str, float], seen: str, toy_clip: Any, embedder: Bind
) -> None:
    model = toy_clip()
    bound = embedder(replace(model, info=replace(model.info, **info)))
    findings = found(bound)
    assert seen in findings["scale"].seen and named(findings) == {"scale": "fault"}
    assert [warning.check for warning in preflight(bound)] == ["scale"]


@pytest.mark.parametrize(
    ("fields", "check", "seen"),
    [
        ({"lowers": False}, "case", "SigLIP was trained on lower-cased text"),
        ({"masks": True}, "padding", "the text tower gets an attention mask, but SigLIP was trained without one"),
    ],
)
def test_a_model_of_siglip_must_see_neither_capitals_nor_a_mask(
    fields: dict[str, Any], check: str, seen: str, toy_clip: Any, embedder: Bind
) -> None:
    model = toy_clip(**fields)
    findings = found(embedder(replace(model, info=replace(model.info, family="mine/SigLIP", logit_bias=-10.0))))
    assert named(findings) == {check: "fault"} and seen in findings[check].seen
    if check == "padding":
        assert not named(found(embedder(model))), "other models may have a mask"


def test_a_stated_context_that_is_not_the_tokenizer_s_is_named(toy_clip: Any, embedder: Bind) -> None:
    model = toy_clip()
    findings = found(embedder(replace(model, info=replace(model.info, context_length=77))))
    assert "cut to 48 tokens, and the model says that it takes 77" in findings["tokenizer"].seen


@pytest.mark.parametrize(("read", "context", "status"), [(10, 10, "ok"), (6, 10, "fault"), (99, 10, "warning")])
def test_a_context_is_tried_where_no_tokens_are_shown(read: int, context: int, status: str, embedder: Bind) -> None:
    class Reader(ToyModel):
        def encode_texts(self, texts: Any) -> Any:
            return super().encode_texts([" ".join(text.split()[: read - 2]) for text in texts])

    model = Reader()
    model.info = replace(model.info, context_length=context)
    assert found(embedder(model))["tokenizer"].status == status


def test_a_model_that_shows_nothing_is_examined_as_far_as_it_goes(embedder: Bind) -> None:
    findings = found(embedder(ToyModel()))
    hidden = {name: finding.seen for name, finding in findings.items() if finding.status == "not examined"}
    assert hidden.pop("roles").startswith("the model has no roles")
    assert set(hidden) == {"evaluation-mode", "end-of-text", "start-of-text", "preprocessing", "activation", "weights"}
    assert all("shows no" in reason for reason in hidden.values())


def test_a_check_that_fails_itself_has_examined_nothing(toy_clip: Any, embedder: Bind) -> None:
    def examine(subject: Subject) -> CheckOutcome:
        raise RuntimeError("no such thing")

    check, subject = Check(name="broken", why="", examine=examine), Subject(embedder(toy_clip()))
    outcome = finding(check, subject)
    assert outcome.status == "not examined" and "the check failed (RuntimeError: no such thing)" in outcome.seen
    with pytest.raises(RuntimeError, match="no such thing"):
        finding(check, subject, raise_bugs=True)


def test_a_model_that_fails_has_a_fault_and_the_other_checks_are_made(toy_clip: Any, embedder: Bind) -> None:
    class Crashing(toy_clip):  # type: ignore[misc]
        def tokenize(self, texts: Any) -> Any:
            if any(len(text.split()) > 48 for text in texts):
                raise RuntimeError("too long")
            return super().tokenize(texts)

    findings = {evaluation.check: evaluation for evaluation in examine(embedder(Crashing()))}
    faults = {name for name, evaluation in findings.items() if evaluation.status == "fault"}
    assert faults == {"determinism", "batches", "padding", "end-of-text", "start-of-text", "tokenizer", "scale"}
    assert "fails: RuntimeError: too long" in findings["tokenizer"].seen
    assert findings["preprocessing"].status == "ok"
    with pytest.raises(ModelError, match="too long"):
        list(examine(embedder(Crashing()), raise_bugs=True))


def of_vectors(texts: np.ndarray, **arrays: Any) -> dict[str, CheckFinding]:
    return found(vectors(images=UNITS, texts=texts, logit_scale=100.0, **arrays))


UNITS = np.random.default_rng(0).standard_normal((60, 16))
NOISY = UNITS + np.random.default_rng(1).standard_normal((60, 16))


def test_vectors_of_a_file_are_examined_without_their_model() -> None:
    findings = of_vectors(NOISY)
    assert not named(findings)
    assert {name for name, finding in findings.items() if finding.status == "ok"} == {"vectors", "scale", "pairs"}
    assert preflight(vectors(images=UNITS, texts=NOISY, logit_scale=100.0)) == []


@pytest.mark.parametrize(
    ("texts", "check", "seen"),
    [
        (np.roll(NOISY, 3, axis=0), "pairs", "the text of each image is 3 rows below it"),
        (NOISY[::-1], "pairs", "the texts are in the reverse order of the images"),
        (np.random.default_rng(2).permutation(NOISY), "pairs", "too little to retrieve anything"),
        (-NOISY, "pairs", "they are lower"),
        (NOISY[np.r_[0, 0, 2:60]], "vectors", "1 of 60 texts have the vector of another"),
        (np.ones_like(NOISY), "vectors", "all 60 texts have the same vector"),
    ],
)
def test_vectors_that_are_misaligned_or_alike_are_named(texts: np.ndarray, check: str, seen: str) -> None:
    findings = of_vectors(texts)
    assert list(named(findings)) == [check] and seen in findings[check].seen


def test_labels_say_what_pairs_do_not() -> None:
    labels = np.arange(60) % 4
    classes = np.eye(4, 16)
    images = classes[labels] + 0.1 * UNITS
    right = found(vectors(images=images, labels=labels, class_texts=classes, logit_scale=100.0))
    assert not named(right) and right["classes"].status == "ok"
    wrong = found(vectors(images=images, labels=np.roll(labels, 1), class_texts=classes, logit_scale=100.0))
    assert named(wrong) == {"pairs": "fault"}


@pytest.mark.parametrize(("swapped", "status"), [("query", "warning"), ("document", "ok")])
def test_swapped_roles_are_told(swapped: str, status: str, toy_clip: Any, embedder: Bind) -> None:
    model = toy_clip()
    plain = model.encode

    def encode(modality: str, inputs: Any, role: Role = None) -> Any:
        return np.roll(plain(modality, inputs), 1, axis=1) if role == swapped else plain(modality, inputs)

    model.info, model.encode = replace(model.info, roles={"text": {"query": "q: ", "document": ""}}), encode
    told = found(embedder(model))
    assert told["roles"].status == status and "standard deviations above shuffled ones" in told["roles"].seen
    assert named(told).keys() <= {"roles"}
    assert found(embedder(toy_clip()))["roles"].seen.startswith("the model has no roles")
