"""Recurrent encoder-decoders: Seq2Seq (Sutskever et al. 2014; Cho et al. 2014), with attention by Bahdanau or Luong.

    source -> embedding -> encoder, n_layers x cell, one way or both -> a vector a token; final states
                                                                               |  (bridge, if both ways)
    target -> embedding -> decoder, n_layers x cell, left to right     <- begins with the final states
           -> attention over the source's vectors, if any -> readout -> output layer

Without attention one state carries the whole source. With it the decoder looks back at every token of the source, in
one of two wirings, where s is the decoder's state, y the token read, c the context, that is what attention found:

    bahdanau   c_t = attend(s_t-1)    s_t = cell(s_t-1, [y_t; c_t])         output = maxout(W [s_t; c_t; y_t])
    luong      s_t = cell(s_t-1, y_t) c_t = attend(s_t)                     output = tanh(W [c_t; s_t])
    + feeding  s_t = cell(s_t-1, [y_t; output_t-1])                         the same

(Bahdanau et al. 2015, appendix A.2; Luong et al. 2015, equation 5 and section 3.3.) Luong's decoder without feeding
reads the whole target before it attends, so all steps run in a few large operations; in the others a step
waits for the step before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from malgil.config import setting
from malgil.errors import ConfigError, InputError
from malgil.layers.alignment import SCORES, alignment
from malgil.layers.dropout import Dropout, dropout
from malgil.layers.recurrent import CELLS, Parts, initialise, input_sums, read, step
from malgil.layers.state import RecurrentState, Shared
from malgil.models.base import EncoderDecoder, Memory, Output, State

#: embeddings begin in U(-0.1, 0.1)
EMBEDDING = 0.1


@dataclass(frozen=True)
class Seq2SeqConfig:
    """The settings of a recurrent encoder-decoder."""

    cell: str = setting("lstm", "recurrent cell", choices=list(CELLS))
    n_layers: int = setting(2, "recurrent layers of the encoder and of the decoder", low=1)
    d_model: int = setting(256, "width of the embeddings", low=1)
    d_hidden: int | None = setting(None, "width of a recurrent state; none = d_model", low=1)
    max_len: int = setting(64, "tokens of the longest target, and of the longest source, in training", low=1)
    dropout: float = setting(0.0, "dropout on embeddings, between layers and before the output", low=0, high=0.99)
    bidirectional: bool = setting(False, "the encoder reads both ways, with a state of d_hidden each")
    reverse_source: bool = setting(False, "the encoder reads the source from its end")
    attention: str = setting("none", "how attention scores a source token", choices=["none", *SCORES])
    wiring: str = setting("luong", "where attention stands: behind the cell or before", choices=["luong", "bahdanau"])
    input_feeding: bool = setting(False, "Luong's decoder reads its last output beside the next token")
    shared: bool | None = setting(None, "one embedding for both sides; none = where both have one tokenizer")
    tied: bool = setting(True, "the output layer is the target's embedding")
    output_bias: bool = setting(True, "a bias in the output layer, which learns how frequent each token is")

    def __post_init__(self) -> None:
        if self.input_feeding and (self.attention == "none" or self.wiring != "luong"):
            raise ConfigError(
                "model.input_feeding feeds the output of Luong's attention, which this model does not have",
                fix="set model.attention and model.wiring luong, or model.input_feeding false",
            )
        if self.wiring == "bahdanau" and self.attention == "none":
            raise ConfigError(
                "model.wiring bahdanau says where attention stands, which this model does not have",
                fix="set model.attention additive, or model.wiring luong",
            )
        if self.attention == "dot" and self.bidirectional:
            raise ConfigError(
                "model.attention dot needs encoder vectors as wide as the decoder's, not twice as wide",
                fix="choose model.attention general, or set model.bidirectional to false",
            )

    @property
    def hidden_width(self) -> int:
        return self.d_hidden or self.d_model

    @property
    def memory_width(self) -> int:
        return self.hidden_width * (2 if self.bidirectional else 1)

    @property
    def output_width(self) -> int:
        """Of the vectors that the output layer reads."""
        return self.d_model if self.tied else self.hidden_width


class DecoderState:
    """What a recurrent decoder remembers of its target, and what it looks at.

    Args:
        cells: every layer's vectors.
        fed: (B, output_width), the last output, where it is fed to the next step.
        memory: keys (N, S, A), values (N, S, D_memory) and mask (N, S) of the sources, where there is attention.
    """

    row_dim = 0

    def __init__(self, cells: RecurrentState, fed: Tensor | None, memory: Shared | None) -> None:
        self.cells, self.fed, self.memory = cells, fed, memory

    def select(self, rows: Tensor) -> DecoderState:
        fed = None if self.fed is None else self.fed.index_select(0, rows)
        return DecoderState(self.cells.select(rows), fed, None if self.memory is None else self.memory.select(rows))

    def detach(self) -> DecoderState:
        fed, memory = None if self.fed is None else self.fed.detach(), self.memory
        shared = None if memory is None else Shared(tuple(t.detach() for t in memory.tensors), memory.group)
        return DecoderState(self.cells.detach(), fed, shared)

    def tensors(self) -> list[Tensor]:
        """The rows' own copies of the memory: rows of one source share it no longer."""
        cells = [part.transpose(0, 1) for part in self.cells.parts]
        fed = [] if self.fed is None else [self.fed]
        shared = [] if self.memory is None else [t.repeat_interleave(self.memory.group, 0) for t in self.memory.tensors]
        return [*cells, *fed, *shared]

    def with_tensors(self, tensors: list[Tensor]) -> DecoderState:
        rest = list(tensors)
        cells = RecurrentState(*(rest.pop(0).transpose(0, 1) for _ in self.cells.parts))
        fed = None if self.fed is None else rest.pop(0)
        return DecoderState(cells, fed, None if self.memory is None else Shared(tuple(rest)))


