"""The training loop: one batch after another, with a log, checkpoints and measurements. Imports torch.

The resulting weights depend on the options alone: an interrupted and resumed training ends with those of an
uninterrupted one, bit for bit on one thread of a CPU.
"""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path

import torch

from clipbench.distributed.group import process_group, rank, sum_over_processes
from clipbench.distributed.launch import Launched
from clipbench.errors import ClipbenchError
from clipbench.files import alone_in
from clipbench.models.checkpoints import bundled_checkpoints
from clipbench.models.towers.torch_model import placement
from clipbench.training.batches import Batch
from clipbench.training.clip.checkpoint import save_checkpoint
from clipbench.training.encoding import logit_constants
from clipbench.training.gradients import add_gradients, sum_gradients
from clipbench.training.log import ProgressBar
from clipbench.training.losses import LOSSES
from clipbench.training.optimizer import clamp_logit_scale, learning_rate
from clipbench.training.options import TrainOptions
from clipbench.training.state import TrainingState, resume, start
from clipbench.training.towers import measure

LOGGED_STEPS = 1000
"""Steps of a training that are logged, at equal distances; the first and the last come on top."""


class Interrupted(KeyboardInterrupt):
    """A signal stopped the training after a whole step."""

    def __init__(self, checkpoint: Path) -> None:
        super().__init__(f"interrupted, and saved as {checkpoint}")
        self.checkpoint = checkpoint


def train(
    options: TrainOptions,
    *,
    is_resumed: bool = False,
    show_progress: bool = False,
    tell: Callable[[str], None] = lambda _: None,
    launched: Launched | None = None,
) -> Path:
    """Train a model and return its last checkpoint.

    Args:
        tell: called with each note on the data before the first step.
        launched: processes that this one has started to share its batches.

    Raises:
        UsageError: an option does not fit the data, the folder holds another training, another process trains in it, or
            the one to resume was started with other options.
        ClipbenchError: the loss is no longer finite; the message names the last good checkpoint.
        MachineError: a process was lost that shares the batches.
        Interrupted: SIGINT or SIGTERM came; the current step was finished and saved.
    """
    place = placement(options.device, options.precision, options.batch_size)
    with process_group(place.device, launched) as device, _alone_in(options.out):
        state = (resume if is_resumed else start)(options, device=device, dtype=place.dtype)
        is_shown = show_progress and rank() == 0
        for note in state.notes if rank() == 0 else ():
            tell(note)
        with (
            closing(state.log),
            closing(ProgressBar(steps=options.steps, done=state.checkpoint.progress.step, is_shown=is_shown)) as bar,
            _stop_signal() as stop,
        ):
            return _Loop(state, bar, stop).run()


class _Loop:
    """Takes the steps, and logs, measures and saves between them."""

    def __init__(self, state: TrainingState, bar: ProgressBar, stop: threading.Event) -> None:
        self.state = state
        self.bar = bar
        self.stop = stop
        self.options = state.options
        self.progress = state.checkpoint.progress
        self.log_every = max(1, self.options.steps // LOGGED_STEPS)
        self.clock = time.perf_counter()

    def run(self) -> Path:
        """Train to the last step, and return the last checkpoint."""
        if self.progress.step == 0 and not bundled_checkpoints(self.options.out):
            self._measure()
            self._save()
        self.clock = time.perf_counter()
        for batch in self.state.batches():
            must_stop = self._step(batch)
            self._between_steps(must_stop=must_stop)
        return bundled_checkpoints(self.options.out)[-1]

    def _step(self, batch: Batch) -> bool:
        """Update the weights once; return True if any process got a signal to stop."""
        model, optimizer, options = self.state.checkpoint.model, self.state.optimizer, self.options
        lr = learning_rate(self.progress.step, lr=options.lr, warmup=options.warmup_steps, steps=options.steps)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.zero_grad()
        share = add_gradients(self.state.towers, batch, LOSSES[options.loss], micro_batch_size=options.micro_batch_size)
        sum_gradients(model)
        loss, n_stops = sum_over_processes(float(share), float(self.stop.is_set()), device=self.state.towers.device)
        norm = float(torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None]))
        self._check_finite(loss, norm)
        optimizer.step()
        clamp_logit_scale(model)
        self._log_step(loss, {"lr": lr, "gradient_norm": norm})
        return n_stops > 0

    def _log_step(self, loss: float, values: dict[str, float]) -> None:
        """Count the step, show it, and write it to the log if its turn has come."""
        progress, now = self.progress, time.perf_counter()
        seconds, self.clock = now - self.clock, now
        progress.step += 1
        progress.seconds += seconds
        rate = self.options.batch_size / seconds
        constants = logit_constants(self.state.checkpoint.model)
        temperature = constants["temperature"]
        assert temperature is not None, "the weights are finite, and the scale is clamped"
        self.bar.step(loss=loss, temperature=temperature, pairs_per_second=rate)
        if progress.step % self.log_every == 0 or progress.step in (1, self.options.steps):
            progress.losses.append((progress.step, loss))
            logged = {"loss": loss, **constants, **values, "pairs_per_second": rate, "seconds": progress.seconds}
            self.state.log.write("step", progress.step, logged)

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
        if rank() == 0:
            values = measure(self.state.towers, self.state.held_out)
            self.state.log.write("evaluation", self.progress.step, values)
            self.bar.set_gap(values["gap"])

    def _save(self) -> None:
        if rank() == 0:
            save_checkpoint(self.options.out, self.state.checkpoint, self.state.optimizer)

    def _check_finite(self, loss: float, norm: float) -> None:
        """Raise ClipbenchError unless the step can be taken; the weights are still those of the step before."""
        if math.isfinite(loss) and math.isfinite(norm):
            return
        step, what = self.progress.step + 1, "loss" if not math.isfinite(loss) else "gradient's norm"
        value = loss if not math.isfinite(loss) else norm
        self.state.log.write("stop", self.progress.step, {"reason": f"the {what} of step {step} is {value}"})
        raise ClipbenchError(
            f"the {what} is {value} at step {step}: stopped; the last good checkpoint is"
            f" {bundled_checkpoints(self.options.out)[-1]}; start again with a lower --lr (it is {self.options.lr:g}) or a longer"
            f" --warmup ({self.options.warmup_steps})"
        )


def _alone_in(out: Path) -> AbstractContextManager[None]:
    """Hold a training's folder, in one of the processes that share it."""
    if rank() != 0 or out.is_file():
        return nullcontext()
    return alone_in(out, f"another clipbench trains in {out}: wait for its end, or name another --out")


@contextmanager
def _stop_signal() -> Iterator[threading.Event]:
    """Yield an event that SIGINT and SIGTERM set, as half a step must not be saved; a second signal acts as usual."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def handle(*_: object) -> None:
        stop.set()
        restore()

    for number in handlers:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        restore()
