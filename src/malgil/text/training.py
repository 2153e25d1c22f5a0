"""Training a tokenizer on text: one function a kind, each choosing the parts that the `tokenizers` library runs.

The same text gives the same file, byte for byte, whatever the number of threads. The library's own trainers promise
that for BPE and words only. WordPiece is made so by naming its alphabet beforehand; Unigram has its own trainer
(`unigram.py`), since the library's sums run in the order of a hash table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers

from malgil.config import parse, to_tree
from malgil.errors import DataError, InputError
from malgil.text.pieces import byte_characters, word_decoder
from malgil.text.settings import TokenizerSettings
from malgil.text.tokenizer import Tokenizer, clean
from malgil.text.unigram import fit_unigram

END = "<|endoftext|>"
UNKNOWN = "<unk>"

# Runs of letters with their marks (so that NFD Hangul and Devanagari stay whole), of up to three digits, of other
# signs; each with the space before it. The last space of several goes with the word after it. As in GPT-2, but digits
# are cut as in GPT-4, English endings are left to the merges, and a line end never joins another sign.
# Runs end after 256 characters, since training time grows with the square of their length.
PARTS = (
    r" ?[\p{L}\p{M}]{1,256}| ?\p{N}{1,3}| ?[^\s\p{L}\p{M}\p{N}]{1,256}"
    r"|\n{1,256}|[^\S\n]{1,256}(?!\S)|[^\S\n]{1,256}"
)
# Words with inner apostrophes ("don't") and numbers with inner points ("3.14", "3월"); every other sign by itself.
# White space is dropped, but a line end is a token of its own, as <eos> is in WikiText.
_LETTERS = r"[\p{L}\p{M}\p{N}_]+"
WORDS = rf"{_LETTERS}(?:['’]{_LETTERS}|(?<=\p{{N}})[.,](?=\p{{N}}){_LETTERS})*|\n|\S"

_LONGEST_WORD = 100  # WordPiece: a longer word is unknown, as in BERT
_PIECE = 1 << 16  # characters handed to the library at a time: enough of them keep all cores busy
_BATCH = 1 << 23  # characters whose words are counted at a time


def train_tokenizer(texts: Iterable[str], settings: TokenizerSettings) -> Tokenizer:
    """Trains a tokenizer, reading the texts once; with `settings.path` set it loads that file and reads no text.

    Args:
        texts: documents, or pieces of them cut at line ends, of any size; they need not fit in memory.
        settings: its values are checked again here.

    Raises:
        InputError: a setting out of its range, or too small a vocabulary for the kind.
        DataError: there is no text.
        CheckpointError: the file at `settings.path` cannot be used.
    """
    settings = parse(TokenizerSettings, to_tree(settings), "tokenizer")
    if settings.path is not None:
        return Tokenizer.load(Path(settings.path))
    return _TRAIN[settings.kind](_Source(texts), settings)


class _Source:
    """The training text in pieces of bounded size, clean; knows afterwards whether there was any."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = texts
        self.empty = True

    def __iter__(self) -> Iterator[str]:
        for text in self._texts:
            text, _ = clean(text)
            start = 0
            while start < len(text):
                self.empty = False
                stop = start + _PIECE
                if stop < len(text):
                    stop = text.rfind("\n", start, stop) + 1 or stop
                yield text[start:stop]
                start = stop

    def require(self, found: bool = True) -> None:
        if self.empty or not found:
            raise DataError("no text to train the tokenizer on", "", "check the files that --data names")


def _char(source: _Source, settings: TokenizerSettings) -> Tokenizer:
    """Every character of the training text, by code point."""
    normalizer = _normalizer(settings)
    characters: set[str] = set()
    for text in source:
        characters.update(normalizer.normalize_str(text) if normalizer else text)
    source.require()
    vocab = {token: i for i, token in enumerate([END, UNKNOWN, *sorted(characters)])}
    # BPE without merges finds single characters; it is several times as fast as splitting before a table of words
    model = models.BPE(vocab=vocab, merges=[], unk_token=UNKNOWN)
    return _assemble(settings, model, None, decoders.Fuse(), UNKNOWN)


