// Screen three: the whole experiment in a worker, its curves as they grow, and the images that the students see.
"use strict";

(() => {
  const form = find("settings"), figure = find("curves"), go = find("train"), status = find("status");
  const source = ["mlp", "protocol", "worker"].map((name) => find(`${name}-source`).textContent).join("\n");
  const NAMES = { reference: "reference", teacher: "teacher", same: "student", other: "student from another start" };
  const COLORS = { teacher: "teacher", same: "student", other: "cross" };
  const SHARE = 0.28; // of the width, for the teacher's phase
  let worker = null, now = {}, before = {}, hovered = null; // curves: {name: [[x in [0, 1], accuracy], ...]}

  /** The settings of the experiment as the form has them. */
  function chosen() {
    const form_ = Object.fromEntries(new FormData(form));
    const { teacher, student, ...fixed } = DATA.training.settings;
    return {
      settings: {
        ...fixed, teacher, student: { ...student, learning_rate: Number(form_.learning_rate) },
        width: Number(form_.width), aux_logits: Number(form_.aux_logits), noise: form_.noise, loss: form_.loss,
        seed: Number(form_.seed),
      },
      students: form_.start === "both" ? ["same", "other"] : [form_.start],
    };
  }

  function draw(width = figure.clientWidth) {
    const height = Math.min(340, Math.max(240, width * 0.5)), left = 40, top = 10, bottom = height - 34, right = width - 8;
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
      charts.svg("text", { x: x((1 + SHARE) / 2), y: height - 10, class: "tick", "text-anchor": "middle" }, "students see noise only"));
    for (const [curves, old] of [[before, true], [now, false]]) {
      for (const [name, points] of Object.entries(curves)) {
        if (!points.length) continue;
        const d = points.map(([px, value], i) => `${i ? "L" : "M"}${x(px).toFixed(1)} ${y(value).toFixed(1)}`).join("");
        const extend = name === "teacher" && points[points.length - 1][0] >= SHARE ? `H${right}` : "";
        picture.append(charts.svg("path", { d: d + extend, class: old ? "curve old" : "curve", stroke: color(COLORS[name]) }));
      }
    }
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

  /** The numbers under the curves: the last ones, or those at a place of the curves. */
  function readings(at) {
    find("readings").replaceChildren(...Object.entries(now).map(([name, points]) => {
      const seen = at === null ? points : points.filter(([px]) => px <= at);
      const value = seen.length ? charts.percent(seen[seen.length - 1][1]) : "–";
      return html("div", { class: "reading", style: `--own: ${color(COLORS[name])}` }, html("span", {}, NAMES[name]), html("b", {}, value));
    }));
  }

  function finish(words) {
    worker?.terminate();
    worker = null;
    go.textContent = "Train";
    status.removeAttribute("aria-busy");
    status.textContent = words;
  }

  function start() {
    const { settings, students } = chosen();
    if (Object.values(now).some((points) => points.length > 1)) before = now;
    now = Object.fromEntries(["teacher", ...students].map((name) => [name, []]));
    const began = performance.now(), url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    worker = new Worker(url);
    go.textContent = "Stop";
    status.setAttribute("aria-busy", "true"); // no word of every step to those who listen
    status.textContent = "starting …";
    worker.onmessage = ({ data: look }) => {
      if (look.phase === "failed") return finish(look.message);
      if (look.phase === "done") {
        const words = students.map((name) => `${NAMES[name]} ${charts.percent(now[name].at(-1)[1])}`).join(", ");
        return finish(`Done in ${((performance.now() - began) / 1000).toFixed(0)} s: ${words}.`);
      }
      const phase = look.phase === "teacher" ? [0, SHARE] : [SHARE, 1];
      for (const [name, value] of Object.entries(look.accuracy)) {
        now[name]?.push([phase[0] + (look.steps ? look.step / look.steps : 0) * (phase[1] - phase[0]), value]);
      }
      if (look.images) {
        paint(find("passing"), look.images, DIGITS.side, 12);
        find("passing-said").textContent = look.phase === "teacher" ? "The teacher sees:" : "The students see:";
      }
      if (look.steps) status.textContent = `${look.phase}: step ${look.step} of ${look.steps}`;
      draw();
      readings(null);
    };
    worker.onerror = (event) => finish(`it stopped: ${event.message}`);
    worker.postMessage({ settings, data: DIGITS, students, every: 10 });
  }

  go.addEventListener("click", () => (worker ? finish("stopped") : start()));
  form.addEventListener("submit", (event) => event.preventDefault());
  document.querySelectorAll("[data-try]").forEach((button) => button.addEventListener("click", () => {
    if (worker) finish("");
    form.reset();
    for (const [name, value] of Object.entries(JSON.parse(button.dataset.try))) form.elements[name].value = value;
    start();
    figure.scrollIntoView({ block: "center" });
  }));

  paint(find("passing"), protocol.makeNoise("uniform", 12, DIGITS, protocol.streams(0)("passing")), DIGITS.side, 12);
  now = { teacher: [], same: [], other: [] };
  charts.responsive(figure, draw);
  readings(null);
})();
