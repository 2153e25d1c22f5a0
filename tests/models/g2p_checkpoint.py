"""A trained GRU encoder-decoder of someone else's, letters to phonemes, as a `Seq2Seq` (Kyubyong Park's g2p)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from malgil.models.seq2seq import Seq2Seq, Seq2SeqConfig

SETTINGS = Seq2SeqConfig(cell="gru", n_layers=1, d_model=256, attention="none", tied=False, output_bias=True)
#: our name of each tensor in the checkpoint
NAMES = {
    "enc_emb": "source_embedding.weight",
    "enc_w_ih": "encoder.weight_ih_l0",
    "enc_w_hh": "encoder.weight_hh_l0",
    "enc_b_ih": "encoder.bias_ih_l0",
    "enc_b_hh": "encoder.bias_hh_l0",
    "dec_emb": "embedding.weight",
    "dec_w_ih": "decoder.weight_ih_l0",
    "dec_w_hh": "decoder.weight_hh_l0",
    "dec_b_ih": "decoder.bias_ih_l0",
    "dec_b_hh": "decoder.bias_hh_l0",
    "fc_w": "head.weight",
    "fc_b": "output_bias",
}


def g2p_expected(data_dir: Path) -> dict[str, Any]:
    """`graphemes` and `phonemes` in the order of their ids, `max_decode`, and `cases`: what the model should say."""
    text = (data_dir / "checkpoints" / "g2p_gru" / "expected.json").read_text(encoding="utf-8")
    expected: dict[str, Any] = json.loads(text)
    return expected


def g2p_model(data_dir: Path) -> Seq2Seq:
    """The trained model: 29 graphemes in, 74 phonemes out."""
    stored = load_file(data_dir / "checkpoints" / "g2p_gru" / "model.safetensors")
    model = Seq2Seq(SETTINGS, len(stored["dec_emb"]), len(stored["enc_emb"]))
    model.load_state_dict({NAMES[name]: tensor for name, tensor in stored.items()}, strict=True)
    return model.eval()
