"""Serves a GGUF model on an NVIDIA GPU by OpenAI's chat API, for the benchmark.

    python bench/torchserver/serve.py --model FILE.gguf [--adapter NAME=LORA.gguf ...]

What `make server-llm` answers in hours on two cores, this answers in minutes:
requests that wait are computed together. Each adapter is merged into a copy of
the weights and is a model of its own name; the bare model is named --name.
Chat completions alone, greedy, at most 64 tokens, no streams. Loopback only.
Needs torch, transformers and gguf. README.md says how it was checked.
"""

import argparse
import copy
import json
import os
import queue
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import gguf
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

MOST_BODY = 4 << 20
MOST_TOKENS = 64
MOST_LIKELY = 20

# GGUF's names of a layer's matrices, and those of transformers.
MATRICES = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}


class Refused(Exception):
    """A request that this server does not answer: status and reason."""


def merge(model, path):
    """Adds a LoRA adapter's product to the model's matrices; returns how many."""
    reader = gguf.GGUFReader(path)
    alpha = float(reader.fields["adapter.lora.alpha"].contents())
    sides = {t.name: torch.from_numpy(gguf.dequantize(t.data, t.tensor_type).copy()) for t in reader.tensors}
    layers, merged = model.model.layers, 0
    for name, a in sides.items():
        if not name.endswith(".weight.lora_a"):
            continue
        b = sides[name[:-1] + "b"]
        _, layer, matrix, *_ = name.split(".")
        linear = layers[int(layer)].get_submodule(MATRICES[matrix])
        delta = alpha / a.shape[0] * (b.double() @ a.double())
        with torch.no_grad():
            linear.weight.copy_((linear.weight.double() + delta.to(linear.weight.device)).to(linear.weight.dtype))
        merged += 1
    if merged == 0:
        raise SystemExit(f"{path}: no LoRA matrices")
    return merged


class Ask:
    """A request in work."""

    def __init__(self, model, ids, tokens, likely):
        self.model, self.ids, self.tokens, self.likely = model, ids, tokens, likely
        self.said, self.top, self.ended, self.error = [], [], False, None
        self.done = threading.Event()


