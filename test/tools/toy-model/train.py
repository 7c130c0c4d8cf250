"""Trains the tiny model on a CPU, in exactly the layout that llama.cpp calls `mistral4`.

The network is Mistral Small 4's, scaled down: multi-head latent attention, and in every layer 128 routed experts of
which 4 serve a token, plus 1 shared expert. Tensor names and orders are GGUF's, so writing the file is a copy.

Three choices make it fast enough for one core. Products run in bfloat16, which recent CPUs multiply in hardware (AMX),
while weights, norms, router and residual stream stay in float32. Tokens are sorted by expert into fixed slots, so that
a layer's 128 experts are one batched product. And matrices are trained by Muon, which learns to copy from the prompt
in far fewer tokens than AdamW; embeddings, router and norms keep AdamW.

    python train.py --data train.bin --held held.bin --out run --minutes 90

writes run.pt every few minutes (to continue with --init run.pt) and run.safetensors, from which build.ts makes the GGUF.
"""

import argparse
import json
import math
import os
import struct
import time

import numpy as np
import torch
import torch.nn.functional as F

BOS, EOS, INST_END, RESULTS_END = 1, 2, 4, 8


def arguments():
    """Shape, schedule and files. README.md has the schedule of the committed weights."""
    p = argparse.ArgumentParser()
    p.add_argument("--data", required=True)
    p.add_argument("--held", required=True)
    p.add_argument("--out", required=True)
    p.add_argument("--init", default="")
    p.add_argument("--respell", default="", help="old ids for each new one (respell.ts), after a change of tokenizer")
    p.add_argument("--minutes", type=float, default=90)
    p.add_argument("--decay", type=float, default=1.0, help="last part of the run, in which the rates fall to zero")
    p.add_argument("--warm", type=int, default=100)
    p.add_argument("--batch", type=int, default=12)
    p.add_argument("--context", type=int, default=512)
    p.add_argument("--muon", type=float, default=0.01)
    p.add_argument("--adam", type=float, default=2e-3)
    p.add_argument("--capacity", type=float, default=2.0, help="slots per expert, as a multiple of an even share")
    p.add_argument("--balance", type=float, default=0.05)
    p.add_argument("--prompt-weight", type=float, default=0.1)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--vocab", type=int, default=2048)
    for name, value in SHAPE.items():
        p.add_argument(f"--{name}", type=int, default=value)
    return p.parse_args()


SHAPE = json.load(open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "shape.json")))


def new_weights(a):
    """Random weights by name. Weights that write to the residual stream start smaller in a deeper net."""
    w = {}
    deep = 1 / math.sqrt(2 * a.layers)

    def matrix(name, *shape, fan, scale=1.0):
        w[name] = torch.randn(*shape) * (scale / math.sqrt(fan))

    matrix("token_embd", a.vocab, a.d, fan=a.d, scale=0.5)
    matrix("output", a.vocab, a.d, fan=a.d, scale=0.5)
    w["output_norm"] = torch.ones(a.d)
    for i in range(a.layers):
        b = f"blk.{i}."
        w[b + "attn_norm"] = torch.ones(a.d)
        matrix(b + "attn_q_a", a.q_lora, a.d, fan=a.d)
        w[b + "attn_q_a_norm"] = torch.ones(a.q_lora)
        matrix(b + "attn_q_b", a.heads * (a.nope + a.rope), a.q_lora, fan=a.q_lora)
        matrix(b + "attn_kv_a_mqa", a.kv_lora + a.rope, a.d, fan=a.d)
        w[b + "attn_kv_a_norm"] = torch.ones(a.kv_lora)
        matrix(b + "attn_k_b", a.heads, a.kv_lora, a.nope, fan=a.kv_lora)
        matrix(b + "attn_v_b", a.heads, a.v_head, a.kv_lora, fan=a.kv_lora)
        matrix(b + "attn_output", a.d, a.heads * a.v_head, fan=a.heads * a.v_head, scale=deep)
        w[b + "ffn_norm"] = torch.ones(a.d)
        matrix(b + "ffn_gate_inp", a.experts, a.d, fan=a.d, scale=0.5)
        matrix(b + "ffn_gate_exps", a.experts, a.d, a.ff, fan=a.d)
        matrix(b + "ffn_up_exps", a.experts, a.d, a.ff, fan=a.d)
        matrix(b + "ffn_down_exps", a.experts, a.ff, a.d, fan=a.ff, scale=deep)
        matrix(b + "ffn_gate_shexp", a.ff, a.d, fan=a.d)
        matrix(b + "ffn_up_shexp", a.ff, a.d, fan=a.d)
        matrix(b + "ffn_down_shexp", a.d, a.ff, fan=a.ff, scale=deep)
    return w


