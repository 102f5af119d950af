/**
 * Numbers for people: sizes, counts, durations, rates and tables.
 *
 * @module
 */

const BINARY = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** Bytes in binary units with three significant digits: `1.43 GiB`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (Math.abs(value) >= 999.5 && unit < BINARY.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? Math.round(value) : significant(value)} ${BINARY[unit]}`;
}

const DECIMAL = ["", "K", "M", "B", "T"];

/** A count in thousands, millions, billions or trillions with three significant digits: `1.30B`. */
export function formatCount(count: number): string {
  const { value, unit } = scale(count, DECIMAL.length);
  return unit === 0
    ? String(Math.round(value * 100) / 100)
    : `${significant(value)}${DECIMAL[unit]}`;
}

const PREFIXES = ["", "k", "M", "G", "T", "P", "E", "Z"];

/** A quantity with an SI prefix: `formatSi(119.5e12, "FLOP/s")` is `120 TFLOP/s`. */
export function formatSi(quantity: number, unit: string): string {
  const scaled = scale(quantity, PREFIXES.length);
  return `${significant(scaled.value)} ${PREFIXES[scaled.unit]}${unit}`;
}

/** Tokens a second: `52.5k tok/s`. */
export function formatRate(perSecond: number, unit = "tok"): string {
  if (!Number.isFinite(perSecond)) return `- ${unit}/s`;
  const { value, unit: power } = scale(perSecond, PREFIXES.length);
  return `${significant(value)}${PREFIXES[power]} ${unit}/s`;
}

const YEAR_HOURS = 365.25 * 24;

/** Milliseconds as the two largest units, and years: `340 ms`, `12.5 s`, `3m 05s`, `2h 10m`, `4d 07h`, `2.3 years`, `149 years`. */
export function formatDuration(ms: number): string {
  if (!Number.isFinite(ms)) return "-";
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m ${pad(seconds % 60)}s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)}h ${pad(minutes % 60)}m`;
  const hours = Math.round(minutes / 60);
  const years = hours / YEAR_HOURS;
  if (years >= 9.95) return `${Math.round(years).toLocaleString("en-US")} years`;
  if (years >= 1) return `${years.toFixed(1)} years`;
  return `${Math.floor(hours / 24)}d ${pad(hours % 24)}h`;
}

/** A fraction as a percentage with one decimal: `44.0%`. */
export function formatPercent(fraction: number): string {
  return `${(100 * fraction).toFixed(1)}%`;
}

/**
 * Rows as text columns two spaces apart; a column whose cells all start with a digit, a sign or are `-` is
 * aligned to the right. The first row is the heading where `options.header` is set.
 */
export function formatTable(
  rows: readonly (readonly string[])[],
  options: { header?: boolean; indent?: string } = {},
): string {
  const body = options.header ? rows.slice(1) : rows;
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((cell, column) => widths[column] = Math.max(widths[column] ?? 0, cell.length));
  }
  const right = widths.map((_, column) =>
    column > 0 && body.every((row) => /^([-+~<]?\d|-$|$)/.test(row[column] ?? ""))
  );
  const lines = rows.map((row) =>
    (options.indent ?? "") +
    row.map((cell, column) =>
      right[column] ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!)
    ).join("  ").trimEnd()
  );
  if (options.header) {
    lines.splice(
      1,
      0,
      (options.indent ?? "") + widths.map((width) => "-".repeat(width)).join("  "),
    );
  }
  return lines.join("\n");
}

function scale(quantity: number, units: number): { value: number; unit: number } {
  let value = quantity;
  let unit = 0;
  while (Math.abs(value) >= 999.5 && unit < units - 1) {
    value /= 1000;
    unit++;
  }
  return { value, unit };
}

function significant(value: number): string {
  const size = Math.abs(value);
  return value.toFixed(size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2);
}

function pad(value: number): string {
  return String(value).padStart(2, "0");
}
