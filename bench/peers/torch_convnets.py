#!/usr/bin/python3
"""PyTorch's training step of a convolutional network: SGD with momentum 0.9, random images in memory.

Prints one JSON line: the median milliseconds of a step, the most memory the process held, and how it
was run. compare_convnets.sh sets the fastest environment. A step is zero gradients, forward,
cross-entropy, backward and update.

  --layout  channels_last, contiguous, or best: what was fastest on a 2-core Zen 5
  --bf16    autocast to bfloat16
"""
import argparse
import json
import resource
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn


def lenet5():
    return nn.Sequential(nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.MaxPool2d(2), nn.Flatten(),
                         nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10))


def vgg16():
    layers, channels = [], 3
    for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 10))


def alexnet():
    def conv(*a, **k):
        return [nn.Conv2d(*a, **k), nn.ReLU(inplace=True)]
    return nn.Sequential(*conv(3, 64, 11, 4, 5), nn.MaxPool2d(2), *conv(64, 192, 5, padding=2), nn.MaxPool2d(2),
                         *conv(192, 384, 3, padding=1), *conv(384, 256, 3, padding=1), *conv(256, 256, 3, padding=1),
                         nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 10))


class Block(nn.Module):
    """Two convolutions; the shortcut drops pixels and pads channels (option A)."""

    def __init__(self, c_in, c_out, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False), nn.BatchNorm2d(c_out)
        self.conv2, self.bn2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False), nn.BatchNorm2d(c_out)
        self.stride, self.extra = stride, (c_out - c_in) // 2

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride != 1:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.extra, self.extra))
        return F.relu(y + x)


def resnet20():
    widths = [16] * 4 + [32] * 3 + [64] * 3
    blocks = [Block(a, b, 1 if a == b else 2) for a, b in zip(widths, widths[1:])]
    return nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True), *blocks,
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def torchvision_net(name):
    def make():
        import torchvision
        return getattr(torchvision.models, name)()
    return make


# name -> network, batch, sample, classes, faster layout
NETS = {
    "lenet5": (lenet5, 256, (1, 28, 28), 10, "channels_last"),
    "resnet20": (resnet20, 128, (3, 32, 32), 10, "channels_last"),
    "alexnet_cifar": (alexnet, 128, (3, 32, 32), 10, "contiguous"),
    "vgg16": (vgg16, 128, (3, 32, 32), 10, "channels_last"),
    "resnet18": (torchvision_net("resnet18"), 32, (3, 224, 224), 1000, "channels_last"),
    "mobilenet_v2": (torchvision_net("mobilenet_v2"), 32, (3, 224, 224), 1000, "channels_last"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("net", choices=NETS)
    parser.add_argument("--layout", choices=["best", "channels_last", "contiguous"], default="best")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    make, batch, sample, classes, faster = NETS[args.net]
    layout = faster if args.layout == "best" else args.layout
    net, x = make().train(), torch.randn(batch, *sample)
    if layout == "channels_last":
        net, x = net.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    y = torch.randint(0, classes, (batch,))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9)

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.bf16):
            loss = F.cross_entropy(net(x).float(), y)
        loss.backward()
        optimizer.step()

    for _ in range(3):
        step()
    times = []
    for _ in range(args.steps):
        start = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - start))
    print(json.dumps({"train_step_ms": statistics.median(times),
                      "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                      "net": args.net, "batch": batch, "layout": layout, "bf16": args.bf16,
                      "torch": torch.__version__}))


main()
