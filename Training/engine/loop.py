"""The training loop: the only one. An objective says what the loss is; everything else is the same in every stage."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import Strategy
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from SAMoraLib.encoders.block import stacks_in
from SAMoraLib.system.allocator import keep_freed_memory
from Training.engine.optimisers import make_optimisers
from Training.engine.run import STATE, Run
from Training.engine.sharding import bring_back, load_optimiser_state, optimiser_state, sharded_strategy
from Training.engine.state import load_optimisers, require_fitting
from Training.settings.optimisation import Optimisation
from Training.settings.schedule import lr_at

Batch = list[Tensor]
# A validation returns named numbers, the first of which is the one to maximise.
Validate = Callable[[nn.Module], dict[str, float]]


def make_fabric(optimisation: Optimisation) -> Fabric:
    """Devices, precision and processes as the configuration says."""
    if optimisation.threads:
        torch.set_num_threads(optimisation.threads)
    fabric = Fabric(accelerator=optimisation.accelerator, devices=optimisation.devices, num_nodes=optimisation.nodes,
                    strategy=_strategy(optimisation), precision=optimisation.precision)  # type: ignore[arg-type]
    fabric.launch()
    fabric.seed_everything(optimisation.seed, verbose=False)
    return fabric


def _strategy(optimisation: Optimisation) -> Strategy | str:
    if optimisation.strategy == "fsdp":
        return sharded_strategy()
    # The mask decoder's estimate of its own quality takes part in no loss.
    alone = optimisation.devices == 1 and optimisation.nodes == 1
    return "auto" if alone else "ddp_find_unused_parameters_true"


def fit(fabric: Fabric, objective: nn.Module, slices: Dataset, optimisation: Optimisation, run: Run,
        validate: Validate | None = None) -> nn.Module:
    """Train what requires a gradient in ``objective``, whose forward takes a batch and returns the loss.

    The run goes on from its last saved state; order, augmentation and noise depend on seed and step alone, so a
    killed and resumed run ends at the same weights as one that was never interrupted.

    Args:
        slices: ``slices[epoch, index]`` is one sample; the epoch seeds its augmentation.
        validate: called every ``validate_every`` steps; the weights with the highest first number are kept.

    Returns:
        The objective with the final weights, or the best ones where there is a validation.

    Raises:
        ValueError: nothing to train, a batch that cannot be shared as configured, a saved state that is damaged or of
            another run, or the loss is not finite.
        OSError: another run is at work in the folder, or it cannot be written to.
    """
    keep_freed_memory()
    _check_shares(objective, optimisation, fabric.world_size)
    with _ending_others(fabric), run.alone() if fabric.is_global_zero else nullcontext():
        return _fit(fabric, objective, slices, optimisation, run, validate)


@contextmanager
def _ending_others(fabric: Fabric) -> Iterator[None]:
    """Where this process is stopped, those end that it has started: they would wait for it, and fail."""
    try:
        yield
    except KeyboardInterrupt:
        for process in getattr(fabric.strategy.launcher, "procs", ()):
            process.terminate()
        raise


def _fit(fabric: Fabric, objective: nn.Module, slices: Dataset, optimisation: Optimisation, run: Run,
         validate: Validate | None) -> nn.Module:
    trained = _prepared(objective, optimisation)
    state = _fitting_state(run, trained, optimisation)
    start, best = (state["step"], state["best"]) if state else (0, {})
    if state:
        _set(trained, state["weights"])
    if fabric.is_global_zero:
        run.forget_after(start)
    spread = copy.deepcopy(objective) if optimisation.strategy == "fsdp" else objective
    module = fabric.setup_module(spread)
    optimisers = _optimisers(fabric, spread, optimisation, state, run)
    module.train()
    meter = Meter(run.folder.name, start, optimisation.steps, fabric.is_global_zero)
    for step, batch in enumerate(meter.waiting(_loader(slices, optimisation, start, fabric)), start):
        rate = lr_at(step, optimisation.steps, optimisation.schedule)
        meter.add(_take_step(fabric, module, optimisers, batch, optimisation, step, rate), rate)
        done = step + 1
        if validate and _is_due(done, optimisation.validate_every, optimisation.steps):
            scores = validate(objective)
            if fabric.is_global_zero:
                run.log(step=done, **{f"validation_{name}": value for name, value in scores.items()})
            best = _keep_best(best, trained, scores, done)
            module.train()
        if _is_due(done, optimisation.save_every, optimisation.steps):
            measured = meter.read(fabric)
            if spread is not objective:
                bring_back(spread, trained)
            states = [optimiser_state(optimiser.optimizer) for optimiser in optimisers]
            if fabric.is_global_zero:
                run.log(step=done, **measured)
                run.save_state({"step": done, "weights": _copy(trained), "best": best, "optimisers": states})
    meter.close()
    if best:
        _set(trained, best["weights"])
    return objective


def _prepared(objective: nn.Module, optimisation: Optimisation) -> dict[str, Any]:
    """What a run changes and saves: parameters that require a gradient, and running statistics.

    Raises:
        ValueError: nothing requires a gradient.
    """
    if optimisation.recompute:
        for stack in stacks_in(objective):
            stack.recompute = True
    trained = {name: parameter for name, parameter in objective.named_parameters() if parameter.requires_grad}
    if not trained:
        raise ValueError("Nothing in this objective is trainable; check the variant's trained parts.")
    return trained | _statistics(objective)


def _is_due(done: int, every: int, steps: int) -> bool:
    """Every so many steps and after the last one; never with 0."""
    return every > 0 and (done % every == 0 or done == steps)


class Meter:
    """Progress for people, and what the log says of the steps since it was read last."""

    def __init__(self, title: str, start: int, steps: int, shown: bool) -> None:
        self._bar = tqdm(total=steps, initial=start, desc=title, unit="step", disable=not shown, mininterval=5)
        self._rate = 0.0
        self._begin()

    def _begin(self) -> None:
        self._started, self._waited, self._losses = time.monotonic(), 0.0, list[float]()

    def waiting(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches; how long each is waited for counts."""
        asked = time.monotonic()
        for batch in batches:
            self._waited += time.monotonic() - asked
            yield batch
            asked = time.monotonic()

    def add(self, loss: float, rate: float) -> None:
        """A step is done."""
        self._losses.append(loss)
        self._rate = rate
        self._bar.set_postfix(loss=f"{loss:.4f}", lr=f"{rate:.2e}", refresh=False)
        self._bar.update()

    def read(self, fabric: Fabric) -> dict[str, float]:
        """Mean loss over the steps and all processes, learning rate, and seconds in all and waited; then from zero."""
        spent = time.monotonic() - self._started
        own = torch.tensor(self._losses, device=fabric.device).mean()
        mean: Any = fabric.all_reduce(own, reduce_op="mean")
        measured = {"loss": float(mean), "lr": self._rate, "seconds": round(spent, 2), "waited": round(self._waited, 2)}
        self._begin()
        return measured

    def close(self) -> None:
        self._bar.close()


