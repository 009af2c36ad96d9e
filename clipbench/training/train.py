"""The training loop: one batch after another, with a log, checkpoints and measurements. Imports torch.

The resulting weights depend only on the options: an interrupted and resumed training ends with the same weights as an
uninterrupted one, bit for bit on one thread of a CPU.
"""

import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import torch
from tqdm import tqdm

from clipbench.data import DataOptions
from clipbench.distributed.group import n_processes, process_group, rank, sum_over_processes, wait_for_all
from clipbench.errors import STOP_SIGNALS, ClipbenchError, UsageError
from clipbench.files import check_writable, folder_lock
from clipbench.models.checkpoints import bundled_checkpoints, newest_checkpoint
from clipbench.models.towers.torch_model import n_parameters, resolve_placement
from clipbench.training.batches import (
    Batch,
    PairReader,
    SampleIndex,
    SampleOrder,
    TrainingCorpus,
    load_batches,
    load_corpus,
)
from clipbench.training.clip.checkpoint import (
    CheckpointContent,
    TrainingProgress,
    load_checkpoint,
    load_optimizer,
    save_checkpoint,
)
from clipbench.training.clip.config import find_config
from clipbench.training.clip.inputs import ClipPreprocess, tokenizer_for
from clipbench.training.clip.model import CLIP
from clipbench.training.log import LOG_FILE, Log, has_steps
from clipbench.training.options import TrainOptions, arguments_of
from clipbench.training.scalars import Number, logit_constants
from clipbench.training.step import (
    LOSSES,
    Towers,
    add_gradients,
    fix_temperature,
    learning_rate,
    make_optimizer,
    measure,
    sum_gradients,
)
from clipbench.untrusted.reading import entries, is_file, is_folder, is_there

LOGGED_STEPS = 1000
"""Steps of a training that are logged, at equal distances, in addition to the first and the last."""


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
) -> Path:
    """Train a model and return its last checkpoint.

    Args:
        tell: called with each note on the data before the first step.

    Raises:
        UsageError: an option does not fit the data, the folder holds another training, another process trains in it, or
            the one to resume was started with other options.
        ClipbenchError: the loss is no longer finite. The message names the last good checkpoint.
        MachineError: a process was lost that shares the batches.
        Interrupted: SIGINT or SIGTERM came, and the current step was finished and saved.
    """
    target = resolve_placement(options.device, options.precision, options.batch_size)
    busy = f"another clipbench process trains in {options.out}: wait until it ends, or choose another --out"
    with (
        process_group(target.device) as device,
        folder_lock(options.out, busy) if rank() == 0 and not options.out.is_file() else nullcontext(),
    ):
        training = (resume if is_resumed else start)(options, device=device, dtype=target.dtype)
        is_shown = show_progress and rank() == 0
        for note in training.notes if rank() == 0 else ():
            tell(note)
        with (
            closing(training.log),
            tqdm(
                total=options.steps,
                initial=training.checkpoint.progress.step,
                unit="step",
                mininterval=0.2 if sys.stderr.isatty() else 30.0,  # in a file, each refresh is a line to scroll past
                disable=not is_shown,
                dynamic_ncols=True,
            ) as bar,
            _stop_signal() as stop,
        ):
            training.run(bar, stop)
            return bundled_checkpoints(options.out)[-1]


