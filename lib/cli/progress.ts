/**
 * Progress of something long: a bar that redraws itself on a terminal, plain lines elsewhere.
 *
 * @module
 */

import { formatDuration } from "./format.ts";
import { printable } from "./printable.ts";

/** Where a {@linkcode ProgressLine} writes; stdout or stderr by default, a stub in tests. */
export interface ProgressOutput {
  /** Writes text as it is, without a line end of its own. */
  write(text: string): void;
  /** Width of the terminal in columns, or `null` where there is none that can draw a line over another. */
  columns(): number | null;
}

/** Options of {@linkcode ProgressLine}. */
export interface ProgressOptions {
  /** Units of work in all; `null` where that isn't known: no bar and no time left then. @default null */
  total?: number | null;
  /** Word before the bar. @default "" */
  label?: string;
  /** `auto` draws a bar on a terminal, `plain` writes lines. @default "auto" */
  style?: "auto" | "bar" | "plain";
  /** Shortest time between two redraws of the bar, in ms. @default 100 */
  barIntervalMs?: number;
  /** Time after which the bar is drawn again though nothing was heard, in ms. @default 1000 */
  tickMs?: number;
  /** Shortest time between two plain lines, in ms; 0 writes every one. @default 0 */
  plainIntervalMs?: number;
  /** @default stderr */
  output?: ProgressOutput;
  /** Clock in ms. @default performance.now */
  now?: () => number;
  /** When the work began, by that clock, where it was before the line is made. @default now */
  startedAt?: number;
}

/** Where progress stands. */
export interface ProgressState {
  /** Units that are done. */
  done: number;
  /** What else the line says: parts two spaces apart, the last ones left out where the terminal is too narrow for them. */
  text: string;
}

/** Columns of the bar: at most, and with fewer there is none. */
const BAR_WIDTH = { most: 24, least: 8 };
/** Columns of a terminal that doesn't know them. */
const USUAL_COLUMNS = 80;
const CLEAR = "\r\x1b[K";

/**
 * One line of progress: percentage, time left, time taken, and as much of the rest as the terminal is wide. It moves on every second, so
 * that a long step doesn't look frozen; what blocks the thread blocks that too.
 *
 * The time left assumes the pace since the line was made (or since `startedAt`, or since {@linkcode start} said where a resumed run
 * began). {@linkcode log} writes a lasting line above the bar; {@linkcode finish} leaves the last state on screen.
 */
export class ProgressLine {
  readonly #total: number | null;
  readonly #label: string;
  readonly #bar: boolean;
  readonly #intervalMs: number;
  readonly #output: ProgressOutput;
  readonly #now: () => number;
  readonly #tickMs: number;
  #ticking: ReturnType<typeof setInterval> | null = null;
  #startedAt: number;
  #startedWith = 0;
  #drawnAt = -Infinity;
  #state: ProgressState | null = null;
  #drawn = true;
  #heardAt = 0;
  #remainingMs: number | null = null;

  constructor(options: ProgressOptions = {}) {
    this.#total = options.total ?? null;
    this.#label = options.label ?? "";
    this.#output = options.output ?? streamOutput(Deno.stderr);
    const style = options.style ?? "auto";
    this.#bar = style === "bar" || (style === "auto" && this.#output.columns() !== null);
    this.#intervalMs = this.#bar ? options.barIntervalMs ?? 100 : options.plainIntervalMs ?? 0;
    this.#now = options.now ?? (() => performance.now());
    this.#startedAt = options.startedAt ?? this.#now();
    this.#tickMs = options.tickMs ?? 1000;
  }

  /** Whether a bar is drawn, as opposed to plain lines. */
  get isBar(): boolean {
    return this.#bar;
  }

