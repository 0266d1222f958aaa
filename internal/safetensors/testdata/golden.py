"""Writes golden.safetensors with the format's own package: ramps in each type.

    pip install numpy==2.4.6 safetensors==0.8.0 && python golden.py
"""
import pathlib

import numpy as np
from safetensors import TensorSpec, serialize_file

ramp = np.arange(-6, 6, dtype=np.float32) / 4
tensors = {
    "full": ("float32", ramp.reshape(3, 4)),
    "half": ("float16", ramp.astype(np.float16).reshape(2, 6)),
    # exact: the upper half of a float32 holds these few bits
    "brain": ("bfloat16", (ramp.view(np.uint32) >> 16).astype(np.uint16)),
    "scalar": ("float32", np.array(2.5, np.float32)),
    "empty": ("float32", np.zeros((0, 3), np.float32)),
}
serialize_file(
    {n: TensorSpec(dtype=t, shape=a.shape, data_ptr=a.ctypes.data, data_len=a.nbytes) for n, (t, a) in tensors.items()},
    str(pathlib.Path(__file__).with_name("golden.safetensors")),
    {"format": "pt", "größe": "猫"},
)
