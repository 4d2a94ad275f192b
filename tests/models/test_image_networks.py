"""ConvNet, ResNet and Inception are built as their options say, and scale as they should."""

import pytest
import torch
from torch import nn

from models.networks import (
    CompoundScaling,
    ConvNet,
    InceptionNet,
    ResNet,
    compound_coefficients,
    compound_grid,
    make_network,
)
from models.networks.inception import Inception
from models.networks.style import Style

SHAPE = (1, 12, 12)


def images(n=4, shape=SHAPE):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(1))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def conv_shapes(net):
    return [tuple(m.weight.shape) for m in net.modules() if isinstance(m, nn.Conv2d)]


# ConvNet


def test_a_convnet_doubles_its_channels_at_each_stage():
    assert conv_shapes(ConvNet(SHAPE, 3, depth=3, width=4)) == [
        (4, 1, 3, 3),
        (8, 4, 3, 3),
        (16, 8, 3, 3),
    ]


def test_a_list_of_widths_and_convs_say_each_convolution():
    net = ConvNet(SHAPE, 3, width=[4, 6], convs=2, kernel=5)
    assert conv_shapes(net) == [(4, 1, 5, 5), (4, 4, 5, 5), (6, 4, 5, 5), (6, 6, 5, 5)]


@pytest.mark.parametrize(
    ("pooling", "depth", "pixels"), [("max", 1, 6), ("avg", 2, 3), ("max", 5, 2), ("none", 2, 12)]
)
def test_each_stage_halves_the_image_down_to_2_pixels(pooling, depth, pixels):
    net = ConvNet(SHAPE, 3, depth=depth, width=2, pooling=pooling)
    assert net.features(images()).shape[2:] == (pixels, pixels)
    assert net.head.in_features == 2**depth * pixels**2


def test_pooling_under_the_norm_gives_what_it_gives_under_the_activation():
    net = ConvNet(SHAPE, 3, depth=1, width=4, generator=generator()).eval()
    conv, pool, norm, act = net.features
    torch.testing.assert_close(pool(act(norm(conv(images())))), net.features(images()))


def test_the_layout_in_memory_changes_no_number():
    net = ConvNet((3, 12, 12), 3, depth=2, width=8, generator=generator()).double()
    x = images(shape=(3, 12, 12)).double()
    torch.testing.assert_close(net(x), net(x.contiguous(memory_format=torch.channels_last)))
    reference = net.head(net.features(x).flatten(1))
    torch.testing.assert_close(net(x), reference)


# ResNet


@pytest.mark.parametrize(("block", "per_block"), [("basic", 2), ("bottleneck", 3)])
def test_a_resnet_has_as_many_layers_as_the_paper_counts(block, per_block):
    net = ResNet(SHAPE, 3, block=block, depth=3, width=8)
    layers = [m for k, m in net.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))
              and "shortcut" not in k]  # fmt: skip
    assert len(layers) == 3 * 3 * per_block + 2


def test_a_bottleneck_gives_out_four_times_its_width():
    net = ResNet(SHAPE, 3, block="bottleneck", depth=1, stages=2, width=8)
    first = net.blocks[0](torch.zeros(2, 8, 8, 8))
    assert first.shape == (2, 32, 8, 8)
    assert net.blocks[1](first).shape == (2, 64, 4, 4)


@pytest.mark.parametrize("norm", ["batch", "group", "instance", "layer", "weight", "none"])
@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_with_zero_init_a_block_begins_as_its_shortcut(norm, block):
    options = {"block": block, "depth": 2, "stages": 1, "width": 16, "generator": generator()}
    net = ResNet(SHAPE, 3, norm=norm, zero_init=True, **options)
    x = torch.rand(4, 64 if block == "bottleneck" else 16, 6, 6)
    assert torch.equal(net.blocks[1](x), x)  # not negative, so that relu leaves it
    options["generator"] = generator()
    net = ResNet(SHAPE, 3, norm=norm, zero_init=False, **options)
    assert not torch.equal(net.blocks[1](x), x)


@pytest.mark.parametrize("norm", ["batch", "weight", "none"])
def test_a_block_that_begins_as_its_shortcut_learns_to_be_more(norm):
    net = ResNet(SHAPE, 3, norm=norm, depth=2, stages=1, width=4, generator=generator())
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images()), torch.tensor([0, 1, 2, 0])).backward()
        optimizer.step()
    x = torch.rand(4, 4, 6, 6)
    assert not torch.equal(net.blocks[1](x), x)
    assert net(images()).isfinite().all()


