"""Checks Crayon's PEFT import and export against the real `peft`, both ways.

    pip install torch transformers peft safetensors numpy
    python test/peft/check.py make DIR [--gguf SmolLM2-135M-Instruct.Q4_1.gguf]
    CRAYON_PEFT_DIR=DIR go test -count=1 -run TestRealPEFT -v ./internal/adapter
    python test/peft/check.py verify DIR

`make` builds, for each case (a tiny random llama; with --gguf the real model
from its dequantised weights), in DIR/CASE:
    model.json           the sizes, as Crayon's arch.Config has them
    base/                the Hugging Face model
    plain/, pattern/     adapters that peft made and saved, all seven linears
    deltas.safetensors   "plain/MODULE", "pattern/MODULE", "blend/MODULE": the
                         change of each weight by peft's own reckoning, rows in
                         Hugging Face order; blend is 0.7 plain + 0.3 pattern
    tokens.json          one token sequence
    logits.safetensors   "base", "plain", "pattern", "blend": its logits
The Go test imports both adapters, compares the changes, and writes DIR/CASE/
export (the blend as a PEFT folder). `verify` loads that with peft and compares
changes and logits. It ends with one line a case and exits non-zero on a miss.
"""

import argparse
import copy
import json
import pathlib
import struct
import sys

import numpy as np

SHARES = {"plain": 0.7, "pattern": 0.3}
KINDS = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
GGUF_KINDS = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]
MOST_DELTA = 1e-5  # Frobenius norm of the difference of a change, relative to the change
MOST_LOGIT = 2e-3  # largest difference of a logit


# --- GGUF, as much as the model needs -----------------------------------------

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


def dequantize(kind, raw):
    """The values of a tensor's bytes: F32, F16, Q4_0, Q4_1, Q8_0."""
    if kind in (0, 1):
        return raw.view([np.float32, np.float16][kind]).astype(np.float32)
    size = {2: 18, 3: 20, 8: 34}[kind]
    blocks = raw.reshape(-1, size)

    def f16(at):
        return blocks[:, at : at + 2].copy().view(np.float16).astype(np.float32)

    if kind == 8:
        return (f16(0) * blocks[:, 2:].view(np.int8)).astype(np.float32).ravel()
    start = 2 if kind == 2 else 4
    q = blocks[:, start:]
    q = np.concatenate([q & 15, q >> 4], axis=1).astype(np.float32)
    return (f16(0) * (q - 8) if kind == 2 else f16(0) * q + f16(2)).ravel()


