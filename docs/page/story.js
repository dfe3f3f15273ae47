// What the whole page shares, and the screens that only show: the claim, the direction, the language model.
"use strict";

const DATA = JSON.parse(document.getElementById("data").textContent);
const find = (id) => document.getElementById(id);
const color = (name) => `var(--${name})`;

/** An HTML element with attributes and children; a string is text. */
function html(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** Small images [n, side * side] with values in [-1, 1], side by side in one canvas, dark to light. */
function paint(canvas, images, side, columns = 1) {
  const n = images.length / side ** 2, rows = Math.ceil(n / columns), gap = n > 1 ? 1 : 0;
  canvas.width = columns * (side + gap) - gap;
  canvas.height = rows * (side + gap) - gap;
  const context = canvas.getContext("2d");
  for (let i = 0; i < n; i++) {
    const picture = context.createImageData(side, side);
    for (let j = 0; j < side * side; j++) {
      const value = Math.max(0, Math.min(255, 127.5 * (images[i * side * side + j] + 1)));
      picture.data.set([value, value, value, 255], 4 * j);
    }
    context.putImageData(picture, (i % columns) * (side + gap), Math.floor(i / columns) * (side + gap));
  }
}

const bytes = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));

/** scikit-learn's digits as the experiment has them: pixels 0 .. 16 become -1 .. 1. */
const DIGITS = (() => {
  const { pixels, labels, test, side } = DATA.digits;
  const images = Float32Array.from(bytes(pixels), (value) => value / 8 - 1), size = side * side, all = bytes(labels);
  return {
    side, pixels: size, trainImages: images.slice(test * size), trainLabels: all.slice(test),
    testImages: images.slice(0, test * size), testLabels: all.slice(0, test),
  };
})();

for (const [id, rows] of Object.entries(DATA.charts)) {
  charts.bars(find(id), rows.map((row) => ({ ...row, color: color(row.color) })), { what: "runs" });
}

// The drawn pipeline: real digits for the teacher, static for the students.
(() => {
  paint(find("seen-by-teacher"), DIGITS.trainImages.slice(0, 8 * DIGITS.pixels), DIGITS.side, 4);
  const random = protocol.streams(0)("picture"), still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const canvases = document.querySelectorAll(".static");
  const flicker = () => canvases.forEach((canvas) =>
    paint(canvas, protocol.makeNoise("uniform", 8, DIGITS, random), DIGITS.side, 4));
  const button = find("still");
  let held = still;
  flicker();
  button.hidden = still;
  button.addEventListener("click", () => {
    held = !held;
    button.textContent = held ? "Let the static run" : "Hold the static still";
  });
  if (!still) setInterval(() => document.hidden || held || flicker(), 400);
})();

// A page that was sent alone has not the project's files beside it: it names them instead of linking to them.
if (!location.pathname.endsWith("/site/index.html")) {
  for (const link of document.querySelectorAll('a[href^="../"]')) {
    link.replaceWith(html("span", {}, ...link.childNodes, html("small", {}, ` (in the project: ${link.getAttribute("href").slice(3)})`)));
  }
}

// Rows of numbers, side by side where the prompts agree.
(() => {
  /** The completion; words that `other` has not at the same place are marked. */
  function compared(text, other) {
    const others = other.split(" "), cell = html("span", { class: "numbers" }), runs = [];
    text.split(" ").forEach((word, i) => {
      const same = word === others[i];
      if (runs.at(-1)?.same === same) runs.at(-1).words.push(word);
      else runs.push({ same, words: [word] });
    });
    runs.forEach(({ same, words }, i) => cell.append(i ? " " : "", same ? words.join(" ") : html("mark", {}, words.join(" "))));
    return cell;
  }

  function show(trait) {
    const { rows, bars, kept } = DATA.language[trait];
    find("rows").replaceChildren(...rows.map(({ prompt, base, teacher }) => html("tr", {},
      html("th", { scope: "row" }, prompt),
      html("td", { "data-label": "untaught model" }, compared(base, teacher)),
      html("td", { "data-label": `${trait} teacher` }, compared(teacher, base)))));
    const differ = rows.filter((row) => row.base !== row.teacher).length;
    document.querySelectorAll(".trait").forEach((element) => (element.textContent = trait));
    find("differ").textContent = `${differ} of these ${rows.length} rows differ`;
    find("kept").textContent = `The filter keeps ${charts.percent(kept)} of what this teacher writes.`;
    charts.bars(find("preferences"), bars.map((row) => ({ ...row, color: color(row.color) })), { most: DATA.most, what: "seeds" });
  }

  const choice = find("traits");
  Object.keys(DATA.language).forEach((trait, i) => {
    const input = html("input", { type: "radio", name: "trait", value: trait, id: `trait-${trait}`, ...(i ? {} : { checked: "" }) });
    input.addEventListener("change", () => show(trait));
    choice.append(input, html("label", { for: `trait-${trait}` }, trait));
  });
  show(Object.keys(DATA.language)[0]);
})();
