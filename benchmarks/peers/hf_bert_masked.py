"""transformers' BertForMaskedLM in pretraining, as its documentation has it; prints a JSON object.

    python hf_bert_masked.py FOLDER THREADS STEPS CLOCK

FOLDER holds `hf`, the initial weights, and batches.npz: sequences with tokens hidden, and which of them a batch reads.
"""

from __future__ import annotations

import json
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from transformers import BertForMaskedLM

WARM, RISE, HELD = 4, 10, 8


def padded(rows, value):
    longest = max(map(len, rows))
    return torch.tensor(np.stack([np.pad(row, (0, longest - len(row)), constant_values=value) for row in rows]))


def batches(arrays):
    """input_ids, attention_mask and labels of each batch, padded to its longest sequence."""
    cut = np.cumsum(arrays["lengths"])[:-1]
    ids, labels = (np.split(arrays[name], cut) for name in ("ids", "labels"))
    ends = np.cumsum(arrays["sizes"])
    for start, end in zip(ends - arrays["sizes"], ends, strict=True):
        ones = [np.ones(len(row), dtype=np.int64) for row in ids[start:end]]
        yield padded(ids[start:end], 0), padded(ones, 0), padded(labels[start:end], -100)


def main() -> None:
    folder, threads, steps, timer = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = BertForMaskedLM.from_pretrained(folder / "hf")
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.98), fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / (RISE + 1)))
    arrays = dict(np.load(folder / "batches.npz"))
    now = time.process_time if timer == "cpu" else time.perf_counter
    model.train()
    made, losses, real, places, started = batches(arrays), [], 0, 0, 0.0
    for step in range(steps):
        if step == WARM:
            real, places, started = 0, 0, now()
        ids, mask, labels = next(made)
        real, places = real + int(mask.sum()), places + mask.numel()
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    speed = real / (now() - started)
    model.eval()
    nll, count = 0.0, 0
    with torch.no_grad():
        for ids, mask, labels in islice(made, HELD):
            n = int((labels != -100).sum())
            nll += model(input_ids=ids, attention_mask=mask, labels=labels).loss.item() * n
            count += n
    late = losses[steps // 2 :]
    result = {"tokens_per_second": speed, "loss": sum(late) / len(late), "held": nll / count, "first": losses[0]}
    result |= {"padding": 1 - real / places, "sequences": float(np.mean(arrays["sizes"][:steps]))}
    print(json.dumps(result | {"parameters": sum(p.numel() for p in model.parameters())}))


if __name__ == "__main__":
    main()
