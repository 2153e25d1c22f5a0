// Draws the charts of a comparison in the reader's width, with a read-out under the pointer and models to pick out.
// The static pictures that the page came with are replaced; all numbers come from the JSON beside this script.
(() => {
  "use strict";
  const { charts, marks } = JSON.parse(document.getElementById("page-data").textContent);
  const SVG = "http://www.w3.org/2000/svg";
  const view = { log: false, picked: null };
  const TOP = 16, BOTTOM = 38, LEFT = 50;

  function node(name, attributes, text) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  }
  function short(v) {
    for (const [size, letter] of [[1e9, "B"], [1e6, "M"], [1e3, "k"]]) {
      if (Math.abs(v) >= size) return +(v / size).toPrecision(4) + letter;
    }
    return String(+v.toPrecision(4));
  }
  function figure(name, v) {
    if (/accuracy|exact_match|f1/.test(name)) return (100 * v).toFixed(1) + " %";
    if (/bleu|chrf/.test(name)) return v.toFixed(1);
    return v < 100 ? v.toFixed(3) : short(v);
  }
  const read = (chart, v) => (chart.form === "figure" ? figure(chart.figure, v) : v >= 100 ? Math.round(v).toLocaleString("en-US") : String(+v.toPrecision(3)));

  // round numbers in [low, high]; on a logarithmic axis 1, 2 and 5 times powers of ten, more where few fit
  function ticks(low, high, about, log) {
    if (log) {
      for (const digits of [[1], [1, 2, 5], [1, 1.5, 2, 3, 4, 5, 6, 8]]) {
        const found = [];
        for (let d = Math.floor(low * Math.log10(2)) - 1; d <= high * Math.log10(2) + 1; d++) {
          for (const digit of digits) {
            const p = Math.log2(digit * 10 ** d);
            if (p >= low && p <= high) found.push([p, short(digit * 10 ** d)]);
          }
        }
        if (found.length >= 3) return found;
      }
      return ticks(2 ** low, 2 ** high, about, false).map(([v, name]) => [Math.log2(v), name]);
    }
    const rough = (high - low) / about, power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((m) => m * power >= rough * (1 - 1e-9)), found = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high * (1 + 1e-9); i++) found.push([i * step, short(i * step)]);
    return found;
  }

  function draw(holder) {
    const chart = charts.find((one) => one.id === holder.dataset.chart), plot = holder.querySelector(".plot");
    if (holder.hidden || !plot.clientWidth) return;
    const width = plot.clientWidth, narrow = width < 430;
    const height = narrow ? Math.min(+holder.dataset.height, 290) : +holder.dataset.height;
    const names = [...new Set(chart.series.map((s) => s.name))];
    const wanted = Math.max(...names.map((n) => n.length)) * 7.4 + 18, labelled = wanted <= width * 0.3;
    const right = labelled ? wanted : 16;  // else the marks at the top of the page have to do
    const xlog = chart.xlog || (view.log && !chart.bands && holder.closest(".switched") !== null), ylog = chart.ylog;
    const fx = xlog ? Math.log2 : (v) => v, fy = ylog ? Math.log2 : (v) => v;
    const points = chart.series.flatMap((s) => s.points);
    if (!points.length) return;
    const xs = points.map((p) => fx(p[0])), ys = points.map((p) => fy(p[1]));
    const ruled = chart.rule && chart.rule.y !== null;
    if (ruled) ys.push(fy(chart.rule.y));
    const [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const padX = chart.bands ? 0.5 : 0.03 * (x1 - x0) || 0.5, padY = 0.06 * (y1 - y0) || 0.05 * Math.abs(y1) || 1;
    const scale = (low, high, start, end) => (v) => start + ((v - low) / (high - low)) * (end - start);
    const sx = scale(x0 - padX, x1 + padX, LEFT, width - right), sy = scale(y0 - padY, y1 + padY, height - BOTTOM, TOP);
    const at = ([x, y]) => [sx(fx(x)), sy(fy(y))];
    const svg = node("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": `${chart.y}; ${chart.x}`, tabindex: 0 });
    const base = height - BOTTOM;

    for (const [v, name] of ticks(y0 - padY, y1 + padY, Math.max(2, height / 45), ylog)) {
      svg.append(node("line", { class: "grid", x1: LEFT, x2: width - right, y1: sy(v), y2: sy(v) }));
      svg.append(node("text", { class: "tick", x: LEFT - 8, y: sy(v) + 4, "text-anchor": "end" }, name));
    }
    const named = chart.bands ? chart.bands.map((name, i) => [i, name])
      : chart.xticks ? chart.xticks.map((v) => [fx(v), v.toLocaleString("en-US")]) : ticks(x0 - padX, x1 + padX, narrow ? 4 : 6, xlog);
    const room = named.length > 1 ? sx(named[1][0]) - sx(named[0][0]) : width;
    const every = Math.max(1, Math.ceil((Math.max(...named.map((n) => n[1].length)) * 6.6 + 6) / room));
    named.forEach(([v, name], i) => {
      if (i % every === 0) svg.append(node("text", { class: "tick", x: sx(v), y: base + 17, "text-anchor": "middle" }, name));
    });
    svg.append(node("line", { class: "axis", x1: LEFT, x2: width - right, y1: base, y2: base }));
    svg.append(node("text", { class: "label", x: width - right, y: height - 3, "text-anchor": "end" }, chart.x));
    if (ruled) svg.append(node("line", { class: "rule", x1: LEFT, x2: width - right, y1: sy(fy(chart.rule.y)), y2: sy(fy(chart.rule.y)) }));

    const ends = new Map();
    for (const s of chart.series) {
      if (!s.points.length) continue;
      const pixels = s.points.map(at), group = node("g", { class: `m${s.style}` });
      if (view.picked && view.picked !== s.name) group.classList.add("faded");
      if (s.joined) group.append(node("polyline", { points: pixels.map((p) => p.map((v) => v.toFixed(1)).join(",")).join(" ") }));
      for (const [x, y] of pixels) {
        group.append(node("path", { class: "mark", transform: `translate(${x.toFixed(1)} ${y.toFixed(1)}) scale(${s.joined ? 3.2 : 5})`, d: marks[s.style % marks.length] }));
      }
      svg.append(group);
      ends.set(s.name, { y: pixels[pixels.length - 1][1], style: s.style });
    }
    const labels = (labelled ? [...ends] : []).sort((a, b) => a[1].y - b[1].y);
    let last = -Infinity;
    for (const [, end] of labels) { last = Math.max(end.y, last + 15); end.at = last; }
    const over = Math.max(0, last - base);
    for (const [name, end] of labels) {
      const label = node("text", { class: `name m${end.style}`, x: width - right + 10, y: end.at - over + 4 }, name);
      if (view.picked && view.picked !== name) label.classList.add("faded");
      svg.append(label);
    }
    readOut(svg, plot, chart, at, { width, base, names });
    plot.querySelector("svg").replaceWith(svg);
  }

  // the models' values at the place that is nearest along x, the best reading first
  function readOut(svg, plot, chart, at, { width, base, names }) {
    const cursor = node("line", { class: "cursor", y1: TOP, y2: base, visibility: "hidden" });
    svg.append(cursor);
    let box = plot.querySelector(".read");
    if (!box) {
      box = document.createElement("div");
      box.className = "read";
      plot.append(box);
    }
    box.hidden = true;
    const places = [...new Set(chart.series.flatMap((s) => s.points.map((p) => p[0])))].sort((a, b) => a - b);
    let here = places.length - 1;
    const hide = () => { box.hidden = true; cursor.setAttribute("visibility", "hidden"); };
    function show(index) {
      here = Math.max(0, Math.min(places.length - 1, index));
      const place = places[here], x = at([place, chart.series.find((s) => s.points.length).points[0][1]])[0];
      const head = document.createElement("p");
      head.textContent = (chart.bands ? chart.bands[place] : short(place)) + " " + chart.x;
      const rows = names.map((name) => {
        const own = chart.series.filter((s) => s.name === name && s.points.length);
        const near = own.map((s) => s.points.reduce((a, b) => (Math.abs(b[0] - place) < Math.abs(a[0] - place) ? b : a)));
        return { name, style: own[0] ? own[0].style : 0, value: near.length ? near.reduce((sum, p) => sum + p[1], 0) / near.length : null };
      }).filter((row) => row.value !== null).sort((a, b) => a.value - b.value);
      box.replaceChildren(head, ...rows.map((row) => {
        const line = document.createElement("div"), name = document.createElement("span"), value = document.createElement("b");
        const key = node("svg", { class: "key", viewBox: "-2 -2 4 4" });
        key.append(node("path", { class: `mark m${row.style}`, d: marks[row.style % marks.length] }));
        name.append(key, row.name);
        value.textContent = read(chart, row.value);
        line.append(name, value);
        line.classList.toggle("here", row.name === view.picked);
        return line;
      }));
      box.hidden = false;
      const toRight = x < width / 2;
      box.style.left = toRight ? x + 14 + "px" : "auto";
      box.style.right = toRight ? "auto" : width - x + 14 + "px";
      for (const [key, value] of [["x1", x], ["x2", x], ["visibility", "visible"]]) cursor.setAttribute(key, value);
    }
    function pointed(event) {
      const frame = svg.getBoundingClientRect(), x = ((event.clientX - frame.left) / frame.width) * width;
      const any = chart.series.find((s) => s.points.length).points[0][1];
      let near = 0;
      places.forEach((p, i) => { if (Math.abs(at([p, any])[0] - x) < Math.abs(at([places[near], any])[0] - x)) near = i; });
      show(near);
    }
    svg.addEventListener("pointermove", pointed);
    svg.addEventListener("pointerdown", pointed);
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (event.key === "Escape") hide();
      if (!move) return;
      event.preventDefault();
      show(box.hidden ? here : here + move);
    });
  }

  const figures = [...document.querySelectorAll("figure[data-chart]")];
  const redraw = () => figures.forEach(draw);

  const switched = document.querySelector(".switched"), controls = document.querySelector("#quality .controls");
  if (switched && controls) {
    const choose = (axis) => {
      switched.querySelectorAll("figure").forEach((one) => { one.hidden = one.dataset.chart !== axis; });
      controls.querySelectorAll("[data-axis]").forEach((b) => b.setAttribute("aria-pressed", String(b.dataset.axis === axis)));
      redraw();
    };
    switched.classList.add("live");
    controls.hidden = false;
    controls.addEventListener("click", (event) => { if (event.target.dataset.axis) choose(event.target.dataset.axis); });
    controls.addEventListener("change", (event) => { view.log = event.target.checked; redraw(); });
    choose(controls.querySelector("[data-axis]").dataset.axis);
  }

  // a model that is picked stands out in every chart, in the table and among the samples
  const buttons = [...document.querySelectorAll(".model")];
  for (const button of buttons) {
    button.disabled = false;
    button.addEventListener("click", () => {
      view.picked = view.picked === button.dataset.model ? null : button.dataset.model;
      buttons.forEach((b) => b.setAttribute("aria-pressed", String(b.dataset.model === view.picked)));
      document.querySelectorAll("tr[data-model], .card[data-model]").forEach((one) => {
        one.classList.toggle("faded", view.picked !== null && one.dataset.model !== view.picked);
      });
      redraw();
    });
  }

  // a link to a model's settings opens them
  function unfold() {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target && target.tagName === "DETAILS") { target.open = true; target.scrollIntoView(); }
  }
  addEventListener("hashchange", unfold);
  document.querySelectorAll(".overview a").forEach((a) => a.addEventListener("click", () => setTimeout(unfold)));
  unfold();
  addEventListener("resize", redraw);
  redraw();
})();
