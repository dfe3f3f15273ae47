// A ReLU perceptron with Adam in typed arrays: what subliminal_toy/mnist and subliminal_toy/engine.py compute, again and
// independently. tests/page holds the two against each other.
//
// A network is an array of layers {inputs, units, kernel: Float32Array [inputs, units] by rows, bias: Float32Array}.
// Images are Float32Array [rows, pixels]; a batch is such an array and its number of rows. Numbers are kept in float32
// and added in float64.
"use strict";

const mlp = (() => {
  const ADAM = { b1: 0.9, b2: 0.999, epsilon: 1e-8 };

  /** Initial weights N(0, 1/inputs), biases 0, as the paper's authors have them; sizes = [pixels, width, ..., logits]. */
  function init(sizes, random) {
    return sizes.slice(1).map((units, i) => {
      const inputs = sizes[i];
      const kernel = Float32Array.from({ length: inputs * units }, () => random.normal() / Math.sqrt(inputs));
      return { inputs, units, kernel, bias: new Float32Array(units) };
    });
  }

  const copy = (network) =>
    network.map((layer) => ({ ...layer, kernel: layer.kernel.slice(), bias: layer.bias.slice() }));

  /** C [m, n] += A B with B [k, n] by rows and A's element (i, l) at a[i * down + l * right]; four by four. */
  function multiply(a, down, right, b, c, m, k, n) {
    const k4 = k - (k % 4);
    const m4 = m - (m % 4);
    for (let i = 0; i < m4; i += 4) {
      const c0 = i * n, c1 = c0 + n, c2 = c1 + n, c3 = c2 + n;
      for (let l = 0; l < k4; l += 4) {
        const p0 = i * down + l * right, p1 = p0 + down, p2 = p1 + down, p3 = p2 + down;
        const a00 = a[p0], a01 = a[p0 + right], a02 = a[p0 + 2 * right], a03 = a[p0 + 3 * right];
        const a10 = a[p1], a11 = a[p1 + right], a12 = a[p1 + 2 * right], a13 = a[p1 + 3 * right];
        const a20 = a[p2], a21 = a[p2 + right], a22 = a[p2 + 2 * right], a23 = a[p2 + 3 * right];
        const a30 = a[p3], a31 = a[p3 + right], a32 = a[p3 + 2 * right], a33 = a[p3 + 3 * right];
        const b0 = l * n, b1 = b0 + n, b2 = b1 + n, b3 = b2 + n;
        for (let j = 0; j < n; j++) {
          const x0 = b[b0 + j], x1 = b[b1 + j], x2 = b[b2 + j], x3 = b[b3 + j];
          c[c0 + j] += a00 * x0 + a01 * x1 + a02 * x2 + a03 * x3;
          c[c1 + j] += a10 * x0 + a11 * x1 + a12 * x2 + a13 * x3;
          c[c2 + j] += a20 * x0 + a21 * x1 + a22 * x2 + a23 * x3;
          c[c3 + j] += a30 * x0 + a31 * x1 + a32 * x2 + a33 * x3;
        }
      }
    }
    for (let i = 0; i < m; i++) {
      for (let l = i < m4 ? k4 : 0; l < k; l++) {
        const x = a[i * down + l * right];
        for (let j = 0; j < n; j++) c[i * n + j] += x * b[l * n + j];
      }
    }
  }

  /** The images, every hidden layer's relu(x W + b), and the logits [rows, logits] last. */
  function forward(network, images, rows) {
    const layers = [images];
    network.forEach(({ inputs, units, kernel, bias }, i) => {
      const out = new Float32Array(rows * units);
      for (let r = 0; r < rows; r++) out.set(bias, r * units);
      multiply(layers[i], inputs, 1, kernel, out, rows, inputs, units);
      if (i + 1 < network.length) for (let j = 0; j < out.length; j++) if (out[j] < 0) out[j] = 0;
      layers.push(out);
    });
    return layers;
  }

  const logits = (network, images, rows) => forward(network, images, rows)[network.length];

  /** Gradients of all layers [{kernel, bias}], from the loss's slope in the logits [rows, logits]. */
  function backward(network, layers, slope, rows) {
    const gradients = [];
    for (let i = network.length - 1; i >= 0; i--) {
      const { inputs, units, kernel } = network[i];
      const gradient = { kernel: new Float32Array(inputs * units), bias: new Float32Array(units) };
      multiply(layers[i], 1, inputs, slope, gradient.kernel, inputs, rows, units);
      for (let r = 0; r < rows; r++) for (let j = 0; j < units; j++) gradient.bias[j] += slope[r * units + j];
      gradients.unshift(gradient);
      if (i === 0) break;
      const turned = new Float32Array(inputs * units);
      for (let p = 0; p < inputs; p++) for (let j = 0; j < units; j++) turned[j * inputs + p] = kernel[p * units + j];
      const below = new Float32Array(rows * inputs);
      multiply(slope, units, 1, turned, below, rows, units, inputs);
      for (let j = 0; j < below.length; j++) if (!(layers[i][j] > 0)) below[j] = 0;
      slope = below;
    }
    return gradients;
  }

  /** Softmax of values[first .. last). */
  function softmax(values, first, last) {
    let most = -Infinity, sum = 0;
    for (let j = first; j < last; j++) most = Math.max(most, values[j]);
    const p = new Float64Array(last - first);
    for (let j = first; j < last; j++) sum += p[j - first] = Math.exp(values[j] - most);
    return p.map((v) => v / sum);
  }

  // Losses on the logits from `first` to before `last` of each row; targets are one-hot rows or the teacher's logits.
  // Each returns its mean over the rows and, into `slope`, its derivative; other logits have none.
  function softmaxLoss(z, targets, shape, slope, soft) {
    const { rows, width, first, last } = shape;
    let total = 0;
    for (let r = 0; r < rows; r++) {
      const at = r * width;
      const q = softmax(z, at + first, at + last);
      const p = soft ? softmax(targets, at + first, at + last) : targets.subarray(at + first, at + last);
      for (let j = 0; j < q.length; j++) {
        if (p[j] > 0) total += p[j] * (Math.log(p[j]) - Math.log(q[j]));
        slope[at + first + j] = (q[j] - p[j]) / rows;
      }
    }
    return total / rows;
  }

  const losses = {
    cross_entropy: (z, targets, shape, slope) => softmaxLoss(z, targets, shape, slope, false),
    kl: (z, targets, shape, slope) => softmaxLoss(z, targets, shape, slope, true),
    mse(z, targets, { rows, width, first, last }, slope) {
      let total = 0;
      for (let r = 0; r < rows; r++) {
        for (let at = r * width + first; at < r * width + last; at++) {
          const gap = z[at] - targets[at];
          total += gap * gap;
          slope[at] = (2 * gap) / (rows * (last - first));
        }
      }
      return total / (rows * (last - first));
    },
  };

  /** What Adam remembers of a network: means of gradients and of their squares, and how many steps it made. */
  const adam = (network) => {
    const zeros = () => network.map(({ kernel, bias }) => [kernel, bias].map((x) => new Float32Array(x.length)));
    return { mean: zeros(), square: zeros(), steps: 0 };
  };

  /** One step of Adam, in place. */
  function update(network, gradients, state, rate) {
    const { b1, b2, epsilon } = ADAM;
    state.steps += 1;
    const unbias1 = 1 - b1 ** state.steps, unbias2 = 1 - b2 ** state.steps;
    network.forEach((layer, i) => {
      ["kernel", "bias"].forEach((part, j) => {
        const w = layer[part], g = gradients[i][part], m = state.mean[i][j], v = state.square[i][j];
        for (let at = 0; at < w.length; at++) {
          m[at] = b1 * m[at] + (1 - b1) * g[at];
          v[at] = b2 * v[at] + (1 - b2) * g[at] * g[at];
          w[at] -= (rate * (m[at] / unbias1)) / (Math.sqrt(v[at] / unbias2) + epsilon);
        }
      });
    });
  }

  /** One training step on a batch {images, targets, rows}, in place; how = {loss, first, last, rate}. The loss before. */
  function step(network, state, batch, how) {
    const layers = forward(network, batch.images, batch.rows);
    const width = network[network.length - 1].units;
    const slope = new Float32Array(batch.rows * width);
    const shape = { rows: batch.rows, width, first: how.first, last: how.last };
    const loss = losses[how.loss](layers[network.length], batch.targets, shape, slope);
    update(network, backward(network, layers, slope, batch.rows), state, how.rate);
    return loss;
  }

  /** Which of the first `classes` logits is the largest, of every image. */
  function answers(network, images, rows, classes) {
    const z = logits(network, images, rows);
    const width = network[network.length - 1].units;
    return Array.from({ length: rows }, (_, r) => {
      let best = 0;
      for (let j = 1; j < classes; j++) if (z[r * width + j] > z[r * width + best]) best = j;
      return best;
    });
  }

  /** The share of images that are read as their labels say. */
  const accuracy = (network, images, labels, classes) =>
    answers(network, images, labels.length, classes).filter((a, r) => a === labels[r]).length / labels.length;

  return { init, copy, logits, softmax, losses, adam, step, answers, accuracy };
})();
