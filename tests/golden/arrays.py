#!/usr/bin/env python3
"""Writes arrays.npz, an archive of small arrays as numpy makes it, and arrays.npz.xz."""
import lzma
import os

import numpy as np

out = os.path.join(os.path.dirname(__file__), "arrays.npz")
np.savez_compressed(
    out, **{
        "fc1.weight": np.asfortranarray(np.arange(6, dtype=np.float64).reshape(3, 2) / 3),
        "fc1.bias": np.array([0.5, -65504, 2**-24], dtype=np.float16),
        "cube": np.asfortranarray(np.arange(24, dtype=np.int32).reshape(2, 3, 4)),
        "count": np.array(7, dtype=np.int64),
        "none": np.zeros((0, 3), dtype=np.float32),
        "bytes": np.array([[1, 255]], dtype=np.uint8),
        "small": np.array([-128, 127], dtype=np.int8),
    })
with open(out, "rb") as f:
    packed = lzma.compress(f.read())
with open(out + ".xz", "wb") as f:
    f.write(packed)
