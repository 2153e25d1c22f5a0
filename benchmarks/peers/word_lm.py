"""PyTorch's word language model example, written plainly: LSTM, log_softmax, NLL, fp32; prints a JSON object.

python word_lm.py TRAIN.npy HELD.npy THREADS STEPS
"""

from __future__ import annotations

import json
import math
import sys
import time

import numpy as np
import torch
from torch import nn

VOCAB, BATCH, T, DROPOUT, CLIP, RATE, WIDTH = 33_278, 20, 35, 0.2, 0.25, 2e-3, 200


class WordModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(DROPOUT)
        self.encoder = nn.Embedding(VOCAB, WIDTH)
        self.rnn = nn.LSTM(WIDTH, WIDTH, 2, dropout=DROPOUT)
        self.decoder = nn.Linear(WIDTH, VOCAB)
        self.decoder.weight = self.encoder.weight
        nn.init.uniform_(self.encoder.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)

    def forward(self, tokens, hidden):
        output, hidden = self.rnn(self.drop(self.encoder(tokens)), hidden)
        decoded = self.decoder(self.drop(output)).view(-1, VOCAB)
        return nn.functional.log_softmax(decoded, dim=1), hidden


def batchify(ids, rows):
    n = len(ids) // rows
    return torch.from_numpy(ids[: n * rows]).view(rows, n).t().contiguous()


def main() -> None:
    threads, steps = int(sys.argv[3]), int(sys.argv[4])
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    train, held = batchify(np.load(sys.argv[1]), BATCH), batchify(np.load(sys.argv[2]), 10)
    model, criterion = WordModel(), nn.NLLLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
    model.train()
    columns, hidden = (len(train) - 1) // T, None
    started = time.perf_counter()
    for step in range(steps):
        i = step % columns * T
        hidden = None if i == 0 else tuple(h.detach() for h in hidden)
        optimizer.zero_grad()
        output, hidden = model(train[i : i + T], hidden)
        loss = criterion(output, train[i + 1 : i + 1 + T].reshape(-1))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
    seconds = time.perf_counter() - started
    model.eval()
    total, count, hidden = 0.0, 0, None
    with torch.no_grad():
        for i in range(0, len(held) - T, T):
            output, hidden = model(held[i : i + T], hidden)
            target = held[i + 1 : i + 1 + T].reshape(-1)
            total += float(criterion(output, target)) * len(target)
            count += len(target)
    speed = steps * BATCH * T / seconds
    print(json.dumps({"tokens_per_second": speed, "perplexity": math.exp(total / count)}))


if __name__ == "__main__":
    main()
