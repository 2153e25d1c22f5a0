"""The report of one training run: what came out, whether it is normal, how it went, and with what.

Everything that is said is in `RunFacts`; nothing is measured or looked up here, so that a report can be
made again from a run folder, also of a run that is still going on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from malgil.config import flat
from malgil.report import figures, loss_charts
from malgil.report.curves import Curves, number
from malgil.report.page import grid, page, resource, section, table, text
from malgil.report.verdict import Even, findings
from malgil.report.words import Words
from malgil.runtime.energy import Energy
from malgil.version import __version__

SHOWN_SAMPLES = 5


@dataclass(frozen=True)
class DataFacts:
    """What the run was trained and validated on.

    Attributes:
        vocab_size: of the tokenizer.
        tokenizer: its kind (`char`, `bpe`, ...).
        unknown: unknown tokens in the validation part; any make bits per byte not comparable.
        epochs: how often the training part was seen.
        sources: names of the files.
        of_tokens: whether losses are those of tokens; else nothing is said of perplexity and bits.
        untrained: the loss of one who knows nothing, and how it is computed, where losses are not of tokens.
    """

    vocab_size: int
    tokenizer: str = ""
    train_tokens: int | None = None
    train_bytes: int | None = None
    train_documents: int | None = None
    validation_tokens: int | None = None
    validation_bytes: int | None = None
    validation_documents: int | None = None
    unknown: int = 0
    epochs: float | None = None
    sources: Sequence[str] = ()
    of_tokens: bool = True
    untrained: tuple[float, str] | None = None

    @property
    def even(self) -> Even | None:
        """The loss of one who knows nothing; None where nobody can say."""
        if self.of_tokens:
            return Even.tokens(self.vocab_size)
        return None if self.untrained is None else Even(*self.untrained)


@dataclass(frozen=True)
class RunFacts:
    """Everything that the report of a run says.

    Attributes:
        recipe, family: names, as `gpt` and `llama`.
        parameters: of the model, shared ones once.
        data: what it was trained on.
        status: `running`, `finished`, `interrupted`, or `stopped early: reason`.
        metrics: the lines of metrics.jsonl (`step, tokens, seconds, loss, lr, tokens_per_second`; at evaluations
            `val_loss, val_perplexity, val_bits_per_byte`); losses in nats per token.
        samples: `{step, prompt, text}`; `text` is what the model wrote, without the prompt.
        warnings: what the run warned of, a sentence each.
        config: the resolved settings, nested.
        hardware: as `runtime.hardware.describe_hardware` returns it; other keys are shown as they are.
        energy: measured or estimated.
        peak_memory, peak_gpu_memory: bytes.
        name: of the run's folder.
        started: the date and time to show, as text.
        sections: what the task adds: (identifier, heading in plain text, HTML).
        watched: the figure by which the run keeps weights, and whether more of it is better.
    """

    recipe: str
    family: str
    parameters: int
    data: DataFacts
    status: str = "finished"
    metrics: Sequence[Mapping[str, Any]] = ()
    samples: Sequence[Mapping[str, Any]] = ()
    warnings: Sequence[str] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    hardware: Mapping[str, Any] = field(default_factory=dict)
    energy: Energy | None = None
    peak_memory: int | None = None
    peak_gpu_memory: int | None = None
    name: str = ""
    started: str = ""
    sections: Sequence[tuple[str, str, str]] = ()
    watched: tuple[str, bool] = ("val_loss", False)


def render_run(facts: RunFacts, language: str = "en") -> str:
    """report.html: one file that needs no network.

    Args:
        facts: what there is to say.
        language: of headings and sentences, `en` or `ko`.

    Raises:
        NotFoundError: another language.
    """
    words, curves = Words(language), Curves.of(facts.metrics, facts.watched)
    parts = [
        _title(facts, words),
        _headlines(facts, curves, words),
        _verdict(facts, curves, words),
        section(words("curves"), loss_charts.charts(curves, facts.data.even, words, _unit(facts, words)), "curves"),
    ]
    parts += [section(heading, content, identifier) for identifier, heading, content in facts.sections]
    if facts.samples:
        parts.append(section(words("samples"), _samples(facts, words), "samples"))
    parts.append(f'<div class="pair">{_data(facts.data, words)}{_machine(facts, words)}</div>')
    if facts.config:
        parts.append(section(words("settings"), _settings(facts.config, words), "settings"))
    return page(
        f"{facts.recipe} · {facts.name or words('kicker')}",
        "\n".join(parts),
        kicker=words("kicker"),
        footer=words("footer", version=__version__),
        language=language,
        script=resource("chart.js") + resource("print.js"),
        data=loss_charts.chart_data(curves, facts.data.even, words),
    )


def _title(facts: RunFacts, words: Words) -> str:
    state, _, reason = facts.status.partition(": ")
    status = words.get(state) + (f": {reason}" if reason else "")
    line = [facts.family, words("parameters", n=figures.parameters(facts.parameters)), facts.name, facts.started]
    return (
        f'<div class="title"><h1>{text(facts.recipe)}</h1>'
        f"<p>{' · '.join(text(part) for part in line if part)}</p>"
        f'<p class="status {text(state.replace(" ", "-"))}">{text(status)}</p></div>'
    )


def _headlines(facts: RunFacts, curves: Curves, words: Words) -> str:
    """Five figures, each with what it means beneath it."""
    cards = [*_quality(facts, curves, words)]
    timed = [line for line in facts.metrics if number(line, "seconds") is not None]
    last = max(timed, key=lambda line: line["step"], default={})
    seconds, tokens = number(last, "seconds"), number(last, "tokens")
    if seconds and tokens:
        cards.append((words("speed"), figures.count(tokens / seconds), words("speed note")))
    if seconds is not None:
        note = words("time note", steps=f"{last['step']:,}", tokens=figures.count(tokens or 0))
        cards.append((words("time"), figures.duration(seconds, words.language), note))
    items = "".join(_card(*card) for card in cards)
    return f'<dl class="headlines">{items}</dl>' if items else ""


def _card(name: str, value: str, note: str) -> str:
    kind = "figure" if value[0].isdigit() or value == "∞" else "words"
    return f'<div><dt>{text(name)}</dt><dd><b class="{kind}">{text(value)}</b><small>{text(note)}</small></dd></div>'


def _quality(facts: RunFacts, curves: Curves, words: Words) -> list[tuple[str, str, str]]:
    """Loss, perplexity and bits per byte of the best evaluation: those of the weights that a run keeps."""
    best = curves.kept
    if best is None:
        if not curves.train:
            return []
        return [(words("loss"), f"{curves.smooth[-1]:.3f}", words("train only"))]
    loss = float(best["val_loss"])
    note = words("best of", n=str(len(curves.validation)), step=f"{best['step']:,}")
    if not facts.data.of_tokens:
        others = [key for key in best if key.startswith("val_") and key != "val_loss"]
        shown = [(words.get(key), f"{v:.3f}", "") for key in others if (v := number(best, key)) is not None]
        return [(words("val_loss"), f"{loss:.3f}", note), *shown]
    bits = number(best, "val_bits_per_byte")
    if facts.data.unknown:
        bits_card = (words("not comparable"), words("unknown note", n=f"{facts.data.unknown:,}"))
    else:
        bits_card = (words("not measured"), "") if bits is None else (f"{bits:.3f}", words("bits note"))
    perplexity = f"{math.exp(loss):.4g}" if loss < 700 else "∞"
    return [
        (words("val_loss"), f"{loss:.3f}", note),
        (words("perplexity"), perplexity, words("perplexity note")),
        (words("bits"), *bits_card),
    ]


def _unit(facts: RunFacts, words: Words) -> str:
    return words("nats") if facts.data.of_tokens else ""


def _verdict(facts: RunFacts, curves: Curves, words: Words) -> str:
    data = facts.data
    summary, *rest = findings(curves, data.even, data.tokenizer, data.epochs, words.language)
    items = "".join(f'<li class="{f.tone}">{text(f.text)}</li>' for f in rest)
    warned = ""
    if facts.warnings:
        lines = "".join(f"<li>{text(warning)}</li>" for warning in facts.warnings)
        warned = f'<h3>{text(words("warnings"))}</h3><ul class="warnings">{lines}</ul>'
    return (
        f'<section id="verdict" class="{summary.tone}"><h2>{text(words("verdict"))}</h2>'
        f'<p class="summary">{text(summary.text)}</p><ul class="findings">{items}</ul>{warned}</section>'
    )


def _samples(facts: RunFacts, words: Words) -> str:
    """A few samples spread over the run, always the first and the last; the others folded away."""
    samples, n = list(facts.samples), len(facts.samples)
    count = min(n, SHOWN_SAMPLES)
    chosen = {round(i * (n - 1) / (count - 1)) for i in range(count)} if count > 1 else {0}
    shown = "".join(_sample(samples[i], words) for i in range(n) if i in chosen)
    others = "".join(_sample(samples[i], words) for i in range(n) if i not in chosen)
    folded = ""
    if others:
        label = text(words("all samples", n=str(n - len(chosen))))
        folded = f'<details><summary>{label}</summary><ol class="samples">{others}</ol></details>'
    return f'<p class="note">{text(words("samples note"))}</p><ol class="samples">{shown}</ol>{folded}'


def _sample(sample: Mapping[str, Any], words: Words) -> str:
    """Whitespace as it is; a character that was cut off at the end (U+FFFD after decoding) is left out."""
    prompt, written = str(sample.get("prompt", "")), str(sample.get("text", "")).rstrip("\ufffd")
    at = words("at step", step=f"{sample['step']:,}")
    return (
        f'<li><span class="at">{text(at)}</span>'
        f'<div class="text" dir="auto" translate="no"><mark>{text(prompt)}</mark>{text(written)}</div></li>'
    )


def _data(data: DataFacts, words: Words) -> str:
    rows = [(words("vocabulary"), f"{data.vocab_size:,}"), (words("tokenizer"), data.tokenizer)]
    for part in ("train", "validation"):
        of = words("training part" if part == "train" else "validation part")
        tokens, n_bytes, documents = (getattr(data, f"{part}_{key}") for key in ("tokens", "bytes", "documents"))
        rows += [
            (f"{of}: {words('n_tokens')}", "" if tokens is None else f"{tokens:,}"),
            (f"{of}: {words('bytes')}", "" if n_bytes is None else f"{n_bytes:,} ({figures.size(n_bytes)})"),
            (f"{of}: {words('documents')}", "" if documents is None else f"{documents:,}"),
        ]
    rows += [
        (words("epochs"), "" if data.epochs is None else f"{data.epochs:.2f}"),
        (words("unknown"), f"{data.unknown:,}" if data.unknown else ""),
        (words("sources"), ", ".join(data.sources)),
    ]
    return f'<section id="data">{table(_known(rows), words("data"))}</section>'


def _machine(facts: RunFacts, words: Words) -> str:
    rows = [(words("peak memory"), "" if facts.peak_memory is None else figures.size(facts.peak_memory))]
    if facts.peak_gpu_memory is not None:
        rows.append((words("peak gpu memory"), figures.size(facts.peak_gpu_memory)))
    if facts.energy is not None:
        rows.append((words("energy"), _energy(facts.energy)))
    for key, value in facts.hardware.items():
        shown = figures.size(value) if key == "memory" and isinstance(value, int) else figures.plain(value)
        rows.append((words.get(key), "" if value in ([], (), None) else shown))
    return f'<section id="machine">{table(_known(rows), words("machine"))}</section>'


def _energy(energy: Energy) -> str:
    if energy.measured:
        return f"{figures.energy(energy.joules)}, {energy.source}"
    low, high = (figures.energy(bound, unit_of=energy.joules) for bound in (energy.low, energy.high))
    return f"{figures.energy(energy.joules)}, {energy.source} ({low} – {high})"


def _settings(config: Mapping[str, Any], words: Words) -> str:
    settings = flat(config)
    rows = [(name, figures.plain(value)) for name, value in settings.items()]
    caption = words("settings note", n=str(len(rows)))
    inner = grid([words("setting"), words("value")], rows, words("settings"))
    return f"<details><summary>{text(caption)}</summary>{inner}</details>"


def _known(rows: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return [row for row in rows if row[1]]