def _take_step(fabric: Fabric, module: Any, optimisers: Sequence[Any], batch: Batch, optimisation: Optimisation,
               step: int, rate: float) -> float:
    """One optimiser step on one batch; the loss. Noise depends on seed, step and process alone."""
    for group in (group for optimiser in optimisers for group in optimiser.param_groups):
        group["lr"] = rate
    torch.manual_seed(_seed(optimisation.seed, step, fabric.global_rank))
    loss = _backward(fabric, module, batch, optimisation.accumulate, step)
    for optimiser in optimisers:
        if optimisation.clip_norm:
            fabric.clip_gradients(module, optimiser, max_norm=optimisation.clip_norm)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    return loss


def _fitting_state(run: Run, trained: dict[str, Any], optimisation: Optimisation) -> dict[str, Any] | None:
    state = run.load_state()
    if state is not None:
        with _of_another_run(run):
            require_fitting(state, trained, optimisation.steps)
    return state


@contextmanager
def _of_another_run(run: Run) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"'{run.folder / STATE}' is no state of this run ({error}); put the right one back, or delete "
                         "it to start this run again.") from error


def _optimisers(fabric: Fabric, objective: nn.Module, optimisation: Optimisation, state: dict[str, Any] | None,
                run: Run) -> list[Any]:
    """As the saved state left them, wrapped by the fabric."""
    optimisers = make_optimisers(objective, optimisation)
    if state:
        with _of_another_run(run):
            load_optimisers(optimisers, state["optimisers"], load_optimiser_state)
    return [fabric.setup_optimizers(optimiser) for optimiser in optimisers]


