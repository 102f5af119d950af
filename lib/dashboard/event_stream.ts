/**
 * What is new in the runs, as server-sent events.
 *
 * @module
 */

import { type Position, POSITION_COUNTS, type Update, type WatchedRun } from "./watched_run.ts";

/** How often files are looked at, so that many records make one event. */
const TICK_MS = 100;
/** A comment now and then tells proxies that the stream lives. */
const BEAT_MS = 15_000;
/** Pages that may be open: fewer than connections, so that whoever comes next is told why he can't look. */
const MOST_CLIENTS = 48;

interface Client {
  readonly controller: ReadableStreamDefaultController<Uint8Array>;
  /** By run. */
  positions: ReadonlyMap<string, Position>;
  lastSent: number;
}

const encoder = new TextEncoder();

/** Looks at the runs' files and tells every client what it doesn't have yet. */
export class EventStream {
  readonly #runs: readonly WatchedRun[];
  readonly #onError: (error: unknown) => void;
  readonly #clients = new Set<Client>();
  #timer: ReturnType<typeof setTimeout> | null = null;
  #closed = false;

  constructor(runs: readonly WatchedRun[], onError: (error: unknown) => void) {
    this.#runs = runs;
    this.#onError = onError;
  }

  /** Begins to look; {@linkcode close} ends it. */
  start(): void {
    void this.#tick();
  }

  /** Ends every client's stream. */
  close(): void {
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    for (const client of this.#clients) this.#drop(client);
  }

  /** A client's stream from a position on, `null` where too many are open. */
  open(since: string | null): ReadableStream<Uint8Array> | null {
    if (this.#clients.size >= MOST_CLIENTS || this.#closed) return null;
    let client: Client;
    return new ReadableStream<Uint8Array>({
      start: (controller) => {
        client = { controller, positions: parsePositions(since), lastSent: Date.now() };
        this.#clients.add(client);
        controller.enqueue(encoder.encode("retry: 1000\n\n"));
        this.#send(client);
      },
      cancel: () => void this.#clients.delete(client),
    }, { highWaterMark: 8 });
  }

  async #tick(): Promise<void> {
    for (const run of this.#runs) await run.poll();
    if (this.#closed) return;
    for (const client of this.#clients) {
      try {
        this.#send(client);
      } catch (error) {
        // A page whose stream ends asks for it again.
        this.#onError(error);
        this.#drop(client);
      }
    }
    this.#timer = setTimeout(() => this.#tick(), TICK_MS);
  }

  #drop(client: Client): void {
    this.#clients.delete(client);
    try {
      client.controller.close();
    } catch {
      // It has ended by itself.
    }
  }

  /** A client that doesn't keep up is left alone until it does, and then gets all at once. */
  #send(client: Client): void {
    if ((client.controller.desiredSize ?? 0) <= 0) return;
    const updates: Record<string, Update> = {};
    for (const run of this.#runs) {
      const update = run.since(client.positions.get(run.id) ?? null);
      if (update !== null) updates[run.id] = update;
    }
    if (Object.keys(updates).length > 0) {
      client.positions = new Map(this.#runs.map((run) => [run.id, run.position]));
      const id = formatPositions(client.positions);
      const data = JSON.stringify({ position: id, runs: updates });
      client.controller.enqueue(encoder.encode(`id: ${id}\nevent: update\ndata: ${data}\n\n`));
      client.lastSent = Date.now();
    } else if (Date.now() - client.lastSent > BEAT_MS) {
      client.controller.enqueue(encoder.encode(": still here\n\n"));
      client.lastSent = Date.now();
    }
  }
}

/** Positions of runs as a stream's event id: `0=generation.rows.validations.notes.machine.ternary.samples,1=…`. */
export function formatPositions(positions: ReadonlyMap<string, Position>): string {
  return Array.from(
    positions,
    ([run, position]) =>
      `${run}=${position.generation}.${POSITION_COUNTS.map((count) => position[count]).join(".")}`,
  ).join(",");
}

/** Reads what {@linkcode formatPositions} wrote, leaving out what isn't that. */
function parsePositions(text: string | null): Map<string, Position> {
  const positions = new Map<string, Position>();
  for (const part of (text ?? "").split(",")) {
    const match = /^(\w+)=([\w-]+)((?:\.\d+)+)$/.exec(part);
    if (match === null) continue;
    const [, run, generation, counts] = match;
    const [rows, validations, notes, machine, ternary, samples, ...more] = counts!.slice(1)
      .split(".").map(Number);
    // A page that was loaded from another version reads everything anew.
    if (samples === undefined || more.length > 0) continue;
    positions.set(run!, {
      generation: generation!,
      ...{ rows: rows!, validations: validations!, notes: notes! },
      ...{ machine: machine!, ternary: ternary!, samples },
    });
  }
  return positions;
}
