"""The text of docs/claims.md: tables, sentences and verdicts, computed from finished runs."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from claims_figures import draw_gap, draw_losses
from claims_outcomes import DIRECTIONS, Outcome, has_learned, recall
from claims_verdicts import (
    APART,
    CANNOT_TELL,
    KEPT,
    Duel,
    Verdict,
    gap_in_words,
    gap_verdicts,
    lead_in_words,
    loss_verdicts,
    percent,
    points,
)
from clipbench.errors import DataError
from clipbench.results.record import Metric

RATE_AT = 256
"""Batch size at which the learning rate is ``lr``."""
SAME_START = 1e-4
"""Largest difference between gaps of equal weights on equal images, which is rounding."""
LOSSES_FIGURE, GAP_FIGURE = "claims/losses.svg", "claims/gap.svg"

PAGE = """# Two claims of the literature, tried on a small CLIP

<!-- page not run: `make claims` trains the models and writes the page -->

Written by `make claims` from finished runs of the bundled CLIP; every number, sentence and verdict follows from them.
One seed: intervals cover the choice of test images, and not what another training would have given.

{loss_verdicts}
{gap_verdicts}

## InfoNCE and the sigmoid loss, by batch size

Zhai et al. (2023) find that the sigmoid loss does better than InfoNCE (the softmax loss of CLIP) at small batch sizes,
and that the difference vanishes as batches grow. Here each run sees {samples} pairs.

![Recall@1 of both losses by batch size, and the difference]({losses_figure})

{leads}

{recalls}

"Both" is the mean of the two directions for each image. Recall@1 is measured on `retrieval@scenes`: {n_test} test
images with a caption each, 95 % intervals, chance {chance} %. Differences are paired by image, with
intervals of gains and losses (statistics.md).

{rates}

Learning rate: {lr:g} × √(batch / {at_batch}), the square-root rule for Adam (Malladi et al., 2022), with a linear
warm-up over the same share of the samples at each batch size and half a cosine to 0 after it; the same for both losses.
{few_steps}

## The modality gap, by temperature

Liang et al. (2022) find that the gap is there at initialisation, since each tower's vectors fill a narrow cone; that
contrastive training keeps it; and that it ends the narrower the higher the temperature is. Here the InfoNCE run at
batch size {gap_batch} is made at several temperatures, always from the same first weights.

![Modality gap and both cones by step, at each temperature]({gap_figure})

{histories}

{gaps}

Start, end and cones are those of {n_held_out} held-out pairs on the way; the last columns those of the {n_test} test
pairs. The gap is the distance between the mean image and the mean text vector; a cone is the mean cosine between two
vectors of one kind.

## How this was made

    {command}

{time} on {machine}. One run alone, here the first:

    {train_command}

## How verdicts are reached

- A difference counts where its 95 % interval excludes zero; where it holds zero, the verdict is "{cannot_tell}". No
  correction is made for looking at several.
- A run counts as trained when its recall@1 is above chance with the whole interval. Verdicts rest on trained runs alone.
- A gap is there at initialisation when it is at least {apart} times as wide as that of two samples of clouds with equal
  means, and two vectors of one kind are nearer to each other than an image is to its text.
- A gap counts as kept when at least {kept} of it is left at the end: a line that we drew, not the paper.
- The difference counts as vanishing when the sigmoid loss is ahead at the smallest batch, less so at the largest by a
  paired interval of the two leads, and InfoNCE is not ahead there. Without a lead that could shrink there is no verdict.

## Limits

- One seed, one architecture (`{arch}`), one world of generated images. Zhai et al. train on billions of pairs, with
  batches of up to a million; Liang et al. vary the temperature in the fine-tuning of a trained CLIP. What differs here
  may differ for that.
- Neither loss had its learning rate tuned: a difference between them may be one of how well the rule suits each.
  Each starts from its paper's temperature (0.07; 0.1 with a bias of −10) and learns it.
