#!/usr/bin/env python3
"""Writes models.json: parameter counts and logits of PyTorch's networks on weights made from names.

Element i of tensor NAME is u = 2 v / 2^32 - 1 with v = (2654435761 i^2 + 40503 i + h) mod 2^32, h
the low half of the FNV-1a hash of NAME; scaled by sqrt(6 / fan_in) for weights of rank 2 and more,
1 + 0.2 u for those of rank 1, 0.1 u for biases and running means, 1 + 0.5 u for running variances.
"""
import json
import os

import numpy as np
import torch
import torchvision
from torch import nn
from torch.nn import functional as F


def noise(name, shape):
    h = 0xcbf29ce484222325
    for byte in name.encode():
        h = (h ^ byte) * 0x100000001b3 & 0xffffffffffffffff
    i = np.arange(int(np.prod(shape)), dtype=np.uint64)
    v = (np.uint64(2654435761) * i * i + np.uint64(40503) * i + np.uint64(h & 0xffffffff))
    u = (v & np.uint64(0xffffffff)).astype(np.float64) / 2**31 - 1
    return torch.from_numpy(u.reshape(shape))


def fill(net):
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if name.endswith("num_batches_tracked"):
                continue
            u = noise(name, tuple(tensor.shape))
            if name.endswith("running_var"):
                u = 1 + 0.5 * u
            elif name.endswith("weight") and tensor.dim() >= 2:
                u = u * (6 / (tensor.numel() / tensor.shape[0])) ** 0.5
            elif name.endswith("weight"):
                u = 1 + 0.2 * u
            else:
                u = 0.1 * u
            tensor.copy_(u.float())
    return net.eval()


class Chain(nn.Module):
    """Named layers one after another; plain functions are allowed."""

    def __init__(self, **layers):
        super().__init__()
        self.order = []
        for name, layer in layers.items():
            if isinstance(layer, nn.Module):
                self.add_module(name, layer)
            self.order.append(layer)

    def forward(self, x):
        for layer in self.order:
            x = layer(x)
        return x


def flat(x):
    return x.flatten(1)


def mean(x):
    return x.mean((2, 3))


def pool2(x):
    return F.max_pool2d(x, 2)


def lenet5(classes):
    return Chain(conv1=nn.Conv2d(1, 20, 5), p1=pool2, conv2=nn.Conv2d(20, 50, 5), p2=pool2, f=flat,
                 fc1=nn.Linear(800, 500), r=F.relu, fc2=nn.Linear(500, classes))


def alexnet_cifar(classes):
    conv, relu, pool = nn.Conv2d, nn.ReLU, nn.MaxPool2d
    features = nn.Sequential(
        conv(3, 64, 11, 4, 5), relu(), pool(2), conv(64, 192, 5, padding=2), relu(), pool(2),
        conv(192, 384, 3, padding=1), relu(), conv(384, 256, 3, padding=1), relu(),
        conv(256, 256, 3, padding=1), relu(), pool(2))
    return Chain(features=features, f=flat, classifier=nn.Linear(256, classes))


def vgg(config, classifier):
    layers, channels = [], 3
    for c in config:
        if c == "M":
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(channels, c, 3, padding=1, bias=False), nn.BatchNorm2d(c), nn.ReLU()]
            channels = c
    return Chain(features=nn.Sequential(*layers), f=flat, classifier=classifier)


def vgg_small(classes):
    head = nn.Sequential(nn.Linear(8192, 1024), nn.ReLU(), nn.Linear(1024, classes))
    return vgg([128, 128, "M", 256, 256, "M", 512, 512, "M"], head)


def vgg16(classes):
    config = [64, 64, "M", 128, 128, "M"] + [256] * 3 + ["M"] + ([512] * 3 + ["M"]) * 2
    return vgg(config, nn.Linear(512, classes))


class Block(nn.Module):
    def __init__(self, ci, co, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(ci, co, 3, stride, 1, bias=False), nn.BatchNorm2d(co)
        self.conv2, self.bn2 = nn.Conv2d(co, co, 3, 1, 1, bias=False), nn.BatchNorm2d(co)
        self.stride, self.pad = stride, (co - ci) // 2

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride != 1:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(y + x)


def resnet_cifar(depth, width):
    def make(classes):
        layers, ci = {}, 16 * width
        for stage, co in enumerate((16 * width, 32 * width, 64 * width)):
            blocks = []
            for i in range((depth - 2) // 6):
                blocks.append(Block(ci, co, 2 if stage and i == 0 else 1))
                ci = co
            layers[f"layer{stage + 1}"] = nn.Sequential(*blocks)
        return Chain(conv1=nn.Conv2d(3, 16 * width, 3, 1, 1, bias=False),
                     bn1=nn.BatchNorm2d(16 * width), r=F.relu, **layers, m=mean,
                     linear=nn.Linear(ci, classes))
    return make


def resnet(depth, cifar):
    def make(classes):
        net = getattr(torchvision.models, f"resnet{depth}")(num_classes=classes)
        if cifar:
            net.conv1, net.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
        return net
    return make


def mobilenet_v1(cifar):
    def make(classes):
        def norm(ci, co, *args, **more):
            return [nn.Conv2d(ci, co, *args, bias=False, **more), nn.BatchNorm2d(co), nn.ReLU()]
        layers, ci = [nn.Sequential(*norm(3, 32, 3, 1 if cifar else 2, 1))], 32
        for co, s in ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1),
                      (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1)):
            layers.append(nn.Sequential(*norm(ci, ci, 3, s, 1, groups=ci), *norm(ci, co, 1)))
            ci = co
        return Chain(model=nn.Sequential(*layers), m=mean, fc=nn.Linear(ci, classes))
    return make


