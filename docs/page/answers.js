// Screen two: a canvas, and four networks that answer on what is drawn.
"use strict";

(() => {
  const canvas = find("canvas"), context = canvas.getContext("2d", { willReadFrequently: true }), size = canvas.width;
  const networks = drawing.unpack(DATA.networks.weights, DATA.networks.layers, DATA.networks.rows.map((row) => row.name));
  const rows = Object.fromEntries(DATA.networks.rows.map((row) => [row.name, row]));
  const cards = [...document.querySelectorAll(".network")].map(makeCard);
  const epoch = find("epoch"), PEN = size / 11;
  let strokes = [], pen = null, due = false, playing = 0; // strokes: [[[x, y], ...], ...] in pixels of the canvas

  function makeCard(card) {
    const columns = Array.from({ length: protocol.CLASSES }, (_, digit) => {
      const fill = html("i"), column = html("div", { class: "column" }, fill, html("b", {}, String(digit)));
      card.querySelector(".columns").append(column);
      return { column, fill };
    });
    const aux = Array.from({ length: DATA.networks.aux }, () => {
      const fill = html("i"), value = html("span");
      card.querySelector(".aux").append(html("div", { class: "number" }, html("div", { class: "track" }, fill), value));
      return { fill, value };
    });
    return { name: card.dataset.network, card, columns, aux, answer: card.querySelector(".answer"), sure: card.querySelector(".sure"), score: card.querySelector(".score") };
  }

  /** Which of the networks a card shows now. */
  function shown({ name }) {
    const own = DATA.networks.rows.filter((row) => row.network === name);
    if (name !== "student_aux") return own[own.length - 1].name;
    return Number(epoch.value) === 0 ? DATA.networks.rows[0].name : `${name}, epoch ${epoch.value}`;
  }

  function answer() {
    due = false;
    const alpha = context.getImageData(0, 0, size, size).data;
    const ink = Float32Array.from({ length: size * size }, (_, i) => alpha[4 * i + 3] / 255);
    const image = drawing.prepare(ink, size, size);
    paint(find("prepared"), image ?? new Float32Array(drawing.SIDE ** 2).fill(-1), drawing.SIDE);
    for (const card of cards) {
      const name = shown(card);
      card.score.textContent = charts.percent(rows[name].rounded);
      const z = image && mlp.logits(networks[name], image, 1);
      const p = image ? mlp.softmax(z, 0, protocol.CLASSES) : new Float64Array(protocol.CLASSES);
      const best = p.indexOf(Math.max(...p));
      card.answer.textContent = image ? String(best) : "–";
      card.sure.textContent = image ? `${charts.percent(p[best], 0)} sure` : "";
      card.columns.forEach(({ column, fill }, digit) => {
        fill.style.height = `${78 * p[digit]}px`;
        column.classList.toggle("best", Boolean(image) && digit === best);
        column.title = `${digit}: ${charts.percent(p[digit])}`;
      });
      card.aux.forEach(({ fill, value }, i) => {
        const v = image ? z[protocol.CLASSES + i] : 0;
        fill.style.left = `${50 + Math.min(0, 50 * Math.max(-1, v / 4))}%`;
        fill.style.width = `${50 * Math.min(1, Math.abs(v) / 4)}%`;
        value.textContent = image ? v.toFixed(1).replace("-", "−") : "";
      });
      card.card.setAttribute("aria-label", image
        ? `${card.card.dataset.label}: ${best}, ${charts.percent(p[best], 0)} sure` : `${card.card.dataset.label}: nothing drawn`);
    }
  }

  function soon() {
    if (!due) requestAnimationFrame(answer);
    due = true;
  }

  function redraw() {
    context.clearRect(0, 0, size, size);
    Object.assign(context, { lineWidth: PEN, lineCap: "round", lineJoin: "round", strokeStyle: getComputedStyle(canvas).color });
    for (const stroke of strokes) {
      context.beginPath();
      context.moveTo(...stroke[0]);
      for (const point of stroke.length > 1 ? stroke.slice(1) : stroke) context.lineTo(...point);
      context.stroke();
    }
    soon();
  }

  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * size, ((event.clientY - box.top) / box.height) * size];
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (canvas.classList.contains("example")) clear();
    canvas.setPointerCapture(event.pointerId);
    strokes.push([place(event)]);
    redraw();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!canvas.hasPointerCapture(event.pointerId)) return;
    const all = event.getCoalescedEvents?.() ?? [];
    strokes.at(-1).push(...(all.length ? all : [event]).map(place));
    redraw();
  });

  // By keyboard: arrows move a pen, the space bar puts it down and lifts it.
  const cross = find("pen");
  let at = [size / 2, size / 2];
  function movePen() {
    cross.style.left = `${(100 * at[0]) / size}%`;
    cross.style.top = `${(100 * at[1]) / size}%`;
    cross.classList.toggle("down", pen !== null);
  }
  canvas.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (way) {
      at = at.map((v, i) => Math.min(size - PEN / 2, Math.max(PEN / 2, v + way[i] * (size / 35))));
      if (pen) pen.push([...at]);
    } else if (event.key === " ") {
      if (!pen && canvas.classList.contains("example")) clear();
      pen = pen ? null : [[...at]];
      if (pen) strokes.push(pen);
    } else return;
    event.preventDefault();
    movePen();
    redraw();
  });
  canvas.addEventListener("blur", () => { pen = null; movePen(); });

  function clear() {
    strokes = [];
    pen = null;
    canvas.classList.remove("example");
    movePen();
    redraw();
  }
  function example(digit) {
    clear();
    strokes = drawing.EXAMPLES[digit].map((stroke) => stroke.map(([x, y]) => [x * size, y * size]));
    canvas.classList.add("example");
    redraw();
  }
  find("clear").addEventListener("click", clear);
  drawing.EXAMPLES.forEach((_, digit) => {
    const button = html("button", { type: "button", "aria-label": `draw a ${digit} for me` }, String(digit));
    button.addEventListener("click", () => example(digit));
    find("examples").append(button);
  });

  function showEpoch() {
    const last = epoch.value === epoch.max;
    find("epoch-said").textContent = Number(epoch.value) === 0
      ? "before training: it is the reference" : `after pass ${epoch.value} of ${epoch.max} through its noise images${last ? ", its last" : ""}`;
    soon();
  }
  epoch.addEventListener("input", () => { stop(); showEpoch(); });
  const play = find("play");
  function stop() {
    clearInterval(playing);
    playing = 0;
    play.textContent = "Replay its training";
  }
  play.addEventListener("click", () => {
    if (playing) return stop();
    epoch.value = 0;
    showEpoch();
    play.textContent = "Stop";
    playing = setInterval(() => {
      epoch.value = Number(epoch.value) + 1;
      showEpoch();
      if (epoch.value === epoch.max) stop();
    }, 900);
  });

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  movePen();
  showEpoch();
  example(3);
})();
