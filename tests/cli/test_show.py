"""`clipbench show` from the command line: what `run` printed, whose numbers they are, and what is missing."""

from clipbench.cli.tables import evaluation_lines
from clipbench.results.record import Metric, SlicesRecord, StoredFormat
from clipbench.stats.intervals import wilson
from tests.made import record_of


def test_subsets_have_their_titles_and_a_group_is_called_worst_only_if_tests_tell_it_from_each_other_one() -> None:
    def share(hits: float) -> Metric:
        low, high, _ = wilson(hits, 100)
        return Metric(value=hits / 100, low=low, high=high, n=100, is_headline=True, higher_is_better=True)

    def lines(**hits: float) -> str:
        groups = {group: {"kind/acc1": share(hit)} for group, hit in hits.items()}
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


def test_formats_of_vectors_are_a_table_by_bytes_and_what_has_no_value_says_why() -> None:
    half, change = Metric(value=0.5, low=0.4, high=0.6, n=90), Metric(value=-0.01, unit="difference")
    metrics = {
        "acc1_smallest": Metric(value=64.0, n=90, unit="bytes", reason="64 bytes are safe"),
        "acc1": half,
        **{f"{name}/acc1": half for name in ("binary@64", "int8@64")},
        "pca@16/acc1": Metric(value=None, reason="too few vectors"),
        **{f"{name}/acc1_change": change for name in ("binary@64", "int8@64")},
    }
    formats = {
        "": StoredFormat(label="float32", n_bytes=256),
        "binary@64": StoredFormat(label="64 signs", n_bytes=8),
        "int8@64": StoredFormat(label="64 int8", n_bytes=64),
        "pca@16": StoredFormat(label="16 PCA", n_bytes=64),
    }
    record = record_of(metrics=metrics, subsets={"int8@64": "All 64 dimensions as int8"}, formats=formats)
    lines = evaluation_lines(record)
    assert [line.split()[:6] for line in lines[3:7]] == [
        ["float32", "256", "50.0", "[40.0,", "60.0]", "–"],
        ["64", "int8", "64", "50.0", "[40.0,", "60.0]"],
        ["16", "PCA", "64", "–", "–"],
        ["64", "signs", "8", "50.0", "[40.0,", "60.0]"],
    ]
    assert lines[7:] == ["  64 bytes are safe", "", "  undefined: pca@16/acc1: too few vectors"]
