"""The families, a file each. Adding one is writing its file and its row here."""

from __future__ import annotations

from typing import Any, NamedTuple

from malgil.config import not_found
from malgil.models.albert import Albert, AlbertConfig
from malgil.models.bag import Bag, BagConfig
from malgil.models.base import EncoderDecoder, Model
from malgil.models.bert import Bert, BertConfig
from malgil.models.birnn import BiRNN, BiRNNConfig
from malgil.models.gpt2 import GPT2, GPT2Config
from malgil.models.llama import Llama, LlamaConfig
from malgil.models.modernbert import ModernBert, ModernBertConfig
from malgil.models.rnn_lm import RNNLM, RNNLMConfig
from malgil.models.seq2seq import Seq2Seq, Seq2SeqConfig
from malgil.models.transformer import Transformer, TransformerConfig
from malgil.models.transformer_modern import ModernTransformer, ModernTransformerConfig


class Family(NamedTuple):
    """A model class and the dataclass of its settings."""

    model: type[Any]
    config: type[Any]


FAMILIES: dict[str, Family] = {
    "rnn_lm": Family(RNNLM, RNNLMConfig),
    "gpt2": Family(GPT2, GPT2Config),
    "llama": Family(Llama, LlamaConfig),
    "bag": Family(Bag, BagConfig),
    "birnn": Family(BiRNN, BiRNNConfig),
    "bert": Family(Bert, BertConfig),
    "albert": Family(Albert, AlbertConfig),
    "modernbert": Family(ModernBert, ModernBertConfig),
    "seq2seq": Family(Seq2Seq, Seq2SeqConfig),
    "transformer": Family(Transformer, TransformerConfig),
    "transformer_modern": Family(ModernTransformer, ModernTransformerConfig),
}


def family(name: str) -> Family:
    """The family of that name.

    Raises:
        NotFoundError: with the nearest names.
    """
    if name not in FAMILIES:
        raise not_found("model", name, FAMILIES)
    return FAMILIES[name]


def build_model(name: str, config: Any, vocab_size: int, source_vocab_size: int | None = None) -> Model:
    """A freshly initialised model; the weights come from PyTorch's global generator.

    Args:
        source_vocab_size: of an encoder-decoder whose source has a tokenizer of its own; None: both sides share one.
    """
    cls = family(name).model
    encodes = issubclass(cls, EncoderDecoder)
    built: Model = cls(config, vocab_size, source_vocab_size) if encodes else cls(config, vocab_size)
    return built
