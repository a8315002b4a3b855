#!/usr/bin/env python3
"""Writes layers.json: outputs of PyTorch's layers on inputs that tests make from a formula.

Element i of a tensor is sin(0.9 i + phase): phase 1 for x, 2 for a weight, 3 for a bias, 4 for a
mean, and 1.5 + sin(0.9 i + 5) for a variance.
"""
import json
import os

import torch
from torch import nn


def wave(shape, phase):
    count = int(torch.tensor(shape).prod())
    values = torch.sin(0.9 * torch.arange(count, dtype=torch.float64) + phase)
    return values.reshape(shape).float()


def fill(layer):
    with torch.no_grad():
        layer.weight.copy_(wave(layer.weight.shape, 2))
        if layer.bias is not None:
            layer.bias.copy_(wave(layer.bias.shape, 3))
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.copy_(wave(layer.running_mean.shape, 4))
            layer.running_var.copy_(1.5 + wave(layer.running_var.shape, 5))
    return layer


def numbers(tensor):
    return [round(v, 6) for v in tensor.detach().flatten().tolist()]


cases = {}
for name, layer, shape in [
        ("conv", nn.Conv2d(2, 3, 3), (1, 2, 5, 4)),
        ("conv_stride_padding", nn.Conv2d(2, 3, 3, 2, 1), (2, 2, 5, 4)),
        ("conv_rectangle", nn.Conv2d(1, 2, (1, 3), (2, 1), (0, 2), bias=False), (1, 1, 4, 4)),
        ("conv_dilation_groups", nn.Conv2d(4, 4, 3, 1, 2, 2, groups=2), (1, 4, 4, 4)),
        ("conv_depthwise", nn.Conv2d(3, 6, 3, 1, 1, groups=3, bias=False), (1, 3, 3, 4)),
        ("max_pool", nn.MaxPool2d(2), (1, 2, 5, 4)),
        ("max_pool_ceil", nn.MaxPool2d(3, 2, ceil_mode=True), (1, 1, 6, 8)),
        ("max_pool_padding", nn.MaxPool2d(3, 2, 1), (1, 1, 6, 5)),
        ("avg_pool_padding", nn.AvgPool2d(3, 2, 1), (1, 1, 6, 5)),
        ("global_avg_pool", nn.AdaptiveAvgPool2d(1), (2, 3, 3, 5)),
        ("batch_norm", nn.BatchNorm2d(3), (2, 3, 2, 2)),
        ("relu6", nn.ReLU6(), (1, 1, 3, 4)),
]:
    x = wave(shape, 1) * (8 if name == "relu6" else 1)
    if hasattr(layer, "weight"):
        fill(layer)
    cases[name] = {"y": numbers(layer.eval()(x))}

layer = fill(nn.BatchNorm2d(3, momentum=0.3)).train()
x = wave((2, 3, 2, 2), 1)
cases["batch_norm_train"] = {
    "y": numbers(layer(x)),
    "running_mean": numbers(layer.running_mean),
    "running_var": numbers(layer.running_var),
}
with open(os.path.join(os.path.dirname(__file__), "layers.json"), "w") as f:
    f.write("{\n" + ",\n".join(f'  "{k}": {json.dumps(v)}' for k, v in cases.items()) + "\n}\n")
