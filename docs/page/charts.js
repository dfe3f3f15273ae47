// Small charts in SVG: bars with runs and intervals, lines that grow. Values show on hover and on focus.
"use strict";

const charts = (() => {
  const percent = (value, digits = 1) => `${(100 * value).toFixed(digits)}%`;

  /** An SVG element with attributes and children; a string is text. */
  function svg(name, attributes = {}, ...children) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }

  const tip = document.getElementById("tip");
  let explained = null; // the element that the tip belongs to

  function place() {
    if (!explained) return;
    const box = explained.getBoundingClientRect(), own = tip.getBoundingClientRect();
    const left = Math.min(Math.max(8, box.left + box.width / 2 - own.width / 2), innerWidth - own.width - 8);
    const above = box.top - own.height - 8;
    tip.style.transform = `translate(${left}px, ${above > 0 ? above : box.bottom + 8}px)`;
  }

  function show(element, text) {
    explained = element;
    tip.textContent = text;
    tip.hidden = !element;
    place();
  }
  addEventListener("scroll", place, { passive: true });
  addEventListener("keydown", (event) => event.key === "Escape" && show(null, ""));

  /** Show `text` beside an element as long as it is hovered or has the focus. */
  function explain(element, text) {
    for (const event of ["pointerenter", "focus"]) element.addEventListener(event, () => show(element, text));
    for (const event of ["pointerleave", "blur"]) element.addEventListener(event, () => show(null, ""));
  }

  const drawn = new WeakMap(); // what a figure shows, and for which width

  /** Draw now, and again whenever the width of `figure` changes; another `draw` takes the place of the last one. */
  function responsive(figure, draw) {
    const watched = drawn.has(figure);
    drawn.set(figure, { draw, width: 0 });
    const redraw = () => {
      const shown = drawn.get(figure);
      if (figure.clientWidth === shown.width || !figure.clientWidth) return;
      shown.width = figure.clientWidth;
      shown.draw(shown.width);
    };
    if (!watched) new ResizeObserver(redraw).observe(figure);
    redraw();
  }

  /**
   * Horizontal bars from 0 to `most`; rows: [{label, color, mean, ci95, values}]. Every value is a dot.
   * Draws into `figure`, in place of what was there.
   */
  function bars(figure, rows, { most = 1, what = "runs" } = {}) {
    const draw = (width) => {
      const narrow = width < 560;
      const left = narrow ? 0 : 236, right = 58, pitch = narrow ? 50 : 40, thick = 20;
      const x = (value) => left + (value / most) * (width - left - right);
      const height = rows.length * pitch + 22;
      const picture = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group" });
      for (let i = 0; i <= 4; i++) {
        const value = (i * most) / 4;
        picture.append(
          svg("line", { x1: x(value), x2: x(value), y1: 0, y2: height - 20, class: i ? "grid" : "axis" }),
          svg("text", { x: x(value), y: height - 5, class: "tick", "text-anchor": i || left ? "middle" : "start" },
            percent(value, most < 0.2 ? 1 : 0)),
        );
      }
      rows.forEach((row, i) => {
        const top = i * pitch + (narrow ? 20 : (pitch - thick) / 2), middle = top + thick / 2;
        const said = `${row.label}: ${percent(row.mean)}, 95% interval ${percent(row.ci95[0])} to ${percent(row.ci95[1])}`;
        const range = `${row.values.length} ${what}, from ${percent(Math.min(...row.values))} to ${percent(Math.max(...row.values))}`;
        const group = svg("g", { tabindex: 0, role: "img", "aria-label": `${said}; ${range}`, class: "bar" });
        group.append(
          svg("rect", { x: 0, y: i * pitch, width, height: pitch, class: "hit" }),
          svg("text", narrow ? { x: 0, y: top - 6, class: "label" } : { x: left - 12, y: middle + 5, class: "label", "text-anchor": "end" }, row.label),
          svg("rect", { x: x(0), y: top, width: Math.max(1, x(row.mean) - x(0)), height: thick, rx: 2, fill: row.color, class: "fill" }),
        );
        row.values.forEach((value, j) => {
          const spread = ((j * 0.618034) % 1) - 0.5;
          group.append(svg("circle", { cx: x(value), cy: middle + spread * (thick - 5), r: 1.8, class: "dot" }));
        });
        const [low, high] = row.ci95;
        group.append(
          svg("path", { d: `M${x(low)} ${middle}H${x(high)}M${x(low)} ${middle - 5}v10M${x(high)} ${middle - 5}v10`, class: "whisker" }),
          svg("text", { x: width, y: middle + 5, class: "value", "text-anchor": "end" }, percent(row.mean, 0)),
        );
        picture.append(group);
        explain(group, `${said}\n${range}`);
      });
      figure.replaceChildren(picture);
    };
    responsive(figure, draw);
  }

  return { svg, percent, explain, responsive, bars };
})();
