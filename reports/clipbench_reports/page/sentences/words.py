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
    "text_acc": "Captions told apart",
    "image_acc": "Images told apart",
    "group_acc": "Captions and images",
    "text_pair_acc": "Pairs of captions",
    "image_pair_acc": "Pairs of images",
    "text_only_acc": "Captions alone",
    "macro_text_acc": "Captions told apart, by group",
    "word_order_acc": "Caption before its shuffle",
    "twin_cosine": "Caption and false twin",
    "shuffled_cosine": "Caption and its shuffle",
    "other_cosine": "Two unrelated captions",
    "text_acc_strict": "Captions, a tie fails",
    "image_acc_strict": "Images, a tie fails",
    "group_acc_strict": "Both, a tie fails",
    "text_only_acc_strict": "Captions alone, a tie fails",
    "shorter_caption": "The shorter caption wins",
    "same_words": "Twins of the same words",
    "gap": "Distance of the two means",
    "image_cone": "Mean cosine between images",
    "text_cone": "Mean cosine between texts",
    "pair_cosine": "Mean cosine of a true pair",
    "cross_cosine": "Mean cosine of no pair",
    "rmg": "Relative modality gap",
    "rmg_first_caption": "The same, first captions",
    "rmg_unhalved": "The same, not halved",
    "gap_dimensions": "Dimensions with 90 % of the gap",
    "separability_dimensions": "Dimensions that tell them",
    "cross_uniformity": "Uniformity across",
    "image_participation_ratio": "Participation ratio, images",
    "text_participation_ratio": "Participation ratio, texts",
    "image_isoscore": "IsoScore of images",
    "text_isoscore": "IsoScore of texts",
    "similarity_calibration_error": "A cosine means another thing",
    "image_text_calibration_error": "The same, image and text",
    "text_text_calibration_error": "The same, two texts",
    "image_image_calibration_error": "The same, two images",
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
    "reading_acc": "Written word read right",
    "attack_success": "Taken for the written word",
    "clean_acc": "Right without a label",
    "blank_acc": "Right with a blank label",
    "benign_acc": "Right with its own name on it",
    "attacked_acc": "Right with another name on it",
    "drop": "Lost to the attacking label",
    "drop_from_blank": "Lost to the word alone",
    "clean_two_way_acc": "Object before word, no label",
    "blank_two_way_acc": "Object before word, blank label",
    "benign_two_way_acc": "Object before word, its own name",
    "attacked_two_way_acc": "Object before word, attacked",
    "clean_named_word": "The word, without a label",
    "blank_named_word": "The word, with a blank label",
    "reading_blind": "Read without looking",
    "reading_shortest": "The shortest caption",
    "reading_tie_rate": "Ties in reading",
    "attack_tie_rate": "Ties under attack",
    "majority_class": "Always the commonest class",
    "effective_length": "Tokens that do nearly all",
    "caption_tokens": "Tokens of a caption",
    "truncated_fraction": "Captions longer than the window",
    "tokens_lost": "Tokens that are not read",
    "beyond_window": "Fact beyond the window",
    "tie_rate": "Ties for first place",
    "image_retrieval_tie_rate": "Ties, caption finds image",
    "text_retrieval_tie_rate": "Ties, image finds caption",
    "image_image_tie_rate": "Ties, image finds image",
    "text_text_tie_rate": "Ties, caption finds caption",
}
"""Plain words for the metrics that ship; ``{k}`` is what follows ``@``."""

TERMS = {
    "label": "Is",
    "predicted": "Taken for",
    "object": "Is",
    "word": "Label says",
    "written": "Written",
    "read": "Read as",
    "caption": "Caption",
    "preferred": "Preferred",
    "asked_caption": "Asked for",
    "chosen_caption": "Came first",
    "text_margin": "Margin, captions",
    "image_margin": "Margin, images",
}
"""What columns of sample tables are called beside a sample's image."""

LABEL_SETS = {
    "scenes": {
        "kind": "kind of object",
        "colour_kind": "colour and kind of object",
        "swap_att": "colours exchanged",
        "swap_obj": "objects exchanged",
        "relation": "opposite relation",
        "count": "one more or one fewer",
        "macro": "mean of the subsets",
        "micro": "all items",
    },
}
"""What the label sets of the data that ship tell apart, by data set."""

ASKED = {
    "zero-shot": "Each image goes to the class whose prompt, such as “a photo of a dog”, has the nearest vector.",
    "retrieval": "Captions look for their image among all images, and images for their caption among all captions.",
    "modality-gap": "Do images and texts share one space, or does each keep to a region of its own?",
    "long-caption": "Captions of a paragraph look for their image, whole and cut to ever fewer tokens; and one fact is "
    "stated early in a paragraph, in the middle, late, and beyond what the model reads.",
    "text-in-image": "Can the model read a written word, and does a word on an object decide what it takes it for?",
    "composition": "Each image has a true caption and a false one that is much like it, and a caption may have a true "
    "and a false image: is it the parts that count, or how they are put together?",
}
"""What each task that ships asks of a model."""

SCORED = {
    "zero-shot": "An image counts as right when its true class comes first (acc1) or among the first five (acc5); "
    "a tie gets the credit that a coin would.",
    "retrieval": "Recall@k is the share of queries with a right answer among the first k; a tie gets the credit that "
    "a coin would.",
    "long-caption": "The effective length is the number of tokens with which recall@1 reaches 95 % of that of the whole "
    "captions. By place, the true one of two captions has to come first; a tie gets the credit that a coin would.",
    "modality-gap": "The gap is the distance between the mean vectors of the two kinds; separability is how often a "
    "linear rule tells one from the other, and 50 % would be no gap at all.",
    "text-in-image": "A word counts as read when the caption that quotes it is the nearest; an attack succeeds when the "
    "class of the written word comes first. The drop is that of each object against itself; in two-way choices only the "
    "object and the word are compared. A tie gets the credit that a coin would.",
    "composition": "An item is right when all that is true scores above all that is false; a tie gets the credit that "
    "a coin would. Text: for the captions of each image; image: for the images of each caption; group: both.",
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
        >>> describe("text_retrieval_recall@5_strict")
        'Image finds caption in first 5, a tie fails'
    """
    subset, _, name = metric.rpartition("/")
    base, _, k = name.partition("@")
    words = METRICS.get(base, "").replace("{k}", k.removesuffix("_strict"))
    if words and k.endswith("_strict"):
        words += ", a tie fails"
    return f"{words} ({subset})" if words and subset else words
