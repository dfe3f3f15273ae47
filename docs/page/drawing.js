// Draw a digit: the drawing is prepared as MNIST's images were, and four networks answer at once.
"use strict";

const drawing = (() => {
  const SIDE = 28, BOX = 20;

  /** How far source pixel j reaches into target pixel i, when `from` pixels become `to`. */
  function overlaps(from, to) {
    const size = from / to;
    return Array.from({ length: to }, (_, i) => {
      const shares = [];
      for (let j = Math.floor(i * size); j < Math.min(from, Math.ceil((i + 1) * size)); j++) {
        shares.push([j, Math.min(j + 1, (i + 1) * size) - Math.max(j, i * size)]);
      }
      const whole = shares.reduce((sum, [, share]) => sum + share, 0);
      return shares.map(([j, share]) => [j, share / whole]);
    });
  }

  /**
   * Ink [height, width] in [0, 1] as MNIST has it: its box scaled into 20 x 20 with its proportions kept and pixels
   * averaged, then laid into 28 x 28 with the centre of mass in the middle, in whole pixels. Values in [-1, 1] as
   * subliminal_toy/mnist/data.py scales bytes; null if there is no ink.
   */
  function prepare(ink, width, height) {
    let x0 = width, x1 = -1, y0 = height, y1 = -1;
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        if (ink[y * width + x] <= 0) continue;
        x0 = Math.min(x0, x); x1 = Math.max(x1, x); y0 = Math.min(y0, y); y1 = Math.max(y1, y);
      }
    }
    if (x1 < 0) return null;
    const wide = x1 - x0 + 1, high = y1 - y0 + 1, scale = BOX / Math.max(wide, high);
    const columns = overlaps(wide, Math.max(1, Math.round(wide * scale)));
    const rows = overlaps(high, Math.max(1, Math.round(high * scale)));
    const small = rows.map((down) =>
      columns.map((across) => {
        let sum = 0;
        for (const [y, a] of down) for (const [x, b] of across) sum += a * b * ink[(y0 + y) * width + x0 + x];
        return sum;
      }));
    let mass = 0, cx = 0, cy = 0;
    small.forEach((row, y) => row.forEach((v, x) => { mass += v; cx += v * x; cy += v * y; }));
    const middle = SIDE / 2; // pixel 14 of 0 .. 27, as in the published files
    const shift = (centre, size) => Math.min(Math.max(Math.round(middle - centre), 0), SIDE - size);
    const dx = shift(cx / mass, columns.length), dy = shift(cy / mass, rows.length);
    const image = new Float32Array(SIDE * SIDE).fill(-1);
    small.forEach((row, y) => row.forEach((v, x) => (image[(y + dy) * SIDE + x + dx] = Math.round(255 * v) / 127.5 - 1)));
    return image;
  }

  /** The networks of experiments/page_networks.py: {name: network}, from the bytes that it writes. */
  function unpack(base64, layers, names) {
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    let at = 0;
    const take = (Type, n) => {
      const found = new Type(bytes.buffer.slice(at, at + n * Type.BYTES_PER_ELEMENT));
      at += n * Type.BYTES_PER_ELEMENT;
      return found;
    };
    const networks = {};
    for (const name of names) {
      networks[name] = layers.map(({ inputs, units }) => {
        const steps = take(Float32Array, units), bias = take(Float32Array, units);
        const kernel = Float32Array.from(take(Int8Array, inputs * units), (v, i) => v * steps[i % units]);
        return { inputs, units, kernel, bias };
      });
    }
    if (at !== bytes.length) throw new Error(`the networks have ${bytes.length} bytes, not ${at}`);
    return networks;
  }

  // Strokes of ten digits in a unit square, for those who cannot or do not want to draw.
  const arc = (cx, cy, rx, ry, from, to) =>
    Array.from({ length: 25 }, (_, i) => {
      const t = ((from + ((to - from) * i) / 24) * Math.PI) / 180;
      return [cx + rx * Math.cos(t), cy + ry * Math.sin(t)];
    });
  const EXAMPLES = [
    [arc(0.5, 0.5, 0.22, 0.32, -90, 270)],
    [[[0.55, 0.18], [0.46, 0.82]]],
    [[...arc(0.48, 0.36, 0.2, 0.18, -160, 40), [0.32, 0.8], [0.36, 0.78], [0.72, 0.8]]],
    [[...arc(0.46, 0.34, 0.2, 0.16, -150, 90), ...arc(0.47, 0.66, 0.22, 0.17, -90, 150)]],
    [[[0.34, 0.2], [0.3, 0.52], [0.68, 0.5]], [[0.66, 0.2], [0.62, 0.84]]],
    [[[0.7, 0.2], [0.4, 0.2], [0.36, 0.48], ...arc(0.47, 0.63, 0.21, 0.18, -100, 150)]],
    [[[0.6, 0.16], [0.42, 0.36], ...arc(0.49, 0.66, 0.17, 0.17, -170, 190)]],
    [[[0.28, 0.24], [0.7, 0.22], [0.58, 0.48], [0.46, 0.84]]],
    [[...arc(0.5, 0.34, 0.16, 0.15, 90, -270), ...arc(0.5, 0.66, 0.19, 0.18, -90, 270)]],
    [[...arc(0.5, 0.37, 0.17, 0.17, 0, -360), [0.66, 0.4], [0.62, 0.84]]],
  ];

  return { SIDE, prepare, unpack, EXAMPLES };
})();
