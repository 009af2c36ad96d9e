"""Turn a finished training run into the checkpoint that comes with clipbench: half the bytes, and a model card.

    python tools/ship_tiny.py runs/tiny

The weights are rounded to float16 first and measured then, so that the card's scores are those of what is shipped.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch

from clipbench.models.checkpoints import bundled_checkpoints
from clipbench.results.record import Metric, Result
from clipbench.results.run import read_run
from clipbench.training.clip.adapter import SHIPPED
from clipbench.training.clip.checkpoint import CheckpointContent, load_checkpoint, save_model, write_progress
from clipbench.training.log import LOG_FILE, read_log

NAME = "tiny"
CURVE = "training.svg"

CARD = """# {name}

A CLIP of {parameters} parameters for {side}-pixel images and texts of {context} tokens, trained on scenes, the
generated world of clipbench. It is there so that every measurement can be tried offline and in seconds, and to have
the failures that the toolkit is to show. It knows nothing of photographs.

| | |
|---|---|
| Image tower | transformer, {vision} |
| Text tower | transformer, causal, {text}; BPE of {vocabulary} tokens, trained on the training captions |
| Weights | float16, {megabytes:.1f} MB; computed with in float32 |
| Data | {data}: {samples} images, each seen once; first {primer} of a single large object, then whole scenes |
| Captions | three words to paragraphs, quoted words among them |
| Never seen | 10 of 100 pairs of colour and kind, 40 ordered pairs of kinds in a relation, 20 of 144 words |
| Training | {steps} steps of {batch} pairs, {loss} loss, AdamW, lr {lr:g} with {warmup} steps of warm-up and a cosine to 0, {precision} |
| Time | {hours} on {machine} |
| Made by | `make train-{name}` (seed {seed}) |
| Licence | that of clipbench, Apache-2.0: no image, caption or weight comes from elsewhere |

## Scores

`clipbench run --model {name} --suite scenes --tasks all`, on the test split, which shares no scene with training; one
view of each image, 95 % intervals.

{scores}

## Training

![Loss, and recall@1 among 500 other pairs, by step]({curve})

