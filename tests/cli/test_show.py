"""`clipbench show` from the command line: what `run` printed, whose numbers they are, and what is missing."""

from clipbench.cli.tables import evaluation_lines
from clipbench.results.record import Metric, SlicesRecord
from clipbench.stats.intervals import wilson
from tests.made import record_of


def test_subsets_have_their_titles_and_a_group_is_called_worst_only_if_tests_tell_it_from_each_other_one() -> None:
    def share(hits: float) -> Metric:
        low, high, _ = wilson(hits, 100)
        return Metric(value=hits / 100, low=low, high=high, n=100, is_headline=True, higher_is_better=True)

    def lines(**hits: float) -> str:
        groups = {group: {"kind/acc1": share(each)} for group, each in hits.items()}
        worst = min(hits, key=lambda group: hits[group])
        summaries = {name: {"kind/acc1": share(50.0)} for name in ("mean", "distance")}
        slices = SlicesRecord(
            of="images", groups=groups, worst=groups[worst], worst_group={"kind/acc1": worst}, **summaries
        )
        metrics, subsets = {"kind/acc1": share(50.0)}, {"kind": "Kind of object", "genus": "not asked"}
        encoded = dict.fromkeys(("images", "texts", "stored_images", "stored_texts"), 3)
        record = record_of(encoded=encoded, metrics=metrics, subsets=subsets, slices={"language": slices})
        return "\n".join(evaluation_lines(record))

    assert "  subsets: kind: Kind of object\n" in lines(de=50.0, sw=48.0)
    assert "lowest sw 48.0 %" in lines(de=50.0, sw=48.0)
    assert "worst sw 8.0 %" in lines(de=50.0, sw=8.0, fr=60.0)
    assert "lowest sw 8.0 %" in lines(de=50.0, sw=8.0, fr=10.0)
