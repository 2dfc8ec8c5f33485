"""Segment a whole volume with a slice model, on the volume's own grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from SAMoraLib.card import Card
from SAMoraLib.inference.preprocess import PreparedVolume, prepare_volume
from SAMoraLib.labels import LabelSet
from SAMoraLib.volume import Region, Volume

Progress = Callable[[float, str], None]
# Some consecutive slices, their classes (N, H, W) uint8 and the probabilities of these, float32.
Segmented = tuple[slice, np.ndarray, np.ndarray]
Confidence = dict[str, float]  # of every organ that was found: mean softmax probability of its voxels


class Predictor:
    """A loaded model, ready for any number of volumes.

    Args:
        model: maps slabs (B, 1, 1, S, S) to a ``SAMoraLib.model.Prediction``.
        card: labels and preprocessing of the model.
        batch_size: slices that run at once.

    Attributes:
        half: run in half precision: less memory, and a few voxels differ.

    Raises:
        ValueError: the card has no labels or no preprocessing.
    """

    def __init__(self, model: nn.Module, card: Card, device: str | torch.device = "cpu", batch_size: int = 8) -> None:
        if card.labels is None or card.preprocessing is None:
            raise ValueError(f"The card of '{card.name}' has no labels or preprocessing; it is not a trained model.")
        self.model = model.eval()
        self.labels: LabelSet = card.labels
        self.preprocessing = card.preprocessing
        self.batch_size, self.half = batch_size, False
        self.move_to(device)

    def move_to(self, device: str | torch.device) -> None:
        """Compute on ``device`` from now on."""
        self.device = torch.device(device)
        self.model.to(self.device)

    def predict(self, volume: Volume, organs: Sequence[str] | None = None, region: Region | None = None,
                progress: Progress | None = None) -> Volume:
        """Label every voxel.

        Args:
            organs: names to keep; the others still compete for voxels, and become background. All by default.
            region: slices outside are not run and voxels outside are 0. Inside, the result is the same as without a
                region.
            progress: called with the fraction done and the stage; an exception in it cancels.

        Returns:
            uint8 label values on the grid of ``volume``.

        Raises:
            ValueError: an unknown organ, or a region that does not meet the volume.
        """
        return self.predict_with_confidence(volume, organs, region, progress)[0]

    def predict_with_confidence(self, volume: Volume, organs: Sequence[str] | None = None,
                                region: Region | None = None, progress: Progress | None = None
                                ) -> tuple[Volume, Confidence]:
        """As ``predict``; and how sure the model is of what it found."""
        kept = self._kept_values(organs)
        inside = region.mask(volume) if region is not None else None
        report = progress or (lambda fraction, stage: None)
        report(0.0, "preprocessing")
        prepared = prepare_volume(volume, self.preprocessing)
        begin, end = 0, len(prepared.array)
        if inside is not None:
            inside = prepared.reorientation.apply(inside)
            hit = np.flatnonzero(inside.any(axis=(1, 2)))
            begin, end = int(hit[0]), int(hit[-1]) + 1
        labels = np.zeros(prepared.array.shape, np.uint8)
        counts, sums = np.zeros((2, len(kept)))
        report(0.0, "segmenting")
        for batch, classes, probabilities in self._segmented(prepared, begin, end):
            report((batch.stop - begin) / (end - begin), "segmenting")
            classes = kept[classes]
            if inside is not None:
                classes[~inside[batch]] = 0
            labels[batch] = classes
            counts += np.bincount(classes.ravel(), minlength=len(kept))
            sums += np.bincount(classes.ravel(), probabilities.ravel(), minlength=len(kept))
        report(1.0, "done")
        found = {label.name: float(sums[label.value] / counts[label.value])
                 for label in self.labels if counts[label.value]}
        return volume.with_array(prepared.reorientation.restore(labels)), found

    def _kept_values(self, organs: Sequence[str] | None) -> np.ndarray:
        """Label value -> itself, or 0 where the organ was not asked for."""
        wanted = self.labels.names if organs is None else organs
        kept = np.zeros(len(self.labels) + 1, np.uint8)
        for name in wanted:
            value = self.labels.by_name(name).value
            kept[value] = value
        return kept

    def _segmented(self, prepared: PreparedVolume, begin: int, end: int) -> Iterator[Segmented]:
        """Slices begin..end (exclusive), batch after batch."""
        for first in range(begin, end, self.batch_size):
            batch = slice(first, min(first + self.batch_size, end))
            yield batch, *self._segment(prepared, batch)

    @torch.inference_mode()
    def _segment(self, prepared: PreparedVolume, batch: slice) -> tuple[np.ndarray, np.ndarray]:
        """Classes (N, H, W) uint8 and their softmax probabilities, float32, of consecutive slices.

        Logits go straight to the box's own pixels and are arg-maxed there, so that K float volumes never exist.
        """
        images = torch.from_numpy(prepared.slices(batch.start, batch.stop)).to(self.device)
        with torch.autocast(self.device.type, torch.float16, enabled=self.half):
            prediction = self.model(images[:, :, None])
        prediction = replace(prediction, low_res_logits=prediction.low_res_logits.float())
        logits = prediction.resized(prepared.box.shape)[:, :, 0]
        highest, classes = logits.max(dim=1)
        in_box = classes.to(torch.uint8), (highest - logits.logsumexp(dim=1)).exp()
        on_slices = tuple(np.zeros((len(images), *prepared.array.shape[1:]), dtype) for dtype in (np.uint8, np.float32))
        for cropped, slices in zip(in_box, on_slices, strict=True):
            prepared.box.paste(cropped.cpu().numpy(), slices)
        return on_slices[0], on_slices[1]
