"""Commands that use a run: evaluate, generate, translate, attention."""

from __future__ import annotations

from pathlib import Path

from malgil.cli.app import Float, Int, Json, Paths, app, as_json, given, machine


@app.command(sort_key=3)
def evaluate(
    run: Path | None = None,
    /,
    *,
    data: Paths = [],  # noqa: B006
    source: Paths = [],  # noqa: B006
    target: Paths = [],  # noqa: B006
    beam: Int = None,
    device: str | None = None,
    threads: Int = None,
    json: Json = False,
) -> None:
    """How good a run is on a text, all of it: loss, perplexity, bits per byte. On pairs: BLEU and chrF too.

    Parameters
    ----------
    run
        The run folder; the newest run where it is left out.
    data
        Files, folders or globs; the run's own validation part where it is left out.
    source
        Pairs: the file of sources, a line each, in place of --data.
    target
        Pairs: the file whose lines belong to those of --source.
    beam
        Pairs: translate with a beam of this width; by default as the run's settings say.
    device
        auto, cpu, cuda, cuda:N or mps.
    threads
        CPU threads; by default all cores.
    json
        Print one JSON object.
    """
    from malgil.cli.tables import score_lines
    from malgil.config import nested
    from malgil.runs.run import load

    given.only("data", "generation")
    options = {
        "data.source": ("--source", source or None),
        "data.target": ("--target", target or None),
        "generation.beam": ("--beam", beam),
    }
    chosen = nested(given.options(options))
    reading = given.section("data") | chosen.get("data", {})
    writing = given.section("generation") | chosen.get("generation", {})
    result = load(run, **machine(device, threads)).evaluate(data or None, generation=writing, **reading)
    print(as_json(result) if json else score_lines(result))


@app.command(sort_key=4, usage="Usage: malgil generate [RUN] --prompt TEXT [OPTIONS]")
def generate(
    run: Path | None = None,
    /,
    *,
    prompt: list[str] = [],  # noqa: B006
    max_tokens: Int = None,
    temperature: Float = None,
    top_k: Int = None,
    top_p: Float = None,
    min_p: Float = None,
    repetition_penalty: Float = None,
    seed: Int = None,
    samples: Int = None,
    stop: list[str] = [],  # noqa: B006
    device: str | None = None,
    threads: Int = None,
    json: Json = False,
) -> None:
    """Write text with a run's model: the prompt and what follows it.

    Parameters
    ----------
    run
        The run folder; the newest run where it is left out.
    prompt
        What the text begins with; may be given again for several at once. Without it a new document begins.
    max_tokens
        The longest continuation, in tokens.
    temperature
        0 = always the likeliest token; 1 = as the model has it; more = wilder.
    top_k
        Choose among the K likeliest tokens.
    top_p
        Choose among the likeliest tokens that together have this probability.
    min_p
        Choose among tokens with at least this share of the likeliest one's probability.
    repetition_penalty
        Above 1: tokens that were already written become less likely.
    seed
        The same seed writes the same text.
    samples
        How many continuations of each prompt.
    stop
        End before this text; may be given again.
    device
        auto, cpu, cuda, cuda:N or mps.
    threads
        CPU threads; by default all cores.
    json
        Print a JSON object a continuation: prompt, text, finish_reason, logprob.
    """
    from malgil.cli.writing import write_all, write_streaming
    from malgil.runs.run import load

    options = {
        "generation.max_tokens": ("--max-tokens", max_tokens),
        "generation.temperature": ("--temperature", temperature),
        "generation.top_k": ("--top-k", top_k),
        "generation.top_p": ("--top-p", top_p),
        "generation.min_p": ("--min-p", min_p),
        "generation.repetition_penalty": ("--repetition-penalty", repetition_penalty),
        "generation.seed": ("--seed", seed),
        "generation.samples": ("--samples", samples),
        "generation.stop": ("--stop", stop or None),
    }
    given.only("generation")
    chosen = given.section("generation") | {
        key.partition(".")[2]: value for key, value in given.options(options).items()
    }
    loaded = load(run, **machine(device, threads))
    settings = loaded.generation_settings(**chosen)
    if len(prompt) <= 1 and settings.samples == 1 and not json:
        write_streaming(loaded, prompt[0] if prompt else "", chosen)
    else:
        write_all(loaded, prompt or [""], chosen, as_json=json)


