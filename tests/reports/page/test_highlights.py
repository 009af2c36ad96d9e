"""The sentences at the top of a report are the ones that a stated rule takes."""

from clipbench_reports.findings import Finding, Mark
from clipbench_reports.page.opening import Sentence, key_sentences


def told(*sentences: tuple[str, Mark, float]) -> list[Sentence]:
    """Return sentences, whose text is their section, mark and skill."""
    return [Sentence(anchor, Finding(mark, f"{anchor} {mark} {skill}", skill)) for anchor, mark, skill in sentences]


def texts(sentences: list[Sentence]) -> list[str]:
    return [sentence.finding.text for sentence in sentences]


def test_two_worst_and_the_best_and_none_that_is_neither() -> None:
    statements = told(
        ("e1", "good", 0.9),
        ("e2", "good", 0.3),
        ("e3", "plain", 0.0),
        ("e4", "good", 0.95),
        ("e5", "weak", 0.02),
        ("e6", "weak", -0.7),
        ("e7", "weak", -0.1),
    )
    assert texts(key_sentences(statements)) == ["e6 weak -0.7", "e7 weak -0.1", "e4 good 0.95"]


def test_each_kind_that_has_a_chance_is_told_however_many_there_are_of_another() -> None:
    statements = told(*((f"e{k}", "good", 0.9) for k in range(20)), ("e20", "weak", 0.0), ("e21", "plain", 0.0))
    assert [key_sentence.finding.mark for key_sentence in key_sentences(statements)] == ["weak", "good", "good"]


def test_places_that_a_kind_cannot_fill_go_to_weaknesses_first() -> None:
    statements = told(*((f"e{k}", "weak", -k / 10) for k in range(4)), *((f"g{k}", "good", k / 10) for k in range(4)))
    assert [key_sentence.finding.mark for key_sentence in key_sentences(statements)] == ["weak"] * 2 + ["good"]


def test_what_any_model_of_the_kind_shows_is_never_at_the_top() -> None:
    (statements,) = told(("e1", "good", 1.0))
    expected = statements._replace(finding=statements.finding._replace(is_expected=True))
    assert key_sentences([expected, *told(("e2", "good", 0.1))]) == told(("e2", "good", 0.1))
    assert key_sentences([expected]) == []


def test_a_second_sentence_of_a_section_waits_for_the_first_of_all_others() -> None:
    statements = told(("e1", "good", 0.99), ("e1", "good", 0.98), ("e2", "good", 0.5))
    assert texts(key_sentences(statements)) == ["e1 good 0.99", "e2 good 0.5", "e1 good 0.98"]
