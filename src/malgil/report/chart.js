// Draws the charts of a run in the reader's width, with a switch of the axis and a read-out under the pointer.
// The static pictures that the page came with are replaced; all numbers come from the JSON beside this script.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("page-data").textContent);
  const words = data.words;
  const MARGIN = { left: 52, right: 14, top: 14, bottom: 34 };
  const CHARTS = {
    loss: {
      height: 360, even: true, best: true,
      lines: [["train", "loss", "raw"], ["train", "smooth", "smooth"], ["validation", "val_loss", "validation"]],
      read: [["loss", fixed], ["smooth", fixed]],
    },
    lr: { height: 220, zero: true, lines: [["train", "lr", "lr"]], read: [["lr", (v) => v.toExponential(2)]] },
    speed: {
      height: 220, zero: true, lines: [["train", "tokens_per_second", "speed"]],
      read: [["tokens_per_second", whole]],
    },
  };
  const view = { axis: "step", log: false, late: false };

  function fixed(v) { return v.toFixed(3); }
  function whole(v) { return Math.round(v).toLocaleString("en-US"); }
  function short(v) {
    for (const [size, letter] of [[1e9, "B"], [1e6, "M"], [1e3, "k"]]) {
      if (Math.abs(v) >= size) return +(v / size).toPrecision(4) + letter;
    }
    return String(+v.toPrecision(4));
  }
  function time(v) {
    const [h, m, s] = data.language === "ko" ? ["시간", "분", "초"] : [" h", " min", " s"];
    if (v < 60) return +v.toFixed(1) + s;
    const whole = Math.round(v);
    const join = (a, A, b, B) => a + A + (b ? " " + b + B : "");
    if (whole < 3600) return join(Math.floor(whole / 60), m, whole % 60, s);
    return join(Math.floor(whole / 3600), h, Math.floor((whole % 3600) / 60), m);
  }

  function ticks(low, high, about, steps) {
    const rough = (high - low) / about;
    let step = (steps || []).find((s) => s >= rough);
    if (!step) {
      const power = 10 ** Math.floor(Math.log10(rough));
      step = power * [1, 2, 5, 10].find((m) => m * power >= rough * (1 - 1e-9));
    }
    const found = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(i * step);
    return found;
  }
  function logTicks(low, high) {
    const found = [];
    for (let p = Math.floor(Math.log10(low)); p <= Math.ceil(Math.log10(high)); p++) {
      for (const m of high / low > 1000 ? [1] : [1, 2, 5]) {
        if (m * 10 ** p >= low && m * 10 ** p <= high) found.push(m * 10 ** p);
      }
    }
    return found;
  }

  function node(name, attributes, content) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const key in attributes) made.setAttribute(key, attributes[key]);
    if (content !== undefined) made.textContent = content;
    return made;
  }

  // (x, y, index) of a column, without what is missing, is not wanted or cannot stand on a log axis
  function points(part, key) {
    const xs = data[part][view.axis], ys = data[part][key], steps = data[part].step, found = [];
    const last = Math.max(0, ...data.train.step.slice(-1), ...data.validation.step.slice(-1));
    for (let i = 0; i < xs.length; i++) {
      if (xs[i] !== null && ys[i] !== null && (!view.log || xs[i] > 0) && (!view.late || steps[i] >= last / 10)) found.push([xs[i], ys[i], i]);
    }
    return found;
  }

  function draw(figure) {
    const chart = CHARTS[figure.dataset.chart], plot = figure.querySelector(".plot");
    const width = Math.max(260, plot.clientWidth), height = width < 480 ? Math.min(chart.height, 270) : chart.height;
    const lines = chart.lines.map(([part, key, style]) => ({ style, part, points: points(part, key) }));
    const all = lines.flatMap((line) => line.points);
    const old = plot.querySelector("svg"), name = old.getAttribute("aria-label");
    const svg = node("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": name, tabindex: 0 });
    if (all.length) {
      const scales = place(chart, all, width, height);
      axes(svg, scales, width, height);
      if (chart.even && data.even && data.even <= scales.top && data.even >= scales.floor) {
        svg.append(node("line", { class: "even", x1: MARGIN.left, x2: width - MARGIN.right, y1: scales.y(data.even), y2: scales.y(data.even) }));
      }
      for (const line of lines) curve(svg, line, scales);
      if (chart.best && data.best !== null) {
        const best = lines[2].points.find((p) => p[2] === data.best);
        if (best) svg.append(node("circle", { class: "best", cx: scales.x(best[0]), cy: scales.y(best[1]), r: 5.5 }));
      }
      readOut(svg, plot, chart, lines, scales, width, height);
    }
    old.replaceWith(svg);
  }

  function place(chart, all, width, height) {
    let left = Infinity, right = -Infinity, floor = Infinity, top = -Infinity;
    for (const [x, y] of all) {
      left = Math.min(left, x); right = Math.max(right, x);
      floor = Math.min(floor, y); top = Math.max(top, y);
    }
    if (chart.zero) floor = 0;
    const pad = 0.05 * (top - floor) || 0.05 * Math.abs(top) || 1;
    top += pad;
    if (!chart.zero) floor -= pad;
    const f = view.log ? Math.log : (v) => v, span = f(right) - f(left) || 1;
    return {
      left, right, floor, top,
      x: (v) => MARGIN.left + ((f(v) - f(left)) / span) * (width - MARGIN.left - MARGIN.right),
      y: (v) => height - MARGIN.bottom - ((v - floor) / (top - floor)) * (height - MARGIN.bottom - MARGIN.top),
    };
  }

  function axes(svg, s, width, height) {
    const base = height - MARGIN.bottom, isTime = view.axis === "seconds";
    for (const v of ticks(s.floor, s.top, Math.max(2, height / 50))) {
      svg.append(node("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: s.y(v), y2: s.y(v) }));
      svg.append(node("text", { x: MARGIN.left - 8, y: s.y(v) + 4, "text-anchor": "end" }, short(v)));
    }
    const clock = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 10800, 21600, 43200, 86400];
    const marks = s.right <= s.left ? [s.left]
      : view.log ? logTicks(s.left, s.right) : ticks(s.left, s.right, Math.max(4, width / 100), isTime ? clock : null);
    let last = -Infinity;
    for (const v of marks) {
      const x = s.x(v);
      if (x - last < 40) continue;
      last = x;
      const anchor = x > width - 40 ? "end" : "middle";
      svg.append(node("text", { x: anchor === "end" ? width - 2 : x, y: base + 18, "text-anchor": anchor }, isTime ? time(v) : short(v)));
    }
    svg.append(node("line", { class: "axis", x1: MARGIN.left, x2: width - MARGIN.right, y1: base, y2: base }));
    svg.append(node("text", { x: width - MARGIN.right, y: height - 2, "text-anchor": "end" }, words[view.axis]));
  }

  function curve(svg, line, s) {
    svg.append(node("polyline", {
      class: line.style, points: line.points.map(([x, y]) => s.x(x).toFixed(1) + "," + s.y(y).toFixed(1)).join(" "),
    }));
    const dots = line.part === "validation" && line.points.length <= 120;
    if (!dots && line.points.length > 1) return;
    for (const [x, y] of line.points) {
      svg.append(node("circle", { class: dots ? "validation-dot" : "lone", cx: s.x(x), cy: s.y(y), r: 2.6 }));
    }
  }

  // The nearest logged point along x: what was logged there, and the evaluation at it or last before it.
  function readOut(svg, plot, chart, lines, s, width, height) {
    const main = lines[0].points.length ? lines[0] : lines[lines.length - 1];
    const cursor = node("line", { class: "cursor", y1: MARGIN.top, y2: height - MARGIN.bottom, visibility: "hidden" });
    const here = node("circle", { class: "here", r: 4, visibility: "hidden" });
    let box = plot.querySelector(".read");
    if (!box) {
      box = document.createElement("div");
      box.className = "read";
      plot.append(box);
    }
    box.hidden = true;
    svg.append(cursor, here);
    let at = main.points.length - 1;

    function hide() {
      box.hidden = true;
      cursor.setAttribute("visibility", "hidden");
      here.setAttribute("visibility", "hidden");
    }
    function show(index) {
      at = Math.max(0, Math.min(main.points.length - 1, index));
      const x = s.x(main.points[at][0]), rows = rowsAt(chart, main, at);
      box.replaceChildren(...rows.map(([label, value]) => {
        const row = document.createElement("div"), name = document.createElement("span"), text = document.createElement("b");
        name.textContent = label;
        text.textContent = value;
        row.append(name, text);
        return row;
      }));
      box.hidden = false;
      const right = x < width / 2;
      box.style.left = right ? ((x + 14) / width) * 100 + "%" : "auto";
      box.style.right = right ? "auto" : ((width - x + 14) / width) * 100 + "%";
      const shown = lines.find((line) => line.style === "smooth") || main;
      const mark = shown.part === main.part && shown.points[at] ? shown.points[at] : main.points[at];
      for (const [key, value] of [["x1", x], ["x2", x], ["visibility", "visible"]]) cursor.setAttribute(key, value);
      for (const [key, value] of [["cx", x], ["cy", s.y(mark[1])], ["visibility", "visible"]]) here.setAttribute(key, value);
    }
    svg.addEventListener("pointermove", (event) => {
      const frame = svg.getBoundingClientRect(), x = ((event.clientX - frame.left) / frame.width) * width;
      let near = 0;
      main.points.forEach((p, i) => { if (Math.abs(s.x(p[0]) - x) < Math.abs(s.x(main.points[near][0]) - x)) near = i; });
      show(near);
    });
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 }[event.key];
      if (event.key === "Escape") hide();
      if (!move) return;
      event.preventDefault();
      show(box.hidden ? at : at + move);
    });
  }

  function rowsAt(chart, main, at) {
    const part = data[main.part], i = main.points[at][2], rows = [];
    for (const [key, format] of [["step", whole], ["tokens", whole], ["seconds", time]]) {
      if (part[key][i] !== null) rows.push([words[key], format(part[key][i])]);
    }
    if (main.part === "train") {
      for (const [key, format] of chart.read) {
        if (part[key][i] !== null) rows.push([words[key], format(part[key][i])]);
      }
    }
    if (!chart.best) return rows;
    const evaluated = data.validation;
    let j = -1;
    evaluated.step.forEach((step, k) => { if (step <= part.step[i]) j = k; });
    if (j < 0) return rows;
    const where = evaluated.step[j] === part.step[i] ? "" : " @ " + whole(evaluated.step[j]);
    rows.push([words.validation + where, fixed(evaluated.val_loss[j])]);
    if (evaluated.val_bits_per_byte[j] !== null) rows.push([words.bits, fixed(evaluated.val_bits_per_byte[j])]);
    return rows;
  }

  const figures = [...document.querySelectorAll("figure[data-chart]")];
  const controls = document.querySelector(".controls");
  const redraw = () => figures.forEach(draw);
  if (controls) {
    controls.hidden = false;
    controls.addEventListener("click", (event) => {
      const axis = event.target.dataset.axis;
      if (!axis) return;
      view.axis = axis;
      controls.querySelectorAll("[data-axis]").forEach((b) => b.setAttribute("aria-pressed", String(b.dataset.axis === axis)));
      redraw();
    });
    controls.addEventListener("change", (event) => {
      view[event.target.name] = event.target.checked;
      redraw();
    });
  }
  addEventListener("resize", redraw);
  redraw();
})();