  /** Starts the clock again at `done` units: a resumed run didn't just do what it found done. */
  start(done: number): void {
    this.#startedWith = done;
    this.#startedAt = this.#now();
    if (!this.#bar) return;
    this.#hear({ done, text: "" });
    this.#draw();
  }

  /** Shows a state; states that come faster than the interval are passed over, the last one never. */
  update(state: ProgressState): void {
    this.#hear(state);
    if (this.#now() - this.#drawnAt >= this.#intervalMs) this.#draw();
  }

  /** Writes a line that stays, above the bar. */
  log(line: string): void {
    this.#output.write(`${this.#bar ? CLEAR : ""}${printable(line)}\n`);
    if (this.#bar && this.#state !== null) this.#draw();
  }

  /** Draws what was passed over and ends the line. */
  finish(): void {
    if (this.#ticking !== null) clearInterval(this.#ticking);
    this.#ticking = null;
    if (this.#state !== null && !this.#drawn) this.#draw();
    if (this.#bar && this.#state !== null) this.#output.write("\n");
    this.#state = null;
  }

  /** Milliseconds that are left at the pace so far, `null` where nothing can be said. */
  remainingMs(done: number): number | null {
    const made = done - this.#startedWith;
    if (this.#total === null || made <= 0) return null;
    return ((this.#now() - this.#startedAt) / made) * Math.max(0, this.#total - done);
  }

  #hear(state: ProgressState): void {
    this.#state = { ...state, text: printable(state.text) };
    this.#drawn = false;
    this.#heardAt = this.#now();
    this.#remainingMs = this.remainingMs(state.done);
    if (!this.#bar || this.#ticking !== null) return;
    this.#ticking = setInterval(() => this.#draw(), this.#tickMs);
    Deno.unrefTimer(this.#ticking);
  }

  #draw(): void {
    const { done, text } = this.#state!;
    this.#drawnAt = this.#now();
    this.#drawn = true;
    if (!this.#bar) {
      const parts = [this.#label, text, ...this.#timeLeft(done)];
      this.#output.write(parts.filter((part) => part !== "").join(" ") + "\n");
      return;
    }
    // A line as wide as the terminal would go on in the next one.
    const room = (this.#output.columns() ?? USUAL_COLUMNS) - 1;
    this.#output.write(CLEAR + this.#fitted({ done, text }, room));
  }

  /** The line of a terminal, `room` columns wide at most. */
  #fitted({ done, text }: ProgressState, room: number): string {
    const part = this.#total === null ? null : Math.min(1, Math.max(0, done / this.#total));
    const numbers = [
      ...(part === null ? [] : [`${Math.floor(100 * part)}%`.padStart(4)]),
      ...this.#timeLeft(done),
      `after ${formatDuration(this.#now() - this.#startedAt)}`,
    ].join(" ");
    const all = text.split("  ").filter((word) => word !== "");
    let line = this.#label === "" ? numbers : `${this.#label} ${numbers}`;
    if (line.length > room) return numbers.trimStart().slice(0, Math.max(0, room));
    let shown = 0;
    for (; shown < all.length && line.length + 2 + all[shown]!.length <= room; shown++) {
      line += `  ${all[shown]}`;
    }
    const width = Math.min(BAR_WIDTH.most, room - line.length - 1);
    if (part === null || shown < all.length || width < BAR_WIDTH.least) return line;
    const filled = Math.round(width * part);
    const bar = "█".repeat(filled) + "░".repeat(width - filled);
    return this.#label === "" ? `${bar} ${line}` : line.replace(" ", ` ${bar} `);
  }

  /** The time left, less what has gone by since it was known; nothing where it isn't known. */
  #timeLeft(done: number): string[] {
    if (this.#remainingMs === null || done === this.#total) return [];
    const left = Math.max(0, this.#remainingMs - (this.#now() - this.#heardAt));
    return [`eta ${formatDuration(left)}`];
  }
}

/** A {@linkcode ProgressOutput} over stdout or stderr. A terminal that was closed, or a pipe, costs its lines, not the work. */
export function streamOutput(stream: typeof Deno.stdout | typeof Deno.stderr): ProgressOutput {
  const encoder = new TextEncoder();
  return {
    write(text) {
      const bytes = encoder.encode(text);
      withoutReader(() => {
        for (let at = 0; at < bytes.length;) at += stream.writeSync(bytes.subarray(at));
      });
    },
    columns() {
      if (!stream.isTerminal() || isDumb()) return null;
      try {
        // Some terminals say 0. It throws where stdin, stdout and stderr are all redirected.
        return Deno.consoleSize().columns || USUAL_COLUMNS;
      } catch {
        return USUAL_COLUMNS;
      }
    },
  };
}

/** A line to stderr, {@linkcode printable}, which is lost where nothing is there to read it any more. */
export function tell(line: string): void {
  withoutReader(() => console.error(printable(line)));
}

/** Writes; of what goes wrong only what is wrong with the reader is passed over: EPIPE of a pipe, EIO of a terminal. */
function withoutReader(write: () => void): void {
  try {
    write();
  } catch (error) {
    if (!(error instanceof Error) || !/\(os error (5|32)\)/.test(error.message)) throw error;
  }
}

/** Whether the terminal shows text and nothing else: no cursor that goes back. */
function isDumb(): boolean {
  const name = "TERM";
  const { state } = Deno.permissions.querySync({ name: "env", variable: name });
  return state === "granted" && Deno.env.get(name) === "dumb";
}