class Seq2Seq(EncoderDecoder):
    """The whole model; see the module's picture."""

    def __init__(self, config: Seq2SeqConfig, vocab_size: int, source_vocab_size: int | None = None) -> None:
        super().__init__()
        if config.shared and source_vocab_size is not None:
            raise ConfigError(
                "model.shared needs one tokenizer for source and target, and here each has its own",
                fix="set model.shared to false, or train one tokenizer for both",
            )
        self.config, self.vocab_size, self.source_vocab_size = config, vocab_size, source_vocab_size or vocab_size
        self.d_model, self.context, self.source_context = config.output_width, None, None
        d, width, memory = config.d_model, config.hidden_width, config.memory_width
        self.embedding = nn.Embedding(vocab_size, d)
        shared = source_vocab_size is None if config.shared is None else config.shared
        self.source_embedding = None if shared else nn.Embedding(self.source_vocab_size, d)
        self.encoder = self._cells(bidirectional=config.bidirectional)
        self.decoder = self._cells()
        vectors = 2 if config.cell == "lstm" else 1
        bridges = (nn.Linear(2 * vectors * width, vectors * width) for _ in range(config.n_layers))
        self.bridges = nn.ModuleList(bridges) if config.bidirectional else None
        self.attention = None if config.attention == "none" else alignment(config.attention, width, memory)
        self.feed, self.readout = self._wiring()
        self.dropout = Dropout(config.dropout)
        self.head = None if config.tied else nn.Linear(config.output_width, vocab_size, bias=False)
        self.output_bias = nn.Parameter(torch.zeros(vocab_size)) if config.output_bias else None
        self._initialise()

    def _cells(self, bidirectional: bool = False) -> nn.RNNBase:
        c = self.config
        between = c.dropout if c.n_layers > 1 else 0.0
        cells: nn.RNNBase = CELLS[c.cell](
            c.d_model, c.hidden_width, c.n_layers, batch_first=True, dropout=between, bidirectional=bidirectional
        )
        return cells

    def _wiring(self) -> tuple[nn.Linear | None, nn.Linear | None]:
        """What turns fed vectors into inputs of the gates, and what makes the vectors that the output layer reads."""
        c = self.config
        gates = self.decoder.get_parameter("weight_ih_l0").shape[0]
        if self.attention is None:
            project = c.output_width != c.hidden_width
            return None, nn.Linear(c.hidden_width, c.output_width, bias=False) if project else None
        seen = c.hidden_width + c.memory_width
        if c.wiring == "bahdanau":
            return nn.Linear(c.memory_width, gates, bias=False), nn.Linear(seen + c.d_model, 2 * c.output_width)
        feed = nn.Linear(c.output_width, gates, bias=False) if c.input_feeding else None
        return feed, nn.Linear(seen, c.output_width, bias=False)

    def _initialise(self) -> None:
        """U(-0.1, 0.1) for embeddings and output layer, cells as in `layers.recurrent`, Glorot's scale for the rest."""
        for module in (self.embedding, self.source_embedding, self.head):
            if module is not None:
                nn.init.uniform_(module.weight, -EMBEDDING, EMBEDDING)
        for cells in (self.encoder, self.decoder):
            initialise(cells, EMBEDDING / math.sqrt(3))
        for linear in (*(self.bridges or ()), self.feed, self.readout):
            if isinstance(linear, nn.Linear):
                nn.init.xavier_uniform_(linear.weight)
                if linear.bias is not None:
                    nn.init.zeros_(linear.bias)

    def head_weight(self) -> Tensor:
        return self.embedding.weight if self.head is None else self.head.weight

    def head_bias(self) -> Tensor | None:
        return self.output_bias

    # -- the source ---------------------------------------------------------------------------------

    def encode(self, source: Tensor, *, source_mask: Tensor | None = None) -> Memory:
        mask = torch.ones_like(source, dtype=torch.bool) if source_mask is None else source_mask
        embedding = self.source_embedding or self.embedding
        if not self.config.reverse_source:
            hidden, final = read(self.encoder, self.dropout(embedding(source)), None, source_mask)
            return Memory(hidden, mask, self._bridged(final))
        backwards = _from_the_end(mask)
        x = self.dropout(embedding(source.gather(1, backwards)))
        hidden, final = read(self.encoder, x, None, source_mask)
        in_order = hidden.gather(1, backwards[:, :, None].expand_as(hidden))
        return Memory(in_order, mask, self._bridged(final))

    def _bridged(self, final: Parts) -> Parts:
        """The decoder's first vectors (n_layers, B, D): tanh(W [both directions]) a layer (Bahdanau, A.2.2)."""
        if self.bridges is None:
            return final
        n_layers, rows, width = self.config.n_layers, *final[0].shape[1:]
        both = torch.cat([part.view(n_layers, 2, rows, width) for part in final], dim=1)  # (n_layers, 2 or 4, B, D)
        ends = [bridge(layer.transpose(0, 1).flatten(1)) for bridge, layer in zip(self.bridges, both, strict=True)]
        return torch.stack(ends).tanh().chunk(len(final), dim=-1)

    # -- the target ---------------------------------------------------------------------------------

    def init_state(self, memory: Memory, max_len: int) -> DecoderState:
        dtype = self.embedding.weight.dtype
        cells = RecurrentState(*(part.to(dtype) for part in memory.final))
        rows, fed = len(memory.mask), None
        if self.config.input_feeding:
            fed = self.embedding.weight.new_zeros(rows, self.config.output_width)
        return DecoderState(cells, fed, self._looked_at(memory))

    def _looked_at(self, memory: Memory) -> Shared | None:
        """Keys, values and mask as attention takes them, in the precision of its products: once, not at each step."""
        if self.attention is None:
            return None
        device = memory.hidden.device.type
        values = memory.hidden
        if torch.is_autocast_enabled(device):
            values = values.to(torch.get_autocast_dtype(device))
        return Shared((self.attention.project_keys(values), values, memory.mask))

    def forward(
        self,
        tokens: Tensor,
        *,
        token_mask: Tensor | None = None,
        memory: Memory | None = None,
        state: State | None = None,
    ) -> Output:
        if memory is not None and state is None:
            # no state is handed on, so what is read after a row's end is seen by nobody
            before, token_mask = self.init_state(memory, tokens.shape[1]), None
        elif memory is None and isinstance(state, DecoderState):
            before = state
        else:
            raise InputError("a decoder reads either a memory or a state", fix="give forward one of the two")
        x = self.dropout(self.embedding(tokens))  # (B, T, d_model)
        if self.feed is None:
            output, after = self._at_once(x, before, token_mask)
        elif self.config.wiring == "bahdanau":
            output, after = self._bahdanau(x, before, token_mask)
        else:
            output, after = self._input_feeding(x, before, token_mask)
        return Output(self.dropout(output), after if state is not None else None)

    def _at_once(self, x: Tensor, before: DecoderState, mask: Tensor | None) -> tuple[Tensor, DecoderState]:
        """All steps of the cells, then attention for all of them."""
        hidden, parts = read(self.decoder, x, before.cells.parts, mask)
        after = DecoderState(RecurrentState(*parts), None, before.memory)
        if before.memory is not None:
            return self._attentional(hidden, before.memory), after
        return hidden if self.readout is None else self.readout(hidden), after

    def _input_feeding(self, x: Tensor, before: DecoderState, mask: Tensor | None) -> tuple[Tensor, DecoderState]:
        """Luong's decoder that is fed its last output."""
        assert self.feed
        assert before.memory
        assert before.fed is not None
        layers, fed, outputs = _by_layer(before.cells), before.fed, []
        for sums, real in self._steps(x, mask):
            layers = self._advance(sums + self.feed(fed), layers, real)
            output = self._attentional(layers[-1][0][:, None], before.memory)[:, 0]
            outputs.append(output)
            fed = _where(real, output.to(fed.dtype), fed)
        return torch.stack(outputs, dim=1), DecoderState(_all_layers(layers), fed, before.memory)

    def _bahdanau(self, x: Tensor, before: DecoderState, mask: Tensor | None) -> tuple[Tensor, DecoderState]:
        """Attention by the state before the token is read; its context enters the cell and the output.

        Maxout's pairs are an element of each half (Goodfellow et al. 2013); the paper's text gives it s_t-1, its
        probability p(y | s_t, y_t-1, c_t) and its code s_t.
        """
        assert self.feed
        assert self.readout
        assert before.memory
        layers, states, contexts = _by_layer(before.cells), [], []
        for sums, real in self._steps(x, mask):
            context = self._context(layers[-1][0][:, None], before.memory)[:, 0]
            layers = self._advance(sums + self.feed(context), layers, real)
            states.append(layers[-1][0])
            contexts.append(context)
        found = (torch.stack(states, dim=1), torch.stack(contexts, dim=1), x)
        output = torch.maximum(*self.readout(torch.cat(found, dim=-1)).chunk(2, dim=-1))
        return output, DecoderState(_all_layers(layers), None, before.memory)

    def _steps(self, x: Tensor, mask: Tensor | None) -> Iterator[tuple[Tensor, Tensor | None]]:
        """For each step what tokens give to the first layer's gates (B, G), and for which rows it is real (B, 1)."""
        for t, sums in enumerate(input_sums(self.decoder, 0, x).unbind(1)):
            yield sums, None if mask is None else mask[:, t, None]

    def _advance(self, sums: Tensor, layers: list[Parts], real: Tensor | None) -> list[Parts]:
        """One step through all layers; rows for which it is not real keep what they had."""
        after: list[Parts] = []
        for layer, before in enumerate(layers):
            if layer:
                sums = input_sums(self.decoder, layer, dropout(after[-1][0], self.config.dropout, self.training))
            new = step(self.decoder, layer, sums, before)
            after.append(tuple(_where(real, n, old) for n, old in zip(new, before, strict=True)))
        return after

    def _attentional(self, hidden: Tensor, memory: Shared) -> Tensor:
        """tanh(W [c; s]) of states (B, T, D) (Luong et al. 2015, equation 5)."""
        assert self.readout is not None
        return torch.tanh(self.readout(torch.cat((self._context(hidden, memory), hidden), dim=-1)))

    def _context(self, query: Tensor, memory: Shared) -> Tensor:
        """What queries (B, T, D) find, (B, T, D_memory); those of one source's rows are asked together."""
        assert self.attention is not None
        queries = memory.gather(query[:, None])[:, 0]
        return memory.scatter(self.attention(queries, *memory.tensors)[:, None])[:, 0]


def _from_the_end(mask: Tensor) -> Tensor:
    """(B, S): the place of each token when the real ones, and only they, are reversed; the same way back."""
    places = torch.arange(mask.shape[1], device=mask.device)
    return torch.where(mask, mask.sum(dim=1, keepdim=True) - 1 - places, places)


def _by_layer(cells: RecurrentState) -> list[Parts]:
    return list(zip(*(part.unbind(0) for part in cells.parts), strict=True))


def _all_layers(layers: list[Parts]) -> RecurrentState:
    return RecurrentState(*(torch.stack(part) for part in zip(*layers, strict=True)))


def _where(real: Tensor | None, new: Tensor, old: Tensor) -> Tensor:
    return new if real is None else torch.where(real, new, old)