class Server:
    """Models of one base and the thread that computes with them."""

    def __init__(self, o):
        folder, file = os.path.split(os.path.abspath(o.model))
        self.tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
        base = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=getattr(torch, o.dtype)).to(o.device).eval()
        if o.adapter and base.config.model_type != "qwen2":
            raise SystemExit("adapters of other models than qwen2 have their rows in another order")
        self.models = {o.name: base}
        for pair in o.adapter:
            name, _, path = pair.partition("=")
            self.models[name] = copy.deepcopy(base)
            print(f"{name}: {merge(self.models[name], path)} matrices of {path}", flush=True)
        self.device, self.most = o.device, o.batch_tokens
        ends = {self.tokenizer.eos_token_id, *self.tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])}
        self.ends = {e for e in ends if e is not None}
        self.texts = {}  # of tokens: decoding them is slow
        self.asks = queue.Queue()
        threading.Thread(target=self.work, daemon=True).start()

    def ask(self, body):
        """Answers the body of a chat completion, as OpenAI does."""
        if body.get("stream") or body.get("tools") or body.get("n", 1) != 1 or body.get("temperature", 0) != 0:
            raise Refused(400, "streams, tools, n and temperature are not served")
        name = body.get("model", "")
        if name not in self.models:
            raise Refused(404, f"there is no model {name!r}")
        text = self.tokenizer.apply_chat_template(body["messages"], tokenize=False, add_generation_prompt=True)
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        tokens = min(body.get("max_tokens") or MOST_TOKENS, MOST_TOKENS)
        ask = Ask(name, ids, tokens, min(body.get("top_logprobs", 0), MOST_LIKELY) if body.get("logprobs") else 0)
        if not ids or len(ids) + tokens > self.models[name].config.max_position_embeddings:
            raise Refused(400, "the prompt is longer than the model's context (context_length_exceeded)")
        self.asks.put(ask)
        ask.done.wait()
        if ask.error:
            raise Refused(500, ask.error)
        choice = {"index": 0, "message": {"role": "assistant", "content": self.tokenizer.decode(ask.said)}, "finish_reason": "stop" if ask.ended else "length"}
        if body.get("logprobs"):
            choice["logprobs"] = {"content": ask.top}
        used = {"prompt_tokens": len(ids), "completion_tokens": len(ask.top), "total_tokens": len(ids) + len(ask.top)}
        return {"id": f"chatcmpl-{time.time_ns()}", "object": "chat.completion", "created": int(time.time()), "model": name, "choices": [choice], "usage": used}

    def work(self):
        held = []
        while True:
            held.append(self.asks.get() if not held else held.pop(0))
            while len(held) < 4096:
                try:
                    held.append(self.asks.get_nowait())
                except queue.Empty:
                    break
            # Those of the first one's model and answer, alike in length, within the room.
            first = held[0]
            mine = sorted((a for a in held if (a.model, a.tokens) == (first.model, first.tokens)), key=lambda a: abs(len(a.ids) - len(first.ids)))
            batch, longest = [], 0
            for a in mine:
                longest = max(longest, len(a.ids) + a.tokens)
                if batch and longest * (len(batch) + 1) > self.most:
                    break
                batch.append(a)
            held = [a for a in held if not any(a is b for b in batch)]
            try:
                self.compute(batch)
            except Exception as e:  # the thread must answer whoever waits
                for a in batch:
                    a.error = f"{type(e).__name__}: {e}"
            for a in batch:
                a.done.set()

    @torch.inference_mode()
    def compute(self, batch):
        """Greedy tokens for each ask, padded on the left."""
        width = max(len(a.ids) for a in batch)
        ids = torch.tensor([[0] * (width - len(a.ids)) + a.ids for a in batch], device=self.device)
        mask = torch.tensor([[0] * (width - len(a.ids)) + [1] * len(a.ids) for a in batch], device=self.device)
        cache, place = None, (mask.cumsum(1) - 1).clamp(min=0)
        for step in range(max(a.tokens for a in batch)):
            out = self.models[batch[0].model](input_ids=ids, attention_mask=mask, position_ids=place, past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache = out.past_key_values
            lp = out.logits[:, -1].float().log_softmax(-1)
            value, token = lp.topk(MOST_LIKELY)
            value, token = value.tolist(), token.tolist()
            for a, v, t in zip(batch, value, token):
                if a.ended or len(a.top) >= a.tokens:
                    continue
                a.top.append(self.told(t[0], v[0]) | {"top_logprobs": [self.told(x, y) for x, y in zip(t[: a.likely], v)]})
                a.ended = t[0] in self.ends
                if not a.ended:
                    a.said.append(t[0])
            if all(a.ended or len(a.top) >= a.tokens for a in batch):
                return
            ids = torch.tensor([[t[0]] for t in token], device=self.device)
            mask = torch.cat([mask, torch.ones_like(ids)], 1)
            place = mask.sum(1, keepdim=True) - 1

    def told(self, token, value):
        if token not in self.texts:
            self.texts[token] = self.tokenizer.decode([token])
        return {"token": self.texts[token], "logprob": value}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_llm = None

    def do_GET(self):
        models = [{"id": m, "object": "model"} for m in self.server_llm.models]
        self.reply(200, {"object": "list", "data": models}) if self.path == "/v1/models" else self.fail(404, "no such page")

    def do_POST(self):
        try:
            length = int(self.headers.get("Content-Length") or 0)
            if not 0 < length <= MOST_BODY:
                raise Refused(413, "the body is empty or too long")
            body = json.loads(self.rfile.read(length))
            if self.path != "/v1/chat/completions":
                raise Refused(404, "no such page")
            self.reply(200, self.server_llm.ask(body))
        except Refused as e:
            self.fail(*e.args)
        except (ValueError, KeyError, TypeError) as e:
            self.fail(400, f"bad request: {e}")

    def fail(self, status, why):
        self.close_connection = True
        self.reply(status, {"error": {"message": why, "type": "invalid_request_error"}})

    def reply(self, status, value):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def setup(self):
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def log_message(self, *_):
        pass


class Listener(ThreadingHTTPServer):
    daemon_threads, request_queue_size = True, 512


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--model", required=True, help="GGUF file")
    p.add_argument("--name", default="base", help="name of the bare model")
    p.add_argument("--adapter", action="append", default=[], metavar="NAME=FILE", help="a LoRA adapter in GGUF, merged; several")
    p.add_argument("--device", default="cuda")
    p.add_argument("--dtype", default="bfloat16")
    p.add_argument("--batch-tokens", type=int, default=32768, help="padded tokens computed at once")
    p.add_argument("--port", type=int, default=8323)
    o = p.parse_args()
    Handler.server_llm = Server(o)
    print(f"serves {', '.join(Handler.server_llm.models)} on http://127.0.0.1:{o.port}/v1", flush=True)
    Listener(("127.0.0.1", o.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
