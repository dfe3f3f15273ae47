// Screen three: the whole experiment in a worker, once or several times, its curves as they grow, and the images that
// the students see.
"use strict";

(() => {
  const form = find("settings"), figure = find("curves"), go = find("train"), status = find("status");
  const source = ["mlp", "protocol", "worker"].map((name) => find(`${name}-source`).textContent).join("\n");
  const NAMES = { reference: "reference", teacher: "teacher", same: "student", other: "student from another start" };
  const COLORS = { teacher: "teacher", same: "student", other: "cross" };
  const SHARE = 0.28; // of the width, for the teacher's phase
  const SEEN = { real: "students see digits, no labels" }; // what the axis says; of all other images, that they are noise
  let worker = null, hovered = null;
  // curves: {name: [[[x in [0, 1], accuracy], ...] of each run]}
  let now = { noise: "uniform", curves: { teacher: [[]], same: [[]], other: [[]] } }, before = now;

  /** The settings of the experiment as the form has them. */
  function chosen() {
    const form_ = Object.fromEntries(new FormData(form));
    const { teacher, student, ...fixed } = DATA.training.settings;
    return {
      settings: {
        ...fixed, teacher, student: { ...student, learning_rate: Number(form_.learning_rate) },
        width: Number(form_.width), aux_logits: Number(form_.aux_logits), noise: form_.noise, loss: form_.loss,
      },
      seeds: Array.from({ length: Number(form_.runs) }, (_, run) => Number(form_.seed) + run),
      students: form_.start === "both" ? ["same", "other"] : [form_.start],
    };
  }

  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

  /** The accuracies of the runs of a network at a place of the curves; of the last run, if none came so far. */
  function values(name, at) {
    const place = name === "teacher" ? Math.min(at, SHARE) : at, runs = now.curves[name].filter((points) => points.length);
    const there = runs.filter((points) => points.at(-1)[0] >= place);
    return (there.length ? there : runs.slice(-1)).map((points) => points.filter(([px]) => px <= place).at(-1)?.[1] ?? NaN);
  }

  function draw(width = figure.clientWidth) {
    const height = Math.min(340, Math.max(240, width * 0.5)), left = 40, top = 10, bottom = height - 34, right = width - 36;
    const x = (v) => left + v * (right - left), y = (v) => bottom - v * (bottom - top);
    const picture = charts.svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "test accuracies during training" });
    for (let i = 0; i <= 4; i++) {
      picture.append(
        charts.svg("line", { x1: left, x2: right, y1: y(i / 4), y2: y(i / 4), class: i ? "grid" : "axis" }),
        charts.svg("text", { x: left - 6, y: y(i / 4) + 4, class: "tick", "text-anchor": "end" }, charts.percent(i / 4, 0)));
    }
    const chance = 1 / protocol.CLASSES;
    picture.append(
      charts.svg("rect", { x: x(SHARE), y: top, width: right - x(SHARE), height: bottom - top, class: "phase" }),
      charts.svg("line", { x1: left, x2: right, y1: y(chance), y2: y(chance), class: "chance" }),
      charts.svg("text", { x: x(SHARE) - 4, y: y(chance) + 13, class: "tick", "text-anchor": "end" }, "guessing"),
      charts.svg("text", { x: x(SHARE / 2), y: height - 10, class: "tick", "text-anchor": "middle" }, width < 480 ? "teacher" : "teacher sees digits"),
      charts.svg("text", { x: x((1 + SHARE) / 2), y: height - 10, class: "tick", "text-anchor": "middle" }, SEEN[now.noise] ?? "students see noise only"));
    for (const [{ curves }, old] of [[before, true], [now, false]]) {
      for (const [name, points] of Object.entries(curves).flatMap(([name, runs]) => runs.map((points) => [name, points]))) {
        if (!points.length) continue;
        const d = points.map(([px, value], i) => `${i ? "L" : "M"}${x(px).toFixed(1)} ${y(value).toFixed(1)}`).join("");
        const extend = name === "teacher" && points[points.length - 1][0] >= SHARE ? `H${right}` : "";
        picture.append(charts.svg("path", { d: d + extend, class: old ? "curve old" : "curve", stroke: color(COLORS[name]) }));
      }
    }
    Object.keys(now.curves).filter((name) => name !== "teacher").forEach((name, i) => { // ends of runs, and their mean
      const at = right + 9 + 15 * i, ends = now.curves[name].filter((points) => points.at(-1)?.[0] === 1).map((points) => points.at(-1)[1]);
      if (ends.length > 1) picture.append(charts.svg("path", { d: `M${at - 7} ${y(mean(ends))}h14`, class: "curve", stroke: color(COLORS[name]) }));
      for (const value of ends) picture.append(charts.svg("circle", { cx: at, cy: y(value), r: 3, class: "end", fill: color(COLORS[name]) }));
    });
    if (hovered !== null) picture.append(charts.svg("line", { x1: x(hovered), x2: x(hovered), y1: top, y2: bottom, class: "axis" }));
    figure.replaceChildren(picture);
    figure.onpointermove = (event) => {
      const at = (event.clientX - figure.getBoundingClientRect().left - left) / (right - left);
      hovered = at >= 0 && at <= 1 ? at : null;
      draw();
      readings(hovered);
    };
    figure.onpointerleave = () => { hovered = null; draw(); readings(null); };
  }

  /** The numbers under the curves: the last ones, or those at a place of the curves; of several runs each, and the mean. */
  function readings(at) {
    find("readings").replaceChildren(...Object.keys(now.curves).map((name) => {
      const found = values(name, at ?? 1).filter(Number.isFinite);
      const each = found.length > 1 ? `mean of ${found.map((value) => charts.percent(value, 0)).join(", ")}` : "";
      return html("div", { class: "reading", style: `--own: ${color(COLORS[name])}` }, html("span", {}, NAMES[name]),
        html("b", {}, found.length ? charts.percent(mean(found)) : "–"), html("small", {}, each));
    }));
  }

  /** A network's result in words: the mean and the range of several runs. */
  function said(name, found) {
    const range = [Math.min, Math.max].map((end) => charts.percent(end(...found), 0)).join(" to ");
    return `${name} ${charts.percent(mean(found))}${found.length > 1 ? ` in the mean (${found.length} runs, ${range})` : ""}`;
  }

  function finish(words) {
    worker?.terminate();
    worker = null;
    go.textContent = "Train";
    status.removeAttribute("aria-busy");
    status.textContent = words;
  }

  /** Seconds that are left, in words, from the seconds gone and the share of the work that is done. */
  function left(gone, share) {
    const seconds = gone * (1 / share - 1);
    return gone < 1 || seconds < 1 ? "" : `, about ${seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.round(seconds / 60)} min`} left`;
  }

  /** The share of all runs' work that is done where a run says `look`; work goes with the images seen by each network. */
  function done(look, { settings, seeds, students }) {
    const teacher = settings.teacher.epochs * DIGITS.trainLabels.length;
    const others = students.length * settings.student.epochs * settings.noise_images, part = look.steps ? look.step / look.steps : 0;
    const here = look.phase === "students" ? teacher + part * others : look.phase === "teacher" ? part * teacher : 0;
    return (look.run + here / (teacher + others)) / seeds.length;
  }

  function makeWorker() {
    try {
      return new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
    } catch {
      return null;
    }
  }
  const NO_WORKER = "It cannot train here: where this page lies, its rules (a Content-Security-Policy) let no worker start. Save the page and open it from your disk.";

  function start() {
    if (!form.reportValidity()) return finish("Not started: the first seed is a whole number from 0 to 999999.");
    const { settings, seeds, students } = chosen();
    const began = performance.now(), fresh = makeWorker();
    if (!fresh) return finish(NO_WORKER);
    worker = fresh;
    figure.scrollIntoView({ block: "center" });
    if (now.curves.teacher.some((points) => points.length > 1)) before = now;
    now = { noise: settings.noise, curves: Object.fromEntries(["teacher", ...students].map((name) => [name, seeds.map(() => [])])) };
    go.textContent = "Stop";
    status.setAttribute("aria-busy", "true"); // no word of every step to those who listen
    status.textContent = "starting …";
    worker.onmessage = ({ data: look }) => {
      if (look.phase === "failed") return finish(look.message);
      if (look.phase === "done") {
        const words = students.map((name) => said(NAMES[name], values(name, 1))).join(", ");
        const one = seeds.length === 1 ? " One run is no answer: another seed can give quite another number." : "";
        return finish(`Done in ${((performance.now() - began) / 1000).toFixed(0)} s: ${words}.${one}`);
      }
      const phase = look.phase === "teacher" ? [0, SHARE] : [SHARE, 1];
      for (const [name, value] of Object.entries(look.accuracy)) {
        now.curves[name]?.[look.run].push([phase[0] + (look.steps ? look.step / look.steps : 0) * (phase[1] - phase[0]), value]);
      }
      if (look.images) {
        paint(find("passing"), look.images, DIGITS.side, 12);
        find("passing-said").textContent = look.phase === "teacher" ? "The teacher sees:" : "The students see:";
      }
      const run = seeds.length > 1 ? `run ${look.run + 1} of ${seeds.length}, ` : "";
      const time = left((performance.now() - began) / 1000, done(look, { settings, seeds, students }));
      if (look.steps) status.textContent = `${run}${look.phase}: step ${look.step} of ${look.steps}${time}`;
      draw();
      readings(null);
    };
    worker.onerror = (event) => finish(event.message ? `It stopped: ${event.message}` : NO_WORKER);
    worker.postMessage({ settings, seeds, data: DIGITS, students, every: 10 });
  }

  go.addEventListener("click", () => (worker ? finish("stopped") : start()));
  form.addEventListener("submit", (event) => event.preventDefault());
  document.querySelectorAll("[data-try]").forEach((button) => button.addEventListener("click", () => {
    if (worker) finish("");
    const seed = form.elements.seed.value, runs = Math.max(3, form.elements.runs.value); // one run would not answer
    form.reset();
    for (const [name, value] of Object.entries({ ...JSON.parse(button.dataset.try), seed, runs })) form.elements[name].value = value;
    keep();
    start();
  }));

  // What is chosen stays over a reload, where the browser lets a page keep anything.
  function keep() {
    try { sessionStorage.setItem("settings", JSON.stringify(Object.fromEntries(new FormData(form)))); } catch { /* then not */ }
  }
  try {
    for (const [name, value] of Object.entries(JSON.parse(sessionStorage.getItem("settings") ?? "{}"))) {
      const field = form.elements[name];
      if (field && (!field.options || [...field.options].some((option) => option.value === value))) field.value = value;
    }
  } catch { /* likewise */ }
  form.addEventListener("change", keep);

  paint(find("passing"), protocol.makeNoise("uniform", 12, DIGITS, protocol.streams(0)("passing")), DIGITS.side, 12);
  charts.responsive(figure, draw);
  readings(null);
})();
