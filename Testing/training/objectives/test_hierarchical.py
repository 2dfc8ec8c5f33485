"""Deep supervision of two decoders, and the noise that rare classes get."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import default_collate

from SAMoraLib.model import SegmentationModel
from SAMoraLib.parts import own_keys, train_only
from SAMoraLib.preprocessing.settings import Preprocessing
from Testing.closeness import assert_close
from Testing.small import small_model
from Testing.training.conftest import Cases
from Training.data.slices import IGNORED, SliceDataset, build_cache
from Training.objectives.hierarchical import HIGHEST_VARIANCE, HierarchicalObjective, noise_spread
from Training.objectives.losses import low_res_label, segmentation_loss
from Training.objectives.segmentation import SegmentationLoss
from Training.settings.deep_supervision import DeepSupervision
from Training.settings.stages import Stage2
from Training.stage2_finetune import make_task

FREQUENCIES = (0.9, 0.06, 0.04, 0.0, 0.0)
GENERATOR = torch.Generator().manual_seed(0)
IMAGE = torch.rand(2, 1, 1, 32, 32, generator=GENERATOR)
LABEL = torch.zeros(2, 1, 32, 32, dtype=torch.long)
LABEL[:, :, 4:20, 8:] = 1
LABEL[:, :, 20:, :16] = 2


def objective_of(model: SegmentationModel, supervision: DeepSupervision | None = None) -> HierarchicalObjective:
    return HierarchicalObjective(model, FREQUENCIES, supervision or DeepSupervision(), SegmentationLoss())


def batch(epoch: int = 0, label: Tensor = LABEL) -> list[Tensor]:
    return [IMAGE, label, torch.full((2,), epoch)]


@pytest.mark.parametrize("epoch", [0, 100])
def test_each_decoder_is_compared_at_its_own_resolution(epoch: int) -> None:
    model, supervision = small_model("h_sam"), DeepSupervision("samora", epochs=200)
    first, second = model(IMAGE).auxiliary
    share = supervision.first_share(epoch)
    expected = (share * segmentation_loss(first, low_res_label(LABEL, 16))
                + (1 - share) * segmentation_loss(second, LABEL))
    assert_close(objective_of(model, supervision)(batch(epoch)), expected)


def test_a_batch_of_two_epochs_takes_their_mean() -> None:
    objective = objective_of(small_model("h_sam"), DeepSupervision("samora", epochs=100))
    image, label, _ = batch()
    mixed = objective([image, label, torch.tensor([0, 100])])
    assert_close(mixed, (objective(batch(0)) + objective(batch(100))) / 2)


def test_variances_are_inversely_proportional_to_frequencies() -> None:
    variances = noise_spread(torch.tensor(FREQUENCIES)).square()
    assert_close(variances[2], HIGHEST_VARIANCE)
    assert_close(variances[:3] * torch.tensor(FREQUENCIES[:3]), torch.full((3,), 0.04 * HIGHEST_VARIANCE))
    assert variances[3:].tolist() == [0, 0]


def test_the_model_is_told_where_to_be_noisy() -> None:
    model, seen = small_model("h_sam").train(), []
    model.mask_decoder2.class_attention.register_forward_hook(lambda *call: seen.append(call[1][1]))
    label = LABEL.clone()
    label[1] = IGNORED
    objective = objective_of(model)
    objective(batch(label=label))
    assert torch.equal(seen[0][0], objective.spread[low_res_label(LABEL[:1], 4)[0, 0]])
    assert seen[0][0].unique().numel() == 3 and seen[0][1].abs().max() == 0


@pytest.mark.parametrize("row", ["h_sam", "h_samora"])
def test_a_few_steps_lower_the_loss_of_both_decoders(row: str) -> None:
    model = small_model(row)
    train_only(model, own_keys(model, model.variant.trained))
    objective = objective_of(model)
    optimiser = torch.optim.AdamW([p for p in objective.parameters() if p.requires_grad], lr=5e-3)

    def losses() -> list[float]:
        with torch.no_grad():
            return [objective_of(model, DeepSupervision("exponential", share))(batch()).item() for share in (0.0, 1.0)]

    torch.manual_seed(0)
    model.eval()
    before = losses()
    model.train()
    for _ in range(10):
        optimiser.zero_grad()
        objective(batch()).backward()
        optimiser.step()
    model.eval()
    assert all(after < 0.9 * at_first for after, at_first in zip(losses(), before, strict=True))


def test_class_weights_count_in_both_losses() -> None:
    model = small_model("h_sam")
    weighted = replace_loss(objective_of(model), SegmentationLoss(0.2, 0.8, (1, 1, 9, 1, 1)))
    assert weighted(batch()).item() != pytest.approx(objective_of(model)(batch()).item(), rel=1e-3)


def replace_loss(objective: HierarchicalObjective, loss: SegmentationLoss) -> HierarchicalObjective:
    objective.loss = loss
    return objective


def test_a_stage_2_run_of_the_row_is_trained_so(cases: Cases, tmp_path: Path) -> None:
    cases.add("a")
    manifest = cases.manifest(tmp_path, train="a")
    preprocessing = Preprocessing("CT", "hu_window", -125, 275, "none", 32)
    slices = SliceDataset(build_cache(manifest, manifest.cases, preprocessing, tmp_path / "cache"))
    config = Stage2(Path("o"), Path("m"), Path("b"), "h_sam", deep_supervision=DeepSupervision("samora"))
    objective, samples = make_task(config, small_model("h_sam"), slices, ())
    assert isinstance(objective, HierarchicalObjective) and objective.supervision.form == "samora"
    assert objective.spread.shape == (5,) and objective.spread.min() > 0
    assert torch.isfinite(objective(default_collate([samples[7, 0], samples[7, 3]])))
