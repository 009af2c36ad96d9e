"""The state of a training: model, optimizer, order of the data and log; new, or from its newest checkpoint. Imports torch."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from clipbench.data import DataOptions
from clipbench.distributed.group import n_processes, rank, wait_for_all
from clipbench.errors import UsageError
from clipbench.files import check_writable
from clipbench.models.checkpoints import bundled_checkpoints, newest_checkpoint
from clipbench.training.batches import Batch, PairReader, SampleIndex, SampleOrder, load_batches
from clipbench.training.clip.checkpoint import Checkpoint, TrainingProgress, load_checkpoint, load_optimizer
from clipbench.training.clip.config import find_config
from clipbench.training.clip.model import CLIP
from clipbench.training.clip.preprocess import ClipPreprocess
from clipbench.training.clip.tokenizer import tokenizer_for
from clipbench.training.corpus import load_corpus
from clipbench.training.log import LOG_FILE, Log, has_steps
from clipbench.training.optimizer import fix_temperature, make_optimizer
from clipbench.training.options import TrainOptions, arguments_of
from clipbench.training.pairs import Corpus
from clipbench.training.towers import Towers
from clipbench.untrusted.reading import entries, is_file, is_folder, is_there


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """A training that is ready to take its next step."""

    options: TrainOptions
    checkpoint: Checkpoint
    """Model, tokenizer and progress; the steps change them in place."""
    towers: Towers
    optimizer: torch.optim.AdamW
    order: SampleOrder
    reader: PairReader
    held_out: Batch
    notes: tuple[str, ...]
    """Facts about the data that whoever trains on them should know."""
    log: Log

    def batches(self) -> Iterator[Batch]:
        """Yield this process's share of each remaining step."""
        steps = range(self.checkpoint.progress.step, self.options.steps)
        samples = (self.order.samples(step, rank()) for step in steps)
        return load_batches(self.reader, self.checkpoint.tokenizer, samples, workers=self.options.workers)


def start(options: TrainOptions, *, device: torch.device, dtype: torch.dtype) -> TrainingState:
    """Return the state of a new training, whose random weights are equal in all processes.

    Raises:
        UsageError: the folder holds something else than what a training leaves that was ended before its first checkpoint,
            or has no room for one, or a batch does not fit the data or the processes.
        DataError: the data cannot be trained on.
    """
    if not _is_free(options.out):
        what = "holds another run" if is_file(options.out / LOG_FILE) else "is not empty"
        raise UsageError(
            f"{options.out} {what}: give another --out, or --resume to go on with a run of the same arguments"
        )
    corpus = _corpus(options)
    order = _order(options, corpus)
    config = find_config(options.arch)
    tokenizer = tokenizer_for(config, corpus.train.captions())
    config = replace(config, vocab_size=tokenizer.vocab_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        model = CLIP(config.for_siglip() if options.loss == "siglip" else config)
    if options.temperature is not None:
        fix_temperature(model, options.temperature)
    n_bytes = 12 * sum(parameter.numel() for parameter in model.parameters())  # weights, and two moments of each
    check_writable(options.out, n_bytes, advice="make room there, or name another --out")
    wait_for_all()  # each process has to find the folder empty before the first one writes to it
    progress = TrainingProgress(arguments=options.to_json(), data=_description(corpus))
    state = _assemble(options, Checkpoint(model, tokenizer, progress), corpus, order, device=device, dtype=dtype)
    state.log.write("start", 0, {"arguments": options.to_json(), "data": progress.data, "notes": list(corpus.notes)})
    return state


def resume(options: TrainOptions, *, device: torch.device, dtype: torch.dtype) -> TrainingState:
    """Return the state of a training at its newest checkpoint, or at its beginning if it was ended before the first.

    Raises:
        UsageError: there is no training, or it was started with other arguments or data.
        ModelError: the checkpoint is damaged.
    """
    if not bundled_checkpoints(options.out):
        options.check_same(arguments_of(options.out))
        return start(options, device=device, dtype=dtype)
    folder = newest_checkpoint(options.out)
    checkpoint = load_checkpoint(folder)
    options.check_same(checkpoint.progress.arguments)
    corpus = _corpus(options)
    order = _order(options, corpus)
    if checkpoint.progress.data != _description(corpus):
        raise UsageError(
            f"the data are {_description(corpus)}, and the run in {options.out} has {checkpoint.progress.data}"
        )
    if options.temperature is not None:
        checkpoint.model.logit_scale.requires_grad_(False)
    state = _assemble(options, checkpoint, corpus, order, device=device, dtype=dtype)
    if checkpoint.progress.step > 0:  # before the first step, there is nothing to load
        load_optimizer(folder, checkpoint.model, state.optimizer)
    state.log.write("resume", checkpoint.progress.step, {"arguments": options.to_json()})
    return state


def _is_free(out: Path) -> bool:
    """Return whether a folder holds nothing that was trained: a log without a step, and unfinished files."""
    if not is_there(out):
        return True
    names = {path.name for path in entries(out, UsageError)} if is_folder(out) else {""}
    return all(name == LOG_FILE or name.startswith((".step-", f".{LOG_FILE}.")) for name in names) and not has_steps(
        out
    )


def _corpus(options: TrainOptions) -> Corpus:
    root = None if options.data_root is None else Path(options.data_root)
    data = DataOptions(data_root=root, options=options.data_options)
    return load_corpus(options.data, data, seed=options.seed, size=find_config(options.arch).image_size)


def _order(options: TrainOptions, corpus: Corpus) -> SampleOrder:
    n_pairs = corpus.train.n_pairs
    return SampleOrder(n_pairs=n_pairs, batch_size=options.batch_size, seed=options.seed, n_processes=n_processes())


def _assemble(
    options: TrainOptions,
    checkpoint: Checkpoint,
    corpus: Corpus,
    order: SampleOrder,
    *,
    device: torch.device,
    dtype: torch.dtype,
) -> TrainingState:
    model = checkpoint.model.to(device)
    crops = corpus.may_crop if options.augment is None else options.augment
    resumed_at = checkpoint.progress.step if bundled_checkpoints(options.out) else None
    return TrainingState(
        options=options,
        checkpoint=checkpoint,
        towers=Towers(model=model, device=device, dtype=dtype),
        optimizer=make_optimizer(model, lr=options.lr, weight_decay=options.weight_decay),
        order=order,
        reader=PairReader(pairs=corpus.train, preprocess=ClipPreprocess(model.config), crops=crops, seed=options.seed),
        held_out=_held_out(corpus, checkpoint),
        notes=corpus.notes,
        log=Log(options.out, resumed_at=resumed_at) if rank() == 0 else Log(None),
    )


def _held_out(corpus: Corpus, checkpoint: Checkpoint) -> Batch:
    """Return all held-out pairs as one batch."""
    pairs = corpus.held_out
    assert pairs.n_pairs is not None, pairs.name
    reader = PairReader(pairs=pairs, preprocess=ClipPreprocess(checkpoint.model.config), crops=False, seed=0)
    samples = [SampleIndex(position=number, pair=number, epoch=0) for number in range(pairs.n_pairs)]
    return next(iter(load_batches(reader, checkpoint.tokenizer, [samples], workers=0)))


def _description(corpus: Corpus) -> dict[str, object]:
    return {"name": corpus.train.name, "n_pairs": corpus.train.n_pairs, "n_held_out": corpus.held_out.n_pairs}
