"""Training: one batch after another, with a log, checkpoints, and measurements on the way. Imported only with torch.

The weights that come out are a function of the options: a run that was broken off and resumed ends with those of an
unbroken one, bit for bit on one thread of a CPU.
"""

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import torch

from clipbench.errors import ClipbenchError
from clipbench.models._torch_model import placement
from clipbench.models.checkpoint_folders import bundled_checkpoints
from clipbench.training.batches import Batch
from clipbench.training.clip.checkpoint import save_checkpoint
from clipbench.training.distributed import processes, total
from clipbench.training.evaluation import measure
from clipbench.training.log import Bar
from clipbench.training.losses import LOSSES, process
from clipbench.training.monitored import constants
from clipbench.training.optimiser import clamp_logit_scale, learning_rate
from clipbench.training.options import TrainOptions
from clipbench.training.run import Run, resume, start
from clipbench.training.step import add_gradients, sum_over_processes

LOGGED_STEPS = 1000
"""Steps of a run that are logged, at equal distances, or a few more."""


class Interrupted(KeyboardInterrupt):
    """The run was told to stop, and did so after a whole step."""

    def __init__(self, checkpoint: Path) -> None:
        super().__init__(f"interrupted, and saved as {checkpoint}")
        self.checkpoint = checkpoint


def train(options: TrainOptions, *, is_resumed: bool = False, show_progress: bool = False) -> Path:
    """Train a model and return its last checkpoint.

    Raises:
        UsageError: an option does not fit the data, the folder holds another run, or the one to resume has others.
        ClipbenchError: the loss is no longer finite; the message names the last good checkpoint.
        Interrupted: by SIGINT or SIGTERM, after the step in hand was ended and saved.
    """
    place = placement(options.device, options.precision, options.batch_size)
    with processes(place.device) as device:
        run = (resume if is_resumed else start)(options, device=device, dtype=place.dtype)
        is_shown = show_progress and process() == 0
        with (
            closing(run.log),
            closing(Bar(steps=options.steps, done=run.trained.progress.step, is_shown=is_shown)) as bar,
            _told_to_stop() as stop,
        ):
            return _Loop(run, bar, stop).go()


class _Loop:
    """Steps, and what is done between them."""

    def __init__(self, run: Run, bar: Bar, stop: threading.Event) -> None:
        self.run = run
        self.bar = bar
        self.stop = stop
        self.options = run.options
        self.progress = run.trained.progress
        self.log_every = max(1, self.options.steps // LOGGED_STEPS)
        self.clock = time.perf_counter()

    def go(self) -> Path:
        """Train to the last step."""
        if self.progress.step == 0 and not bundled_checkpoints(self.options.out):
            self._measure()
            self._save()
        self.clock = time.perf_counter()
        for batch in self.run.batches():
            must_stop = self._step(batch)
            self._between_steps(must_stop=must_stop)
        return bundled_checkpoints(self.options.out)[-1]

    def _step(self, batch: Batch) -> bool:
        """Change the weights once, and return whether any process was told to stop."""
        model, optimiser, options = self.run.trained.model, self.run.optimiser, self.options
        lr = learning_rate(self.progress.step, lr=options.lr, warmup=options.warmup_steps, steps=options.steps)
        for group in optimiser.param_groups:
            group["lr"] = lr
        optimiser.zero_grad()
        share = add_gradients(self.run.towers, batch, LOSSES[options.loss], micro_batch_size=options.micro_batch_size)
        sum_over_processes(model)
        loss, n_stops = total(float(share), float(self.stop.is_set()), device=self.run.towers.device)
        norm = float(torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None]))
        self._check_finite(loss, norm)
        optimiser.step()
        clamp_logit_scale(model)
        self._took_step(loss, {"lr": lr, "gradient_norm": norm})
        return n_stops > 0

    def _took_step(self, loss: float, values: dict[str, float]) -> None:
        progress, now = self.progress, time.perf_counter()
        seconds, self.clock = now - self.clock, now
        progress.step += 1
        progress.seconds += seconds
        rate = self.options.batch_size / seconds
        found = constants(self.run.trained.model)
        temperature = found["temperature"]
        assert temperature is not None, "the weights are finite, and the scale is clamped"
        self.bar.step(loss=loss, temperature=temperature, pairs_per_second=rate)
        if progress.step % self.log_every == 0 or progress.step in (1, self.options.steps):
            progress.losses.append((progress.step, loss))
            logged = {"loss": loss, **found, **values, "pairs_per_second": rate, "seconds": progress.seconds}
            self.run.log.write("step", progress.step, logged)

    def _between_steps(self, *, must_stop: bool) -> None:
        step, options = self.progress.step, self.options
        is_last = step == options.steps
        if is_last or step % options.steps_between_measurements == 0:
            self._measure()
        if is_last or must_stop or step % options.steps_between_checkpoints == 0:
            self._save()
        self.clock = time.perf_counter()
        if must_stop and not is_last:
            raise Interrupted(bundled_checkpoints(options.out)[-1])

    def _measure(self) -> None:
        if process() == 0:
            values = measure(self.run.towers, self.run.held_out)
            self.run.log.write("evaluation", self.progress.step, values)
            self.bar.evaluated(values)

    def _save(self) -> None:
        if process() == 0:
            save_checkpoint(self.options.out, self.run.trained, self.run.optimiser)

    def _check_finite(self, loss: float, norm: float) -> None:
        """Raise unless a step can be taken; the weights are still those of the step before."""
        if math.isfinite(loss) and math.isfinite(norm):
            return
        step, what = self.progress.step + 1, "loss" if not math.isfinite(loss) else "gradient's norm"
        value = loss if not math.isfinite(loss) else norm
        self.run.log.write("stop", self.progress.step, {"reason": f"the {what} of step {step} is {value}"})
        raise ClipbenchError(
            f"the {what} is {value} at step {step}: stopped; the last good checkpoint is"
            f" {bundled_checkpoints(self.options.out)[-1]}; start again with a lower --lr (it is {self.options.lr:g}) or a longer"
            f" --warmup ({self.options.warmup_steps})"
        )


@contextmanager
def _told_to_stop() -> Iterator[threading.Event]:
    """Yield an event that SIGINT and SIGTERM set: half a step must not be saved. The second signal acts as ever."""
    told = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield told
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def tell(*_: object) -> None:
        told.set()
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, tell)
    try:
        yield told
    finally:
        restore()