- Batch sizes are compared at equal samples, so a larger batch takes fewer steps. Batches are not compared at equal steps.
- The learning rate ends at 0, so the last gap is where training was stopped, and not where it would lead.

## Sources

- X. Zhai, B. Mustafa, A. Kolesnikov, L. Beyer: Sigmoid Loss for Language Image Pre-Training. ICCV 2023. arXiv:2303.15343
- W. Liang, Y. Zhang, Y. Kwon, S. Yeung, J. Zou: Mind the Gap: Understanding the Modality Gap in Multi-modal Contrastive
  Representation Learning. NeurIPS 2022. arXiv:2203.02053
- A. Radford et al.: Learning Transferable Visual Models From Natural Language Supervision. ICML 2021. arXiv:2103.00020
- S. Malladi, K. Lyu, A. Panigrahi, S. Arora: On the SDEs and Scaling Rules for Adaptive Gradient Algorithms.
  NeurIPS 2022. arXiv:2205.10287
"""


def write_page(outcomes: Sequence[Outcome], docs: Path, *, command: str, train_command: str) -> Path:
    """Write claims.md with its figures, and return its path.

    Args:
        outcomes: both losses at two or more batch sizes, and InfoNCE at two or more fixed temperatures.
        docs: folder to write to.
        command: command that makes the page, as the page quotes it.
        train_command: command of the first run, as the page quotes it.
    """
    duels, by_temperature = duels_of(outcomes), by_temperature_of(outcomes)
    draw_losses(
        {"clip": [each.clip for each in duels], "siglip": [each.siglip for each in duels]}, docs / LOSSES_FIGURE
    )
    draw_gap(by_temperature, docs / GAP_FIGURE)
    commands = {"command": command, "train_command": train_command}
    text = PAGE.format(**commands, **_said_of_all(outcomes), **_said_of_losses(duels), **_said_of_gap(by_temperature))
    path = docs / "claims.md"
    path.write_text(text, encoding="utf-8")
    return path


def duels_of(outcomes: Sequence[Outcome]) -> list[Duel]:
    """Return the runs of both losses that learn their temperature, the smallest batch first."""
    found = {
        (each.options.loss, each.options.batch_size): each for each in outcomes if each.options.temperature is None
    }
    return [Duel(found["clip", size], found["siglip", size]) for loss, size in sorted(found) if loss == "clip"]


def by_temperature_of(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return the runs at fixed temperatures, the lowest first, and the InfoNCE run of their size that learns its own.

    Raises:
        DataError: they do not start from the same gap.
    """
    fixed = [each for each in outcomes if each.options.temperature is not None]
    fixed.sort(key=lambda each: each.options.temperature or 0)
    size = fixed[0].options.batch_size
    found = [*fixed, *(duel.clip for duel in duels_of(outcomes) if duel.batch_size == size)]
    starts = {each.options.out.name: each.history[0].gap for each in found}
    if max(starts.values()) - min(starts.values()) > SAME_START:
        raise DataError(
            f"the runs at several temperatures do not start from the same weights and images (gaps {starts}): the code"
            " changed between them; remove their folders, and make them again"
        )
    return found


def _said_of_all(outcomes: Sequence[Outcome]) -> dict[str, object]:
    first = outcomes[0]
    seconds = sum(outcome.seconds for outcome in outcomes)
    machines = sorted({outcome.machine for outcome in outcomes})
    return {
        "samples": f"{first.options.steps * first.options.batch_size:,}",
        "n_test": f"{len(first.hits):,}",
        "arch": first.options.arch,
        "lr": first.options.lr / math.sqrt(first.options.batch_size / RATE_AT),
        "at_batch": RATE_AT,
        "time": f"{len(outcomes)} runs, trained in {seconds / 60:.0f} minutes in all, two at a time,",
        "machine": "; ".join(machines),
        "apart": APART,
        "kept": f"{100 * KEPT:.0f} %",
        "cannot_tell": CANNOT_TELL,
    }


