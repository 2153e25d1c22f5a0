"""SentencePiece models (Llama's tokenizer.model, Marian's source.spm) as tokenizers of the `tokenizers` library.

SentencePiece merges the two neighbours whose joined piece has the best score; the library merges by a list of pairs.
So every way to cut a piece into two other pieces becomes a pair, in the order of the pieces' scores. Models of type
Unigram, which the library has too, are read where a vocab.json gives the ids, as Marian's does. The extra
`sentencepiece` is needed to read the file, and only then.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers

from malgil.errors import CheckpointError, ConfigError
from malgil.text.tokenizer import Tokenizer

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = 1, 2, 3, 4, 5, 6
_UNSEEN = "\ufdd0"  # no character of any text: before the name of a piece that only the other language may be cut into


def read_sentencepiece(path: Path) -> Tokenizer:
    """A `.model` file of type BPE as an 'imported' tokenizer, with the same ids and the same text.

    `begin_id`, `end_id` and `unknown_id` are the model's <s>, </s> and <unk>. Special tokens, <unk> too, add nothing to
    decoded text. Where ids spell no UTF-8, each wrong byte is U+FFFD, as in SentencePiece.

    Raises:
        ConfigError: the extra is not installed.
        CheckpointError: the file is no SentencePiece model, or one of another type.
    """
    proto = _parse(path)
    trainer = proto.trainer_spec
    if trainer.model_type != trainer.BPE or trainer.treat_whitespace_as_suffix:
        name = trainer.ModelType.Name(trainer.model_type).lower()
        raise CheckpointError(
            f"a SentencePiece model of type {name}", str(path), "only BPE with spaces before words is read"
        )
    kinds = {piece.type for piece in proto.pieces}
    if _USER_DEFINED in kinds:
        raise CheckpointError(
            "SentencePiece symbols defined by a user", str(path), "convert it with transformers first"
        )
    vocab = {piece.piece: i for i, piece in enumerate(proto.pieces)}
    unknown = proto.pieces[trainer.unk_id].piece
    backend = tokenizers.Tokenizer(
        models.BPE(vocab=vocab, merges=_merges(proto), unk_token=unknown, fuse_unk=True, byte_fallback=_BYTE in kinds)
    )
    backend.normalizer = _normalizer(proto.normalizer_spec)
    prefix = proto.normalizer_spec.add_dummy_prefix
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        + ([decoders.Strip(content=" ", left=1, right=0)] if prefix else [])
    )
    special = [piece.piece for piece in proto.pieces if piece.type in (_UNKNOWN, _CONTROL)]
    backend.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in special])
    begin, end = (_name(proto, i, path) for i in (trainer.bos_id, trainer.eos_id))
    return Tokenizer.wrap(backend, "imported", begin=begin, end=end, unknown=unknown)


def read_marian(path: Path, vocab: Mapping[str, int], *, begin: str, end: str, unknown: str = "<unk>") -> Tokenizer:
    """A `.spm` file that cuts the texts of one language, with the ids of a vocab.json that both may share.

    A piece without an id is not used, where Marian's own tokenizer gives <unk> for it. What this file cannot cut is
    <unk>, even where the other language has a piece for it; those pieces have their text all the same, since a model
    may write them. A language code such as >>kor<< is read as one token.

    Args:
        vocab: the id of every name, 0 to its size - 1.

    Raises:
        ConfigError: the extra is not installed.
        CheckpointError: the file is no SentencePiece model or has pieces for bytes or of a user, or the ids have gaps.
    """
    proto = _parse(path)
    if {piece.type for piece in proto.pieces} & {_USER_DEFINED, _BYTE}:
        raise CheckpointError("SentencePiece symbols for bytes or of a user", str(path), "Marian's models have none")
    if sorted(vocab.values()) != list(range(len(vocab))) or not {begin, end, unknown} <= vocab.keys():
        raise CheckpointError("a vocabulary with gaps or without special tokens", str(path.parent), "copy it again")
    scores = {piece.piece: piece.score for piece in proto.pieces if piece.type == _NORMAL and piece.piece in vocab}
    codes = [name for name in vocab if re.fullmatch(">>.+<<", name)]
    special = list(dict.fromkeys((unknown, begin, end)))
    kept = {*scores, *codes, *special}
    ids = {name if name in kept else _UNSEEN + name: i for name, i in vocab.items()}
    backend = tokenizers.Tokenizer(_marian_model(proto, ids, scores, unknown))
    backend.normalizer = _normalizer(proto.normalizer_spec)
    # a special token's name in a text is cut, so that it is only ever text
    names = "|".join(f"{re.escape(name[0])}(?={re.escape(name[1:])})" for name in [*special, *codes])
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(names), "isolated")
    prefix = [decoders.Strip(content=" ", left=1, right=0)] if proto.normalizer_spec.add_dummy_prefix else []
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.Replace(_UNSEEN, ""), decoders.Fuse(), *prefix]
    )
    backend.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in special])
    backend.add_tokens([AddedToken(name, special=False, normalized=False) for name in codes])
    return Tokenizer.wrap(backend, "imported", begin=begin, end=end, unknown=unknown)


def _marian_model(proto: Any, ids: Mapping[str, int], scores: Mapping[str, float], unknown: str) -> Any:
    """The model that cuts as SentencePiece does; names without a score are never the best, or never met."""
    trainer = proto.trainer_spec
    if trainer.model_type == trainer.BPE:
        merges = [(a, b) for a, b in _merges(proto) if a in scores and b in scores and a + b in scores]
        return models.BPE(vocab=dict(ids), merges=merges, unk_token=unknown, fuse_unk=True)
    lowest = min(scores.values())  # what is unknown costs more than that, whatever the others cost
    ranked = sorted(ids, key=lambda name: ids[name])
    return models.Unigram(vocab=[(name, scores.get(name, lowest)) for name in ranked], unk_id=ids[unknown])


def _parse(path: Path) -> Any:
    try:
        # by name, since generated modules have no types
        sentencepiece_model_pb2 = importlib.import_module("sentencepiece.sentencepiece_model_pb2")
        protobuf_message = importlib.import_module("google.protobuf.message")
    except ImportError:
        raise ConfigError(
            "reading a SentencePiece model needs the extra 'sentencepiece'",
            str(path),
            "pip install 'malgil[sentencepiece]'",
        ) from None
    proto = sentencepiece_model_pb2.ModelProto()
    try:
        proto.ParseFromString(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"cannot read the tokenizer: {error.strerror}", str(path), "check the path") from None
    except protobuf_message.DecodeError:
        proto.Clear()
    if not proto.pieces:
        raise CheckpointError("no SentencePiece model", str(path), "copy the file again")
    return proto


def _merges(proto: Any) -> list[tuple[str, str]]:
    """Pairs by the score of what they make, best first; for one piece the earlier pieces first."""
    rank = {piece.piece: i for i, piece in enumerate(proto.pieces) if piece.type == _NORMAL}
    best = sorted(rank, key=lambda name: (-proto.pieces[rank[name]].score, rank[name]))
    merges = []
    for name in best:
        cuts = [(name[:i], name[i:]) for i in range(1, len(name)) if name[:i] in rank and name[i:] in rank]
        merges += sorted(cuts, key=lambda cut: (rank[cut[0]], rank[cut[1]]))
    return merges


def _normalizer(spec: Any) -> Any:
    """SentencePiece's steps: the character map, extra spaces, the dummy prefix, spaces as '▁'."""
    steps: list[Any] = [normalizers.Precompiled(spec.precompiled_charsmap)] if spec.precompiled_charsmap else []
    if spec.remove_extra_whitespaces:
        steps += [normalizers.Replace(Regex(r"\A +| +\z"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    if spec.add_dummy_prefix:
        steps.append(normalizers.Prepend("▁"))
    return normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])


def _name(proto: Any, i: int, path: Path) -> str:
    if not 0 <= i < len(proto.pieces):
        raise CheckpointError("the model has no begin or no end token", str(path), "Malgil needs both")
    return str(proto.pieces[i].piece)
