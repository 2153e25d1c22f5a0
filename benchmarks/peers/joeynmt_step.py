"""JoeyNMT's Transformer in training: its modules, its loss, its training step; prints a JSON object.

    python joeynmt_step.py PAIRS.npz THREADS STEPS CLOCK PAIRS_A_BATCH | bucketed

With a number of pairs the batches are those of its loader with `batch_type: sentence` and `shuffle: True`, its
defaults; with `bucketed` they are the ones that the file has. Training is `TrainManager._train_step` and what follows
it, without logging and validation, which would only make it slower.
"""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from itertools import islice
from types import SimpleNamespace

import numpy as np
import torch
from joeynmt.datasets import BaseDataset
from joeynmt.model import build_model
from joeynmt.vocabulary import Vocabulary

WARM = 8
SPECIALS = SimpleNamespace(
    unk_id=0,
    unk_token="<unk>",
    pad_id=1,
    pad_token="<pad>",
    bos_id=2,
    bos_token="<s>",
    eos_id=3,
    eos_token="</s>",
    sep_id=None,
    sep_token=None,
    lang_tags=[],
)
SIDE = {
    "type": "transformer",
    "num_layers": 3,
    "num_heads": 4,
    "hidden_size": 256,
    "ff_size": 1024,
    "dropout": 0.1,
    "layer_norm": "post",
    "embeddings": {"embedding_dim": 256, "scale": True, "dropout": 0.1},
}


class Pairs(BaseDataset):
    """Pairs that are tokens already; its own data sets would tokenise each sentence twice an epoch."""

    def __init__(self, arrays, vocabulary):
        encoder = dict.fromkeys(("source", "target"), vocabulary.sentences_to_ids)
        prompts = {"source": False, "target": False}
        super().__init__("", "source", "target", "train", has_trg=True, has_prompt=prompts, sequence_encoder=encoder)
        self.texts = {side: self._split(arrays[side], arrays[f"{side}_lengths"]) for side in encoder}
        self.reset_indices()

    @staticmethod
    def _split(ids, lengths):
        return [row.astype(str).tolist() for row in np.split(ids, np.cumsum(lengths)[:-1])]

    def get_item(self, idx, lang, is_train=None):
        return self.texts[lang][idx]

    def __len__(self):
        return len(self.texts["source"])


def batches(dataset, arrays, kind, vocabulary):
    specials = {"pad_index": vocabulary.pad_index, "eos_index": vocabulary.eos_index}
    if kind != "bucketed":
        return iter(dataset.make_iter(int(kind), "sentence", shuffle=True, **specials))
    collate = partial(dataset.collate_fn, **specials)
    rows = np.split(arrays["order"], arrays["starts"][1:-1])
    return (collate([dataset[int(i)] for i in chosen]) for chosen in rows)


def main() -> None:
    path, threads, steps, timer, kind = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    arrays = dict(np.load(path))
    n_ids = int(max(arrays["source"].max(), arrays["target"].max())) + 1
    vocabulary = Vocabulary([str(i) for i in range(n_ids)], SPECIALS)
    shape = {"encoder": SIDE, "decoder": SIDE, "tied_embeddings": True, "tied_softmax": True}
    model = build_model(shape, vocabulary, vocabulary)
    model.loss_function = ("crossentropy", 0.1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.98))
    now = time.process_time if timer == "cpu" else time.perf_counter
    model.train()
    real = padded = 0
    started = 0.0
    for step, batch in enumerate(islice(batches(Pairs(arrays, vocabulary), arrays, kind, vocabulary), steps)):
        if step == WARM:
            # the first batches were made before, as all later ones are made within
            real, padded, started = 0, 0, now()
        real += int(batch.src_length.sum()) + batch.ntokens
        padded += batch.src.numel() + batch.trg.numel()
        batch.sort_by_src_length()
        loss, _, _, correct = model(return_type="loss", **vars(batch))
        loss = batch.normalize(loss, normalization="batch")
        loss.backward()
        loss.item(), correct.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        model.zero_grad()
    n = sum(p.numel() for p in model.parameters())
    print(json.dumps({"tokens_per_second": real / (now() - started), "padding": 1 - real / padded, "parameters": n}))


if __name__ == "__main__":
    main()
