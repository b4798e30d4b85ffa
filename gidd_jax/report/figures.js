"use strict";
(() => {
  const one = (what, where = document) => where.querySelector(what);
  const all = (what, where = document) => [...where.querySelectorAll(what)];
  const data = JSON.parse(one("#data").textContent);

  // Figures: a panel is drawn at the width there is; what lies nearest to the pointer is told.
  const element = (name, attributes, parent, text) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    parent.append(made);
    return made;
  };
  const html = (name, attributes, parent, text) => {
    const made = Object.assign(document.createElement(name), attributes);
    if (text !== undefined) made.textContent = text;
    parent.append(made);
    return made;
  };
  const say = (value) => value === null ? "–" : String(value).replace("-", "−");
  const many = data.values.length > 12;
  const ramp = (value) => `r${data.values.length < 2 ? 0 : Math.round(value / (data.values.length - 1) * 11)}`;
  const hue = (line) => `c${line % 6}` + (line >= 6 ? ` d${Math.floor(line / 6) % 3}` : "");
  const guide = (name, of) => "guide" + (name === "before training" ? " before" : "") + (of === null ? "" : " " + hue(of));
  const line = (setting) => data.settings[setting][0];
  const named = (name) => name || "all";
  const look = (panel, s) => {
    if (panel.by === "line") return hue(s);
    if (data.values.length < 2) return hue(line(s));
    return ramp(data.settings[s][1]) + (chosen.lines.length > 1 ? ` d${chosen.lines.indexOf(line(s)) % 4}` : "");
  };
  const title = (panel, s) => {
    if (panel.by === "line") return data.lines[s];
    const dial = `${data.dial} ${say(data.values[data.settings[s][1]])}`;
    return [data.lines[line(s)], dial].filter(Boolean).join(", ");
  };
  const chosen = { metric: 0, lines: [], hot: null };

  const draw = (host, panel) => {
    const x = data.axes[panel.x], [low, high, marks] = panel.y, box = one(".box", host);
    const width = Math.max(260, box.clientWidth), height = Math.round(Math.min(340, Math.max(230, width * 0.62)));
    const left = 30 + 7 * Math.max(...marks.map(([, text]) => text.length)), right = 14, top = 12, bottom = 44;
    const across = (place) => left + place * (width - left - right);
    const up = (value) => top + (high - Math.min(high, Math.max(low, value))) / (high - low) * (height - top - bottom);
    box.replaceChildren();
    const svg = element("svg", { width, height, viewBox: `0 0 ${width} ${height}`, class: "chart" }, box);
    svg.dataset.by = panel.by;
    for (const [value, text] of marks) {
      element("line", { x1: left, x2: width - right, y1: up(value), y2: up(value), class: "grid" }, svg);
      element("text", { x: left - 7, y: up(value) + 4, class: "tick", "text-anchor": "end" }, svg, text);
    }
    for (const [place, text] of x.ticks) {
      element("text", { x: across(place), y: height - bottom + 17, class: "tick", "text-anchor": "middle" }, svg, text);
    }
    element("text", { x: (left + width - right) / 2, y: height - 8, class: "axis", "text-anchor": "middle" }, svg, x.label);
    const side = { x: 0, y: 0, transform: `translate(13 ${(top + height - bottom) / 2}) rotate(-90)` };
    element("text", { ...side, class: "axis", "text-anchor": "middle" }, svg, panel.label);
    const points = [], path = (list) => list.length ? "M" + list.map((p) => p.join(" ")).join("L") : "";
    for (const [name, of, values] of panel.guides) {
      if (of !== null && panel.by === "setting" && !chosen.lines.includes(of)) continue;
      let list = values.flatMap((v, k) => v === null || v < low || v > high ? [] : [[across(x.pos[k]), up(v)]]);
      if (list.length === 1) list = [[left, list[0][1]], [width - right, list[0][1]]];
      element("path", { d: path(list), class: guide(name, of) }, svg);
      const label = of === null ? name : `${name}, ${named(data.lines[of])}`;
      values.forEach((v, k) => v !== null && v >= low && v <= high && points.push({ x: across(x.pos[k]), y: up(v), s: null, told: [label, at(x, k), say(v)] }));
    }
    panel.beyond.forEach(([text, above], i) => {
      const y = above ? top + 9 + 14 * i : height - bottom - 6 - 14 * i;
      element("text", { x: width - right, y, class: "tick edge", "text-anchor": "end" }, svg, `${text} ${above ? "↑" : "↓"}`);
    });
    const shown = panel.s.map((s, i) => [s, i]).filter(([s]) => panel.by === "line" || chosen.lines.includes(line(s)));
    if (panel.dots) {
      const places = panel.dots.map((v, r) => v === null ? null : [across(x.pos[data.settings[data.replicas[r][1]][1]]), up(v), r]);
      element("path", { d: places.map((p) => p ? `M${p[0]} ${p[1]}h0` : "").join(""), class: "dots" }, svg);
      for (const p of places) {
        if (!p) continue;
        const [row, setting, seed] = data.replicas[p[2]];
        points.push({ x: p[0], y: p[1], s: null, told: [`replica ${row}, seed ${seed}`, title({ by: "setting" }, setting), say(panel.dots[p[2]])] });
      }
    }
    const band = shown.length <= 12 || panel.by === "line";
    for (const [s, i] of shown) {
      const group = element("g", { class: look(panel, s), "data-s": s }, svg), mean = panel.mean[i], half = panel.half[i];
      const known = mean.flatMap((m, k) => m === null ? [] : [k]);
      const wide = half ? known.filter((k) => half[k] !== null) : [];
      const edge = [...wide.map((k) => [across(x.pos[k]), up(mean[k] + half[k])]), ...wide.reverse().map((k) => [across(x.pos[k]), up(mean[k] - half[k])])];
      if (band && edge.length) element("path", { d: path(edge) + "Z", class: edge.length > 2 ? "band" : "bar" }, group);
      element("path", { d: path(known.map((k) => [across(x.pos[k]), up(mean[k])])), class: "mean" }, group);
      if (known.length < 16) element("path", { d: known.map((k) => `M${across(x.pos[k])} ${up(mean[k])}h0`).join(""), class: "marks" }, group);
      for (const k of known) {
        const n = Array.isArray(panel.n[i]) ? panel.n[i][k] : panel.n[i], h = half && half[k];
        const tail = h === null ? `n ${n}` : `± ${say(h)} (95 %), n ${n}`;
        points.push({ x: across(x.pos[k]), y: up(mean[k]), s, k, told: [title(panel, s), at(x, k), `${say(mean[k])} ${tail}`] });
      }
    }
    one(".where", host).textContent = panel.where;
    host.told = { points, svg, ring: element("circle", { r: 5.5, class: "ring", cx: -9, cy: -9 }, svg) };
    fade(svg);
  };
  const at = (x, k) => `${x.label.replace(/ \((probability|dimensionless)\)$/, "")} ${say(x.at[k])}`;
  const fade = (svg) => {
    const hot = svg.dataset.by === "setting" ? chosen.hot : null;
    svg.classList.toggle("dim", hot !== null);
    all("g[data-s]", svg).forEach((group) => group.classList.toggle("hot", hot !== null && hot(+group.dataset.s)));
  };

  // What the pointer, a finger or the arrow keys point at.
  const point = (host, found) => {
    const { ring, svg } = host.told, tip = one(".tip", host), box = one(".box", host);
    host.at = found;
    tip.hidden = !found;
    ring.setAttribute("cx", found ? found.x : -9);
    ring.setAttribute("cy", found ? found.y : -9);
    all("g.near", svg).forEach((group) => group.classList.remove("near"));
    if (!found) return;
    if (found.s !== null) one(`g[data-s="${found.s}"]`, svg).classList.add("near");
    tip.replaceChildren(...found.told.filter(Boolean).map((text, i) => Object.assign(document.createElement(i ? "span" : "b"), { textContent: text })));
    const aside = Math.min(Math.max(0, found.x - tip.offsetWidth / 2), box.clientWidth - tip.offsetWidth);
    const above = found.y - tip.offsetHeight - 12;
    tip.style.left = `${box.offsetLeft + aside}px`;
    tip.style.top = `${box.offsetTop + (above < 0 ? found.y + 14 : above)}px`;
  };
  const nearest = (host, event) => {
    const frame = one("svg", host).getBoundingClientRect();
    const x = event.clientX - frame.left, y = event.clientY - frame.top;
    let best = null, least = 48 ** 2;
    for (const p of host.told.points) {
      const far = (p.x - x) ** 2 + (p.y - y) ** 2 + (p.s === null ? 9 : 0);
      if (far < least) [best, least] = [p, far];
    }
    point(host, best);
  };
  const step = (host, key) => {
    const of = host.told.points.filter((p) => p.s !== null);
    if (!of.length) return;
    const now = host.at && host.at.s !== null ? host.at : null;
    if (!now) return point(host, of[0]);
    if (key === "ArrowLeft" || key === "ArrowRight") {
      const row = of.filter((p) => p.s === now.s), next = row[row.indexOf(now) + (key === "ArrowLeft" ? -1 : 1)];
      return next && point(host, next);
    }
    const column = of.filter((p) => p.k === now.k).sort((a, b) => b.y - a.y);
    const next = column[column.indexOf(now) + (key === "ArrowUp" ? 1 : -1)];
    if (next) point(host, next);
  };

  // The explorer: one metric, the lines asked for, up to three panels and their key.
  const places = { end: one("#end"), way: one("#way"), bins: one("#bins") };
  const metric = one("#metric"), which = one("#which"), key = one("#key");
  const redraw = () => {
    const of = data.metrics[chosen.metric], shown = Object.entries(places).filter(([name]) => of[name]);
    for (const [name, host] of Object.entries(places)) host.hidden = !of[name];  // before the first is measured
    for (const [name, host] of shown) draw(host, of[name]);
  };
  const legend = () => {
    key.replaceChildren();
    const entry = (look, text, hot) => {
      const button = html("button", { type: "button" }, key);
      element("path", { d: "M1 6h20", class: "mean" }, element("g", { class: look }, element("svg", { width: 22, height: 12 }, button)));
      button.append(text);
      const lit = (on) => { chosen.hot = on ? hot : null; Object.values(places).forEach((host) => host.told && !host.hidden && fade(host.told.svg)); };
      const press = () => { const on = button.getAttribute("aria-pressed") !== "true"; all("button", key).forEach((b) => b.setAttribute("aria-pressed", "false")); button.setAttribute("aria-pressed", on); lit(on); };
      button.setAttribute("aria-pressed", "false");
      button.addEventListener("click", press);
    };
    if (data.values.length > 1 && !many) {
      html("span", {}, key, data.dial);
      data.values.forEach((value, v) => entry(ramp(v), say(value), (s) => data.settings[s][1] === v));
    } else if (many) {
      html("span", {}, key, `${data.dial} ${say(data.values[0])}`);
      const strip = element("svg", { width: 144, height: 12, class: "strip" }, key);
      for (let i = 0; i < 12; i++) element("rect", { x: i * 12, y: 0, width: 12, height: 12, class: `r${i}` }, strip);
      html("span", {}, key, say(data.values[data.values.length - 1]));
    }
    if (chosen.lines.length > 1) for (const of of chosen.lines) {
      const note = html("span", { className: "note" }, key), strokes = element("svg", { width: 52, height: 12 }, note);
      element("path", { d: "M1 6h20", class: `mean ${hue(of)}` }, strokes);
      element("path", { d: "M28 6h23", class: `mean d${chosen.lines.indexOf(of) % 4}` }, strokes);
      note.append(named(data.lines[of]));
    }
    const guides = Object.keys(places).flatMap((name) => (data.metrics[chosen.metric][name] || { guides: [] }).guides);
    for (const name of new Set(guides.map(([name]) => name))) {
      const note = html("span", { className: "note" }, key);
      element("path", { d: "M1 6h20", class: guide(name, null) }, element("svg", { width: 22, height: 12 }, note));
      note.append(name);
    }
  };
  const choose = () => {
    chosen.metric = +metric.value;
    chosen.lines = which.value === "all" ? data.lines.map((_, i) => i) : [+which.value];
    chosen.hot = null;
    legend();
    redraw();
  };
  const family = {};
  data.metrics.forEach((m, i) => {
    if (!family[m.family]) family[m.family] = html("optgroup", { label: m.family }, metric);
    html("option", { value: i }, family[m.family], m.name);
  });
  html("option", { value: "all" }, which, `all ${data.lines.length}`);
  data.lines.forEach((name, i) => html("option", { value: i }, which, named(name)));
  which.closest("label").hidden = data.lines.length < 2;
  which.value = data.lines.length > 3 ? "0" : "all";
  metric.addEventListener("change", choose);
  which.addEventListener("change", choose);
  for (const host of Object.values(places)) {
    const box = one(".box", host);
    for (const kind of ["pointermove", "pointerdown"]) box.addEventListener(kind, (event) => nearest(host, event));
    box.addEventListener("pointerleave", () => point(host, null));
    box.addEventListener("blur", () => point(host, null));
    box.addEventListener("keydown", (event) => {
      if (event.key.startsWith("Arrow")) { event.preventDefault(); step(host, event.key); }
      if (event.key === "Escape") point(host, null);
    });
  }
  all("button[data-metric]").forEach((button) => button.addEventListener("click", () => {
    metric.value = button.dataset.metric;
    choose();
    one("#explore").scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
  }));
  one("#explore").hidden = !data.metrics.length;
  if (data.metrics.length) choose();
  let wide = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== wide) { wide = innerWidth; redraw(); } });
})();
