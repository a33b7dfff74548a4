"""First-order training of the whole model, for comparison: stories260K (llama2.c) in PyTorch, backpropagation and AdamW, one thread.

Usage: python3 firstorder.py INPUT.json. The input:
  model          path of llama2.c's .bin, version 0
  batches        of each optimizer step the rows: {"tokens": [ids], "from": the first token whose prediction counts}
  heldout        rows
  initialLoss    the held-out loss that was measured elsewhere; here it must come out within 1e-3
  rates          AdamW's rates, constant; a run for each
  decay          AdamW's weight decay
  evaluateAt     optimizer steps after which the held-out loss is measured
Prints one JSON object; see firstorder.ts. Needs torch and nothing else.
"""

import json
import resource
import struct
import sys
import time

import torch
import torch.nn.functional as F

AGREE = 1e-3


def load(path):
    """The hyperparameters and a dict of float32 tensors, layers stacked in front, as llama2.c's legacy export lays them out."""
    with open(path, "rb") as file:
        data = file.read()
    dim, hidden, layers, heads, kv_heads, vocabulary, _ = struct.unpack("7i", data[:28])
    if vocabulary < 0:
        raise SystemExit(f"{path}: the classifier is not the embedding; only models that share them are read")
    head = dim // heads
    floats = torch.frombuffer(bytearray(data[28:]), dtype=torch.float32)
    shapes = {
        "embedding": (vocabulary, dim),
        "attention_norm": (layers, dim),
        "wq": (layers, heads * head, dim),
        "wk": (layers, kv_heads * head, dim),
        "wv": (layers, kv_heads * head, dim),
        "wo": (layers, dim, heads * head),
        "ffn_norm": (layers, dim),
        "w1": (layers, hidden, dim),
        "w2": (layers, dim, hidden),
        "w3": (layers, hidden, dim),
        "norm": (dim,),
    }
    tensors, at = {}, 0
    for name, shape in shapes.items():
        size = torch.Size(shape).numel()
        tensors[name] = floats[at : at + size].view(shape)
        at += size
    return {"layers": layers, "heads": heads, "kv_heads": kv_heads, "head": head}, tensors


def rms_norm(x, weight):
    return weight * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5)


def rotate(x):
    """Rotary positions over neighbouring pairs of [batch, time, heads, head]."""
    time_steps, head = x.shape[1], x.shape[3]
    frequency = 10000.0 ** (-torch.arange(0, head, 2).float() / head)
    angle = torch.outer(torch.arange(time_steps).float(), frequency)[None, :, None, :]
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = (even * angle.cos() - odd * angle.sin(), even * angle.sin() + odd * angle.cos())
    return torch.stack(turned, -1).flatten(-2)


def logits_of(config, w, ids):
    rows, time_steps = ids.shape
    h = w["embedding"][ids]
    for i in range(config["layers"]):
        x = rms_norm(h, w["attention_norm"][i])
        split = lambda y, heads: y.view(rows, time_steps, heads, config["head"])
        q = rotate(split(x @ w["wq"][i].T, config["heads"])).transpose(1, 2)
        k = rotate(split(x @ w["wk"][i].T, config["kv_heads"])).transpose(1, 2)
        v = split(x @ w["wv"][i].T, config["kv_heads"]).transpose(1, 2)
        group = config["heads"] // config["kv_heads"]
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        context = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        h = h + context.transpose(1, 2).reshape(rows, time_steps, -1) @ w["wo"][i].T
        x = rms_norm(h, w["ffn_norm"][i])
        h = h + (F.silu(x @ w["w1"][i].T) * (x @ w["w3"][i].T)) @ w["w2"][i].T
    return rms_norm(h, w["norm"]) @ w["embedding"].T


def tensors_of(rows):
    """Ids padded behind, and the next ids, -100 where none counts. Causal attention never sees the padding."""
    longest = max(len(row["tokens"]) for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    wanted = torch.full((len(rows), longest), -100)
    for r, row in enumerate(rows):
        tokens, begin = torch.tensor(row["tokens"]), max(1, row["from"])
        ids[r, : len(tokens)] = tokens
        wanted[r, begin - 1 : len(tokens) - 1] = tokens[begin:]
    return ids, wanted


def loss_sum(config, w, ids, wanted):
    return F.cross_entropy(logits_of(config, w, ids).flatten(0, 1), wanted.flatten(), reduction="sum")


@torch.no_grad()
def evaluate(config, w, batches):
    total = sum(loss_sum(config, w, ids, wanted).item() for ids, wanted in batches)
    return total / sum((wanted >= 0).sum().item() for _, wanted in batches)


def train(config, initial, batches, heldout, rate, decay, evaluate_at):
    w = {name: tensor.clone().requires_grad_() for name, tensor in initial.items()}
    optimizer = torch.optim.AdamW(w.values(), lr=rate, weight_decay=decay)
    curve, seconds = [], 0.0
    for step, (ids, wanted) in enumerate(batches, 1):
        begun = time.perf_counter()
        optimizer.zero_grad()
        (loss_sum(config, w, ids, wanted) / (wanted >= 0).sum()).backward()
        optimizer.step()
        seconds += time.perf_counter() - begun
        if step in evaluate_at:
            # A backward pass is counted as two forward passes.
            curve.append({"step": step, "forwards": 3 * step, "seconds": seconds, "loss": evaluate(config, w, heldout)})
    return {"rate": rate, "curve": curve}


def peak_bytes():
    """The most that this process has had in memory: KiB on Linux, bytes on macOS."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main():
    torch.set_num_threads(1)
    with open(sys.argv[1]) as file:
        given = json.load(file)
    config, initial = load(given["model"])
    batches = [tensors_of(rows) for rows in given["batches"]]
    heldout = [tensors_of(given["heldout"][i : i + 16]) for i in range(0, len(given["heldout"]), 16)]
    before = peak_bytes()
    loss = evaluate(config, initial, heldout)
    if not abs(loss - given["initialLoss"]) <= AGREE:
        raise SystemExit(f"the held-out loss before training is {loss:.6f} here and {given['initialLoss']:.6f} there: not the same model or data")
    evaluate_at = set(given["evaluateAt"])
    runs = [train(config, initial, batches, heldout, rate, given["decay"], evaluate_at) for rate in given["rates"]]
    parameters = sum(tensor.numel() for tensor in initial.values())
    answer = {
        "initialLoss": loss,
        "parameters": parameters,
        "runs": runs,
        "peakBytes": peak_bytes(),
        "trainingBytes": peak_bytes() - before,
        # Data-parallel training: what each worker sends for one step, its gradient in float32.
        "wireBytesPerStep": 4 * parameters,
    }
    print(json.dumps(answer))


main()