def norm(x, weight):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * weight


def rope(x, cos, sin):
    """Rotates adjacent pairs (llama.cpp's "normal" kind) of [batch, time, head, rope]."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


class Dispatch(torch.autograd.Function):
    """Copies token rows into expert slots. Its gradient is `Combine`: both directions gather, neither scatters."""

    @staticmethod
    def forward(ctx, x, token_of_slot, slot_of_token):
        ctx.save_for_backward(token_of_slot, slot_of_token)
        return gather_rows(x, token_of_slot)

    @staticmethod
    def backward(ctx, g):
        token_of_slot, slot_of_token = ctx.saved_tensors
        return gather_rows(g, slot_of_token).sum(1), None, None


class Combine(torch.autograd.Function):
    """Adds up, for each token, the rows of the slots that served it."""

    @staticmethod
    def forward(ctx, y, token_of_slot, slot_of_token):
        ctx.save_for_backward(token_of_slot, slot_of_token)
        return gather_rows(y, slot_of_token).sum(1)

    @staticmethod
    def backward(ctx, g):
        token_of_slot, slot_of_token = ctx.saved_tensors
        return gather_rows(g, token_of_slot), None, None


def gather_rows(x, index):
    """Rows of x by index; an index one past the end selects a row of zeros (an empty slot, a dropped token)."""
    return torch.cat((x, x.new_zeros(1, x.shape[1])))[index]


def route(choice, experts, slots):
    """Sorts (token, choice) pairs by expert into `slots` slots each; excess pairs are dropped."""
    pairs, used = choice.numel(), choice.shape[1]
    expert = choice.reshape(-1)
    order = torch.argsort(expert, stable=True)
    sorted_expert = expert[order]
    count = torch.zeros(experts, dtype=torch.int64).scatter_add(0, expert, torch.ones_like(expert))
    place = torch.arange(pairs) - (count.cumsum(0) - count)[sorted_expert]
    slot = torch.where(place < slots, sorted_expert * slots + place, experts * slots)
    pair_of_slot = torch.full((experts * slots + 1,), pairs).scatter(0, slot, order)[:-1]
    slot_of_pair = torch.zeros_like(slot).scatter(0, order, slot).view(-1, used)
    return pair_of_slot, slot_of_pair, count


def experts_layer(x, p, b, a):
    """Top-4 of 128 experts, softmax over all, weights of the chosen renormalised, plus the shared expert."""
    tokens = x.shape[0]
    slots = int(a.capacity * tokens * a.used / a.experts)
    share = (x @ p[b + "ffn_gate_inp"].t()).softmax(-1)
    weight, choice = share.topk(a.used, -1)
    weight = weight / weight.sum(-1, keepdim=True)
    pair_of_slot, slot_of_pair, count = route(choice, a.experts, slots)
    token_of_slot = torch.div(pair_of_slot, a.used, rounding_mode="floor")
    low = x.to(torch.bfloat16)
    xe = Dispatch.apply(low, token_of_slot, slot_of_pair).view(a.experts, slots, -1)
    h = F.silu(torch.bmm(xe, p[b + "ffn_gate_exps"])) * torch.bmm(xe, p[b + "ffn_up_exps"])
    weight_of_slot = torch.cat((weight.reshape(-1), weight.new_zeros(1)))[pair_of_slot]
    h = h * weight_of_slot.view(a.experts, slots, 1).to(torch.bfloat16)
    ye = torch.bmm(h, p[b + "ffn_down_exps"]).view(a.experts * slots, -1)
    routed = Combine.apply(ye, token_of_slot, slot_of_pair)
    shared = (F.silu(low @ p[b + "ffn_gate_shexp"].t()) * (low @ p[b + "ffn_up_shexp"].t())) @ p[b + "ffn_down_shexp"].t()
    balance = a.experts * ((count / (tokens * a.used)) * share.mean(0)).sum()
    dropped = (count - slots).clamp(min=0).sum() / (tokens * a.used)
    return routed.float() + shared.float(), balance, dropped


def attention(x, p, b, a, cos, sin):
    """Multi-head latent attention: keys and values come from one small latent row and one shared rotary key."""
    rows, time_, _ = x.shape
    low = x.to(torch.bfloat16)
    q = norm((low @ p[b + "attn_q_a"].t()).float(), p[b + "attn_q_a_norm"]).to(torch.bfloat16) @ p[b + "attn_q_b"].t()
    q = q.view(rows, time_, a.heads, a.nope + a.rope)
    kv = (low @ p[b + "attn_kv_a_mqa"].t()).float()
    latent = norm(kv[..., : a.kv_lora], p[b + "attn_kv_a_norm"]).to(torch.bfloat16)
    k_rope = rope(kv[..., a.kv_lora :].unsqueeze(2), cos, sin).to(torch.bfloat16)
    k = (latent @ p[b + "attn_k_b"].transpose(0, 1).reshape(a.kv_lora, -1)).view(rows, time_, a.heads, a.nope)
    v = (latent @ p[b + "attn_v_b"].reshape(-1, a.kv_lora).t()).view(rows, time_, a.heads, a.v_head)
    q = torch.cat((q[..., : a.nope], rope(q[..., a.nope :].float(), cos, sin).to(torch.bfloat16)), -1)
    k = torch.cat((k, k_rope.expand(-1, -1, a.heads, -1)), -1)
    o = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), is_causal=True)
    return (o.transpose(1, 2).reshape(rows, time_, -1) @ p[b + "attn_output"].t()).float()


def forward(p, ids, a, cos, sin):
    """Logits for every position, the load-balance term and the share of dropped pairs."""
    x = p["token_embd"][ids].float()
    balance = dropped = 0.0
    for i in range(a.layers):
        b = f"blk.{i}."
        x = x + attention(norm(x, p[b + "attn_norm"]), p, b, a, cos, sin)
        flat = norm(x, p[b + "ffn_norm"]).view(-1, a.d)
        out, more, lost = experts_layer(flat, p, b, a)
        x = x + out.view(x.shape)
        balance, dropped = balance + more / a.layers, dropped + lost / a.layers
    return norm(x, p["output_norm"]).to(torch.bfloat16) @ p["output"].t(), balance, dropped


def losses(p, x, y, weight, a, cos, sin):
    logits, balance, dropped = forward(p, x, a, cos, sin)
    each = F.cross_entropy(logits.view(-1, a.vocab).float(), y.reshape(-1), reduction="none")
    weight = weight.reshape(-1)
    return (each * weight).sum() / weight.sum(), balance, dropped


FULL = ("_norm", "ffn_gate_inp")


def working(w):
    """The bfloat16 copies that the products use; norms and the router stay in float32."""
    return {k: v if k.endswith(FULL) else v.to(torch.bfloat16) for k, v in w.items()}


class Muon(torch.optim.Optimizer):
    """Momentum with an orthogonalised step (Newton-Schulz in bfloat16), one matrix at a time or batched by expert."""

    def __init__(self, params, lr, momentum=0.95, decay=0.01):
        super().__init__(params, dict(lr=lr, momentum=momentum, decay=decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for t in group["params"]:
                m = self.state[t].setdefault("m", torch.zeros_like(t))
                m.lerp_(t.grad, 1 - group["momentum"])
                step = orthogonal(t.grad.lerp(m, group["momentum"]))
                tall = max(1.0, t.shape[-2] / t.shape[-1]) ** 0.5
                t.mul_(1 - group["lr"] * group["decay"]).add_(step, alpha=-group["lr"] * tall)


def orthogonal(g):
    """Five quintic Newton-Schulz steps towards the nearest orthogonal matrix (Keller Jordan's coefficients)."""
    x = g.to(torch.bfloat16)
    tall = x.shape[-2] > x.shape[-1]
    x = x.transpose(-2, -1) if tall else x
    x = x / (x.float().norm(dim=(-2, -1), keepdim=True) + 1e-7).to(torch.bfloat16)
    batched = x if x.dim() == 3 else x[None]
    for _ in range(5):
        s = torch.bmm(batched, batched.transpose(-2, -1))
        s = torch.baddbmm(s, s, s, beta=-4.7750, alpha=2.0315)
        batched = torch.baddbmm(batched, s, batched, beta=3.4445)
    x = batched.view(x.shape)
    return (x.transpose(-2, -1) if tall else x).float()


def optimisers(w, a):
    """Muon for the matrices inside the blocks, AdamW for the rest."""
    inner = [t for k, t in w.items() if k.startswith("blk.") and not k.endswith(FULL)]
    outer = [t for k, t in w.items() if not k.startswith("blk.") or k.endswith(FULL)]
    adam = torch.optim.AdamW(outer, lr=a.adam, betas=(0.9, 0.98), eps=1e-9, weight_decay=0.0, fused=True)
    return Muon(inner, lr=a.muon), adam


class Rows:
    """Rows of packed chats, each starting at a chat. Assistant tokens have full weight, other tokens little."""

    def __init__(self, path, context, prompt_weight, seed):
        self.ids = np.fromfile(path, dtype=np.uint16)
        self.context = context
        self.starts = np.where(self.ids[: -context - 1] == BOS)[0]
        self.weight = np.where(spoken(self.ids), 1.0, prompt_weight).astype(np.float32)
        self.random = np.random.default_rng(seed)

    def take(self, rows, at=None):
        at = self.random.choice(self.starts, rows) if at is None else at
        x = torch.from_numpy(np.stack([self.ids[i : i + self.context + 1] for i in at]).astype(np.int64))
        weight = torch.from_numpy(np.stack([self.weight[i + 1 : i + self.context + 1] for i in at]))
        return x[:, :-1], x[:, 1:], weight


def spoken(ids):
    """True where the assistant speaks: after [/INST] or [/TOOL_RESULTS], up to and including </s>."""
    turn = np.zeros(len(ids), dtype=np.int64)
    marks = np.where((ids == INST_END) | (ids == RESULTS_END) | (ids == EOS) | (ids == BOS))[0]
    turn[marks] = np.arange(1, len(marks) + 1)
    last = np.maximum.accumulate(turn)
    opens = np.isin(ids[marks], (INST_END, RESULTS_END))
    inside = np.concatenate(([False], opens))[last]
    before = np.concatenate(([False], inside[:-1]))
    return (inside & (turn == 0)) | ((ids == EOS) & before)


def rate(elapsed, a, step):
    """Warm up, hold, then fall to zero over the last part; with decay 0 the rate is held, so that the run can be continued."""
    left = (1 - elapsed) / a.decay if a.decay else 1.0
    return min(1.0, (step + 1) / a.warm, max(left, 0.0))


def export(w, path):
    """safetensors in float32, with experts as [expert, out, in], as GGUF stores them."""
    header, blobs, at = {}, [], 0
    for name, t in w.items():
        t = t.detach().transpose(1, 2) if name.endswith("_exps") else t.detach()
        blob = t.contiguous().numpy().astype("<f4").tobytes()
        header[name + ".weight"] = {"dtype": "F32", "shape": list(t.shape), "data_offsets": [at, at + len(blob)]}
        at += len(blob)
        blobs.append(blob)
    head = json.dumps(header).encode()
    with open(path + ".tmp", "wb") as f:
        f.write(struct.pack("<Q", len(head)) + head + b"".join(blobs))
    os.replace(path + ".tmp", path)


def respell(saved, old_ids):
    """Gives each token of the new vocabulary the mean of the rows that spelled its text before."""
    for name in ("token_embd", "output"):
        old = saved["w"][name].detach()
        saved["w"][name] = torch.stack([old[ids].mean(0) for ids in old_ids])


class Run:
    """Weights, optimisers and data of one training run: the content of a checkpoint."""

    def __init__(self, a):
        saved = torch.load(a.init) if a.init else None
        if a.respell:
            respell(saved, json.load(open(a.respell)))
        self.a = a
        self.w = saved["w"] if saved else new_weights(a)
        for t in self.w.values():
            t.requires_grad_(True)
        self.opts = optimisers(self.w, a)
        self.base = [[group["lr"] for group in opt.param_groups] for opt in self.opts]
        if saved and not a.respell:
            for opt, state in zip(self.opts, saved["opts"]):
                opt.load_state_dict(state)
        self.seen = saved["seen"] if saved else 0
        self.data = Rows(a.data, a.context, a.prompt_weight, a.seed + self.seen)
        self.held = Rows(a.held, a.context, 0.0, 0)
        angle = torch.arange(a.context).float()[:, None] * 10000.0 ** (-torch.arange(0, a.rope, 2).float() / a.rope)
        self.tables = angle.cos()[None, :, None], angle.sin()[None, :, None]
        self.losses = torch.compile(losses, dynamic=False)

    def step(self, rate):
        """One step at a share of the full rates; returns loss, balance and dropped share."""
        for opt, base in zip(self.opts, self.base):
            for group, lr in zip(opt.param_groups, base):
                group["lr"] = lr * rate
        x, y, weight = self.data.take(self.a.batch)
        loss, balance, dropped = self.losses(working(self.w), x, y, weight, self.a, *self.tables)
        (loss + self.a.balance * balance).backward()
        for opt in self.opts:
            opt.step()
            opt.zero_grad(set_to_none=True)
        self.seen += x.numel()
        return loss.item(), balance.item(), dropped.item()

    @torch.no_grad()
    def held_loss(self, batches=4):
        """Loss on the assistant tokens in a fixed few rows of held-out chats."""
        a, p = self.a, working(self.w)
        rows = self.held.starts[:: max(1, len(self.held.starts) // (batches * a.batch))][: batches * a.batch]
        parts = [self.losses(p, *self.held.take(a.batch, at), a, *self.tables)[0] for at in rows.reshape(batches, -1)]
        return sum(parts).item() / batches

    def save(self):
        state = {"w": self.w, "opts": [opt.state_dict() for opt in self.opts], "seen": self.seen}
        torch.save(state, self.a.out + ".pt.tmp")
        os.replace(self.a.out + ".pt.tmp", self.a.out + ".pt")
        export(self.w, self.a.out + ".safetensors")
        print(f"held-out loss {self.held_loss():.4f} at {self.seen / 1e6:.2f}M", flush=True)


def parameters(w, a):
    """Number of all parameters, and of those that serve one token."""
    total = sum(t.numel() for t in w.values())
    routed = sum(t.numel() for name, t in w.items() if name.endswith("_exps"))
    return total, total - routed + routed * a.used // a.experts


def main():
    a = arguments()
    torch.manual_seed(a.seed)
    torch.set_num_threads(a.threads)
    run = Run(a)
    print("parameters %d active %d" % parameters(run.w, a), flush=True)
    started = shown = kept = time.time()
    step, first, smooth = 0, run.seen, None
    while (elapsed := (time.time() - started) / 60 / a.minutes) < 1:
        loss, balance, dropped = run.step(rate(elapsed, a, step))
        step += 1
        smooth = loss if smooth is None else 0.97 * smooth + 0.03 * loss
        now = time.time()
        if now - shown > 30 or step in (1, 10):
            shown = now
            speed = (run.seen - first) / (now - started)
            print(
                f"{(now - started) / 60:.1f} min step {step} tokens {run.seen / 1e6:.2f}M loss {smooth:.4f}"
                f" balance {balance:.3f} dropped {dropped:.4f} speed {speed:.0f}/s",
                flush=True,
            )
        if now - kept > 180:
            kept = now
            run.save()
    run.save()


if __name__ == "__main__":
    main()
