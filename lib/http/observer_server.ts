/**
 * A server for those who look at a run: whatever they do, it never ends the run.
 *
 * @module
 */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { type Duplex, Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { ReadableStream as NodeReadableStream } from "node:stream/web";
import { claimConnection, planConnections, releaseConnection } from "./connection_budget.ts";
import { ConnectionStream } from "./connection_stream.ts";
import { bracketed } from "./host_name.ts";

/** Times after which a connection is closed. */
const LIMITS = {
  /** From its opening until the request's head is whole. */
  headMs: 5_000,
  /** From its opening until the request is whole. */
  requestMs: 10_000,
  /** Between two requests. */
  idleMs: 5_000,
  /** Without the client taking anything of an answer that is ready. */
  writeMs: 10_000,
} as const;

const CHECK_MS = 1_000;
/** After a connection couldn't be taken. */
const RETRY_MS = 1_000;

/** Options of {@linkcode ObserverServer.listen}. */
export interface ObserverServerOptions {
  readonly hostname: string;
  /** 0 takes one that is free. */
  readonly port: number;
  /** Answers a request; its address has this server's name, whatever `Host` says. */
  answer(request: Request): Response | Promise<Response>;
  /** Told once of each thing that goes wrong. */
  warn?(message: string): void;
}

/** Serves HTTP from the event loop of the thread that opened it. Its errors are its own: each is warned of once. */
export class ObserverServer {
  readonly address: Deno.NetAddr;
  /** Settled once it was closed and no connection is left; never rejected. */
  readonly finished: Promise<void>;
  readonly #options: ObserverServerOptions;
  readonly #listener: Deno.TcpListener;
  readonly #http: Server;
  readonly #connections = new Set<ConnectionStream>();
  /** Those that are answered now. */
  readonly #busy = new Set<ConnectionStream>();
  readonly #warned = new Set<string>();
  readonly #end = Promise.withResolvers<void>();
  #retry: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  private constructor(options: ObserverServerOptions) {
    const { hostname, port } = options;
    this.#options = options;
    planConnections();
    this.#listener = Deno.listen({ hostname: hostname.replace(/^\[(.*)\]$/, "$1"), port });
    this.#listener.unref();
    this.address = this.#listener.addr;
    this.finished = this.#end.promise;
    this.#http = createServer({
      headersTimeout: LIMITS.headMs,
      requestTimeout: LIMITS.requestMs,
      keepAliveTimeout: LIMITS.idleMs,
      connectionsCheckingInterval: CHECK_MS,
    }, (request, response) => void this.#handle(request, response));
    this.#http.on("clientError", refuse);
    // It looks for connections that stand still from when it listens; here another listens for it.
    this.#http.emit("listening");
    void this.#accept();
  }

  /** Listens. Throws what `Deno.listen()` does, `Deno.errors.AddrInUse` where the port is taken. */
  static listen(options: ObserverServerOptions): ObserverServer {
    return new ObserverServer(options);
  }

  /** Takes no more connections and ends those that wait for a request; answers that have begun are finished. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#retry);
    this.#listener.close();
    this.#http.close();
    for (const stream of this.#connections) {
      if (!this.#busy.has(stream)) stream.destroy();
    }
    this.#settle();
  }

  async #accept(): Promise<void> {
    try {
      while (!this.#closed) this.#take(await this.#listener.accept());
    } catch (error) {
      if (this.#closed) return;
      // Whoever couldn't be taken waits in the system's queue, which has no file of this process.
      this.#warn("take a connection", error);
      this.#retry = setTimeout(() => void this.#accept(), RETRY_MS);
      Deno.unrefTimer(this.#retry as unknown as number);
    }
  }

  #take(connection: Deno.TcpConn): void {
    if (this.#closed || !claimConnection()) {
      connection.close();
      return;
    }
    const stream = new ConnectionStream(connection, LIMITS.writeMs);
    this.#connections.add(stream);
    stream.on("error", () => {}); // the client went away
    stream.on("close", () => {
      releaseConnection();
      this.#connections.delete(stream);
      this.#busy.delete(stream);
      this.#settle();
    });
    this.#http.emit("connection", stream);
  }

  #settle(): void {
    if (this.#closed && this.#connections.size === 0) this.#end.resolve();
  }

  async #handle(asked: IncomingMessage, response: ServerResponse): Promise<void> {
    const stream = asked.socket as unknown as ConnectionStream;
    stream.keep();
    this.#busy.add(stream);
    response.on("close", () => {
      this.#busy.delete(stream);
      if (this.#closed) stream.end(() => stream.destroy());
      else if (!stream.destroyed) stream.closeAfter(LIMITS.idleMs);
    });
    try {
      const answer = await this.#answer(asked);
      await send(answer, response);
    } catch (error) {
      if (!stream.destroyed) this.#warn("answer a request", error);
      stream.destroy();
    }
  }

  async #answer(asked: IncomingMessage): Promise<Response> {
    const request = requestOf(asked, `${bracketed(this.#options.hostname)}:${this.address.port}`);
    asked.resume(); // nothing that is sent is read
    if (request === null) return new Response("This is no request for a path.\n", { status: 400 });
    try {
      return await this.#options.answer(request);
    } catch (error) {
      this.#warn("answer a request", error);
      return new Response("This could not be answered.\n", { status: 500 });
    }
  }

  #warn(what: string, error: unknown): void {
    if (this.#warned.has(what)) return;
    this.#warned.add(what);
    const reason = error instanceof Error ? error.message : String(error);
    const { hostname, port } = this.address;
    this.#options.warn?.(`Cannot ${what} at ${bracketed(hostname)}:${port}: ${reason}`);
  }
}

/** Answers what is no HTTP; a connection that stood still is closed alone. */
function refuse(error: Error & { code?: string }, stream: Duplex): void {
  if (stream.destroyed || error.code?.startsWith("HPE_") !== true) {
    stream.destroy();
    return;
  }
  stream.end("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", () => stream.destroy());
}

/** A request without its body, `null` where it can't be one. */
function requestOf(asked: IncomingMessage, host: string): Request | null {
  const { method = "GET", url = "", rawHeaders } = asked;
  try {
    const headers = new Headers();
    for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
      headers.append(rawHeaders[i]!, rawHeaders[i + 1]!);
    }
    return new Request(url.startsWith("/") ? `http://${host}${url}` : url, { method, headers });
  } catch {
    return null;
  }
}

async function send(answer: Response, response: ServerResponse): Promise<void> {
  response.statusCode = answer.status;
  for (const [name, value] of answer.headers) response.setHeader(name, value);
  if (answer.body === null || response.req.method === "HEAD") {
    await answer.body?.cancel();
    response.end();
    return;
  }
  response.flushHeaders();
  try {
    await pipeline(Readable.fromWeb(answer.body as NodeReadableStream<Uint8Array>), response);
  } catch (error) {
    if (!response.destroyed) throw error; // else the client went away
  }
}
