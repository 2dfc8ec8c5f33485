"""Segment a whole volume with a slice model, on the volume's own grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from SAMoraLib.card import Card
from SAMoraLib.features import Features
from SAMoraLib.inference.argmax import argmax_resized
from SAMoraLib.inference.boxes import Target, decode_targets, find_targets, forbid_outside
from SAMoraLib.inference.device import half_type
from SAMoraLib.inference.prefetch import prefetched
from SAMoraLib.inference.skim import first_look, near
from SAMoraLib.inference.slabs import SLAB_PASSES, Passes
from SAMoraLib.inference.sliding_window import Windows, sliding_window
from SAMoraLib.kernels.linear import multiply_in_int8
from SAMoraLib.labels import LabelSet
from SAMoraLib.preprocessing.grid import grid_shape, grid_slices
from SAMoraLib.preprocessing.settings import check_grid
from SAMoraLib.preprocessing.slices import PreparedVolume, prepare_volume
from SAMoraLib.volume import Region, Volume

Progress = Callable[[float, str], None]
Numbers = slice | np.ndarray  # of some slices
Logits = Iterator[tuple[Numbers, Tensor]]  # theirs: (N, K, s, s)
# Some slices, their classes (N, H, W) uint8 and the probabilities of these, float32.
Segmented = tuple[Numbers, np.ndarray, np.ndarray]
Confidence = dict[str, float]  # of every organ that was found: mean softmax probability of its voxels


class Predictor:
    """A loaded model, ready for any number of volumes.

    Args:
        model: maps slabs (B, 1, 1, S, S) to a ``SAMoraLib.model.Prediction``.
        card: labels and preprocessing of the model.
        batch_size: slices that run at once.
        slabs: how a model that sees slabs goes through a volume: "streamed", each slice once, or "overlapping", in
            every slab that holds it, as in MA-SAM's released code.

        skim: look at every so many slices first, and at the others only next to one that shows an organ asked for.

    Attributes:
        half: run in half precision, bfloat16 on a CPU: faster, on a GPU less memory, and a few voxels differ.
        between: called between two batches, for what may change then, as the number of threads.

    Raises:
        ValueError: the card has no labels or no preprocessing, there is no such way, or the model sees more than a
            slice at a time and cannot skim.
    """

    def __init__(self, model: Any, card: Card, device: str | torch.device = "cpu", batch_size: int = 8,
                 slabs: str = "streamed", skim: int = 1) -> None:
        if card.variant is None or card.labels is None or card.preprocessing is None:
            raise ValueError(f"The card of '{card.name}' has no labels or preprocessing; it is not a trained model.")
        if slabs not in SLAB_PASSES:
            raise ValueError(f"Unknown slab pass '{slabs}'; choose from {', '.join(SLAB_PASSES)}.")
        check_grid(card.variant, card.preprocessing)
        self.model = model.eval()
        self.variant, self.slabs, self.skim = card.variant, slabs, skim
        if skim > 1 and card.variant.sees != "slices":
            raise ValueError(f"'{card.variant.name}' looks at slices together or in boxes and cannot skim; let "
                             "it look at every slice, or choose another model.")
        self.labels: LabelSet = card.labels
        self.preprocessing = card.preprocessing
        self.batch_size, self.half = batch_size, False
        self.between: Callable[[], None] = lambda: None
        self.move_to(device)

    def move_to(self, device: str | torch.device) -> None:
        """Compute on ``device`` from now on."""
        self.device = torch.device(device)
        self.model.to(self.device)

    def compute_in(self, precision: str) -> None:
        """From now on "full", "half" or "int8", as in ``SAMoraLib.request.Request``; what was quantized stays so."""
        self.half = precision == "half"
        if precision == "int8":
            multiply_in_int8(self.model.image_encoder.blocks)  # not TP-Mamba's adapters behind them

    def predict(self, volume: Volume, organs: Sequence[str] | None = None, region: Region | None = None,
                progress: Progress | None = None, boxes: Mapping[str, Region] | None = None) -> Volume:
        """Label every voxel.

        Args:
            organs: names to keep; the others still compete for voxels, and become background. All by default.
            region: slices outside are not run and voxels outside are 0. Inside, the result is the same as without a
                region.
            progress: called with the fraction done and the stage; an exception in it cancels.
            boxes: organ -> where it is to be found, for a model that is prompted with boxes; only these are segmented.

        Returns:
            uint8 label values on the grid of ``volume``.

        Raises:
            ValueError: an unknown organ, a region or box that does not meet the volume, or boxes that are missing or
                not understood.
        """
        return self.predict_with_confidence(volume, organs, region, progress, boxes)[0]

    def predict_with_confidence(self, volume: Volume, organs: Sequence[str] | None = None,
                                region: Region | None = None, progress: Progress | None = None,
                                boxes: Mapping[str, Region] | None = None) -> tuple[Volume, Confidence]:
        """As ``predict``; and how sure the model is of what it found."""
        kept = self._kept_values(organs)
        inside = region.mask(volume) if region is not None else None
        report = progress or (lambda fraction, stage: None)
        report(0.0, "preprocessing")
        prepared = prepare_volume(volume, self.preprocessing)
        targets = self._targets(boxes, volume, prepared)
        inside = prepared.reorientation.apply(inside) if inside is not None else None
        wanted = self._wanted(inside, targets, prepared)
        labels = np.zeros(prepared.array.shape, np.uint8)
        counts, sums = np.zeros((2, len(kept)))
        report(0.0, "segmenting")
        done = 0
        for batch, classes, probabilities in self._found_first(prepared, wanted, targets, kept):
            done += len(classes)
            report(min(1.0, done / wanted.sum()), "segmenting")
            self.between()
            if not kept[1:].all():
                classes = kept[classes]
            if inside is not None:
                classes[~inside[batch]] = 0
            labels[batch] = classes
            found = classes > 0
            counts += np.bincount(classes[found], minlength=len(kept))
            sums += np.bincount(classes[found], probabilities[found], minlength=len(kept))
        report(1.0, "done")
        confidence = {label.name: float(sums[label.value] / counts[label.value])
                      for label in self.labels if counts[label.value]}
        return volume.with_array(prepared.reorientation.restore(labels)), confidence

    def _kept_values(self, organs: Sequence[str] | None) -> np.ndarray:
        """Label value -> itself, or 0 where the organ was not asked for."""
        wanted = self.labels.names if organs is None else organs
        kept = np.zeros(len(self.labels) + 1, np.uint8)
        for name in wanted:
            value = self.labels.by_name(name).value
            kept[value] = value
        return kept

    def _targets(self, boxes: Mapping[str, Region] | None, volume: Volume, prepared: PreparedVolume
                 ) -> tuple[Target, ...]:
        if self.variant.takes_boxes:
            return find_targets(boxes or {}, self.labels, volume, prepared)
        if boxes:
            raise ValueError("This model finds its organs by itself and takes no boxes; choose a model that is "
                             "prompted with boxes, or leave them out.")
        return ()

    @staticmethod
    def _wanted(inside: np.ndarray | None, targets: Sequence[Target], prepared: PreparedVolume) -> np.ndarray:
        """(D,) bool: the slices to segment, which follow each other."""
        hit = np.ones(len(prepared.array), bool)
        if targets:
            hit = np.any([target.inside.any(axis=(1, 2)) for target in targets], axis=0)
        if inside is not None:
            hit = hit & inside.any(axis=(1, 2))
        if not hit.any():
            raise ValueError("The region and the boxes share no slice; move or enlarge one of them.")
        first, last = np.flatnonzero(hit)[[0, -1]]
        hit[first:last + 1] = True
        return hit & prepared.worth_a_look

    def _found_first(self, prepared: PreparedVolume, wanted: np.ndarray, targets: Sequence[Target], kept: np.ndarray
                     ) -> Iterator[Segmented]:
        """The wanted slices; where ``skim`` says so, those alone that are next to an organ."""
        if self.skim == 1:
            yield from self._segmented(prepared, wanted, targets)
            return
        first, found = first_look(wanted, self.skim), np.zeros(len(wanted), bool)
        for batch, classes, probabilities in self._segmented(prepared, first, targets):
            found[batch] = kept[classes].any(axis=(1, 2))
            yield batch, classes * wanted[batch, None, None], probabilities  # some were a look beyond the wanted ones
        yield from self._segmented(prepared, wanted & near(found, self.skim) & ~first, targets)

    @torch.inference_mode()
    def _segmented(self, prepared: PreparedVolume, wanted: np.ndarray, targets: Sequence[Target]
                   ) -> Iterator[Segmented]:
        """The wanted slices, some at a time.

        Logits go straight to the box's own pixels and are arg-maxed there, slice by slice: K float volumes never exist,
        and K slices stay in a processor's cache.
        """
        for batch, logits in self._under_autocast(self._logits(prepared, wanted, targets)):
            numbers = np.arange(len(wanted))[batch].tolist()
            found = [_classified(each, number, prepared, targets) for each, number in zip(logits, numbers, strict=True)]
            classes, probabilities = map(torch.stack, zip(*found, strict=True))
            yield batch, _on_slices(classes, prepared), _on_slices(probabilities, prepared)

    def _logits(self, prepared: PreparedVolume, wanted: np.ndarray, targets: Sequence[Target]) -> Logits:
        """The wanted slices with logits (N, K, s, s) at the decoder's own resolution, as the variant sees a volume."""
        numbers, images = np.flatnonzero(wanted), partial(self._images, prepared)
        if self.variant.sees == "slices":
            return self._slice_by_slice(images, numbers)
        if not len(numbers):
            return iter(())
        begin, end = int(numbers[0]), int(numbers[-1]) + 1
        if self.variant.sees == "blocks":
            return sliding_window(self._windows(prepared), begin, end)
        passes = Passes(self.model, images, partial(self._decode, targets), len(prepared.array), self.batch_size)
        return SLAB_PASSES[self.slabs](passes, begin, end)

    def _windows(self, prepared: PreparedVolume) -> Windows:
        spacing = self.preprocessing.spacing

        def images(start: int, stop: int) -> Tensor:
            return torch.from_numpy(grid_slices(prepared, spacing, start, stop))

        return Windows(self.model, images, grid_shape(prepared, spacing), len(prepared.array), self.batch_size)

    def _images(self, prepared: PreparedVolume, numbers: np.ndarray) -> Tensor:
        return torch.from_numpy(prepared.slices_of(numbers)).to(self.device)

    def _slice_by_slice(self, images: Callable[[np.ndarray], Tensor], numbers: np.ndarray) -> Logits:
        batches = (numbers[first:first + self.batch_size] for first in range(0, len(numbers), self.batch_size))
        # On a CPU the thread takes from the model's threads what it gives: 1.08 times the time on two cores.
        in_turn = self.device.type == "cpu"
        for batch, slices in ((each, images(each)) for each in batches) if in_turn else prefetched(images, batches):
            yield batch, self.model(slices[:, :, None]).low_res_logits[:, :, 0]

    def _decode(self, targets: Sequence[Target], features: Features, numbers: np.ndarray) -> Tensor:
        if targets:
            return decode_targets(self.model, features, numbers, targets)
        return self.model.decode(features).low_res_logits[0].transpose(0, 1)

    def _under_autocast(self, steps: Logits) -> Logits:
        """Each step in half precision if asked for, and nothing of what happens between two steps."""
        while True:
            with torch.autocast(self.device.type, half_type(self.device), enabled=self.half):
                step = next(steps, None)
            if step is None:
                return
            yield step


def _classified(logits: Tensor, number: int, prepared: PreparedVolume, targets: Sequence[Target]
                ) -> tuple[Tensor, Tensor]:
    """Classes of the box's pixels in slice ``number``, and their probabilities: (h, w) each."""
    forbid = partial(forbid_outside, targets, number, prepared)
    return argmax_resized(logits.float(), prepared.box.shape, forbid)


def _on_slices(in_box: Tensor, prepared: PreparedVolume) -> np.ndarray:
    """Values (N, h, w) of the box -> (N, H, W), 0 around it."""
    values = in_box.cpu().numpy()
    slices = np.zeros((len(values), *prepared.array.shape[1:]), values.dtype)
    prepared.box.paste(values, slices)
    return slices