class GGUF:
    """keys: name -> value; tensor(name): a numpy array, rows by columns."""

    def __init__(self, path):
        self.data, self.at = np.fromfile(path, np.uint8), 0
        magic, version, tensors, keys = self.take("<4sIQQ")
        assert magic == b"GGUF" and version in (2, 3), (magic, version)
        self.keys = {}
        for _ in range(keys):
            name = self.text()
            self.keys[name] = self.value(*self.take("<I"))
        entries = []
        for _ in range(tensors):
            name, (dims,) = self.text(), self.take("<I")
            shape = self.take(f"<{dims}Q")
            entries.append((name, shape, *self.take("<IQ")))
        align = self.keys.get("general.alignment", 32)
        start = (self.at + align - 1) // align * align
        self.entries = {name: (shape, kind, start + offset) for name, shape, kind, offset in entries}

    def take(self, layout):
        size = struct.calcsize(layout)
        self.at += size
        return struct.unpack(layout, self.data[self.at - size : self.at].tobytes())

    def text(self):
        (n,) = self.take("<Q")
        self.at += n
        return self.data[self.at - n : self.at].tobytes().decode("utf-8", "replace")

    def value(self, kind):
        if kind == 8:
            return self.text()
        if kind == 9:
            item, n = self.take("<IQ")
            return [self.value(item) for _ in range(n)]
        return self.take("<" + SCALARS[kind])[0]

    def tensor(self, name):
        shape, kind, start = self.entries[name]
        values, size = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 8: (32, 34)}[kind]
        count = int(np.prod(shape))
        raw = self.data[start : start + count // values * size].copy()
        return dequantize(kind, raw).reshape(shape[::-1])


def to_hf(w, heads):
    """Rows (head, i, half) put in the order (head, half, i)."""
    rows, cols = w.shape
    return w.reshape(heads, rows // heads // 2, 2, cols).swapaxes(1, 2).reshape(rows, cols)


# --- models -------------------------------------------------------------------


def llama(sizes, eps, base, context, tied):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=sizes["Vocab"], hidden_size=sizes["Dim"], intermediate_size=sizes["FF"], num_hidden_layers=sizes["Layers"],
        num_attention_heads=sizes["Heads"], num_key_value_heads=sizes["KVHeads"], head_dim=sizes["HeadDim"],
        max_position_embeddings=context, rms_norm_eps=eps, rope_theta=base, tie_word_embeddings=tied,
        bos_token_id=1, eos_token_id=2,
    )
    if getattr(config, "rope_parameters", None):  # where newer releases keep it
        config.rope_parameters["rope_theta"] = base
    model = LlamaForCausalLM(config).float().eval()
    want = base ** (-np.arange(0, sizes["HeadDim"], 2) / sizes["HeadDim"])
    got = model.model.rotary_emb.inv_freq.numpy()
    assert np.allclose(got, want, rtol=1e-5), "the rotary base did not reach the model"
    return model


def tiny():
    import torch

    torch.manual_seed(3)
    sizes = dict(Family="llama", Layers=3, Dim=48, Heads=6, KVHeads=2, HeadDim=8, FF=80, Vocab=101)
    model = llama(sizes, 1e-5, 10000.0, 64, False)
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim > 1:  # the norms stay at one
                p.normal_(0, 0.2)
    return sizes, model


def real(path):
    import torch

    f = GGUF(path)

    def key(name):
        return f.keys["llama." + name]

    heads, kv, dim = key("attention.head_count"), key("attention.head_count_kv"), key("embedding_length")
    sizes = dict(
        Family="llama", Layers=key("block_count"), Dim=dim, Heads=heads, KVHeads=kv, HeadDim=dim // heads,
        FF=key("feed_forward_length"), Vocab=len(f.keys["tokenizer.ggml.tokens"]),
    )
    tied = "output.weight" not in f.entries
    model = llama(sizes, key("attention.layer_norm_rms_epsilon"), key("rope.freq_base"), key("context_length"), tied)
    state = {"model.embed_tokens.weight": f.tensor("token_embd.weight"), "model.norm.weight": f.tensor("output_norm.weight")}
    state["lm_head.weight"] = state["model.embed_tokens.weight"] if tied else f.tensor("output.weight")
    for n in range(sizes["Layers"]):
        for hf, name in zip(KINDS, GGUF_KINDS):
            w = f.tensor(f"blk.{n}.{name}.weight")
            if name in ("attn_q", "attn_k"):
                w = to_hf(w, heads if name == "attn_q" else kv)
            state[f"model.layers.{n}.{hf}.weight"] = w
        state[f"model.layers.{n}.input_layernorm.weight"] = f.tensor(f"blk.{n}.attn_norm.weight")
        state[f"model.layers.{n}.post_attention_layernorm.weight"] = f.tensor(f"blk.{n}.ffn_norm.weight")
    model.load_state_dict({k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in state.items()}, strict=True)
    return sizes, model


# --- adapters -----------------------------------------------------------------


def adapters():
    from peft import LoraConfig

    seven = [k.split(".")[1] for k in KINDS]
    plain = LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, target_modules=seven)
    pattern = LoraConfig(
        task_type="CAUSAL_LM", r=6, lora_alpha=9, use_rslora=True, target_modules=seven,
        rank_pattern={"q_proj": 4, "layers.1.mlp.down_proj": 10}, alpha_pattern={"v_proj": 5, r"layers\.[02]\.mlp\..*": 7},
    )
    return {"plain": plain, "pattern": pattern}