{history}
"""


def main(run: Path, machine: str) -> None:
    """Write the checkpoint of a run, its card and its curve to where clipbench finds them."""
    trained = load_checkpoint(bundled_checkpoints(run)[-1])
    steps = trained.progress.arguments["steps"]
    if trained.progress.step != steps:
        sys.exit(f"{run} is at step {trained.progress.step} of {steps}: clipbench train --resume --out {run}")
    folder = SHIPPED[NAME]
    folder.mkdir(parents=True, exist_ok=True)
    save_model(folder, trained.model, trained.tokenizer, dtype=torch.float16)
    write_progress(folder, trained.progress)
    evaluations = [event for event in read_log(run / LOG_FILE) if event["event"] == "evaluation"]
    draw_curve(trained.progress.losses, evaluations, folder / CURVE)
    text = card(trained, folder, result=measure(), evaluations=evaluations, machine=machine)
    (folder / "README.md").write_text(text, encoding="utf-8")
    print(f"checkpoint and card in {folder}")


def measure() -> Result:
    """Return what `clipbench run` finds of the checkpoint that was just written."""
    with tempfile.TemporaryDirectory() as scratch:
        command = ["clipbench", "run", "--model", NAME, "--suite", "scenes", "--tasks", "all", "--thumbnails", "0"]
        subprocess.run([sys.executable, "-m", *command, "--out", f"{scratch}/run"], check=True)
        return read_run(Path(scratch) / "run").result


def card(
    trained: CheckpointContent, folder: Path, *, result: Result, evaluations: list[dict[str, object]], machine: str
) -> str:
    """Return the text of the model card."""
    model, progress = trained.model, trained.progress
    config, arguments = model.config, progress.arguments
    hours, minutes = divmod(round(progress.seconds / 60), 60)
    return CARD.format(
        name=NAME,
        parameters=f"{sum(parameter.numel() for parameter in model.parameters()) / 1e6:.1f} million",
        side=config.image_size,
        context=config.context_length,
        vision=f"{config.vision.layers} layers of {config.vision.width}, patches of {config.patch_size} pixels",
        text=f"{config.text.layers} layers of {config.text.width}",
        vocabulary=f"{config.vocab_size:,}",
        megabytes=sum(path.stat().st_size for path in folder.glob("*.safetensors")) / 1e6,
        data=progress.data["name"],
        primer=f"{int(dict(arguments['data_options']).get('primer', 0)):,}",
        samples=f"{int(str(arguments['batch_size'])) * progress.step:,}",
        steps=f"{progress.step:,}",
        batch=arguments["batch_size"],
        loss={"clip": "InfoNCE", "siglip": "sigmoid"}[str(arguments["loss"])],
        lr=arguments["lr"],
        warmup=arguments["warmup"],
        precision=arguments["precision"],
        hours=f"{hours} h {minutes:02} min",
        machine=machine,
        seed=arguments["seed"],
        scores=score_table(result),
        curve=CURVE,
        history=history_table(evaluations),
    )


def score_table(result: Result) -> str:
    """Return a row for each metric of each evaluation."""
    rows = ["| Data | Metric | Value | 95 % interval | Chance | n |", "|---|---|---|---|---|---|"]
    for evaluation in result.evaluations:
        rows += [_score_row(evaluation.name, name, metric) for name, metric in evaluation.metrics.items()]
    return "\n".join(rows)


def _score_row(evaluation: str, name: str, metric: Metric) -> str:
    interval = "" if metric.low is None or metric.high is None else f"{metric.low:.3f} to {metric.high:.3f}"
    chance = "" if metric.chance is None else f"{metric.chance:.3f}"
    value = "undefined" if metric.value is None else f"{metric.value:.3f}"
    return f"| {evaluation} | {name} | {value} | {interval} | {chance} | {metric.n:,} |"


def history_table(evaluations: list[dict[str, object]], rows: int = 9) -> str:
    """Return the measurements on the way, at about equal distances."""
    names = ("image_retrieval_recall@1", "text_retrieval_recall@1", "gap", "image_cone", "text_cone", "temperature")
    lines = ["| Step | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    stride = max(1, (len(evaluations) - 1) // (rows - 1))
    shown = evaluations[:-1:stride] + evaluations[-1:]
    for event in shown:
        lines.append(f"| {event['step']:,} | " + " | ".join(f"{event[name]:.3f}" for name in names) + " |")
    return "\n".join(lines)


def draw_curve(losses: list[list[float]], evaluations: list[dict[str, object]], path: Path) -> None:
    """Draw loss and recall@1 by step; the same run gives the same bytes."""
    plt.rcParams.update({"svg.hashsalt": NAME, "font.size": 8, "axes.spines.top": False, "axes.spines.right": False})
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.8, 2.4), layout="constrained")
    left.plot(*zip(*losses, strict=True), color="#4477aa", linewidth=0.6)
    left.set(xlabel="step", ylabel="loss, nats", ylim=(0, None))
    steps = [int(str(event["step"])) for event in evaluations]
    for name, colour in (("image_retrieval_recall@1", "#4477aa"), ("text_retrieval_recall@1", "#ee6677")):
        values = [float(str(event[name])) for event in evaluations]
        right.plot(steps, values, color=colour, label=name.removesuffix("_recall@1").replace("_", " "))
    right.set(xlabel="step", ylabel="recall@1 among 500 pairs", ylim=(0, 1))
    right.legend(frameon=False, loc="lower right")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a finished run of clipbench train")
    parser.add_argument("--machine", default="two processor cores", help="what it was trained on, for the card")
    arguments = parser.parse_args()
    main(arguments.run, arguments.machine)
