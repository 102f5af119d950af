/**
 * A TCP connection as a stream of Node's, which its HTTP server reads and writes.
 *
 * @module
 */

import { Duplex } from "node:stream";

/** What is read at once: a request that only asks is shorter. */
const READ_BYTES = 4096;

/** A connection that is closed when it stands still for longer than it may. */
export class ConnectionStream extends Duplex {
  readonly #connection: Deno.TcpConn;
  readonly #buffer = new Uint8Array(READ_BYTES);
  readonly #writeMs: number;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @param writeMs Time in which a client must take something of what is written. */
  constructor(connection: Deno.TcpConn, writeMs: number) {
    super();
    this.#connection = connection;
    this.#writeMs = writeMs;
    connection.unref(); // a client that stays connected does not keep a finished run alive
  }

  /** Closes the connection after a time, unless {@linkcode keep} comes first. */
  closeAfter(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.destroy(), ms);
    Deno.unrefTimer(this.#timer as unknown as number);
  }

  /** Takes {@linkcode closeAfter} back. */
  keep(): void {
    clearTimeout(this.#timer);
  }

  override _read(): void {
    this.#connection.read(this.#buffer).then(
      (count) => void this.push(count === null ? null : this.#buffer.slice(0, count)),
      (error) => void this.destroy(error),
    );
  }

  override _write(chunk: Uint8Array, _encoding: string, done: (error?: Error) => void): void {
    this.#writeAll(chunk).finally(() => this.keep()).then(() => done(), done);
  }

  override _final(done: (error?: Error) => void): void {
    this.#connection.closeWrite().then(() => done(), done);
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.keep();
    try {
      this.#connection.close();
    } catch {
      // It was closed by the other side's error.
    }
    done(error);
  }

  async #writeAll(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      this.closeAfter(this.#writeMs);
      at += await this.#connection.write(bytes.subarray(at));
    }
  }
}
