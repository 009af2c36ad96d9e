"""The text of docs/claims.md: tables, sentences and verdicts, computed from finished runs."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from claims_figures import draw_gap, draw_losses, draw_weaknesses
from claims_outcomes import (
    DIRECTIONS,
    FEW_TOKENS,
    WHOLE_LENGTH,
    Measured,
    Runs,
    chance,
    gap,
    has_learned,
    of_seeds,
    recall,
)
from claims_published import ELSEWHERE, SOURCES
from claims_tables import line, name_duels, names, real_gaps, rows_of_weaknesses, table, text_duels, texts, weaknesses
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
    number,
    percent,
    points,
    text_verdict,
    weakness_verdicts,
)
from clipbench.errors import DataError

RATE_AT = 256
"""Batch size at which the learning rate is ``lr``."""
SAME_START = 1e-4
"""Largest difference between gaps of equal weights on equal images, which is rounding."""
LOSSES_FIGURE, GAP_FIGURE, WEAKNESSES_FIGURE = "claims/losses.svg", "claims/gap.svg", "claims/weaknesses.svg"

PAGE = """# Where CLIP breaks: what the literature says, and what is measured here

<!-- page not run: `make claims` trains the models and writes the page -->

`make claims` writes this page from finished runs of the bundled CLIP. All numbers, sentences and verdicts come from them; only the last
column of the table quotes. Each run was made {n_seeds} times, from different weights and with different training images (seeds {seeds}).
Intervals hold for other seeds and other test images. With few seeds they are wide, and many verdicts are "{cannot_tell}".

| What is said | Here | Measured here | Others found |
| --- | --- | --- | --- |
{verdicts}

The models are small and were trained for minutes on generated scenes, whose captions swap colours, name written words and fill
paragraphs. They may hold where a model that was trained on the web breaks, and break where it holds. A verdict is about the
models named, not about CLIP.

## InfoNCE and the sigmoid loss, by batch size

Zhai et al. (2023) find that the sigmoid loss does better than InfoNCE (the softmax loss of CLIP) at small batch sizes,
and that the difference vanishes as batches grow. Here each run sees {samples} pairs.

![Recall@1 of both losses by batch size, and the difference]({losses_figure})

A dot is a seed; a marker with a bar is the mean with its interval.

{leads}

{recalls}

"Both" is the mean of the two directions for each image. Recall@1 is measured on `retrieval@scenes`: {n_test} test
images with a caption each, chance {chance} %. Differences are paired by seed and image.

{rates}

Learning rate: {lr:g} × √(batch / {at_batch}), the square-root rule for Adam (Malladi et al., 2022), with a linear
warm-up over the same share of the samples at each batch size and half a cosine to 0 after it; the same for both losses.
{few_steps} Larger batches are not tried: at equal samples a batch of 1,024 takes 32 steps, in which neither loss got above
chance. So this does not tell whether the difference vanishes beyond {largest}.

## The modality gap, by temperature

Liang et al. (2022) find that the gap is there at initialisation, since each tower's vectors fill a narrow cone; that
contrastive training keeps it; and that the higher the temperature, the smaller it ends. Here the InfoNCE run at batch size
{gap_batch} is made at several temperatures, of each seed from the same first weights.

![Modality gap and both cones by step, at each temperature]({gap_figure})

A thin line is a seed, a thick one the mean.

{histories}

{gaps}

Start, end and cones are measured during training on {n_held_out} held-out pairs, with intervals over seeds alone; the last two columns on
the {n_test} test pairs. The gap is the distance between the mean image and the mean text vector; a cone is the mean cosine between two
vectors of one kind.

{real_gaps}

## Swapped captions, written words, long captions

The InfoNCE runs at batch size {weak_batch}, with `tiny`, which was trained on scenes for much longer, beside them.

![Measures of weaknesses, with chance]({weaknesses_figure})

{weaknesses}

