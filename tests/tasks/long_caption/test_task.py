"""long-caption: a model that reads so many words and no more, whose every number can be worked out."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from jaxtyping import Float32, Int64

from clipbench.data import Contrast, Dataset, ImageRef
from clipbench.errors import NoTokenCounts
from clipbench.evaluation.task import Evaluation
from clipbench.models.protocol import Embedder, ModelInfo
from clipbench.results.record import Metric
from clipbench.stats.estimators import first_length_reaching
from clipbench.testing import INFO, NamedImage, StubEmbedder, count_words
from clipbench_tasks.caption_prefixes import Prefixes
from clipbench_tasks.long_caption import EffectiveLength, LongCaption, probe
from tests.made import ConstantEmbedder, assert_at_chance, data_of, evaluate_task

N, N_WORDS, CONTEXT = 40, 20, 12
"""Images, words of each caption, and tokens that the model reads: the start, ten words, the end."""


class Reader(StubEmbedder):
    """A bag of words over the first words of a text; each word has an axis of its own, and so has an image's name."""

    def __init__(self, *, context: int | None = CONTEXT, reads: int = CONTEXT - 2) -> None:
        self.info: ModelInfo = replace(INFO, embed_dim=400, context_length=context)
        self.reads = reads
        self.axes: dict[str, int] = {}
        self.asked: list[str] = []

    def images(self, images: Sequence[ImageRef]) -> Float32[np.ndarray, "n_images dim"]:
        return np.stack([self._vector(["and", *image.name.split()]) for image in images])

    def texts(self, texts: Sequence[str]) -> Float32[np.ndarray, "n_texts dim"]:
        self.asked += texts
        return np.stack([self._vector(["and", *text.split()[: self.reads]]) for text in texts])

    def _vector(self, words: Sequence[str]) -> np.ndarray:
        out = np.zeros(self.info.embed_dim, np.float32)
        for word in words:
            out[self.axes.setdefault(word, len(self.axes))] += 1
        return out


class Uncounted(Reader):
    def count_tokens(self, texts: Sequence[str]) -> Int64[np.ndarray, " n_texts"]:
        raise NoTokenCounts("this model counts nothing")


def caption(row: int, index: int | None = None) -> str:
    """Return 20 words of which one tells the image: by default the one at the row's place, going round."""
    words = ["and"] * N_WORDS
    words[row % N_WORDS if index is None else index] = f"thing{row}"
    return " ".join(words)


def dataset(**parts: object) -> Dataset:
    """Return images of one thing each; two have their word at each of the 20 places of the caption."""
    rows = range(N)
    defaults = {"captions": [caption(row) for row in rows], "caption_image": np.arange(N)}
    return data_of([f"thing{row}" for row in rows], **{"image_ids": [*map(str, rows)], **defaults, **parts})


def probed(values: dict[str, int], n: int = 4) -> Dataset:
    """Return the data set with ``n`` more images, each asked about at some places."""
    result = dataset()
    contrasts = [
        Contrast(f"{row}/{name}", name, (N + row,), (caption(row, at), caption(row + 1, at)), ((True, False),))
        for row in range(n)
        for name, at in values.items()
    ]
    return replace(
        result,
        images=[*result.images, *(NamedImage(f"thing{row}") for row in range(n))],
        image_ids=[*result.image_ids, *(f"probe {row}" for row in range(n))],
        contrasts=contrasts,
    )


def evaluate(
    data: Dataset, embedder: Embedder | None = None, tokens: tuple[int, ...] = (3, 7)
) -> tuple[Evaluation, dict[str, Metric]]:
    return evaluate_task(LongCaption(ks=(1,), tokens=tokens), data, embedder or Reader())


def recall(n_read: int) -> float:
    """Return what is found with so many words read: two captions a word for sure, the others by chance."""
    n_seen = 2 * n_read
    return (n_seen + (N - n_seen) / N) / N


def test_recall_follows_the_words_that_are_kept() -> None:
    evaluation, metrics = evaluate(dataset())
    curve = evaluation.curves["image_retrieval_recall@1_by_tokens"]
    assert curve.x == [3, 7, 12]
    assert curve.y == pytest.approx([recall(1), recall(5), recall(10)])
    assert metrics["image_retrieval_recall@1"].value == pytest.approx(recall(10))
    assert curve.low is not None and curve.high is not None
    low, y, high = (np.array(side, np.float64) for side in (curve.low, curve.y, curve.high))
    assert (low < y).all() and (y < high).all()
    # an image of which no caption says the word ties with all captions that say none of theirs either
    assert evaluation.curves["text_retrieval_recall@1_by_tokens"].y[-1] == pytest.approx((20 + 20 / 20) / 40)


