// Draws attention maps: cells, lines between words, and a small picture of every head to choose from.
// The static picture that the page came with is replaced; all numbers come from the JSON beside this script.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("page-data").textContent);
  const words = data.words;
  const MEAN = -1, SHADES = 24, LINE = 26, FAINT = 0.02;
  const find = (selector) => document.querySelector(selector);
  const section = find("#attention"), views = find(".views"), said = find(".said");
  const controls = find(".controls"), heads = find("div.heads");
  const layerMenu = controls.querySelector("[name=layer]"), headMenu = controls.querySelector("[name=head]");
  // what is shown, and the row and column that are pointed at (null: neither)
  const view = { group: 0, layer: 0, head: MEAN, row: null, column: null };
  let shown, map, lines;  // the weights of the map that is shown, and what was drawn of them

  function node(name, attributes, content) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const key in attributes) made.setAttribute(key, attributes[key]);
    if (content !== undefined) made.textContent = content;
    return made;
  }
  function element(name, properties, ...children) {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  }
  const group = () => data.groups[view.group];
  const width = (label) => [...label].reduce((sum, c) => sum + (c > "\u2e7f" ? 1 : 0.62), 0);
  const widest = (labels) => Math.max(...labels.map(width));

  // (heads, rows, columns) of a layer as fractions of 1, unpacked once
  function unpacked(layer) {
    if (!layer.values) {
      const bytes = Uint8Array.from(atob(layer.weights), (c) => c.charCodeAt(0));
      layer.values = Float32Array.from({ length: bytes.length / 2 }, (_, i) => (bytes[2 * i] + 256 * bytes[2 * i + 1]) / 65535);
    }
    return layer.values;
  }
  function weightsOf(layerNumber, head) {
    const layer = group().layers[layerNumber], all = unpacked(layer), size = all.length / layer.heads;
    if (head !== MEAN) return all.subarray(head * size, (head + 1) * size);
    const mean = new Float32Array(size);
    for (let i = 0; i < all.length; i++) mean[i % size] += all[i] / layer.heads;
    return mean;
  }
  const weight = (row, column) => shown[row * group().columns.length + column];

  function draw() {
    const { rows, columns } = group();
    shown = weightsOf(view.layer, view.head);
    views.classList.toggle("wide", columns.length > 18 || rows.length > 40);
    drawMap(rows, columns);
    drawLines(rows, columns);
    point(null, null);
  }

  function drawMap(rows, columns) {
    const plot = find(".map .plot");
    const fit = (font) => {
      const left = widest(rows) * font + 10, slope = widest(columns) * font * 0.71;
      return { left, top: slope + 18, right: slope + 4 };
    };
    let size = fit(13), room = (plot.clientWidth - size.left - size.right) / columns.length;
    const dense = room < 16;
    if (dense) { size = fit(11); room = (plot.clientWidth - size.left - size.right) / columns.length; }
    const cell = Math.max(14, Math.min(36, Math.floor(room)));
    const full = size.left + cell * columns.length + size.right, height = size.top + cell * rows.length + 6;
    const svg = node("svg", {
      viewBox: `0 0 ${full} ${height}`, width: full, height, role: "img", "aria-label": group().map, tabindex: 0, class: dense ? "dense" : "",
    });
    const band = { row: node("rect", { class: "band" }), column: node("rect", { class: "band" }) };
    const rowLabels = rows.map((label, i) => node("text", { x: size.left - 8, y: size.top + cell * (i + 0.5) + 4, "text-anchor": "end" }, label));
    const columnLabels = columns.map((label, i) =>
      node("text", { transform: `translate(${size.left + cell * (i + 0.6)} ${size.top - 8}) rotate(-45)` }, label));
    const frame = node("rect", { class: "frame", width: cell, height: cell, rx: 2, visibility: "hidden" });
    const cells = node("g", { class: "cells", transform: `translate(${size.left} ${size.top}) scale(${cell})` });
    cells.append(node("path", { class: "ground", d: `M0 0h${columns.length}v${rows.length}h-${columns.length}z` }), ...shades(columns.length));
    svg.append(...rowLabels, ...columnLabels, cells, band.row, band.column, frame);
    plot.replaceChildren(svg);
    map = { svg, rowLabels, columnLabels, frame, band, cell, ...size };

    svg.addEventListener("pointermove", pointed);
    svg.addEventListener("pointerdown", pointed);
    svg.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") point(null, null); });
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
      if (event.key === "Escape") point(null, null);
      if (!step) return;
      event.preventDefault();
      if (view.row === null && view.column === null) point(0, 0);
      else point(within((view.row ?? 0) + step[0], rows), within((view.column ?? 0) + step[1], columns));
      map.frame.scrollIntoView({ block: "nearest", inline: "nearest" });
    });
  }
  const within = (i, list) => Math.max(0, Math.min(list.length - 1, i));

  // squares of size 1, those of a shade in one path
  function shades(n) {
    const paths = Array(SHADES + 1).fill("");
    shown.forEach((w, i) => { paths[Math.round(Math.sqrt(w) * SHADES)] += `M${i % n} ${Math.floor(i / n)}h.94v.94h-.94z`; });
    return paths.map((d, shade) => d && shade ? node("path", { d, "fill-opacity": shade / SHADES }) : "");
  }

  // a cell, or the label of a row or of a column
  function pointed(event) {
    const box = map.svg.getBoundingClientRect(), { rows, columns } = group();
    const x = event.clientX - box.left, y = event.clientY - box.top;
    const row = Math.floor((y - map.top) / map.cell);
    const lean = y < map.top ? map.top - y : 0;  // labels of columns lean to the right
    const column = Math.floor((x - lean - map.left) / map.cell);
    point(row >= 0 && row < rows.length ? row : null, column >= 0 && column < columns.length ? column : null);
  }

  function drawLines(rows, columns) {
    const figure = find("figure.lines"), plot = figure.querySelector(".plot");
    figure.hidden = false;
    const full = Math.max(280, plot.clientWidth), height = 28 + LINE * Math.max(rows.length, columns.length);
    const edge = (labels, side) => Math.min(full * 0.38, Math.max(widest(labels) * 13, width(side) * 12) + 16);
    const left = edge(rows, words.looks), right = full - edge(columns, words["looked at"]);
    const svg = node("svg", { viewBox: `0 0 ${full} ${height}`, role: "img", "aria-label": group().lines, tabindex: 0 });
    const y = (i) => 28 + LINE * (i + 0.5);
    svg.append(
      node("text", { class: "side", x: left - 8, y: 14, "text-anchor": "end" }, words.looks),
      node("text", { class: "side", x: right + 8, y: 14 }, words["looked at"]),
    );
    const marks = { row: rows.map((_, i) => mark(i, 0, left - 3)), column: columns.map((_, i) => mark(i, right + 3, full - right - 3)) };
    function mark(i, x, wide) { return node("rect", { x, y: y(i) - LINE / 2 + 1, width: wide, height: LINE - 2, rx: 4, "fill-opacity": 0 }); }
    const drawn = [];
    const middle = (left + right) / 2;
    rows.forEach((_, r) => columns.forEach((_, c) => {
      const w = weight(r, c);
      if (w < FAINT) return;
      const d = `M${left} ${y(r)}C${middle} ${y(r)} ${middle} ${y(c)} ${right} ${y(c)}`;
      drawn.push({ r, c, path: node("path", { d, "stroke-width": 0.75 + 4 * w, "stroke-opacity": Math.max(0.08, w ** 0.7) }) });
    }));
    const texts = {
      row: rows.map((label, i) => node("text", { x: left - 8, y: y(i) + 4, "text-anchor": "end" }, label)),
      column: columns.map((label, i) => node("text", { x: right + 8, y: y(i) + 4 }, label)),
    };
    svg.append(...marks.row, ...marks.column, ...drawn.map((line) => line.path), ...texts.row, ...texts.column);
    plot.replaceChildren(svg);
    lines = { svg, drawn, marks, texts };

    function pointedWord(event) {
      const box = svg.getBoundingClientRect(), i = Math.floor(((event.clientY - box.top) * height / box.height - 28) / LINE);
      const x = (event.clientX - box.left) * full / box.width, toLeft = x < (left + right) / 2;
      const inside = i >= 0 && i < (toLeft ? rows : columns).length;
      point(inside && toLeft ? i : null, inside && !toLeft ? i : null);
    }
    svg.addEventListener("pointermove", pointedWord);
    svg.addEventListener("pointerdown", pointedWord);
    svg.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") point(null, null); });
    svg.addEventListener("keydown", (event) => {
      if (event.key === "Escape") point(null, null);
      const step = { ArrowUp: -1, ArrowDown: 1 }[event.key], side = { ArrowLeft: "row", ArrowRight: "column" }[event.key];
      if (!step && !side) return;
      event.preventDefault();
      const now = side || (view.row === null && view.column !== null ? "column" : "row");
      const from = view.row ?? view.column, list = now === "row" ? rows : columns;
      const i = from === null ? 0 : within(from + (step || 0), list);
      point(now === "row" ? i : null, now === "column" ? i : null);
    });
  }

  // mark a row, a column or both in the two pictures, and say what is there
  function point(row, column) {
    view.row = row;
    view.column = column;
    const { rows, columns } = group();
    map.rowLabels.forEach((label, i) => label.classList.toggle("on", i === row));
    map.columnLabels.forEach((label, i) => label.classList.toggle("on", i === column));
    place(map.band.row, row !== null, map.left, map.top + map.cell * row, map.cell * columns.length, map.cell);
    place(map.band.column, column !== null, map.left + map.cell * column, map.top, map.cell, map.cell * rows.length);
    place(map.frame, row !== null && column !== null, map.left + map.cell * column, map.top + map.cell * row, map.cell, map.cell);
    const byRow = row !== null;  // a cell lights up what its row looks at
    for (const line of lines.drawn) line.path.classList.toggle("off", byRow ? line.r !== row : column !== null && line.c !== column);
    lines.texts.row.forEach((label, i) => label.classList.toggle("on", i === row));
    lines.texts.column.forEach((label, i) => label.classList.toggle("on", i === column));
    lines.marks.column.forEach((mark, c) => mark.setAttribute("fill-opacity", byRow ? 0.45 * Math.sqrt(weight(row, c)) : 0));
    lines.marks.row.forEach((mark, r) => mark.setAttribute("fill-opacity", !byRow && column !== null ? 0.45 * Math.sqrt(weight(r, column)) : 0));
    say(row, column);
  }
  function place(rect, visible, x, y, width, height) {
    rect.setAttribute("visibility", visible ? "visible" : "hidden");
    if (visible) for (const [key, value] of Object.entries({ x, y, width, height })) rect.setAttribute(key, value);
  }

  // the token, then what it looked at (or who looked at it), the largest share first
  function say(row, column) {
    said.classList.toggle("quiet", row === null && column === null);
    if (row === null && column === null) return said.replaceChildren(words.point);
    const { rows, columns } = group(), byRow = row !== null;
    const shares = (byRow ? columns : rows).map((label, i) => [label, byRow ? weight(row, i) : weight(i, column), byRow && i === column]);
    const here = shares.filter((share) => share[2]), others = shares.filter((share) => !share[2]);
    others.sort((a, b) => b[1] - a[1]);
    const listed = [...here, ...others.slice(0, 5 - here.length).filter((share) => share[1] >= 0.0005)];
    said.replaceChildren(
      element("b", { textContent: byRow ? rows[row] : columns[column] }), byRow ? " →" : ` ← ${words["looked at by"]}`,
      ...listed.map(([label, w, at]) => element("span", { className: at ? "here" : "" }, label, element("i", { textContent: w.toFixed(4) }))),
    );
  }

  function menus() {
    const { layers } = group();
    const option = (value, textContent) => element("option", { value, textContent });
    const some = layers[view.layer].heads > 1;
    layerMenu.replaceChildren(...layers.map((_, i) => option(i, i + 1)));
    headMenu.replaceChildren(...(some ? [option(MEAN, words["mean of heads"])] : []), ...Array.from({ length: layers[view.layer].heads }, (_, i) => option(i, i + 1)));
    layerMenu.parentElement.hidden = layers.length < 2;
    headMenu.parentElement.hidden = !some;
    layerMenu.value = view.layer;
    headMenu.value = view.head;
    controls.querySelectorAll("[data-group]").forEach((b) => b.setAttribute("aria-pressed", String(+b.dataset.group === view.group)));
    find(".note.kind").textContent = group().note;
    heads.querySelectorAll("button").forEach((b) => b.setAttribute("aria-pressed", String(+b.dataset.layer === view.layer && +b.dataset.head === view.head)));
  }

  // a table of small pictures, a row for each layer
  function drawHeads() {
    const { layers, rows, columns } = group(), most = Math.max(...layers.map((layer) => layer.heads));
    heads.hidden = layers.length * most < 2;
    const choices = [...(most > 1 ? [MEAN] : []), ...Array(most).keys()];
    const cell = Math.max(1, Math.min(6, Math.floor(72 / Math.max(rows.length, columns.length))));
    const name = (head) => (head === MEAN ? words["mean of heads"] : `${words.head} ${head + 1}`);
    const top = element("tr", {}, element("td"), ...choices.map((head) => element("th", { scope: "col", textContent: name(head) })));
    const body = layers.map((layer, l) => element("tr", {}, element("th", { scope: "row", textContent: `${words.layer} ${l + 1}` }),
      ...choices.filter((head) => head < layer.heads).map((head) => {
        const canvas = element("canvas", { width: columns.length * cell, height: rows.length * cell });
        const button = element("button", { type: "button", ariaLabel: `${words.layer} ${l + 1}, ${name(head)}` }, canvas);
        Object.assign(button.dataset, { layer: l, head });
        return element("td", {}, button);
      })));
    const scroll = element("div", { className: "scroll" }, element("table", {}, element("thead", {}, top), element("tbody", {}, ...body)));
    find("#heads .scroll")?.remove();
    find("#heads").append(scroll);
    heads.querySelectorAll("button").forEach((button) => paint(button, columns.length, cell));
  }
  function paint(button, n, cell) {
    const canvas = button.firstChild, brush = canvas.getContext("2d");
    brush.clearRect(0, 0, canvas.width, canvas.height);
    brush.fillStyle = getComputedStyle(button).color;
    weightsOf(+button.dataset.layer, +button.dataset.head).forEach((w, i) => {
      brush.globalAlpha = Math.sqrt(w);
      brush.fillRect((i % n) * cell, Math.floor(i / n) * cell, cell, cell);
    });
  }

  function choose(layer, head) {
    view.layer = layer;
    const { heads: count } = group().layers[layer];
    view.head = count === 1 ? 0 : Math.min(head, count - 1);
    menus();
    draw();
  }
  function chooseGroup(number) {
    view.group = number;
    drawHeads();
    choose(Math.min(view.layer, group().layers.length - 1), MEAN);
  }

  controls.hidden = said.hidden = false;
  controls.querySelector("[role=group]").hidden = data.groups.length < 2;
  controls.addEventListener("click", (event) => { if (event.target.dataset.group) chooseGroup(+event.target.dataset.group); });
  controls.addEventListener("change", () => choose(+layerMenu.value, +headMenu.value));
  heads.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    choose(+button.dataset.layer, +button.dataset.head);
    section.scrollIntoView({ block: "nearest" });
  });
  addEventListener("resize", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawHeads);
  chooseGroup(0);
})();
