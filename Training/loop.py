"""The training loop: the only one. An objective says what the loss is; everything else is the same in every stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import Dataset, default_collate
from tqdm import tqdm

from Training.config import Optimisation
from Training.optimisers import make_optimisers
from Training.run import Run
from Training.schedule import lr_at

# A validation returns named numbers, the first of which is the one to maximise.
Validate = Callable[[nn.Module], dict[str, float]]


def make_fabric(optimisation: Optimisation) -> Fabric:
    """Devices, precision and processes as the configuration says."""
    if optimisation.threads:
        torch.set_num_threads(optimisation.threads)
    # The mask decoder's estimate of its own quality takes part in no loss.
    strategy = "auto" if optimisation.devices == 1 else "ddp_find_unused_parameters_true"
    fabric = Fabric(accelerator=optimisation.accelerator, devices=optimisation.devices, strategy=strategy,
                    precision=optimisation.precision)  # type: ignore[arg-type]
    fabric.launch()
    fabric.seed_everything(optimisation.seed, verbose=False)
    return fabric


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
        ValueError: nothing to train, or the loss is not finite.
    """
    trained = {name: parameter for name, parameter in objective.named_parameters() if parameter.requires_grad}
    if not trained:
        raise ValueError("Nothing in this objective is trainable; check the variant's trained parts.")
    optimisers = make_optimisers(objective, optimisation)
    start, best = _resume(run, trained, optimisers)
    module, *optimisers = fabric.setup(objective, *optimisers)
    module.train()
    progress = tqdm(total=optimisation.steps, initial=start, desc=run.folder.name, unit="step",
                    disable=not fabric.is_global_zero, mininterval=5)
    seconds, losses = time.monotonic(), []
    for step, samples in _batches(slices, optimisation, start, fabric.global_rank, fabric.world_size):
        rate = lr_at(step, optimisation.steps, optimisation.schedule)
        for group in (group for optimiser in optimisers for group in optimiser.param_groups):
            group["lr"] = rate
        torch.manual_seed(_seed(optimisation.seed, step, fabric.global_rank))
        loss = module(fabric.to_device(default_collate(samples)))
        _check_finite(loss, step)
        fabric.backward(loss)
        for optimiser in optimisers:
            if optimisation.clip_norm:
                fabric.clip_gradients(module, optimiser, max_norm=optimisation.clip_norm)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        losses.append(loss.item())
        progress.set_postfix(loss=f"{loss.item():.4f}", lr=f"{rate:.2e}", refresh=False)
        progress.update()
        done = step + 1
        last = done == optimisation.steps
        if validate and optimisation.validate_every and (done % optimisation.validate_every == 0 or last):
            best = _keep_best(best, trained, validate(objective), done, run)
            module.train()
        if fabric.is_global_zero and (done % optimisation.save_every == 0 or last):
            run.log(step=done, loss=float(np.mean(losses)), lr=rate, seconds=round(time.monotonic() - seconds, 2))
            seconds, losses = time.monotonic(), []
            run.save_state({"step": done, "weights": _copy(trained), "best": best,
                            "optimisers": [optimiser.state_dict() for optimiser in optimisers]})
    progress.close()
    if best:
        _set(trained, best["weights"])
    return objective


def _resume(run: Run, trained: dict[str, nn.Parameter],
            optimisers: list[torch.optim.Optimizer]) -> tuple[int, dict[str, Any]]:
    state = run.load_state()
    if state is None:
        return 0, {}
    _set(trained, state["weights"])
    for optimiser, values in zip(optimisers, state["optimisers"], strict=True):
        optimiser.load_state_dict(values)
    return state["step"], state["best"]


def _batches(slices: Dataset, optimisation: Optimisation, start: int, rank: int,
             world: int) -> Iterator[tuple[int, list[Any]]]:
    """(step, this process's samples); every slice once per epoch, whatever the number of processes."""
    count, size = len(slices), optimisation.batch_size  # type: ignore[arg-type]
    order = np.arange(count)
    current = -1
    for step in range(start, optimisation.steps):
        samples = []
        for position in range(step * size + rank, (step + 1) * size, world):
            epoch, offset = divmod(position, count)
            if epoch != current:
                order, current = np.random.default_rng([optimisation.seed, epoch]).permutation(count), epoch
            samples.append(slices[epoch, int(order[offset])])
        yield step, samples


def _seed(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0])


def _check_finite(loss: Tensor, step: int) -> None:
    if not torch.isfinite(loss):
        raise ValueError(f"The loss is {loss.item()} at step {step}; lower the learning rate or lengthen the warm-up.")


def _keep_best(best: dict[str, Any], trained: dict[str, nn.Parameter], scores: dict[str, float], step: int,
               run: Run) -> dict[str, Any]:
    run.log(step=step, **{f"validation_{name}": value for name, value in scores.items()})
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