@dataclass(kw_only=True)
class TrainingLoop:
    """A training that is ready to take its next step. It logs, measures and saves between the steps."""

    options: TrainOptions
    checkpoint: CheckpointContent
    """Model, tokenizer and progress, which the steps change in place."""
    towers: Towers
    optimizer: torch.optim.AdamW
    order: SampleOrder
    reader: PairReader
    held_out: Batch
    notes: tuple[str, ...]
    """Facts about the data that whoever trains on them should know."""
    log: Log
    gap: Number | None = None
    clock: float = 0.0
    """Time at which the last step ended, or what came after it."""

    def run(self, bar: "tqdm[NoReturn]", stop: threading.Event) -> None:
        """Train to the last step, or raise Interrupted if a process got a signal to stop."""
        progress, options = self.checkpoint.progress, self.options
        if progress.step == 0 and not bundled_checkpoints(options.out):
            self._measure()
            self._save()
        self.clock = time.perf_counter()
        samples = (self.order.samples(step, rank()) for step in range(progress.step, options.steps))
        for batch in load_batches(self.reader, self.checkpoint.tokenizer, samples, workers=options.workers):
            must_stop = self._step(batch, bar, stop)
            is_last = progress.step == options.steps
            if is_last or progress.step % (options.eval_every or max(1, options.steps // 20)) == 0:
                self._measure()
            if is_last or must_stop or progress.step % (options.save_every or max(1, options.steps // 10)) == 0:
                self._save()
            self.clock = time.perf_counter()
            if must_stop and not is_last:
                raise Interrupted(bundled_checkpoints(options.out)[-1])

    def _step(self, batch: Batch, bar: "tqdm[NoReturn]", stop: threading.Event) -> bool:
        """Update the weights once, and return True if any process got a signal to stop."""
        model, optimizer, options = self.checkpoint.model, self.optimizer, self.options
        step = self.checkpoint.progress.step
        lr = learning_rate(step, lr=options.lr, warmup=options.warmup_steps, steps=options.steps)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.zero_grad()
        share = add_gradients(self.towers, batch, LOSSES[options.loss], micro_batch_size=options.micro_batch_size)
        sum_gradients(model)
        loss, n_stops = sum_over_processes(float(share), float(stop.is_set()), device=self.towers.device)
        norm = float(torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None]))
        self._check_finite(loss, norm)
        optimizer.step()
        model.clamp_logit_scale()
        bar.set_postfix_str(self._log_step(loss, {"lr": lr, "gradient_norm": norm}), refresh=False)
        bar.update()
        return n_stops > 0

    def _log_step(self, loss: float, values: dict[str, float]) -> str:
        """Count a step and log it, and return it in words."""
        progress, n_steps, now = self.checkpoint.progress, self.options.steps, time.perf_counter()
        seconds, self.clock = now - self.clock, now
        progress.step += 1
        progress.seconds += seconds
        rate = self.options.batch_size / seconds
        constants = logit_constants(self.checkpoint.model)
        if progress.step % max(1, n_steps // LOGGED_STEPS) == 0 or progress.step in (1, n_steps):
            progress.losses.append([progress.step, loss])
            logged = {"loss": loss, **constants, **values, "pairs_per_second": rate, "seconds": progress.seconds}
            self.log.write("step", progress.step, logged)
        temperature = constants["temperature"]
        assert temperature is not None, "the weights are finite, and the scale is clamped"
        gap = "" if self.gap is None else f", gap {self.gap:.3f}"
        return f"loss {loss:.3f}, temperature {temperature:.3f}{gap}, {rate:,.0f} pairs/s"

    def _measure(self) -> None:
        if rank() == 0:
            values = measure(self.towers, self.held_out)
            self.log.write("evaluation", self.checkpoint.progress.step, values)
            self.gap = values["gap"]

    def _save(self) -> None:
        if rank() == 0:
            save_checkpoint(self.options.out, self.checkpoint, self.optimizer)

    def _check_finite(self, loss: float, norm: float) -> None:
        """Raise ClipbenchError unless the step can be taken, while the weights have not changed yet."""
        quantity, value = ("gradient's norm", norm) if math.isfinite(loss) else ("loss", loss)
        if math.isfinite(value):
            return
        step = self.checkpoint.progress.step + 1
        self.log.write("stop", step - 1, {"reason": f"the {quantity} of step {step} is {value}"})
        raise ClipbenchError(
            f"the {quantity} is {value} at step {step}: stopped, the last good checkpoint is"
            f" {bundled_checkpoints(self.options.out)[-1]}. Start again with a lower --lr (it is"
            f" {self.options.lr:g}) or a longer --warmup ({self.options.warmup_steps})"
        )


@contextmanager
def _stop_signal() -> Iterator[threading.Event]:
    """Yield an event that the signals to stop set, because half a step must not be saved. A second signal acts as
    usual, and one that the process ignores stays ignored.
    """
    stop = threading.Event()
    is_main = threading.current_thread() is threading.main_thread()  # others get no signals
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS if is_main}
    handlers = {number: handler for number, handler in handlers.items() if handler is not signal.SIG_IGN}

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


def start(options: TrainOptions, *, device: torch.device, dtype: torch.dtype) -> TrainingLoop:
    """Return a new training, whose random weights are equal in all processes.

    Raises:
        UsageError: the folder holds more than what a training leaves that was ended before its first checkpoint, or has
            no room, or a batch does not fit the data or the processes.
        DataError: the data cannot be trained on.
    """
    names = set()
    if is_there(options.out):
        names = {path.name for path in entries(options.out, UsageError)} if is_folder(options.out) else {""}
    # A log without a step, and unfinished files, are nothing that was trained.
    is_free = all(name == LOG_FILE or name.startswith((".step-", f".{LOG_FILE}.")) for name in names)
    if not is_free or (names and has_steps(options.out)):
        conflict = "holds another run" if is_file(options.out / LOG_FILE) else "is not empty"
        raise UsageError(
            f"{options.out} {conflict}: give another --out, or --resume to continue a run with the same arguments"
        )
    corpus, order = _data(options)
    config = find_config(options.arch)
    tokenizer = tokenizer_for(config, corpus.train.captions())
    config = replace(config, vocab_size=tokenizer.vocab_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        model = CLIP(config.for_siglip() if options.loss == "siglip" else config)
    if options.temperature is not None:
        fix_temperature(model, options.temperature)
    n_bytes = 12 * n_parameters(model)  # weights, and two moments of each
    check_writable(options.out, n_bytes, advice="make room there, or choose another --out")
    wait_for_all()  # each process has to find the folder empty before the first one writes to it
    progress = TrainingProgress(arguments=options.to_json(), data=_description(corpus))
    training = _assemble(
        options, CheckpointContent(model, tokenizer, progress), corpus, order, device=device, dtype=dtype
    )
    training.log.write("start", 0, {"arguments": options.to_json(), "data": progress.data, "notes": list(corpus.notes)})
    return training


def resume(options: TrainOptions, *, device: torch.device, dtype: torch.dtype) -> TrainingLoop:
    """Return a training at its newest checkpoint, or at its beginning if it was ended before the first.

    Raises:
        UsageError: the folder has no training, or it was started with other arguments or data.
        ModelError: the checkpoint is damaged.
    """
    if not bundled_checkpoints(options.out):
        options.check_same(arguments_of(options.out))
        return start(options, device=device, dtype=dtype)
    folder = newest_checkpoint(options.out)
    checkpoint = load_checkpoint(folder)
    options.check_same(checkpoint.progress.arguments)
    corpus, order = _data(options)
    if (recorded := checkpoint.progress.data) != _description(corpus):
        raise UsageError(f"the data set is {_description(corpus)}, and the run in {options.out} has {recorded}")
    if options.temperature is not None:
        checkpoint.model.logit_scale.requires_grad_(False)
    training = _assemble(options, checkpoint, corpus, order, device=device, dtype=dtype)
    if checkpoint.progress.step > 0:  # before the first step, there is nothing to load
        load_optimizer(folder, checkpoint.model, training.optimizer)
    training.log.write("resume", checkpoint.progress.step, {"arguments": options.to_json()})
    return training


def _data(options: TrainOptions) -> tuple[TrainingCorpus, SampleOrder]:
    root = None if options.data_root is None else Path(options.data_root)
    data = DataOptions(data_root=root, options=options.data_options)
    corpus = load_corpus(options.data, data, seed=options.seed, size=find_config(options.arch).image_size)
    n_pairs, n_shares = corpus.train.n_pairs, n_processes()
    return corpus, SampleOrder(n_pairs=n_pairs, batch_size=options.batch_size, seed=options.seed, n_processes=n_shares)


def _assemble(
    options: TrainOptions,
    checkpoint: CheckpointContent,
    corpus: TrainingCorpus,
    order: SampleOrder,
    *,
    device: torch.device,
    dtype: torch.dtype,
) -> TrainingLoop:
    model = checkpoint.model.to(device)
    crops = corpus.may_crop if options.augment is None else options.augment
    resumed_at = checkpoint.progress.step if bundled_checkpoints(options.out) else None
    preprocess = ClipPreprocess(model.config)
    held_out = PairReader(pairs=corpus.held_out, preprocess=preprocess, crops=False, seed=0)
    samples = [SampleIndex(position=number, pair=number, epoch=0) for number in range(corpus.held_out.n_pairs)]
    return TrainingLoop(
        options=options,
        checkpoint=checkpoint,
        towers=Towers(model=model, device=device, dtype=dtype),
        optimizer=make_optimizer(model, lr=options.lr, weight_decay=options.weight_decay),
        order=order,
        reader=PairReader(pairs=corpus.train, preprocess=preprocess, crops=crops, seed=options.seed),
        held_out=next(iter(load_batches(held_out, checkpoint.tokenizer, [samples], workers=0))),
        notes=corpus.notes,
        log=Log(options.out, resumed_at=resumed_at) if rank() == 0 else Log(None),
    )


def _description(corpus: TrainingCorpus) -> dict[str, object]:
    return {"name": corpus.train.name, "n_pairs": corpus.train.n_pairs, "n_held_out": corpus.held_out.n_pairs}