def test_a_list_of_depths_says_the_stages():
    net = ResNet(SHAPE, 3, depth=[1, 2, 1, 1], width=2)
    assert len(net.blocks) == 5
    assert net.blocks[-1].branch[0].out_channels == 16


# compound scaling


def test_phi_0_is_the_network_as_its_options_say():
    net, plain = CompoundScaling(phi=0), ResNet(SHAPE, 3, depth=1, width=10)
    assert (net.depth(3), net.width(10), net.resolution(28)) == (3, 10, 28)
    assert plain.stem[0].out_channels == 10
    assert plain.size == (12, 12)


def test_phi_scales_depth_width_and_resolution_by_equation_3():
    scaling = CompoundScaling(phi=3, alpha=1.2, beta=1.1, gamma=1.15)
    assert scaling.depth(4) == round(4 * 1.2**3)
    assert scaling.width(64) == 88  # 64 * 1.331 = 85.2, in eights
    assert scaling.resolution(28) == round(28 * 1.15**3)
    assert scaling.work == pytest.approx((1.2 * 1.1**2 * 1.15**2) ** 3)


def test_a_scaled_resnet_resizes_its_images_itself():
    net = ResNet(SHAPE, 3, phi=2, depth=2, stages=1, width=8, gamma=1.25, generator=generator())
    assert net.size == (19, 19)
    assert len(net.blocks) == 3
    seen = []
    net.stem.register_forward_hook(lambda module, args, out: seen.append(args[0].shape))
    assert net(images()).shape == (4, 3)
    assert seen == [(4, 1, 19, 19)]


def test_a_negative_phi_makes_a_smaller_network_that_still_is_one():
    net = ResNet(SHAPE, 3, phi=-20, depth=2, width=16)
    assert net.size == (1, 1)
    assert [b.branch[0].out_channels for b in net.blocks] == [8, 8, 8]


def test_every_point_of_the_grid_keeps_to_the_budget():
    grid = compound_grid(budget=2, tolerance=0.1, step=0.05)
    assert all(abs(s.alpha * s.beta**2 * s.gamma**2 - 2) <= 0.1 + 1e-9 for s in grid)
    points = {(s.alpha, s.beta, s.gamma) for s in grid}
    assert (1.2, 1.1, 1.15) in points  # what the paper found
    assert len(points) == len(grid)
    assert max(s.alpha for s in grid) == 2.1
    assert max(s.gamma for s in grid) == 1.4


def test_the_coefficients_with_the_best_score_are_picked():
    picked = compound_coefficients(lambda s: -abs(s.alpha - 1.2) - abs(s.gamma - 1.15))
    assert (picked.alpha, picked.beta, picked.gamma) == (1.2, 1.1, 1.15)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"budget": 1.0}, "budget is 1.0"), ({"tolerance": 0.0, "step": 0.3}, "a finer step")],
)
def test_a_grid_without_points_says_why(options, message):
    with pytest.raises(ValueError, match=message):
        compound_grid(**options)


# Inception


def test_the_branches_of_an_inception_module_share_its_output_as_in_the_paper():
    module = Inception(Style(generator=generator()), 192, 256)
    x = torch.zeros(2, 192, 4, 4)
    branches = [
        branch(x).shape[1] for branch in (module.one, module.three, module.five, module.pool)
    ]
    assert branches == [64, 128, 32, 32]  # module 3a
    assert module.three[0][0].out_channels == 96
    assert module.five[0][0].out_channels == 16
    assert module(x).shape == (2, 256, 4, 4)


def test_the_stages_of_an_inception_net_halve_the_image():
    net = InceptionNet(SHAPE, 3, depth=2, width=8, modules=2)
    assert net.features(images()).shape == (4, 16, 3, 3)
    assert sum(isinstance(m, Inception) for m in net.modules()) == 4


@pytest.mark.parametrize("model", ["convnet", "resnet", "inception"])
@pytest.mark.parametrize("norm", ["layer", "instance", "group", "weight", "none"])
def test_a_batch_without_rows_passes_and_gives_every_parameter_a_gradient_of_zero(model, norm):
    net = make_network(model, (1, 8, 8), 10, norm=norm, width=8).train()
    y = net(torch.empty(0, 1, 8, 8))
    assert y.shape == (0, 10)
    y.sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert not parameter.grad.any(), name
