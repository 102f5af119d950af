/**
 * How numbers are written: in tables, legends and on axes, those of the report too.
 *
 * @module
 */

const EM = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];

/**
 * A number with four digits or so: 408.6k, 0.0020, 2e-5.
 *
 * @param {number | null | undefined} value
 * @param {number} [digits]
 * @returns {string}
 */
export function formatNumber(value, digits = 4) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  for (const [unit, letter] of EM) {
    if (size >= unit * (letter === "k" ? 10 : 1)) {
      return `${Number((value / unit).toPrecision(digits))}${letter}`;
    }
  }
  if (size !== 0 && size < 1e-3) {
    return value.toExponential(Math.max(2, digits - 2)).replace(/\.?0+e/, "e");
  }
  return String(Number(value.toPrecision(digits)));
}

/**
 * A fraction as percent.
 *
 * @param {number | null | undefined} value
 * @param {number} [digits]
 * @returns {string}
 */
export function formatPercent(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  return `${Number((100 * value).toPrecision(digits))}%`;
}

/**
 * Bytes as GiB.
 *
 * @param {number | null | undefined} value
 * @param {number} [digits]
 * @returns {string}
 */
export function formatBytes(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  return `${Number((value / 2 ** 30).toPrecision(digits))} GiB`;
}

/**
 * Milliseconds in the unit that fits them: 40 s, 12.5 min, 3 h, 2.5 days.
 *
 * @param {number | null | undefined} ms
 * @param {number} [digits]
 * @returns {string}
 */
export function formatTime(ms, digits = 3) {
  if (ms === null || ms === undefined || !Number.isFinite(ms)) return "–";
  const units = [[86_400_000, "days", 2], [3_600_000, "h", 1], [60_000, "min", 1]];
  const [size, name] = units.find(([size, , least]) => Math.abs(ms) >= least * size) ?? [1000, "s"];
  return `${Number((ms / size).toPrecision(digits))} ${name}`;
}

/**
 * Labels of an axis's ticks, with so many digits that each tells its own value.
 *
 * @param {readonly (number | null)[]} ticks - by rising or falling value; those that are null have no label
 * @param {(value: number, digits: number) => string} format
 * @returns {string[]}
 */
export function tickLabels(ticks, format) {
  const known = ticks.filter((tick) => tick !== null);
  const gaps = known.slice(1).map((tick, index) => Math.abs(tick - known[index]));
  const largest = Math.max(...known.map(Math.abs));
  const places = gaps.length === 0 || largest === 0
    ? 0
    : Math.floor(Math.log10(largest)) - Math.floor(Math.log10(Math.min(...gaps)));
  // Two more digits than tell neighbours apart: a tick may be no round number in the unit it is told in.
  const digits = Math.min(15, Math.max(3, places + 2));
  return ticks.map((tick) => tick === null ? "" : format(tick, digits));
}