def mobilenet_v2(cifar, width=1.0):
    def make(classes):
        net = torchvision.models.mobilenet_v2(num_classes=classes, width_mult=width)
        if cifar:
            net.features[0][0].stride = (1, 1)
            net.features[2].conv[1][0].stride = (1, 1)
        return net
    return make


class Fire(nn.Module):
    def __init__(self, ci, squeeze, expand):
        super().__init__()
        self.squeeze1x1 = nn.Conv2d(ci, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x):
        x = F.relu(self.squeeze1x1(x))
        return F.relu(torch.cat([self.expand1x1(x), self.expand3x3(x)], 1))


def squeezenet(classes):
    pool = nn.MaxPool2d(3, 2, ceil_mode=True)
    return Chain(conv1=nn.Conv2d(3, 96, 7, 2), r1=F.relu, p1=pool.forward, fire2=Fire(96, 16, 64),
                 fire3=Fire(128, 16, 64), fire4=Fire(128, 32, 128), p4=pool.forward,
                 fire5=Fire(256, 32, 128), fire6=Fire(256, 48, 192), fire7=Fire(384, 48, 192),
                 fire8=Fire(384, 64, 256), p8=pool.forward, fire9=Fire(512, 64, 256),
                 conv10=nn.Conv2d(512, classes, 1, padding=1), r2=F.relu, m=mean)


DIGIT, SMALL, LARGE = [1, 28, 28], [3, 32, 32], [3, 64, 64]
NETS = {
    "lenet5": (lenet5, 10, DIGIT),
    "alexnet_cifar": (alexnet_cifar, 10, SMALL),
    "vgg_small": (vgg_small, 10, SMALL),
    "vgg16": (vgg16, 10, SMALL),
    "resnet20": (resnet_cifar(20, 1), 10, SMALL),
    "resnet32": (resnet_cifar(32, 1), 10, SMALL),
    "resnet56": (resnet_cifar(56, 1), 10, SMALL),
    "resnet20x2": (resnet_cifar(20, 2), 10, SMALL),
    "resnet32x2": (resnet_cifar(32, 2), 10, SMALL),
    "resnet56x2": (resnet_cifar(56, 2), 10, SMALL),
    "resnet18": (resnet(18, False), 1000, LARGE),
    "resnet34": (resnet(34, False), 1000, LARGE),
    "resnet50": (resnet(50, False), 1000, LARGE),
    "resnet18_cifar": (resnet(18, True), 10, SMALL),
    "resnet34_cifar": (resnet(34, True), 10, SMALL),
    "resnet50_cifar": (resnet(50, True), 10, SMALL),
    "mobilenet_v1": (mobilenet_v1(False), 1000, LARGE),
    "mobilenet_v1_cifar": (mobilenet_v1(True), 10, SMALL),
    "mobilenet_v2": (mobilenet_v2(False), 1000, LARGE),
    "mobilenet_v2_cifar": (mobilenet_v2(True), 10, SMALL),
    "squeezenet": (squeezenet, 1000, LARGE),
}


def describe(make, classes, sample):
    count = sum(p.numel() for p in make(classes).parameters())
    x = noise("x", (1, *sample)).float()
    logits = fill(make(5))(x)[0]
    return {"parameters": count, "sample": sample, "logits": [float(f"{v:.7g}") for v in logits]}


def train(steps=4):
    """ResNet-8 on four images of noise: losses of some steps of SGD, then what they left."""
    net = fill(resnet_cifar(8, 1)(5)).train()
    x, y = noise("x", (4, 3, 16, 16)).float(), torch.tensor([0, 1, 2, 3])
    groups = [{"params": [p for p in net.parameters() if p.dim() >= 2], "weight_decay": 1e-2},
              {"params": [p for p in net.parameters() if p.dim() < 2]}]
    optimizer = torch.optim.SGD(groups, lr=0.02, momentum=0.9, nesterov=True)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    state = net.eval().state_dict()
    kept = {name: [float(f"{v:.7g}") for v in state[name].flatten()[:6].tolist()]
            for name in ("conv1.weight", "layer2.0.conv1.weight", "layer3.0.bn2.weight",
                         "layer3.0.bn2.running_var", "bn1.running_mean", "linear.bias")}
    return {"losses": losses, "state": kept, "logits": net(x)[0].tolist()}


if __name__ == "__main__":
    torch.manual_seed(0)
    out = {name: describe(*net) for name, net in NETS.items()}
    out["mobilenet_v2 0.5"] = describe(mobilenet_v2(True, 0.5), 10, SMALL)
    out["training"] = train()
    lines = ",\n".join(f'  "{name}": {json.dumps(value)}' for name, value in out.items())
    with open(os.path.join(os.path.dirname(__file__), "models.json"), "w") as f:
        f.write("{\n" + lines + "\n}\n")