def deltas(model, layers):
    """Module path -> change of its weight, by peft; of the given layers."""
    out = {}
    for name, module in model.get_base_model().named_modules():
        if hasattr(module, "lora_A") and int(name.split(".")[2]) in layers:
            (adapter,) = module.lora_A.keys()
            out[name] = module.get_delta_weight(adapter).detach().float().contiguous()
    return out


def logits(model, tokens):
    import torch

    with torch.no_grad():
        return model(torch.tensor([tokens])).logits[0].float().contiguous()


def chosen(count):
    """The layers whose changes are kept: all of a small model."""
    return set(range(count)) if count <= 4 else {0, 1, count // 2, count - 1}


def make_case(folder, sizes, model, seed):
    import torch
    from peft import get_peft_model
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.json").write_text(json.dumps(sizes))
    model.save_pretrained(folder / "base")
    tokens = np.random.default_rng(seed).integers(3, sizes["Vocab"], 16).tolist()
    (folder / "tokens.json").write_text(json.dumps(tokens))
    results, changes = {"base": logits(model, tokens)}, {}
    blend = copy.deepcopy(model)
    weights = dict(blend.named_parameters())
    for name, config in adapters().items():
        torch.manual_seed(seed)
        seed += 1
        adapted = get_peft_model(copy.deepcopy(model), config).eval()
        with torch.no_grad():
            for path, p in adapted.named_parameters():
                if "lora_B" in path:
                    p.normal_(0, 0.05)
        adapted.save_pretrained(folder / name, save_embedding_layers=False)
        results[name] = logits(adapted, tokens)
        with torch.no_grad():
            for module, d in deltas(adapted, range(sizes["Layers"])).items():
                weights[module + ".weight"] += SHARES[name] * d
                if int(module.split(".")[2]) in chosen(sizes["Layers"]):
                    changes[f"{name}/{module}"] = d
                    so_far = changes.get(f"blend/{module}", torch.zeros_like(d))
                    changes[f"blend/{module}"] = so_far + SHARES[name] * d
    results["blend"] = logits(blend, tokens)
    save_file(changes, folder / "deltas.safetensors")
    save_file(results, folder / "logits.safetensors")


def make(args):
    make_case(args.dir / "tiny", *tiny(), seed=11)
    if args.gguf:
        make_case(args.dir / "real", *real(args.gguf), seed=21)


def verify_case(folder):
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(folder / "base").float().eval()
    adapted = PeftModel.from_pretrained(base, folder / "export").eval()
    layers = json.loads((folder / "model.json").read_text())["Layers"]
    want = {k.removeprefix("blend/"): v for k, v in load_file(folder / "deltas.safetensors").items() if k.startswith("blend/")}
    got = deltas(adapted, chosen(layers))
    assert got.keys() == want.keys(), "the export changes other modules"
    worst = max(float((got[k] - want[k]).norm() / want[k].norm()) for k in want)
    reference = load_file(folder / "logits.safetensors")
    tokens = json.loads((folder / "tokens.json").read_text())
    off = float((logits(adapted, tokens) - reference["blend"]).abs().max())
    effect = float((reference["blend"] - reference["base"]).abs().max())
    good = worst <= MOST_DELTA and off <= MOST_LOGIT and effect > 10 * MOST_LOGIT
    print(f"peft: {folder.name}: export: delta={worst:.2e} logits={off:.2e} effect={effect:.2f} {'ok' if good else 'MISS'}")
    return good


def verify(args):
    cases = [c for c in sorted(args.dir.iterdir()) if (c / "model.json").exists()]
    good = [verify_case(c) for c in cases]
    sys.exit(0 if good and all(good) else 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    p = commands.add_parser("make", help="build models and adapters")
    p.add_argument("dir", type=pathlib.Path)
    p.add_argument("--gguf", help="the real model's GGUF file")
    p.set_defaults(run=make)
    p = commands.add_parser("verify", help="load the exports and compare")
    p.add_argument("dir", type=pathlib.Path)
    p.set_defaults(run=verify)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