- The runs were made for the comparisons above, and are short. Where they hardly know the objects, `tiny` tells more.
- A swapped item has two images and two captions of the same words. A model that does better on *one more or one fewer* sees the
  images, but not the order of words. A score below chance means that both images are often nearer to the same caption.
- A model that cannot read cannot be misled by what is written: its low rate of named words says nothing about models that read.
- Captions of about 90 words name the objects somewhere between sentences that are true of any image. So the first tokens say less
  here than in captions that begin with a summary. The probe moves one fact through such a paragraph.

## Texts that match texts

Koukounas et al. (2024) say that CLIP's text tower matches texts with texts less well than a text embedder does. On scenes, the second
caption of a scene, in other words, searches for the first one among those of all scenes ({n_captions} different captions).

{texts}

{names}

## How this was made

    {command}

{time} on {machine}. One run alone, here the first:

    {train_command}

## How verdicts are reached

- Units are seeds. Runs of the same seed start from the same weights and train on the same images; all runs are measured on the same
  test images. The variance of a mean has a part from seeds and one from images, which does not average out over seeds. Degrees of
  freedom are Satterthwaite's, at least the number of seeds less one. For a single model, such as `tiny`, intervals are over images
  alone. [How often they hold](statistics.md#seeds-and-images).
- A difference counts if its 95 % interval excludes zero; otherwise the verdict is "{cannot_tell}". Intervals are not corrected for
  the number of differences.
- Runs count as trained if the whole interval of their recall@1 is above chance. Verdicts rest on trained runs alone.
- A gap is there at initialisation if it is at least {apart} times as wide as that of two samples of clouds with equal means, and two
  vectors of one kind are nearer to each other than an image is to its text.
- A gap counts as kept if at least {kept} of it is left at the end. We drew this line, not the paper.
- The difference counts as vanishing if the sigmoid loss is ahead at the smallest batch, its lead at the largest is smaller by a paired
  interval and no longer significant, and InfoNCE is not ahead there. Without a lead that could shrink there is no verdict.
- "Little better than by chance" and "hardly noticed" mean less than halfway from chance to perfect: our line too.
- The written word wins if it is named more often than the object, by a model that reads better than by chance.
- Swapped captions and written words are judged only for models that know the objects: accuracy without a label is more than halfway
  from chance to perfect.
- The first {few} tokens retrieve as well as all if their recall@1 is at least {whole_length} of that of the whole caption, as for
  clipbench's effective length.
- The verdict rests on the text embedder that is nearest in size to the text tower.

## Limits

- {n_seeds} seeds, one architecture (`{arch}`), one world of generated images. Zhai et al. train on billions of pairs, with
  batches of up to a million; Liang et al. vary the temperature in the fine-tuning of a trained CLIP. Results may
  differ for these reasons.
- The learning rate was tuned for neither loss, so a difference between them may only show how well the rule suits each.
  Each starts from its paper's temperature (0.07; 0.1 with a bias of −10) and learns it.
- Batch sizes are compared at equal samples, not at equal steps: a larger batch takes fewer steps.
- The learning rate ends at 0, so the last gap is where training was stopped, not where it would lead.
- These models were trained on captions of scenes, which are new to the text embedders.

## Sources

{sources}
"""


def write_page(found: Measured, docs: Path, *, weak: str, command: str, train_command: str) -> Path:
    """Write claims.md with its figures, and return its path.

    Args:
        found: what it is made of.
        docs: folder to write to.
        weak: folder name of the runs whose weaknesses were measured.
        command: command that makes the page, as the page quotes it.
        train_command: command of the first run, as the page quotes it.
    """
    duels, by_temperature = duels_of(found.runs), by_temperature_of(found.runs)
    weak_runs = next(runs for runs in found.runs if runs[0].options.out.name == weak)
    draw_losses(duels, docs / LOSSES_FIGURE)
    draw_gap(by_temperature, docs / GAP_FIGURE)
    draw_weaknesses(rows_of_weaknesses(found), docs / WEAKNESSES_FIGURE)
    text = PAGE.format(
        command=command,
        train_command=train_command,
        verdicts="\n".join(map(line, _verdicts(found, duels, by_temperature, weak_runs))),
        **_said_of_all(found),
        **_said_of_losses(duels),
        **_said_of_gap(by_temperature),
        real_gaps=real_gaps(found.clip_vectors),
        weak_batch=weak_runs[0].options.batch_size,
        weaknesses_figure=WEAKNESSES_FIGURE,
        weaknesses=weaknesses(found, [run.options.seed for run in weak_runs]),
        n_captions=f"{len(found.tiny_texts.hits):,}",
        texts=texts(found),
        names=names(found),
    )
    path = docs / "claims.md"
    path.write_text(text, encoding="utf-8")
    return path


def duels_of(runs: Sequence[Runs]) -> list[Duel]:
    """Return the runs of both losses that learn their temperature, the smallest batch first."""
    found = {
        (each[0].options.loss, each[0].options.batch_size): each for each in runs if each[0].options.temperature is None
    }
    return [Duel(found["clip", size], found["siglip", size]) for loss, size in sorted(found) if loss == "clip"]


def by_temperature_of(runs: Sequence[Runs]) -> list[Runs]:
    """Return the runs at fixed temperatures, the lowest first, and the InfoNCE runs of their size that learn their own.

    Raises:
        DataError: of one seed, they do not start from the same gap.
    """
    fixed = sorted((each for each in runs if each[0].options.temperature is not None), key=_temperature)
    size = fixed[0][0].options.batch_size
    found = [*fixed, *(duel.clip for duel in duels_of(runs) if duel.batch_size == size)]
    starts = np.array([[run.history[0].gap for run in each] for each in found])
    if np.ptp(starts, axis=0).max() > SAME_START:
        raise DataError(
            f"the runs at several temperatures do not start from the same weights and images (gaps {starts.tolist()}): the code"
            " changed between them; remove their folders, and make them again"
        )
    return found


def _temperature(runs: Runs) -> float:
    return runs[0].options.temperature or 0


def _verdicts(
    found: Measured, duels: Sequence[Duel], by_temperature: Sequence[Runs], weak: Runs
) -> list[tuple[str, ...]]:
    fixed = [runs for runs in by_temperature if runs[0].options.temperature is not None]
    of_runs = [(verdict, None) for verdict in (*loss_verdicts(duels), *gap_verdicts(fixed))]
    both = zip(weakness_verdicts(found.weaknesses, weak), weakness_verdicts([found.tiny], ()), strict=True)
    texts = text_duels(found.texts, found.embedders), text_duels([found.tiny_texts], found.embedders)
    verdicts: list[tuple[Verdict, Verdict | None]] = [*of_runs, *both]
    if found.embedders:
        verdicts.append((text_verdict(texts[0], of_names=False), text_verdict(texts[1], of_names=False)))
    rows = [_row(*pair, ELSEWHERE[at]) for at, pair in enumerate(verdicts)]
    if found.names:
        rows.append(_row(text_verdict(name_duels(found), of_names=True), None, ELSEWHERE[-1]))
    return rows


def _row(verdict: Verdict, tiny: Verdict | None, elsewhere: str) -> tuple[str, ...]:
    if tiny is None:
        return verdict.claim, f"**{verdict.word}**", verdict.because, elsewhere
    words, because = f"**{verdict.word}**; `tiny` **{tiny.word}**", f"{verdict.because}. `tiny`: {tiny.because}"
    return verdict.claim, words, because, elsewhere


def _said_of_all(found: Measured) -> dict[str, object]:
    outcomes = [outcome for runs in found.runs for outcome in runs]
    first = outcomes[0]
    return {
        "n_seeds": len(found.runs[0]),
        "seeds": ", ".join(str(run.options.seed) for run in found.runs[0]),
        "samples": f"{first.options.steps * first.options.batch_size:,}",
        "n_test": f"{len(first.gap):,}",
        "arch": first.options.arch,
        "lr": first.options.lr / math.sqrt(first.options.batch_size / RATE_AT),
        "at_batch": RATE_AT,
        "time": f"{len(outcomes)} runs, trained in {sum(each.seconds for each in outcomes) / 60:.0f} minutes in all, two at a time,",
        "machine": "; ".join(sorted({each.machine for each in outcomes})),
        "apart": APART,
        "kept": f"{100 * KEPT:.0f} %",
        "few": FEW_TOKENS,
        "whole_length": f"{100 * WHOLE_LENGTH:.0f} %",
        "cannot_tell": CANNOT_TELL,
        "sources": SOURCES,
    }


def _said_of_losses(duels: Sequence[Duel]) -> dict[str, object]:
    small, large = duels[0].clip[0].options, duels[-1].clip[0].options
    return {
        "losses_figure": LOSSES_FIGURE,
        "leads": "\n".join(f"- Batch size {duel.batch_size:,}: {lead_in_words(duel)}" for duel in duels),
        "recalls": _recalls(duels),
        "chance": f"{100 * chance(duels[0].clip):.1f}",
        "rates": _rates(duels),
        "largest": f"{large.batch_size:,}",
        "few_steps": (
            f"At equal samples, a batch of {large.batch_size:,} takes {large.steps:,} steps where one of"
            f" {small.batch_size} takes {small.steps:,}: what the larger batch would reach with as many steps is not seen."
        ),
    }


def _said_of_gap(by_temperature: Sequence[Runs]) -> dict[str, object]:
    first = by_temperature[0][0]
    return {
        "gap_figure": GAP_FIGURE,
        "gap_batch": first.options.batch_size,
        "n_held_out": first.history[0].n_pairs,
        "histories": "\n".join(f"- {gap_in_words(runs)}" for runs in by_temperature),
        "gaps": _gaps(by_temperature),
    }


def _recalls(duels: Sequence[Duel]) -> str:
    head = ("Batch size", "Loss", "Text to image", "Image to text", "Both", "Sigmoid loss minus InfoNCE")
    rows = [
        (
            f"{duel.batch_size:,}",
            name,
            *(percent(recall(runs, direction)) for direction in DIRECTIONS),
            percent(recall(runs)),
            points(duel.lead) if runs is duel.siglip else "",
        )
        for duel in duels
        for name, runs in (("InfoNCE", duel.clip), ("sigmoid loss", duel.siglip))
    ]
    return table(head, rows)


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
            f"{options.steps:,}",
            f"{options.warmup_steps:,}",
            f"{options.lr:.2e}",
            ", ".join(f"{np.mean([run.seconds for run in runs]):.0f}" for runs in duel),
        )
        for duel in duels
        for options in [duel.clip[0].options]
    ]
    return table(head, rows)


def _gaps(by_temperature: Sequence[Runs]) -> str:
    head = ("Temperature", "Gap, start", "Gap, end", "Image cone, start and end", "Text cone, start and end",
            "Gap, test pairs", "Recall@1, test pairs")  # fmt: skip
    rows = [
        (
            runs[0].label,
            _at(runs, "gap", 0),
            number(of_seeds([run.history[-1].gap for run in runs])),
            *(f"{_at(runs, cone, 0)}, {_at(runs, cone, -1)}" for cone in ("image_cone", "text_cone")),
            number(gap(runs)),
            percent(recall(runs)) + ("" if has_learned(runs) else ", not above chance"),
        )
        for runs in by_temperature
    ]
    return table(head, rows)


def _at(runs: Runs, name: str, step: int) -> str:
    return f"{np.mean([getattr(run.history[step], name) for run in runs]):.3f}"
