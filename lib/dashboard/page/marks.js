/**
 * What is drawn over a chart's lines: rollbacks and steps that were left out as bands, spikes as marks, the clipping norm as a line.
 *
 * @module
 */

/** A colour of the page, in the scheme that it has now. */
export function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** Colours of lines that the page has. */
const COLORS = 12;

/** Colour of a run. */
export function runColor(index) {
  return color(`run-${index % COLORS}`);
}

/** A plugin that draws the marks of the context's runs over its x, as far as the panel has them. */
export function marksPlugin(panel, context) {
  return {
    hooks: {
      drawClear: (chart) => clipped(chart, () => drawBands(chart, context)),
      draw: (chart) =>
        clipped(chart, () => {
          if (panel.clip) drawClip(chart, context);
          if (panel.spikes) drawSpikes(chart, panel.spikes, context);
        }),
    },
  };
}

function clipped(chart, draw) {
  const { ctx, bbox } = chart;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  draw();
  ctx.restore();
}

function drawBands(chart, { runs, x }) {
  for (const run of runs) {
    for (const { step, to_step: to } of run.noted("rollback")) {
      drawBand(chart, { from: run.toX(to, x), to: run.toX(step, x), fill: color("warn"), run });
    }
    for (const { step, answer } of run.noted("spike")) {
      if (answer === "skip") {
        drawBand(chart, {
          ...{ from: run.toX(step - 1, x), to: run.toX(step, x), fill: color("skip"), run },
        });
      }
    }
  }
}

/** From one place to another, with the run's colour along the upper edge. */
function drawBand(chart, { from, to, fill, run }) {
  const { ctx, bbox } = chart;
  const left = chart.valToPos(from, "x", true);
  const width = Math.max(2 * devicePixelRatio, chart.valToPos(to, "x", true) - left);
  ctx.globalAlpha = 0.22;
  ctx.fillStyle = fill;
  ctx.fillRect(left, bbox.top, width, bbox.height);
  ctx.globalAlpha = 1;
  ctx.fillStyle = runColor(run.index);
  ctx.fillRect(left, bbox.top, width, 3 * devicePixelRatio);
}

function drawClip(chart, { runs }) {
  const { ctx, bbox } = chart;
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
  for (const run of runs.filter(({ clip }) => clip !== null)) {
    const y = Math.round(chart.valToPos(run.clip, "y", true));
    ctx.strokeStyle = runColor(run.index);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
  }
  ctx.setLineDash([]);
}

/** A triangle at the value, at the edge where the value is beyond it or isn't a number. */
function drawSpikes(chart, field, { runs, x: unit }) {
  const { ctx, bbox } = chart;
  const size = 5 * devicePixelRatio;
  for (const run of runs) {
    for (const note of run.noted("spike")) {
      const x = chart.valToPos(run.toX(note.step, unit), "x", true);
      const at = typeof note[field] === "number"
        ? chart.valToPos(note[field], "y", true)
        : bbox.top;
      const y = Math.min(Math.max(at, bbox.top), bbox.top + bbox.height - 2 * size);
      ctx.beginPath();
      ctx.moveTo(x - size, y);
      ctx.lineTo(x + size, y);
      ctx.lineTo(x, y + 2 * size);
      ctx.closePath();
      ctx.fillStyle = color("warn");
      ctx.fill();
      ctx.lineWidth = 1.5 * devicePixelRatio;
      ctx.strokeStyle = runColor(run.index);
      ctx.stroke();
    }
  }
}