@app.command(sort_key=5)
def translate(
    run: Path | None = None,
    /,
    *,
    beam: Int = None,
    n_best: Int = None,
    max_tokens: Int = None,
    length_penalty: Float = None,
    precision: str | None = None,
    batch: int | None = None,
    device: str | None = None,
    threads: Int = None,
    json: Json = False,
) -> None:
    """Turn lines on standard input into lines on standard output, each as soon as it is done.

    Parameters
    ----------
    run
        The run folder; the newest run where it is left out.
    beam
        How many hypotheses are followed at a time; 1 = always the likeliest token.
    n_best
        How many hypotheses to print for each line: its number, the score and the text, with tabs between.
    max_tokens
        The longest translation, in tokens.
    length_penalty
        Above 1 favours longer translations, below 1 shorter ones.
    precision
        fp32; bf16 is faster for many lines where a machine has it, and auto takes it there. In fp32 a line's
        translation does not depend on the lines beside it.
    batch
        Lines that are read and translated together; by default 64 of a file, and each line by itself where input
        comes as it is written.
    device
        auto, cpu, cuda, cuda:N or mps.
    threads
        CPU threads; by default all cores.
    json
        Print a JSON object a line: source, text, why it ended (end, length), how many tokens of the source were cut
        off, and the hypotheses with their scores.
    """
    import sys

    from malgil.cli.writing import write_translations
    from malgil.runs.run import load

    options = {
        "generation.beam": ("--beam", beam),
        "generation.n_best": ("--n-best", n_best),
        "generation.max_tokens": ("--max-tokens", max_tokens),
        "generation.length_penalty": ("--length-penalty", length_penalty),
        "generation.precision": ("--precision", precision),
    }
    given.only("generation")
    chosen = given.section("generation") | {
        key.partition(".")[2]: value for key, value in given.options(options).items()
    }
    loaded = load(run, **machine(device, threads))
    lines = None if sys.stdin is None else sys.stdin.buffer
    write_translations(loaded, lines, chosen, batch=batch, as_json=json)


@app.command(sort_key=5)
def predict(
    run: Path | None = None,
    /,
    *,
    batch: int | None = None,
    precision: str = "fp32",
    device: str | None = None,
    threads: Int = None,
) -> None:
    """Label texts: a line of standard input, a JSON line of standard output.

    A line is a text, or a JSON object with "text" and, for pairs, "pair" (for answers "question" and "context").
    It comes back with what was found: label and probabilities, labels, score, entities, or answer.

    Parameters
    ----------
    run
        The run folder; the newest run where it is left out.
    batch
        Lines that are read and labelled together; by default 1,024 of a file, and each line by itself where input
        comes as it is written.
    precision
        fp32; bf16 is faster where a machine has it, and auto takes it there. In fp32 what is found in a line does not
        depend on the lines beside it.
    device
        auto, cpu, cuda, cuda:N or mps.
    threads
        CPU threads; by default all cores.
    """
    import sys

    from malgil.cli.writing import write_predictions
    from malgil.runs.run import load

    given.only()
    loaded = load(run, **machine(device, threads))
    write_predictions(loaded, None if sys.stdin is None else sys.stdin.buffer, batch=batch, precision=precision)


@app.command(sort_key=6)
def attention(
    run: Path,
    text: str,
    /,
    *,
    out: Path,
    target: str | None = None,
    pair: str | None = None,
    png: Path | None = None,
    device: str | None = None,
    threads: Int = None,
) -> None:
    """Show what a model attends to as it reads or translates a text: one page to look at, without a network.

    Parameters
    ----------
    run
        The run folder.
    text
        The text to read, or the source to translate.
    out
        The page to write, an HTML file.
    target
        Pairs: read this translation instead of the model's own.
    pair
        Encoders: a second text to read with the first.
    png
        Also write a picture of the first map to this file.
    device
        auto, cpu, cuda, cuda:N or mps.
    threads
        CPU threads; by default all cores.
    """
    from malgil.runs.run import load

    given.only()
    loaded = load(run, **machine(device, threads))
    print(loaded.write_attention(text, out, target=target, pair=pair, png=png))
