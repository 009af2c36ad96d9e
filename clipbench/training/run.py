"""What a training run works with, put together anew or from its newest checkpoint. Imported only with torch at hand."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from clipbench.data import DataOptions
from clipbench.errors import UsageError
from clipbench.models.checkpoint_folders import bundled_checkpoints, newest_checkpoint
from clipbench.training.batches import Batch, Draw, Drawing, Order, load_batches
from clipbench.training.clip.checkpoint import Progress, Trained, load_checkpoint, load_optimiser
from clipbench.training.clip.config import find_config
from clipbench.training.clip.model import CLIP
from clipbench.training.clip.preprocess import Preprocess
from clipbench.training.clip.tokeniser import tokeniser_for
from clipbench.training.corpus import load_corpus
from clipbench.training.distributed import wait_for_all
from clipbench.training.log import FILE, Log
from clipbench.training.losses import n_processes, process
from clipbench.training.optimiser import fix_temperature, make_optimiser
from clipbench.training.options import TrainOptions
from clipbench.training.pairs import Corpus
from clipbench.training.step import Towers


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run that is ready to take its next step."""

    options: TrainOptions
    trained: Trained
    towers: Towers
    optimiser: torch.optim.AdamW
    order: Order
    drawing: Drawing
    held_out: Batch
    log: Log

    def batches(self) -> Iterator[Batch]:
        """Yield this process's share of each step that is left."""
        steps = range(self.trained.progress.step, self.options.steps)
        draws = (self.order.draws(step, process()) for step in steps)
        return load_batches(self.drawing, self.trained.tokeniser, draws, workers=self.options.workers)


def start(options: TrainOptions, *, device: torch.device, dtype: torch.dtype) -> Run:
    """Return a run with new weights, which are the same in all processes.

    Raises:
        UsageError: the folder is not empty, or a batch does not fit the data or the processes.
        DataError: data that cannot be trained on.
    """
    if options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())):
        what = "holds another run" if (options.out / FILE).is_file() else "is not empty"
        raise UsageError(
            f"{options.out} {what}: give another --out, or --resume to go on with a run of the same arguments"
        )
    corpus = _corpus(options)
    order = _order(options, corpus)
    config = find_config(options.arch)
    tokeniser = tokeniser_for(config, corpus.train.captions())
    config = replace(config, vocab_size=tokeniser.vocab_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        model = CLIP(config.for_siglip() if options.loss == "siglip" else config)
    if options.temperature is not None:
        fix_temperature(model, options.temperature)
    wait_for_all()  # each has found the folder empty before the first writes to it
    progress = Progress(arguments=options.to_json(), data=_description(corpus))
    run = _assemble(options, Trained(model, tokeniser, progress), corpus, order, device=device, dtype=dtype)
    run.log.write("start", 0, {"arguments": options.to_json(), "data": progress.data})
    return run


def resume(options: TrainOptions, *, device: torch.device, dtype: torch.dtype) -> Run:
    """Return a run as it was at its newest checkpoint.

    Raises:
        UsageError: there is no checkpoint, or the run was started with other arguments or other data.
        ModelError: the checkpoint is damaged.
    """
    folder = newest_checkpoint(options.out)
    trained = load_checkpoint(folder)
    options.check_same(trained.progress.arguments)
    corpus = _corpus(options)
    order = _order(options, corpus)
    if trained.progress.data != _description(corpus):
        raise UsageError(
            f"the data are {_description(corpus)}, and the run in {options.out} has {trained.progress.data}"
        )
    if options.temperature is not None:
        trained.model.logit_scale.requires_grad_(False)
    run = _assemble(options, trained, corpus, order, device=device, dtype=dtype)
    load_optimiser(folder, trained.model, run.optimiser)
    run.log.write("resume", trained.progress.step, {"arguments": options.to_json()})
    return run


def _corpus(options: TrainOptions) -> Corpus:
    root = None if options.data_root is None else Path(options.data_root)
    data = DataOptions(data_root=root, options=options.data_options)
    return load_corpus(options.data, data, seed=options.seed, size=find_config(options.arch).image_size)


def _order(options: TrainOptions, corpus: Corpus) -> Order:
    return Order(
        n_pairs=corpus.train.n_pairs,
        batch_size=options.batch_size,
        seed=options.seed,
        n_processes=n_processes(),
    )


def _assemble(
    options: TrainOptions, trained: Trained, corpus: Corpus, order: Order, *, device: torch.device, dtype: torch.dtype
) -> Run:
    model = trained.model.to(device)
    crops = corpus.may_crop if options.augment is None else options.augment
    drawing = Drawing(pairs=corpus.train, preprocess=Preprocess(model.config), crops=crops, seed=options.seed)
    resumed_at = trained.progress.step if bundled_checkpoints(options.out) else None
    return Run(
        options=options,
        trained=trained,
        towers=Towers(model=model, device=device, dtype=dtype),
        optimiser=make_optimiser(model, lr=options.lr, weight_decay=options.weight_decay),
        order=order,
        drawing=drawing,
        held_out=_held_out(corpus, trained),
        log=Log(options.out, resumed_at=resumed_at) if process() == 0 else Log(None),
    )


def _held_out(corpus: Corpus, trained: Trained) -> Batch:
    pairs = corpus.held_out
    assert pairs.n_pairs is not None, pairs.name
    drawing = Drawing(pairs=pairs, preprocess=Preprocess(trained.model.config), crops=False, seed=0)
    draws = [Draw(position=number, number=number, epoch=0) for number in range(pairs.n_pairs)]
    return next(iter(load_batches(drawing, trained.tokeniser, [draws], workers=0)))


def _description(corpus: Corpus) -> dict[str, object]:
    return {"name": corpus.train.name, "n_pairs": corpus.train.n_pairs, "n_held_out": corpus.held_out.n_pairs}
