"""Names that other toolkits give to the data and metrics that clipbench measures too.

Values are named ``task@data/metric``. A known metric gets the name of our own metric of the same definition (up to ties
and prompts); every other value keeps its name, under its evaluation.
"""

import re
from collections.abc import Mapping

from clipbench.results.metric_name import evaluation_name, split_evaluation, subset_prefix

CLIP_BENCHMARK = {
    "imagenet1k": "imagenet",
    "sugar_crepe": "sugarcrepe",
    "imagenet_sketch": "imagenet-sketch",
    "cifar10": "cifar-10",
    "cifar100": "cifar-100",
    "renderedsst2": "rendered-sst2",
    "clevr_count_all": "clevr-counts",
    "clevr_closest_object_distance": "clevr-distance",
    "fgvc_aircraft": "fgvc-aircraft",
    "kitti_closest_vehicle_distance": "kitti-distance",
    "flowers": "flowers102",
    "pets": "oxford-pets",
    "cars": "stanford-cars",
    "dollar_street": "dollar-street",
    "mscoco_captions": "coco",
}
"""Names of CLIP_benchmark's data in the catalogue, where they differ. DataComp has most of them too."""
DATA = {
    **CLIP_BENCHMARK,
    "mscoco_2014_5k_test_image_text_retrieval": "coco",
    "flickr_1k_test_image_text_retrieval": "flickr30k",
    "retrieval/flickr30k": "flickr30k-whole",  # DataComp's 31,014 images, not the usual 1,000
}
"""The same, and data sets that only DataComp has."""
FOLDERS = frozenset({"wds", "tfds", "vtab"})
"""Prefixes of CLIP_benchmark's data names: the library that reads them, or the benchmark they belong to."""
TASKS = {
    "zeroshot_classification": "zero-shot",
    "zeroshot_retrieval": "retrieval",
    "image_caption_selection": "composition",
}
"""Names of CLIP_benchmark's tasks here."""
MIEB = {
    "Imagenet1kZeroShot": "zero-shot@imagenet",
    "CIFAR10ZeroShot": "zero-shot@cifar-10",
    "CIFAR100ZeroShot": "zero-shot@cifar-100",
    "Food101ZeroShot": "zero-shot@food101",
    "MNISTZeroShot": "zero-shot@mnist",
    "RenderedSST2": "zero-shot@rendered-sst2",
    "CLEVRCountZeroShot": "zero-shot@clevr-counts",
    "CLEVRZeroShot": "zero-shot@clevr-distance",
    "Country211ZeroShot": "zero-shot@country211",
    "DTDZeroShot": "zero-shot@dtd",
    "FGVCAircraftZeroShot": "zero-shot@fgvc-aircraft",
    "GTSRBZeroShot": "zero-shot@gtsrb",
    "OxfordPetsZeroShot": "zero-shot@oxford-pets",
    "PatchCamelyonZeroShot": "zero-shot@pcam",
    "STL10ZeroShot": "zero-shot@stl10",
    "StanfordCarsZeroShot": "zero-shot@stanford-cars",
    "MSCOCOI2TRetrieval": "retrieval@coco",
    "MSCOCOT2IRetrieval": "retrieval@coco",
    "Flickr30kI2TRetrieval": "retrieval@flickr30k",
    "Flickr30kT2IRetrieval": "retrieval@flickr30k",
    "SugarCrepe": "composition@sugarcrepe",
    "Winoground": "composition@winoground",
    "AROVisualRelation": "composition@aro-vg-relation",
    "AROVisualAttribution": "composition@aro-vg-attribution",
    "AROCocoOrder": "composition@aro-coco-order",
    "AROFlickrOrder": "composition@aro-flickr-order",
}
"""Evaluations here of the same data as MIEB's tasks. MIEB's tasks on other splits, such as its EuroSAT and Caltech101,
have none.
"""
MIEB_METRICS: Mapping[str, Mapping[str, str]] = {
    "SugarCrepe": {"text_acc": "micro/text_acc"},
    "AROVisualRelation": {"text_acc": "vg_relation/text_acc"},
    "AROVisualAttribution": {"text_acc": "vg_attribution/text_acc"},
    "Winoground": {"accuracy": "group_acc"},
}
ALWAYS_ZERO = frozenset({"image_acc", "accuracy"})
"""Metrics of MIEB that are 0 for any model, a perfect one too, where an item has one image."""

_OPEN_CLIP = (
    (r"imagenet-zeroshot-val-top(\d)", "zero-shot@imagenet", r"acc\1"),
    (r"imagenetv2-zeroshot-val-top(\d)", "zero-shot@imagenetv2", r"acc\1"),
    (r"image_to_text_R@(\d+)", "retrieval@validation", r"text_retrieval_recall@\1"),
    (r"text_to_image_R@(\d+)", "retrieval@validation", r"image_retrieval_recall@\1"),
    (r"image_to_text_(\w+_rank)", "retrieval@validation", r"text_retrieval_\1"),
    (r"text_to_image_(\w+_rank)", "retrieval@validation", r"image_retrieval_\1"),
    (r"((?:clip_)?val_\w*loss)", "training@validation", r"\1"),
)
_LESS_IS_BETTER = re.compile(r"rank|loss|\bece\b")
_MORE_IS_BETTER = re.compile(
    r"acc|recall|hit_rate|ndcg|\bmap|mrr|precision|\bf1|jaccard|main_(metric|score)", re.IGNORECASE
)


