"""Writes golden.gguf with the `gguf` package of the llama.cpp project (0.19.0):
a tensor of each storage type, and its values by that package's own reading.

    pip install numpy==2.4.6 gguf==0.19.0 && python golden.py
"""
import pathlib

import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import GGUFValueType as V
from gguf import GGUFWriter
from gguf.quants import dequantize

rng = np.random.default_rng(7)
w = GGUFWriter(pathlib.Path(__file__).with_name("golden.gguf"), "llama")
w.add_custom_alignment(64)
w.add_uint8("u8", 200)
w.add_int8("i8", -100)
w.add_uint16("u16", 60000)
w.add_int16("i16", -30000)
w.add_uint32("u32", 4000000000)
w.add_int32("i32", -2000000000)
w.add_uint64("u64", 2**63 + 1)
w.add_int64("i64", -(2**62))
w.add_float32("f32", 1.5)
w.add_float64("f64", 0.1)
w.add_bool("yes", True)
w.add_bool("no", False)
w.add_string("text", "größe 猫")
w.add_array("strings", ["a", "", "猫"])
w.add_array("ints", [1, -2, 3])
w.add_array("floats", [0.5, -1.25])
w.add_array("truths", [True, False])

w.add_tensor("F32", rng.standard_normal((3, 5), dtype=np.float32))
w.add_tensor("F16", rng.standard_normal((2, 3, 4), dtype=np.float32).astype(np.float16))
# Blocks of random bytes with sensible scales at the places given.
for t, size, scales in [
    (T.Q4_0, 18, [0]), (T.Q4_1, 20, [0, 2]), (T.Q5_0, 22, [0]), (T.Q8_0, 34, [0]),
    (T.Q4_K, 144, [0, 2]), (T.Q6_K, 210, [208]),
]:
    blocks = rng.integers(0, 256, (3, 2, size), dtype=np.uint8)
    for at in scales:
        d = rng.uniform(-0.05, 0.05, (3, 2)).astype(np.float16)
        blocks[:, :, at : at + 2] = d[:, :, None].view(np.uint8)
    raw = blocks.reshape(3, 2 * size)
    w.add_tensor(t.name, raw, raw_dtype=t)
    w.add_tensor(t.name + ".values", dequantize(raw, t).astype(np.float32))
w.write_header_to_file()
w.write_kv_data_to_file()
w.write_tensors_to_file()
w.close()
