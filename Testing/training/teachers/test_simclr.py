"""SimCLRv2: its size, and the published weights' own computation behind the renamed keys."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from Testing.closeness import assert_close
from Testing.training.teachers.simclr_reference import ReferenceHead, ReferenceResNet
from Training.teachers.simclr import R50_2X_SK, TINY, Simclr, SimclrSize, from_published

SIZE = SimclrSize((2, 1, 1, 1), (8, 16, 32, 64), 8)


def published(size: SimclrSize = SIZE) -> tuple[nn.Module, nn.Module, dict[str, torch.Tensor]]:
    """Network, head and flat file of the converter, with statistics that hide nothing."""
    torch.manual_seed(0)
    net = ReferenceResNet(size.layers, size.channels, size.stem)
    head = ReferenceHead(4 * size.channels[-1])
    for module in (*net.modules(), *head.modules()):
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for value in (module.weight.data, module.running_var):
                value.uniform_(0.5, 1.5)
            for value in (module.bias.data, module.running_mean):
                value.normal_(0, 0.1)
    state = {f"resnet.{key}": value for key, value in net.state_dict().items()}
    return net.eval(), head.eval(), state | {f"head.{key}": value for key, value in head.state_dict().items()}


def test_the_full_network_has_the_published_size() -> None:
    with torch.device("meta"):
        model = Simclr(R50_2X_SK)
    assert sum(parameter.numel() for parameter in model.net.parameters()) == 140_306_048
    assert model.width == 4096
    assert model.head[6].weight.shape == (128, 4096)


def test_published_keys_are_those_of_the_reference_at_full_size() -> None:
    with torch.device("meta"):
        net = ReferenceResNet(R50_2X_SK.layers, R50_2X_SK.channels, R50_2X_SK.stem)
        model = Simclr(R50_2X_SK)
    renamed = from_published({f"resnet.{key}": value for key, value in net.state_dict().items()})
    wanted = {key: value.shape for key, value in model.state_dict().items() if key.startswith("net.")}
    assert {key: value.shape for key, value in renamed.items()} == wanted


@pytest.mark.parametrize("side", [64, 96])
def test_renamed_weights_compute_what_the_published_code_computes(side: int) -> None:
    net, head, state = published()
    model = Simclr(SIZE).eval()
    model.load_state_dict(from_published(state))
    images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = net(images)
        assert_close(model.features(images), expected)
        assert_close(model(images), head(expected))


def test_the_classifier_is_left_out_and_unknown_keys_are_kept() -> None:
    renamed = from_published({"resnet.fc.weight": torch.zeros(1), "resnet.odd": torch.zeros(1)})
    assert list(renamed) == ["resnet.odd"]


def test_the_last_offset_is_not_trained() -> None:
    assert [name for name, p in Simclr(TINY).named_parameters() if not p.requires_grad] == ["head.7.bias"]


def test_shared_statistics_change_nothing_of_what_is_computed() -> None:
    """Nor the names in a file; activations that are part of timm's normalisations stay."""
    _, _, state = published()
    model, shared = Simclr(SIZE).eval(), Simclr(SIZE)
    shared.share_statistics()
    for teacher in (model, shared.eval()):
        teacher.load_state_dict(from_published(state))
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert_close(shared(images), model(images))
    kinds = [type(module) for module in shared.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert kinds and all(issubclass(kind, nn.SyncBatchNorm) for kind in kinds)
    assert [name for name, p in shared.named_parameters() if not p.requires_grad] == ["head.7.bias"]
