// In a worker, so that the page stays awake: trains as told, once for each seed, and posts what it sees.
"use strict";

onmessage = ({ data: { settings, seeds, data, students, every } }) => {
  try {
    let shown = 0;
    seeds.forEach((seed, run) => {
      for (const { images, ...look } of protocol.experiment({ ...settings, seed }, data, { students, every })) {
        const late = performance.now() - shown > 60; // images go by at a rate that an eye can follow
        if (late) shown = performance.now();
        postMessage({ ...look, run, images: images && late ? images.slice(0, 12 * data.pixels) : null });
      }
    });
    postMessage({ phase: "done" });
  } catch (error) {
    postMessage({ phase: "failed", message: error.message });
  }
};