def test_the_effective_length_is_where_the_curve_comes_near_to_its_end() -> None:
    _, metrics = evaluate(dataset())
    part = (0.95 * recall(10) - recall(5)) / (recall(10) - recall(5))
    length = metrics["effective_length"]
    assert length.value == pytest.approx(7 + part * (12 - 7))
    assert (length.unit, length.n, length.higher_is_better) == ("tokens", N, None)
    assert length.value is not None and length.low is not None and length.high is not None
    assert length.low < length.value <= length.high


def test_a_curve_reaches_its_share_between_two_points_or_at_the_first() -> None:
    def reached(*recall: float) -> float:
        (length,) = first_length_reaching(np.array([recall]), lengths=[5.0, 10.0, 20.0], share=0.9).tolist()
        return float(length)

    assert reached(0.0, 0.5, 1.0) == pytest.approx(18)
    assert reached(0.9, 0.1, 1.0) == 5
    assert reached(0.0, 1.0, 0.5) == pytest.approx(5 + 5 * 0.45)
    assert np.isnan(reached(1.0, 1.0, 0.0))


def test_captions_longer_than_the_window_are_counted_with_what_they_lose() -> None:
    short = "a thing0"
    _, metrics = evaluate(dataset(captions=[short, *(caption(row) for row in range(1, N))]))
    assert metrics["truncated_fraction"].value == pytest.approx((N - 1) / N)
    assert metrics["tokens_lost"].value == pytest.approx((N - 1) / N * (N_WORDS + 2 - CONTEXT))
    assert metrics["caption_tokens"].value == pytest.approx((4 + (N - 1) * 22) / N)


def test_lengths_end_at_the_longest_caption_where_that_fits_or_the_window_is_not_known() -> None:
    reader = Reader(context=None, reads=100)
    evaluation, metrics = evaluate(dataset(), reader, tokens=(3, 7, 22, 50))
    assert evaluation.curves["image_retrieval_recall@1_by_tokens"].x == [3, 7, 22]
    assert metrics["truncated_fraction"].value is None
    assert metrics["tokens_lost"].reason == "the model does not say how many tokens it takes"
    evaluation, metrics = evaluate(dataset(), Reader(context=30, reads=28), tokens=(3, 25))
    assert evaluation.curves["image_retrieval_recall@1_by_tokens"].x == [3, 22]
    assert metrics["truncated_fraction"].value == 0


def test_a_fact_is_told_where_it_is_read_and_a_coin_decides_beyond() -> None:
    evaluation, metrics = evaluate(probed({"early": 0, "late": 8, "beyond": 12}))
    for name, values in {"text_acc": [1, 1, 0.5], "beyond_window": [0, 0, 1], "tie_rate": [0, 0, 1]}.items():
        assert [metrics[f"{place}/{name}"].value for place in ("early", "late", "beyond")] == values
    assert all(metrics[f"{place}/text_acc"].chance == 0.5 for place in ("early", "late", "beyond"))
    rows = evaluation.samples["direction"] == "position"
    # the start is the first token, so that the word at place 0 is the second
    assert evaluation.samples["fact_token"][rows].tolist() == [2, 10, 14] * 4
    assert evaluation.samples["cluster"][rows].tolist()[:3] == ["probe 0"] * 3
    curve = evaluation.curves["text_acc_by_position"]
    assert (curve.x, curve.y) == ([2, 10, 14], [1, 1, 0.5])


@pytest.mark.parametrize(("position", "is_read"), [(9, True), (10, False)])
def test_the_last_token_of_the_window_is_the_end_of_the_text(position: int, is_read: bool) -> None:
    _, metrics = evaluate(probed({"edge": position}))
    assert metrics["edge/beyond_window"].value == (0 if is_read else 1)
    assert metrics["edge/text_acc"].value == (1 if is_read else 0.5)


def test_rounding_does_not_decide_between_captions_that_the_model_reads_alike() -> None:
    class Shaky(Reader):
        def texts(self, texts: Sequence[str]) -> Float32[np.ndarray, "n_texts dim"]:
            return super().texts(texts) + 1e-3 * np.arange(len(texts), dtype=np.float32)[:, None]

    result = probe(probed({"beyond": 15}), Shaky(), np.random.default_rng(0), count=count_words)
    assert result.samples["beyond/text_acc"].tolist() == [0.5] * 4
    unknown = probe(probed({"beyond": 15}), Shaky(context=None), np.random.default_rng(0), count=count_words)
    assert set(unknown.samples["beyond/text_acc"]) != {0.5}


def test_samples_point_at_the_images_of_the_whole_data_set() -> None:
    base = probed({"early": 0})
    order = np.roll(np.arange(len(base)), 4)  # the probe's images come first
    evaluation, _ = evaluate(base.take(order))
    ids = np.array(base.take(order).image_ids)
    assert (ids[evaluation.samples["image"]] == evaluation.samples["cluster"]).all()
    assert len(set(evaluation.samples["sample_id"])) == len(evaluation.samples["sample_id"]) == 2 * N + 4
    without_probe, _ = evaluate(dataset())
    assert (np.array(dataset().image_ids)[without_probe.samples["image"]] == without_probe.samples["cluster"]).all()