def _check_shares(objective: nn.Module, optimisation: Optimisation, world: int) -> None:
    if optimisation.batch_size % (world * optimisation.accumulate):
        raise ValueError(f"A batch of {optimisation.batch_size} cannot be shared evenly by {world} processes in "
                         f"{optimisation.accumulate} parts each; change optimisation.batch_size or accumulate.")
    if optimisation.accumulate > 1 and getattr(objective, "compares_the_batch", False):
        raise ValueError("This objective compares all slices of a batch with each other, so the batch cannot be "
                         "computed in parts; set optimisation.accumulate to 1 and use more devices.")


def _backward(fabric: Fabric, module: Any, batch: Batch, parts: int, step: int) -> float:
    """Gradients of the mean loss of a batch, computed in ``parts`` so that less of it is in memory at once."""
    total = 0.0
    for number, part in enumerate(zip(*(tensor.chunk(parts) for tensor in batch), strict=True), start=1):
        with fabric.no_backward_sync(module, enabled=number < parts):
            loss = module(fabric.to_device(list(part)))
            _check_finite(loss, step)
            fabric.backward(loss / parts if parts > 1 else loss)
        total += loss.item() / parts
    return total


def _loader(slices: Dataset, optimisation: Optimisation, start: int, fabric: Fabric) -> DataLoader:
    """This process's part of each step's batch, from ``start`` on; ``workers`` processes prepare the next ones."""
    keys = _BatchKeys(len(slices), optimisation, start, fabric.global_rank, fabric.world_size)  # type: ignore[arg-type]
    # Its own generator: the loader would otherwise draw from the one that the loss's noise comes from.
    return DataLoader(slices, batch_sampler=keys, num_workers=optimisation.workers,
                      pin_memory=fabric.device.type == "cuda", generator=torch.Generator())


class _BatchKeys:
    """(epoch, index) of this process's samples, step after step."""

    def __init__(self, count: int, optimisation: Optimisation, start: int, rank: int, world: int) -> None:
        self._of = count, optimisation, start, rank, world

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return batch_keys(*self._of)


def batch_keys(count: int, optimisation: Optimisation, start: int, rank: int,
               world: int) -> Iterator[list[tuple[int, int]]]:
    """(epoch, index) of this process's samples for each step; every slice once per epoch, however many processes."""
    size = optimisation.batch_size
    order = np.arange(count)
    current = -1
    for step in range(start, optimisation.steps):
        keys = []
        for position in range(step * size + rank, (step + 1) * size, world):
            epoch, offset = divmod(position, count)
            if epoch != current:
                order, current = np.random.default_rng([optimisation.seed, epoch]).permutation(count), epoch
            keys.append((epoch, int(order[offset])))
        yield keys


def _statistics(objective: nn.Module) -> dict[str, Any]:
    """Running means and variances, which training changes too, though no gradient does (the teachers' BatchNorm)."""
    return {name: buffer for name, buffer in objective.named_buffers()
            if name.rpartition(".")[2] in ("running_mean", "running_var", "num_batches_tracked")}


def _seed(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0])


def _check_finite(loss: Tensor, step: int) -> None:
    if not torch.isfinite(loss):
        raise ValueError(f"The loss is {loss.item()} at step {step}; lower the learning rate or lengthen the warm-up.")


def _keep_best(best: dict[str, Any], trained: dict[str, nn.Parameter], scores: dict[str, float],
               step: int) -> dict[str, Any]:
    score = next(iter(scores.values()))
    if best and best["score"] >= score:
        return best
    return {"score": score, "step": step, "weights": _copy(trained)}


def _copy(parameters: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    return {name: parameter.detach().cpu().clone() for name, parameter in parameters.items()}


def _set(parameters: dict[str, nn.Parameter], values: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(values[name])
