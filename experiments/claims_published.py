"""What others found, beside each verdict of docs/claims.md, with the sources. Values of the shipped table come from there."""

from clipbench.evaluation.published import Key, published_values

BASE, BASE_16, LARGE, SIGLIP = (
    f"ViT-{name}"
    for name in ("B-32-quickgelu/openai", "B-16-quickgelu/openai", "L-14-quickgelu/openai", "B-16-SigLIP/webli")
)


def _percent(model: str, task: str, data: str, metric: str) -> str:
    """Return a published value, the first of its key."""
    return f"{100 * published_values()[Key(model, task, data, metric)][0].value:.1f} %"


def _swaps(model: str) -> str:
    return " and ".join(
        _percent(model, "composition", "sugarcrepe", f"swap_{kind}/text_acc") for kind in ("att", "obj")
    )


def _labels(model: str) -> str:
    return " to ".join(
        _percent(model, "text-in-image", "scam", f"{kind}_two_way_acc") for kind in ("blank", "attacked")
    )


def _urban(model: str) -> str:
    return " and ".join(
        _percent(model, "long-caption", "urban-1k", f"{kind}_retrieval_recall@1") for kind in ("text", "image")
    )


ELSEWHERE = (
    "Zhai et al. (2023): ahead below batches of about 16,000",
    "Zhai et al. (2023): it closes with larger batches; both saturate at about 32,000",
    "Liang et al. (2022): gap 1.19 of CLIP with random weights, cones 0.72 and 0.67",
    "Liang et al. (2022): 1.00 after fine-tuning at 0.01",
    "Liang et al. (2022): 0.24 after fine-tuning at 1, 0.30 at 0.1, 0.80 at 0.02",
    (
        f"SugarCrepe, swapped attributes and objects, chance 50 %: {_swaps(BASE)} (ViT-B/32), {_swaps(SIGLIP)} (SigLIP B/16); Winoground,"
        f" text score, chance 25 %: {_percent(BASE, 'composition', 'winoground', 'text_acc')} (ViT-B/32)"
    ),
    f"SCAM, object or word: from {_labels(LARGE)} with a written label (ViT-L/14), {_labels(SIGLIP)} (SigLIP B/16)",
    (
        "Zhang et al. (2024): effective length about 20 tokens. Urban-1k, recall@1 from image to text and back:"
        f" {_urban(BASE_16)} (ViT-B/16), 78.9 % and 79.5 % once it is fine-tuned on long captions (Long-CLIP; both by LoTLIP)"
    ),
    "Urbanek et al. (2024): descriptions of 1,000 words are summarised to 77 tokens, as no more of them is read",
    "Koukounas et al. (2024): CLIP is behind in all text-only retrieval that they tried",
)
"""In the order of the table; of written words and long captions as of composition."""

SOURCES = """- X. Zhai, B. Mustafa, A. Kolesnikov, L. Beyer: Sigmoid Loss for Language Image Pre-Training. ICCV 2023. arXiv:2303.15343
- W. Liang, Y. Zhang, Y. Kwon, S. Yeung, J. Zou: Mind the Gap: Understanding the Modality Gap in Multi-modal Contrastive
  Representation Learning. NeurIPS 2022. arXiv:2203.02053
- M. Yuksekgonul et al.: When and Why Vision-Language Models Behave like Bags-of-Words, and What to Do About It? ICLR 2023.
  T. Thrush et al.: Winoground. CVPR 2022. C.-Y. Hsieh et al.: SugarCrepe. NeurIPS 2023. Values: ytaek-oh/vl_compo (arXiv:2406.09388)
- G. Goh et al.: Multimodal Neurons in Artificial Neural Networks. Distill 2021. J. Westerhoff et al.: SCAM. 2025
- B. Zhang et al.: Long-CLIP. ECCV 2024. J. Urbanek et al.: A Picture is Worth More Than 77 Text Tokens (DCI). CVPR 2024.
  Values: README of LoTLIP
- A. Koukounas et al.: Jina CLIP: Your CLIP Model Is Also Your Text Retriever. 2024. arXiv:2405.20204
- X. Zhou et al.: Detecting Twenty-thousand Classes using Image-level Supervision (Detic). ECCV 2022
- A. Radford et al.: Learning Transferable Visual Models From Natural Language Supervision. ICML 2021. arXiv:2103.00020
- S. Malladi, K. Lyu, A. Panigrahi, S. Arora: On the SDEs and Scaling Rules for Adaptive Gradient Algorithms.
  NeurIPS 2022. arXiv:2205.10287"""
