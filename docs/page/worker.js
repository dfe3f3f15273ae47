// In a worker, so that the page stays awake: trains as told and posts what it sees.
"use strict";

onmessage = ({ data: { settings, data, students, every } }) => {
  try {
    let shown = 0;
    for (const { images, ...look } of protocol.experiment(settings, data, { students, every })) {
      const late = performance.now() - shown > 60; // images go by at a rate that an eye can follow
      if (late) shown = performance.now();
      postMessage({ ...look, images: images && late ? images.slice(0, 12 * data.pixels) : null });
    }
    postMessage({ phase: "done" });
  } catch (error) {
    postMessage({ phase: "failed", message: error.message });
  }
};
