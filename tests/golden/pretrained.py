#!/usr/bin/env python3
"""pretrained.py NETS_DIR writes pretrained.json: PyTorch's logits of stored ImageNet networks.

The input is noise("x") of models.py, times 2 for ResNet-18 (normalized RGB) and 100 for SqueezeNet
(BGR minus the mean).
"""
import json
import lzma
import os
import struct
import sys

import numpy as np
import torch

import models


def load(path):
    with lzma.open(path) as f:
        data = f.read()
    length = struct.unpack("<Q", data[:8])[0]
    out = {}
    for name, entry in json.loads(data[8:8 + length]).items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            values = np.frombuffer(data[8 + length:][begin:end], np.float32)
            out[name] = torch.from_numpy(values.reshape(entry["shape"]).copy())
    return out


def logits(net, x):
    y = net.eval()(x)[0]
    return {"argmax": int(y.argmax()), "logits": [float(f"{v:.7g}") for v in y[:8]]}


nets = sys.argv[1]
out = {}
net = models.resnet(18, False)(1000)
net.load_state_dict(load(os.path.join(nets, "resnet18_imagenet_pq.safetensors.xz")), strict=False)
out["resnet18"] = logits(net, 2 * models.noise("x", (1, 3, 224, 224)).float())
renamed = {}
for name, tensor in load(os.path.join(nets, "squeezenet_v1.0_imagenet.safetensors.xz")).items():
    for theirs, ours in (("/conv1x1_1", ".squeeze1x1"), ("/conv1x1_2", ".expand1x1"),
                         ("/conv3x3_2", ".expand3x3"), ("conv_final", "conv10")):
        name = name.replace(theirs, ours)
    renamed[name] = tensor
net = models.squeezenet(1000)
net.load_state_dict(renamed)
out["squeezenet"] = logits(net, 100 * models.noise("x", (1, 3, 227, 227)).float())
lines = ",\n".join(f'  "{name}": {json.dumps(value)}' for name, value in out.items())
with open(os.path.join(os.path.dirname(__file__), "pretrained.json"), "w") as f:
    f.write("{\n" + lines + "\n}\n")