def clip_benchmark_name(dataset: str, task: str, language: str | None) -> tuple[str, str]:
    """Return the evaluation of a CLIP_benchmark result, and the prefix of its metrics' names.

    Example:
        >>> clip_benchmark_name("wds/vtab/cifar10", "zeroshot_classification", "en")
        ('zero-shot@cifar-10', '')
        >>> clip_benchmark_name("sugar_crepe/add_att", "image_caption_selection", "en")
        ('composition@sugarcrepe', 'add_att/')

    Further parts of the data set's name are a subset or a label set, as our export writes them.

        >>> clip_benchmark_name("scenes/kind", "zeroshot_classification", "en")
        ('zero-shot@scenes', 'kind/')
        >>> clip_benchmark_name("hf:org/flowers/kind", "zeroshot_classification", "en")
        ('zero-shot@hf:org/flowers', 'kind/')
    """
    parts = dataset.split("/")
    while len(parts) > 1 and parts[0] in FOLDERS:
        del parts[0]
    n_own = 2 if parts[0].startswith("hf:") else 1  # hf:ORG/NAME is one name
    data, subset = "/".join(parts[:n_own]), parts[n_own:]
    suffix = "" if language in (None, "", "en") else f"-{language}"
    evaluation = evaluation_name(TASKS.get(task, task), f"{DATA.get(data, data)}{suffix}")
    return evaluation, subset_prefix(*subset)


def clip_benchmark_metrics(evaluation: str, metrics: Mapping[str, object]) -> dict[str, object]:
    """Return CLIP_benchmark's metrics by our names: its ``acc`` over captions and images is our group score.

    Where an item has one image, as in SugarCrepe, ``acc`` equals ``text_acc`` and is left out.

    Example:
        >>> clip_benchmark_metrics("composition@winoground", {"text_acc": 0.3, "image_acc": 0.2, "acc": 0.1})
        {'text_acc': 0.3, 'image_acc': 0.2, 'group_acc': 0.1}
        >>> clip_benchmark_metrics("composition@scenes", {"text_acc": 0.3, "acc": 0.3})
        {'text_acc': 0.3}
    """
    if split_evaluation(evaluation).task != "composition":
        return dict(metrics)
    if "image_acc" not in metrics and metrics.get("acc") == metrics.get("text_acc"):
        return {name: value for name, value in metrics.items() if name != "acc"}
    if evaluation == "composition@sugarcrepe":
        return dict(metrics)
    return {"group_acc" if name == "acc" else name: value for name, value in metrics.items()}


def datacomp_name(key: str) -> str:
    """Return the evaluation of one of DataComp's tasks.

    Example:
        >>> datacomp_name("vtab/svhn"), datacomp_name("retrieval/flickr_1k_test_image_text_retrieval")
        ('zero-shot@svhn', 'retrieval@flickr30k')
    """
    folder, _, last = key.rpartition("/")
    task = folder if folder in ("retrieval", "misc") else "zero-shot"
    return evaluation_name(task, DATA.get(key) or DATA.get(last, last))


def open_clip_name(key: str) -> tuple[str, str] | None:
    """Return evaluation and metric of a value in open_clip's training log, None for other entries, such as the epoch.

    Its image-to-text recall has images as queries, like our text retrieval. Its validation data has no name.

    Example:
        >>> open_clip_name("image_to_text_R@5"), open_clip_name("epoch")
        (('retrieval@validation', 'text_retrieval_recall@5'), None)
    """
    for pattern, evaluation, metric in _OPEN_CLIP:
        if match := re.fullmatch(pattern, key):
            return evaluation, match.expand(metric)
    return None


def mieb_metric(task: str, metric: str) -> str:
    """Return our name of a metric of one of MIEB's tasks.

    MIEB's ``recall_at_k`` is the fraction of an image's captions that are retrieved; the recall@k of CLIP papers is its
    ``hit_rate_at_k`` (``cv_recall_at_k`` in older files).

    Example:
        >>> mieb_metric("MSCOCOI2TRetrieval", "hit_rate_at_5"), mieb_metric("MSCOCOI2TRetrieval", "recall_at_5")
        ('text_retrieval_recall@5', 'text_retrieval_recall_at_5')
        >>> mieb_metric("Imagenet1kZeroShot", "accuracy")
        'acc1'
    """
    evaluation = MIEB.get(task, "")
    if evaluation.startswith("zero-shot"):
        return "acc1" if metric == "accuracy" else metric
    if evaluation.startswith("retrieval"):
        direction = "text_retrieval" if "I2T" in task else "image_retrieval"
        hit = re.fullmatch(r"(?:hit_rate|cv_recall)_at_(\d+)", metric)
        return f"{direction}_recall@{hit[1]}" if hit else f"{direction}_{metric}"
    return MIEB_METRICS.get(task, {}).get(metric, metric)


def is_higher_better(metric: str) -> bool | None:
    """Return whether higher values of a metric are better, by its name, or None if the name does not say.

    Example:
        >>> is_higher_better("acc1"), is_higher_better("text_retrieval_median_rank"), is_higher_better("kappa")
        (True, False, None)
    """
    if _LESS_IS_BETTER.search(metric):
        return False
    return True if _MORE_IS_BETTER.search(metric) else None


def unit_of(metric: str, value: float) -> str:
    """Return the unit of a metric by its name; ``value`` where neither name nor value says that it is a fraction.

    Example:
        >>> (
        ...     unit_of("text_retrieval_median_rank", 1.0),
        ...     unit_of("clip_val_loss", 0.9),
        ...     unit_of("acc1", 0.5),
        ...     unit_of("kappa", 0.5),
        ... )
        ('rank', 'nats', 'fraction', 'value')
    """
    if metric.endswith("_rank"):
        return "rank"
    if metric.endswith("loss"):
        return "nats"
    is_share = re.search(r"\bece\b", metric) is not None or is_higher_better(metric)
    return "fraction" if is_share and 0 <= value <= 1 else "value"