def _said_of_losses(duels: Sequence[Duel]) -> dict[str, object]:
    runs = [run for duel in duels for run in duel]
    small, large = duels[0].clip.options, duels[-1].clip.options
    return {
        "loss_verdicts": _table(("Claim", "Here", "Because"), map(_row, loss_verdicts(duels))),
        "losses_figure": LOSSES_FIGURE,
        "leads": "\n".join(f"- Batch size {duel.batch_size:,}: {lead_in_words(duel)}" for duel in duels),
        "recalls": _recalls(duels),
        "chance": f"{100 * runs[0].chance:.1f}",
        "rates": _rates(duels),
        "few_steps": (
            f"At equal samples, a batch of {large.batch_size:,} takes {large.steps:,} steps where one of"
            f" {small.batch_size} takes {small.steps:,}."
        ),
    }


def _said_of_gap(by_temperature: Sequence[Outcome]) -> dict[str, object]:
    fixed = [run for run in by_temperature if run.options.temperature is not None]
    return {
        "gap_verdicts": "\n".join(_line(_row(verdict)) for verdict in gap_verdicts(fixed)),
        "gap_figure": GAP_FIGURE,
        "gap_batch": fixed[0].options.batch_size,
        "n_held_out": fixed[0].history[0].n_pairs,
        "histories": "\n".join(f"- {gap_in_words(run)}" for run in by_temperature),
        "gaps": _gaps(by_temperature),
    }


def _recalls(duels: Sequence[Duel]) -> str:
    head = ("Batch size", "Loss", "Text to image, %", "Image to text, %", "Both", "Sigmoid loss minus InfoNCE")
    rows = [
        (
            f"{duel.batch_size:,}",
            name,
            *(_with_interval(run.recalls[direction], digits=1, times=100) for direction in DIRECTIONS),
            percent(recall(run)),
            points(duel.lead) if run is duel.siglip else "",
        )
        for duel in duels
        for name, run in (("InfoNCE", duel.clip), ("sigmoid loss", duel.siglip))
    ]
    return _table(head, rows)


def _rates(duels: Sequence[Duel]) -> str:
    head = (
        "Batch size",
        "Steps",
        "Of these warm-up",
        "Highest learning rate",
        "Seconds of training, InfoNCE and sigmoid",
    )
    rows = [
        (
            f"{duel.batch_size:,}",
            f"{duel.clip.options.steps:,}",
            f"{duel.clip.options.warmup_steps:,}",
            f"{duel.clip.options.lr:.2e}",
            f"{duel.clip.seconds:.0f}, {duel.siglip.seconds:.0f}",
        )
        for duel in duels
    ]
    return _table(head, rows)


def _gaps(by_temperature: Sequence[Outcome]) -> str:
    head = ("Temperature", "Gap, start", "Gap, end", "Image cone, start and end", "Text cone, start and end",
            "Gap, test pairs", "Recall@1, test pairs")  # fmt: skip
    rows = []
    for run in by_temperature:
        first, last = run.history[0], run.history[-1]
        rows.append(
            (
                run.label,
                f"{first.gap:.3f}",
                f"{last.gap:.3f}",
                f"{first.image_cone:.3f}, {last.image_cone:.3f}",
                f"{first.text_cone:.3f}, {last.text_cone:.3f}",
                _with_interval(run.gap, digits=3),
                percent(recall(run)) + ("" if has_learned(run) else ", not above chance"),
            )
        )
    return _table(head, rows)


def _with_interval(metric: Metric, *, digits: int, times: int = 1) -> str:
    if metric.value is None or metric.low is None or metric.high is None:
        return f"undefined: {metric.reason}"
    value, low, high = (f"{times * part:.{digits}f}" for part in (metric.value, metric.low, metric.high))
    return f"{value} ({low} to {high})"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(_line(cells) for cells in (head, ["---"] * len(head), *rows))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _row(verdict: Verdict) -> tuple[str, str, str]:
    return verdict.claim, f"**{verdict.word}**", verdict.because