def _byte(source: _Source, settings: TokenizerSettings) -> Tokenizer:
    """The 256 bytes, each at its own value as id, and the end token; nothing is learnt from the text."""
    next(iter(source), None)
    source.require()
    vocab = {token: i for i, token in enumerate([*byte_characters(), END])}
    return _assemble(settings, models.BPE(vocab=vocab, merges=[]), _byte_level(), decoders.ByteLevel())


def _bpe(source: _Source, settings: TokenizerSettings) -> Tokenizer:
    """Byte-level BPE (Sennrich et al. 2016; over bytes: Radford et al. 2019)."""
    _require_size(settings, 257, "the 256 bytes and the end token")
    split = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(PARTS), "isolated"), _byte_level()])
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocab_size,
        min_frequency=settings.min_frequency,
        special_tokens=[END],
        initial_alphabet=sorted(byte_characters()),
        show_progress=False,
    )
    trained = _trained(models.BPE(), split, trainer, source, settings)
    source.require()
    return _assemble(settings, trained.model, split, decoders.ByteLevel())


def _wordpiece(source: _Source, settings: TokenizerSettings) -> Tokenizer:
    """WordPiece with merges by frequency, cased (Schuster and Nakajima 2012; Devlin et al. 2019).

    Characters, inside a word and at its start, take at most three quarters of the vocabulary, the most frequent ones; a
    word with another one is unknown.
    """
    _require_size(settings, 3, "the special tokens and a character")
    counts = _word_counts(source, settings, WORDS)
    source.require(bool(counts))
    characters: Counter[str] = Counter()
    for word, count in counts.items():
        for character in _spelled(word):
            characters[character] += count
    alphabet = {c for c, _ in _most_common(characters, max(1, 3 * (settings.vocab_size - 2) // 4))}
    words = [word for word in counts if len(word) <= _LONGEST_WORD and alphabet.issuperset(_spelled(word))]
    trainer = trainers.WordPieceTrainer(
        vocab_size=settings.vocab_size,
        min_frequency=settings.min_frequency,
        # named as special tokens, characters get their ids in this order; otherwise the order of a hash table decides
        special_tokens=[END, UNKNOWN, *sorted(alphabet)],
        show_progress=False,
    )
    trained = tokenizers.Tokenizer(models.WordPiece(unk_token=UNKNOWN, max_input_chars_per_word=_LONGEST_WORD))
    trained.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # which gives the words of `_replay` back
    trained.train_from_iterator(_replay(words, counts), trainer)
    return _assemble(settings, trained.model, _words(), word_decoder(), UNKNOWN)


def _unigram(source: _Source, settings: TokenizerSettings) -> Tokenizer:
    """Unigram language model (Kudo 2018) over the same parts as BPE; bytes spell what the vocabulary cannot.

    Spaces stay spaces instead of SentencePiece's "▁", so that a "▁" in the text survives. A piece spans no border of
    `PARTS`, so no text is taken for the tokens <0x00> to <0xFF>.
    """
    _require_size(settings, 260, "the special tokens, the 256 bytes and a character")
    counts = _word_counts(source, settings, PARTS)
    source.require()
    fixed = [END, UNKNOWN, *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces = fit_unigram(counts, settings.vocab_size - len(fixed), settings.min_frequency)
    model = models.Unigram(vocab=[(token, 0.0) for token in fixed] + pieces, unk_id=1, byte_fallback=True)
    split = pre_tokenizers.Split(Regex(PARTS), "isolated")
    return _assemble(settings, model, split, decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()]))


def _word(source: _Source, settings: TokenizerSettings) -> Tokenizer:
    """The most frequent words."""
    _require_size(settings, 3, "the special tokens and a word")
    trainer = trainers.WordLevelTrainer(
        vocab_size=settings.vocab_size,
        min_frequency=settings.min_frequency,
        special_tokens=[END, UNKNOWN],
        show_progress=False,
    )
    trained = _trained(models.WordLevel(unk_token=UNKNOWN), _words(), trainer, source, settings)
    source.require()
    if trained.get_vocab_size() == 2:
        raise DataError(
            f"no word occurs {settings.min_frequency} times in the training text", "", "lower tokenizer.min_frequency"
        )
    return _assemble(settings, trained.model, _words(), word_decoder(), UNKNOWN)


_TRAIN = {"char": _char, "byte": _byte, "bpe": _bpe, "wordpiece": _wordpiece, "unigram": _unigram, "word": _word}


def _normalizer(settings: TokenizerSettings) -> Any:
    return {"nfc": normalizers.NFC(), "nfkc": normalizers.NFKC(), "none": None}[settings.normalization]


def _byte_level() -> Any:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def _words() -> Any:
    return pre_tokenizers.Split(Regex(WORDS), "removed", invert=True)


def _require_size(settings: TokenizerSettings, least: int, why: str) -> None:
    if settings.vocab_size < least:
        raise InputError(
            f"tokenizer.vocab_size is {settings.vocab_size}",
            f"for kind {settings.kind}",
            f"give at least {least}: {why}",
        )


def _trained(
    model: Any, split: Any, trainer: Any, texts: Iterable[str], settings: TokenizerSettings
) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(model)
    backend.pre_tokenizer = split
    if settings.normalization != "none":
        backend.normalizer = _normalizer(settings)
    backend.train_from_iterator(texts, trainer)
    return backend


def _assemble(
    settings: TokenizerSettings, model: Any, split: Any, decoder: Any, unknown: str | None = None
) -> Tokenizer:
    """A tokenizer of new parts whose one special token is END; UNKNOWN is shown when decoded."""
    backend = tokenizers.Tokenizer(model)
    if settings.normalization != "none":
        backend.normalizer = _normalizer(settings)
    if split is not None:
        backend.pre_tokenizer = split
    backend.decoder = decoder
    backend.add_special_tokens([AddedToken(END, special=True, normalized=False)])
    return Tokenizer.wrap(backend, settings.kind, begin=END, end=END, unknown=unknown)


def _word_counts(source: _Source, settings: TokenizerSettings, pattern: str) -> Counter[str]:
    """How often each match of a pattern occurs. The library finds them; ids stand for words while they are counted."""
    counts: Counter[str] = Counter()
    for batch in _batches(source):
        split = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
        trainer = trainers.WordLevelTrainer(vocab_size=_BATCH, min_frequency=0, show_progress=False)
        backend = _trained(models.WordLevel(unk_token=UNKNOWN), split, trainer, batch, settings)
        encodings = backend.encode_batch_fast(batch)
        ids = np.concatenate([np.asarray(encoding.ids, dtype=np.int64) for encoding in encodings])
        found = np.bincount(ids, minlength=backend.get_vocab_size())
        counts.update({word: int(found[i]) for word, i in backend.get_vocab().items()})
    return counts


def _batches(source: _Source) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for text in source:
        batch.append(text)
        size += len(text)
        if size >= _BATCH - _PIECE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _spelled(word: str) -> list[str]:
    """A word's characters as WordPiece writes them."""
    return [word[0], *(f"##{c}" for c in word[1:])]


def _most_common(counts: Counter[str], n: int) -> list[tuple[str, int]]:
    """As `Counter.most_common`, ties by code point instead of by insertion."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:n]


def _replay(words: Iterable[str], counts: Counter[str]) -> Iterator[str]:
    """Text with these words as often as they were counted, for a trainer that takes text only."""
    for word in words:
        left = counts[word]
        while left > 0:
            n = min(left, _PIECE // (len(word) + 1) + 1)
            yield f"{word} " * n
            left -= n