def test_an_item_of_the_probe_says_both_captions_and_their_cosines() -> None:
    samples = evaluate(probed({"early": 0, "beyond": 15}))[0].samples
    rows = np.flatnonzero(samples["direction"] == "position")
    assert samples["caption"][rows].tolist() == [caption(row, at) for row in range(4) for at in (0, 15)]
    assert samples["predicted_caption"][rows].tolist() == [caption(row + 1, at) for row in range(4) for at in (0, 15)]
    # An image is an "and" and a thing. Of a caption ten "and" and the thing are read; beyond, eleven "and" of each.
    read, unread = np.array([11, 10]) / np.sqrt(2 * 101), np.array([1, 1]) / np.sqrt(2)
    both = np.stack([samples["target_cosine"][rows], samples["predicted_cosine"][rows]], axis=1)
    np.testing.assert_allclose(both, np.tile([read, unread], (4, 1)), atol=1e-7)
    assert samples["position_cosine_margin"][rows].tolist() == (both[:, 0] - both[:, 1]).tolist()
    assert np.isnan(samples["position_cosine_margin"][samples["direction"] != "position"]).all()


def test_a_constant_model_scores_chance_and_has_no_effective_length() -> None:
    _, metrics = evaluate(probed({"early": 0, "beyond": 15}), ConstantEmbedder())
    assert_at_chance(metrics, "shorter_caption")
    assert metrics["effective_length"].value is None
    assert "cannot be distinguished from chance" in str(metrics["effective_length"].reason)


def test_the_rule_that_the_shorter_caption_is_true_is_scored_beside_the_model() -> None:
    pair = (caption(0, 0), caption(0, 0) + " and more")
    contrasts = [
        Contrast("a", "early", (0,), pair, ((True, False),)),
        Contrast("b", "early", (1,), pair, ((False, True),)),
    ]
    _, metrics = evaluate(dataset(contrasts=contrasts))
    assert metrics["shorter_caption"].value == 0.5 == metrics["shorter_caption"].chance
    _, metrics = evaluate(dataset(contrasts=contrasts[:1]))
    assert metrics["shorter_caption"].value == 1


def test_without_a_tokenizer_what_needs_one_is_undefined_and_the_rest_is_measured() -> None:
    evaluation, metrics = evaluate(probed({"early": 0}), Uncounted())
    for name in ("effective_length", "caption_tokens", "truncated_fraction", "tokens_lost", "early/beyond_window"):
        assert metrics[name].value is None and metrics[name].reason == "this model counts nothing"
    assert metrics["image_retrieval_recall@1"].value == pytest.approx(recall(10))
    assert metrics["early/text_acc"].value == 1
    directions = ("image_retrieval_recall", "text_retrieval_recall")
    assert set(evaluation.curves) == {*directions, *(f"{direction}_chance" for direction in directions)}


def threes(texts: Sequence[str]) -> Int64[np.ndarray, " n_texts"]:
    """Count three characters as a token, blanks among them: what a word takes depends on where it stands."""
    return np.array([2 + -(-len(text) // 3) for text in texts], np.int64)


def test_prefixes_are_the_longest_that_fit_whatever_the_tokenizer_does() -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join("x" * int(length) for length in rng.integers(1, 9, 12)) for _ in range(30)]
    prefixes = Prefixes(texts, threes)
    for n in range(1, 40):
        for text, kept in zip(texts, prefixes.truncate(n), strict=True):
            words = text.split(" ")
            options = [" ".join(words[:k]) for k in range(len(words) + 1)]
            assert kept == max((option for option in options if not option or threes([option])[0] <= n), key=len)


def test_the_effective_length_is_covered_though_noise_lets_curves_come_near_early() -> None:
    rng, lengths = np.random.default_rng(0), (5.0, 10.0, 15.0, 20.0, 30.0)
    recall = np.array([0.043, 0.053, 0.057, 0.061, 0.062])
    names = tuple(f"at {length}" for length in lengths)
    measure = EffectiveLength(columns=names, lengths=lengths, share=0.95, chance=0.005)
    (truth,) = first_length_reaching(recall[None], lengths=lengths, share=0.95).tolist()
    covered = []
    for _ in range(200):
        # Most captions are found from some length on, the others by luck at each.
        stays, luck = rng.random((100, 1)) < recall, rng.random((100, 5)) < recall
        hits = np.where(rng.random((100, 1)) < 0.8, stays, luck).astype(np.float64)
        metric = measure.metric(dict(zip(names, hits.T, strict=True)), rng)
        if metric.value is not None and metric.low is not None and metric.high is not None:
            assert metric.low <= metric.value <= metric.high
            covered.append(metric.low <= truth <= metric.high)
    assert len(covered) > 150 and np.mean(covered) >= 0.93
