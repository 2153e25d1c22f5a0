"""SentencePiece BPE models (Llama's tokenizer.model and its kin) as tokenizers of the `tokenizers` library.

SentencePiece merges the two neighbours whose joined piece has the best score; the library merges by a list of pairs.
So every way to cut a piece into two other pieces becomes a pair, in the order of the pieces' scores. The extra
`sentencepiece` is needed to read the file, and only then.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers

from malgil.errors import CheckpointError, ConfigError
from malgil.text.tokenizer import Tokenizer

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = 1, 2, 3, 4, 5, 6


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
