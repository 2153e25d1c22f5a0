"""BERT's vocab.txt (a token a line, the line's number its id) as a tokenizer of the `tokenizers` library.

Text is split at spaces, at every punctuation mark and around every Chinese character, and words are cut from the left
into the longest pieces that the vocabulary has (Schuster and Nakajima 2012; Devlin et al. 2019). The file says nothing
about letter case; that stands in a file beside it.
"""

from __future__ import annotations

from pathlib import Path

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers

from malgil.errors import CheckpointError

_UNKNOWN = "[UNK]"
_SPECIAL = ("[PAD]", _UNKNOWN, "[CLS]", "[SEP]", "[MASK]")
_LONGEST_WORD = 100  # a longer word is unknown


def read_wordpiece(
    path: Path, *, lowercase: bool = True, strip_accents: bool | None = None, split_chinese: bool = True
) -> tokenizers.Tokenizer:
    """The tokenizer of a vocab.txt; its special tokens have BERT's names.

    Args:
        lowercase: the vocabulary has small letters alone.
        strip_accents: accents are taken off; None: where letters are made small, too. Taking them off also takes
            Hangul syllables apart into their letters, as BERT's lower-case multilingual vocabulary has them.
        split_chinese: every Chinese character is a word.

    Raises:
        CheckpointError: not UTF-8, a token twice, or no [UNK].
    """
    try:
        lines = path.read_bytes().decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise CheckpointError("the vocabulary is not UTF-8", f"{path} at byte {error.start}", "copy it again") from None
    names = [line.removesuffix("\r") for line in lines]
    while names and not names[-1]:
        names.pop()
    vocab = {name: i for i, name in enumerate(names)}
    if len(vocab) != len(names) or _UNKNOWN not in vocab:
        raise CheckpointError(f"no vocabulary of different tokens with {_UNKNOWN}", str(path), "copy the file again")
    backend = tokenizers.Tokenizer(models.WordPiece(vocab, unk_token=_UNKNOWN, max_input_chars_per_word=_LONGEST_WORD))
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=split_chinese, strip_accents=strip_accents, lowercase=lowercase
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    special = [AddedToken(name, special=True, normalized=False) for name in _SPECIAL if name in vocab]
    backend.add_special_tokens(special)
    return backend
