"""``clipbench watch``: measure the checkpoints of a training as they appear."""

from pathlib import Path
from typing import Any

import click

from clipbench.cli.main import INTERRUPTED, SETTINGS
from clipbench.cli.options import evaluation_options
from clipbench.cli.output import print_error


@click.command(context_settings=SETTINGS)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--interval", default=60.0, show_default=True, metavar="SECONDS",
              type=click.FloatRange(min=0, min_open=True), help="Seconds between two checks of DIR.")  # fmt: skip
@click.option("--once", is_flag=True, help="Measure the checkpoints that are there, then exit.")
@click.option("--idle", metavar="MINUTES", type=click.FloatRange(min=0, min_open=True),
              help="Exit after MINUTES without a new checkpoint. [default: never]")  # fmt: skip
@evaluation_options
def watch(folder: Path, interval: float, once: bool, idle: float | None, **given: Any) -> int:
    """Measure the checkpoints of a training as they appear.

    \b
    clipbench watch runs/train --tasks all --suite scenes --out runs/watched
    clipbench watch logs/mine --arch ViT-B-32 --tasks retrieval@coco --out runs/watched

    DIR or DIR/checkpoints may hold step-*/ folders (clipbench train), checkpoint-*/ folders (transformers), and *.pt or
    *.safetensors files of an open_clip architecture. Each checkpoint gets a run folder in --out (default:
    runs/watch-DIR), and all of them a joint report. A checkpoint that is still being written is measured once it no
    longer changes; one that cannot be read is tried again when it changes. After an interruption, the same command
    continues.

    Exit status: 0 done, 2 bad usage or input, 3 something could not be measured, 130 interrupted.
    """
    from clipbench.cli.watcher import Watcher

    watcher = Watcher(folder, given, interval=interval, idle=None if idle is None else 60 * idle)
    try:
        return watcher.once() if once else watcher.go()
    except KeyboardInterrupt:
        print_error(f"interrupted: finished runs are in {watcher.out}; the same command goes on")
        return INTERRUPTED
    finally:
        watcher.session.end_log()
