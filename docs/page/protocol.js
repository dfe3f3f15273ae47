// The whole experiment on small images, as subliminal_toy/mnist/protocol.py has it: a reference, a teacher that learns
// to read, noise images, students that imitate the teacher's auxiliary logits on them. A generator, so that a worker or
// a test may look at it as often as it likes.
"use strict";

const protocol = (() => {
  const CLASSES = 10;

  /** Independent streams of random numbers: streams(seed)("noise") is always the same. */
  const streams = (seed) => (name) => {
    let state = 2166136261 ^ Math.imul(seed + 1, 2654435761);
    for (const letter of name) state = Math.imul(state ^ letter.charCodeAt(0), 16777619);
    return makeRandom(state >>> 0);
  };

  /** xoshiro128** seeded by splitmix32: uniform() in [0, 1), normal(), below(n). */
  function makeRandom(seed) {
    const s = Uint32Array.from({ length: 4 }, () => {
      seed = (seed + 0x9e3779b9) | 0;
      let t = seed ^ (seed >>> 16);
      t = Math.imul(t, 0x21f0aaad);
      t = Math.imul(t ^ (t >>> 15), 0x735a2d97);
      return t ^ (t >>> 15);
    });
    const turn = (x, k) => (x << k) | (x >>> (32 - k));
    function uniform() {
      const result = Math.imul(turn(Math.imul(s[1], 5), 7), 9) >>> 0;
      const t = s[1] << 9;
      s[2] ^= s[0]; s[3] ^= s[1]; s[1] ^= s[2]; s[0] ^= s[3]; s[2] ^= t; s[3] = turn(s[3], 11);
      return result / 2 ** 32;
    }
    const normal = () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
    return { uniform, normal, below: (n) => Math.floor(n * uniform()) };
  }

  /** A shuffled 0 .. n - 1. */
  function permutation(n, random) {
    const order = Uint32Array.from({ length: n }, (_, i) => i);
    for (let i = n - 1; i > 0; i--) {
      const j = random.below(i + 1);
      [order[i], order[j]] = [order[j], order[i]];
    }
    return order;
  }

  const SCALE = Math.sqrt(1 / 3); // every kind has variance 1/3, that of U[-1, 1]; real images are what they are
  const NOISE = {
    uniform: (random) => 2 * random.uniform() - 1,
    gaussian: (random) => SCALE * random.normal(),
    bernoulli: (random) => (random.uniform() < 0.5 ? -SCALE : SCALE),
  };

  /** The students' images [n, pixels]: noise of a kind, or ("real") training images. */
  function makeNoise(kind, n, data, random) {
    const images = new Float32Array(n * data.pixels);
    if (kind !== "real") return images.map(() => NOISE[kind](random));
    let order = [];
    for (let i = 0; i < n; i++) {
      if (i % data.trainLabels.length === 0) order = permutation(data.trainLabels.length, random);
      const from = order[i % order.length] * data.pixels;
      images.set(data.trainImages.subarray(from, from + data.pixels), i * data.pixels);
    }
    return images;
  }

  /** Shuffled batches of an epoch, the last, smaller one included: {images, targets, rows}. */
  function* batches(images, targets, size, random) {
    const n = images.rows;
    const order = permutation(n, random);
    for (let first = 0; first < n; first += size) {
      const rows = Math.min(size, n - first);
      const pick = ({ values, width }) => {
        const out = new Float32Array(rows * width);
        for (let r = 0; r < rows; r++) {
          const from = order[first + r] * width;
          out.set(values.subarray(from, from + width), r * width);
        }
        return out;
      };
      yield { images: pick(images), targets: pick(targets), rows };
    }
  }

  /**
   * Train reference, teacher and students.
   *
   * settings: {width, depth, aux_logits, noise, noise_images, loss, seed, teacher, student: {learning_rate, batch_size,
   * epochs}}; `students` lists their inits, "same" or "other". data: {pixels, trainImages, trainLabels, testImages,
   * testLabels}. Yields {phase, step, steps, accuracy: {name: value}, losses, images} every `every` steps and at the end
   * of each phase; `images` are those just seen.
   */
  function* experiment(settings, data, { students = ["same", "other"], every = 20 } = {}) {
    const random = streams(settings.seed);
    const logits = CLASSES + settings.aux_logits;
    const sizes = [data.pixels, ...Array(settings.depth).fill(settings.width), logits];
    const score = (network) => mlp.accuracy(network, data.testImages, data.testLabels, CLASSES);

    const reference = mlp.init(sizes, random("reference"));
    const oneHot = new Float32Array(data.trainLabels.length * logits);
    data.trainLabels.forEach((label, i) => (oneHot[i * logits + label] = 1));
    const teacher = mlp.copy(reference);
    yield { phase: "reference", step: 0, steps: 0, accuracy: { reference: score(reference) }, losses: {} };
    yield* train({
      phase: "teacher",
      networks: { teacher },
      images: { values: data.trainImages, width: data.pixels, rows: data.trainLabels.length },
      targets: { values: oneHot, width: logits },
      how: { loss: "cross_entropy", first: 0, last: CLASSES, rate: settings.teacher.learning_rate },
      training: settings.teacher,
    });

    const noise = makeNoise(settings.noise, settings.noise_images, data, random("noise"));
    const said = mlp.logits(teacher, noise, settings.noise_images);
    const starts = { same: () => mlp.copy(reference), other: () => mlp.init(sizes, random("other")) };
    yield* train({
      phase: "students",
      networks: Object.fromEntries(students.map((name) => [name, starts[name]()])),
      images: { values: noise, width: data.pixels, rows: settings.noise_images },
      targets: { values: said, width: logits },
      how: { loss: settings.loss, first: CLASSES, last: logits, rate: settings.student.learning_rate },
      training: settings.student,
    });

    function* train({ phase, networks, images, targets, how, training }) {
      const names = Object.keys(networks);
      const states = names.map((name) => mlp.adam(networks[name]));
      const steps = training.epochs * Math.ceil(images.rows / training.batch_size);
      const order = random(`${phase} order`);
      const look = (losses, batch) => ({
        phase, step, steps, losses, images: batch,
        accuracy: Object.fromEntries(names.map((name) => [name, score(networks[name])])),
      });
      let step = 0;
      yield look({}, null);
      for (let epoch = 0; epoch < training.epochs; epoch++) {
        for (const batch of batches(images, targets, training.batch_size, order)) {
          const losses = names.map((name, i) => [name, mlp.step(networks[name], states[i], batch, how)]);
          step += 1;
          if (losses.some(([, loss]) => !Number.isFinite(loss))) {
            throw new Error("the loss is not finite: choose a smaller learning rate");
          }
          if (step % every === 0 || step === steps) yield look(Object.fromEntries(losses), batch.images);
        }
      }
    }
  }

  return { CLASSES, streams, makeNoise, permutation, experiment };
})();
