"""Seeded choices."""

from collections import Counter

from clipbench.seeding import Sampler


def test_the_stream_is_the_one_that_was_published_with_version_1() -> None:
    chance = Sampler("golden", 7)
    assert [chance.below(1000) for _ in range(5)] == GOLDEN


GOLDEN = [768, 486, 485, 981, 722]


def test_weighted_choices_come_as_often_as_they_should() -> None:
    chance = Sampler("weights")
    counts = Counter(chance.weighted({"often": 0.7, "seldom": 0.3}) for _ in range(4000))
    assert abs(counts["often"] / 4000 - 0.7) < 4 * (0.21 / 4000) ** 0.5  # four standard errors


def test_some_of_gives_distinct_ones_and_its_first_ones_do_not_depend_on_their_number() -> None:
    few, many = Sampler("some").some_of(range(9), 3), Sampler("some").some_of(range(9), 9)
    assert many[:3] == few
    assert sorted(many) == list(range(9))
