"""composition in the report: what the figures, the table and the sentences say of what a run holds."""

from clipbench.results.record import Metric
from clipbench_reports.sections.composition import findings
from tests.made import record_of


def fraction(value: float, chance: float, n: int = 250, half: float = 0.05) -> Metric:
    return Metric(value=value, low=value - half, high=value + half, chance=chance, n=n, higher_is_better=True)


METRICS = {
    "macro/text_acc": fraction(0.5, 0.25),
    "micro/text_acc": fraction(0.5, 0.25, 500),
    "micro/image_acc": fraction(0.22, 0.25, 500),
    "swap_att/text_acc": fraction(0.27, 0.25),
    "swap_att/image_acc": fraction(0.21, 0.25),
    "swap_att/group_acc": fraction(0.1, 1 / 6),
    "count/text_acc": fraction(0.73, 0.25),
    "count/image_acc": fraction(0.6, 0.25),
    "hard_negative_cosine": Metric(value=0.98, low=0.97, high=0.99, unit="cosine"),
    "other_cosine": Metric(value=0.2, unit="cosine"),
}


def test_sentences_say_the_whole_the_weak_subsets_and_hard_negatives() -> None:
    result, chance = findings(record_of("composition", metrics=METRICS)), "where chance is 25.0 %."
    unrelated = "a caption and an unrelated one 0.2000 (no interval)."
    assert [finding.mark for finding in result] == ["good", "level", "level", "level", "plain"]
    assert [finding.text for finding in result] == [
        f"Text score: 50.0 % [45.0, 55.0] of 500 items have their true captions above the false ones, {chance}",
        "No difference from chance shown at choosing the right caption: “swap_att” 27.0 % [22.0, 32.0], chance 25.0 %.",
        f"Image score: 22.0 % [17.0, 27.0] of 500 items have their true images above the others, {chance}",
        "No difference from chance shown at choosing the right image: “swap_att” 21.0 % [16.0, 26.0], chance 25.0 %.",
        f"A caption and its hard negative have cosine 0.9800 [0.9700, 0.9900] on average, and {unrelated}",
    ]


def test_subsets_below_chance_are_said_to_be_below_it() -> None:
    below = METRICS | {"swap_att/text_acc": fraction(0.05, 0.25), "count/text_acc": fraction(0.27, 0.25)}
    result = findings(record_of("composition", metrics=below))
    worse = "Below chance at choosing the right caption: “swap_att” 5.0 % [0.0, 10.0], chance 25.0 %"
    level = "No difference from chance shown at choosing the right caption: “count” 27.0 % [22.0, 32.0], chance 25.0 %."
    assert f"{worse}. {level}" in [finding.text for finding in result]
    short = next(finding.short for finding in result if finding.short)
    assert short == f"{worse}."
    del below["count/text_acc"]
    assert f"{worse}." in [finding.text for finding in findings(record_of("composition", metrics=below))]
