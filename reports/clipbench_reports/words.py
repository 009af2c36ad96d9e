"""What metrics and tasks are, in words for a reader who sees the report cold."""

METRICS = {
    "acc1": "Right class first",
    "acc5": "Right class among first five",
    "mean_per_class_recall": "Right class first, by class",
    "mean_average_precision": "Mean average precision",
    "ece": "Calibration error",
    "image_retrieval_recall": "Caption finds image in first {k}",
    "text_retrieval_recall": "Image finds caption in first {k}",
    "image_image_recall": "Image finds image in first {k}",
    "text_text_recall": "Caption finds caption in first {k}",
    "image_retrieval_median_rank": "Median rank of the image",
    "text_retrieval_median_rank": "Median rank of the caption",
    "image_image_median_rank": "Median rank, image by image",
    "text_text_median_rank": "Median rank, caption by caption",
    "gap": "Distance of the two means",
    "image_cone": "Mean cosine between images",
    "text_cone": "Mean cosine between texts",
    "pair_cosine": "Mean cosine of a true pair",
    "rmg": "Relative modality gap",
    "separability": "Images told from texts",
    "alignment": "Squared distance of a pair",
    "image_uniformity": "Uniformity of images",
    "text_uniformity": "Uniformity of texts",
    "image_effective_rank": "Effective rank of images",
    "text_effective_rank": "Effective rank of texts",
    "l2i": "Distance of a pair",
    "image_hub_skewness": "Hub skewness, images",
    "text_hub_skewness": "Hub skewness, texts",
    "image_largest_hub": "Largest hub among images",
    "text_largest_hub": "Largest hub among texts",
    "image_never_retrieved": "Images no text retrieves",
    "text_never_retrieved": "Texts no image retrieves",
    "majority_class": "Always the commonest class",
    "tie_rate": "Ties for first place",
    "image_retrieval_tie_rate": "Ties, caption finds image",
    "text_retrieval_tie_rate": "Ties, image finds caption",
    "image_image_tie_rate": "Ties, image finds image",
    "text_text_tie_rate": "Ties, caption finds caption",
}
"""Plain words for the metrics that ship; ``{k}`` is what follows ``@``."""

LABEL_SETS = {
    "scenes": {"kind": "kind of object", "colour_kind": "colour and kind of object"},
}
"""What the label sets of the data that ship tell apart, by data set."""

ASKED = {
    "zero-shot": "Each picture goes to the class whose prompt, such as “a photo of a dog”, has the nearest vector.",
    "retrieval": "Captions look for their image among all images, and images for their caption among all captions.",
    "modality-gap": "Do images and texts share one space, or does each keep to a region of its own?",
}
"""What each task that ships asks of a model."""

SCORED = {
    "zero-shot": "A picture counts as right when its true class comes first (acc1) or among the first five (acc5); "
    "a tie gets the credit that a coin would.",
    "retrieval": "Recall@k is the share of queries with a right answer among the first k; a tie gets the credit that "
    "a coin would.",
    "modality-gap": "The gap is the distance between the mean vectors of the two kinds; separability is how often a "
    "linear rule tells one from the other, and 50 % would be no gap at all.",
}
"""How each task that ships is scored."""


def label_set_words(data: str, label_set: str) -> str:
    """Return what a label set of a data set tells apart, or nothing where that is not known.

    Example:
        >>> label_set_words("scenes", "kind"), label_set_words("mine", "kind")
        ('kind of object', '')
    """
    return LABEL_SETS.get(data, {}).get(label_set, "")


def describe(metric: str) -> str:
    """Return plain words for a metric's name, or nothing where none are known.

    Example:
        >>> describe("text_retrieval_recall@5"), describe("kind/acc1"), describe("mine")
        ('Image finds caption in first 5', 'Right class first (kind)', '')
    """
    subset, _, name = metric.rpartition("/")
    base, _, k = name.partition("@")
    words = METRICS.get(base, "").replace("{k}", k)
    return f"{words} ({subset})" if words and subset else words
