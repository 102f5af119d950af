/**
 * The dashboard's server: reads runs and changes nothing.
 *
 * @module
 */

import { differingSettings } from "../history/differing_settings.ts";
import { findRun, type RunFiles, runFiles } from "../history/run_files.ts";
import { TERNARY_STATISTICS } from "../history/ternary_history.ts";
import { bracketed, isLoopback, refuseHost } from "../http/host_name.ts";
import { ObserverServer, type ObserverServerOptions } from "../http/observer_server.ts";
import { AccessRules, newToken } from "./access.ts";
import { ASSETS } from "./assets.ts";
import { EventStream, formatPositions } from "./event_stream.ts";
import { WatchedRun } from "./watched_run.ts";

/** A run to show. */
export interface ShownRun {
  /** Its folder or its file of records, which must be there. */
  readonly path?: string;
  /** Its file of records, which may come later. */
  readonly records?: string;
  /** Its config as YAML, where no checkpoint holds it yet. */
  readonly config?: string;
}

/** Options of {@linkcode Dashboard.serve}. */
export interface DashboardOptions {
  readonly runs: readonly ShownRun[];
  /** 0 takes one that is free. @default 8420 */
  readonly port?: number;
  /** @default "127.0.0.1" */
  readonly host?: string;
  /** What clients must have. @default none on a loopback address, a new one on others */
  readonly token?: string;
  /** Told of files that can't be read. @default keeps silent */
  readonly warn?: (message: string) => void;
}

/** Where the dashboard is unless told otherwise. */
export const DEFAULT_PORT = 8420;
/** Points of a series where a client doesn't say. */
const DEFAULT_POINTS = 2000;
const MOST_POINTS = 20_000;
/** Columns of a heat map where a client doesn't say. */
const DEFAULT_COLUMNS = 240;
const MOST_COLUMNS = 2000;

const HEADERS = {
  "Content-Security-Policy":
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "no-referrer",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cache-Control": "no-store",
};

/** A running dashboard. */
export class Dashboard implements AsyncDisposable {
  /** Address to open, with the token where one is needed. */
  readonly url: string;
  readonly #host: string;
  readonly #server: ObserverServer;
  readonly #runs: readonly WatchedRun[];
  readonly #rules: AccessRules;
  readonly #events: EventStream;

  private constructor(
    options: DashboardOptions,
    parts: {
      runs: readonly WatchedRun[];
      host: string;
      token: string | null;
      onError: (error: unknown) => void;
    },
  ) {
    const { runs, host, token, onError } = parts;
    this.#runs = runs;
    this.#host = host;
    this.#rules = new AccessRules(host, token);
    this.#events = new EventStream(runs, onError);
    this.#server = listen(host, {
      port: options.port ?? DEFAULT_PORT,
      answer: (request) => this.handle(request),
      ...(options.warn !== undefined && { warn: options.warn }),
    });
    this.#events.start();
    this.url = `http://${bracketed(host)}:${this.#server.address.port}/${
      token === null ? "" : `?token=${encodeURIComponent(token)}`
    }`;
  }

  /**
   * Serves the runs and begins to read them.
   *
   * Throws `Error` where a run has no records or the address can't be had.
   */
  static serve(options: DashboardOptions): Dashboard {
    const host = options.host ?? "127.0.0.1";
    const token = options.token ?? (isLoopback(host) ? null : newToken());
    if (token !== null && token.length < 8) {
      throw new Error(
        `Cannot serve the dashboard as its token must have 8 characters or more: current value has ${token.length}; ` +
          "leave it out to get one made up",
      );
    }
    const warned = new Set<string>();
    const onError = (error: unknown) => {
      const message = error instanceof Error ? error.message : String(error);
      if (warned.has(message)) return;
      warned.add(message);
      options.warn?.(`The dashboard can't show all of a run: ${message}`);
    };
    const runs = options.runs.map(({ path, records, config }, index) => {
      const files: RunFiles = path === undefined ? runFiles(records!) : findRun(path);
      return new WatchedRun(String(index), files, {
        ...(config !== undefined && { config }),
        onError,
      });
    });
    // The page and its scripts are there at once; what it asks of a run waits until that is read.
    return new Dashboard(options, { runs, host, token, onError });
  }

  /** Resolves when the server has ended. */
  get finished(): Promise<void> {
    return this.#server.finished;
  }

  /** Answers a request. */
  async handle(request: Request): Promise<Response> {
    const response = await this.#answer(request);
    for (const [name, value] of Object.entries(HEADERS)) {
      if (!response.headers.has(name)) response.headers.set(name, value);
    }
    if (request.method !== "HEAD") return response;
    await response.body?.cancel();
    return new Response(null, response);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#events.close();
    this.#server.close();
    await this.#server.finished;
  }

  async #answer(request: Request): Promise<Response> {
    const url = new URL(request.url);
    const access = this.#rules.judge(request);
    if (access === "bad_host") {
      return refuseHost(request.headers.get("host"), this.#host);
    }
    if (request.method !== "GET" && request.method !== "HEAD") {
      return text(405, "The dashboard is read-only: GET or HEAD.\n", { Allow: "GET, HEAD" });
    }
    const cookie = this.#rules.cookieFor(url);
    if (cookie !== null) {
      return text(303, "", { Location: url.pathname, "Set-Cookie": cookie });
    }
    if (access === "no_token") {
      return text(
        401,
        "This dashboard needs its token: open the address that it printed, /?token=…\n",
      );
    }
    const asset = ASSETS.get(url.pathname);
    if (asset !== undefined) return text(200, asset.text, { "Content-Type": asset.type });
    switch (url.pathname) {
      case "/favicon.ico":
        return new Response(null, { status: 204 });
      case "/api/runs":
        return await this.#listRuns();
      case "/api/series":
        return await this.#readSeries(url.searchParams);
      case "/api/ternary":
        return await this.#readTernary(url.searchParams);
      case "/api/events":
        return this.#openEvents(request, url.searchParams);
    }
    return text(404, "There is no such page.\n");
  }

  async #listRuns(): Promise<Response> {
    for (const run of this.#runs) await run.poll();
    const summaries = this.#runs.map((run) => run.summary());
    const differing = differingSettings(summaries.map(({ config }) => config));
    return json({
      position: formatPositions(new Map(this.#runs.map((run) => [run.id, run.position]))),
      statistics: TERNARY_STATISTICS,
      runs: summaries.map((summary, index) => ({
        ...summary,
        settings: Object.fromEntries(differing.map(({ key, values }) => [key, values[index]])),
      })),
    });
  }

  async #readSeries(query: URLSearchParams): Promise<Response> {
    const run = this.#runOf(query);
    if (run === null) return noRun(query);
    const from = number(query, "from", 0);
    const to = number(query, "to", Number.MAX_SAFE_INTEGER);
    const points = number(query, "points", DEFAULT_POINTS);
    const window = number(query, "smooth", 1);
    if (from === null || to === null || points === null || window === null) {
      return json({ error: "from, to, points and smooth are numbers from 0" }, 400);
    }
    await run.poll();
    return json(
      run.series({ from, to, points: Math.min(Math.max(points, 2), MOST_POINTS), window }),
    );
  }

  async #readTernary(query: URLSearchParams): Promise<Response> {
    const run = this.#runOf(query);
    if (run === null) return noRun(query);
    const from = number(query, "from", 0);
    const to = number(query, "to", Number.MAX_SAFE_INTEGER);
    const columns = number(query, "columns", DEFAULT_COLUMNS);
    if (from === null || to === null || columns === null) {
      return json({ error: "from, to and columns are numbers from 0" }, 400);
    }
    await run.poll();
    const map = run.heatMap(query.get("statistic") ?? "zero", {
      ...{ from, to, columns: Math.min(Math.max(Math.floor(columns), 1), MOST_COLUMNS) },
    });
    const known = TERNARY_STATISTICS.map(({ field }) => field).join(", ");
    return map === null ? json({ error: `statistic is one of ${known}` }, 400) : json(map);
  }

  #runOf(query: URLSearchParams): WatchedRun | null {
    const id = query.get("run") ?? "0";
    return this.#runs.find((candidate) => candidate.id === id) ?? null;
  }

  #openEvents(request: Request, query: URLSearchParams): Response {
    const headers = {
      "Content-Type": "text/event-stream",
      "Cache-Control": "no-store, no-transform",
    };
    if (request.method === "HEAD") return new Response(null, { headers });
    const since = request.headers.get("last-event-id") ?? query.get("since");
    const stream = this.#events.open(since);
    if (stream === null) return text(503, "Too many pages are open.\n", { "Retry-After": "10" });
    return new Response(stream, { headers });
  }
}

function listen(
  hostname: string,
  options: Omit<ObserverServerOptions, "hostname">,
): ObserverServer {
  try {
    return ObserverServer.listen({ hostname, ...options });
  } catch (error) {
    const where = `${hostname}:${options.port}`;
    if (error instanceof Deno.errors.AddrInUse) {
      throw new Error(
        `Cannot serve the dashboard on ${where} as another program does: give another port, 0 takes one that is free`,
      );
    }
    if (error instanceof Deno.errors.NotCapable) {
      throw new Error(
        `Cannot serve the dashboard on ${where} as this task may listen on 127.0.0.1, [::1], 0.0.0.0 and [::] alone: ` +
          `take one of them, or start it by deno run --allow-read --allow-net=${where} tasks/dashboard.ts`,
      );
    }
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`Cannot serve the dashboard on ${where}: ${reason}`);
  }
}

function noRun(query: URLSearchParams): Response {
  return json({ error: `There is no run ${JSON.stringify(query.get("run"))}` }, 404);
}

function number(query: URLSearchParams, name: string, otherwise: number): number | null {
  const given = query.get(name);
  if (given === null || given === "") return otherwise;
  const value = Number(given);
  return Number.isFinite(value) && value >= 0 ? value : null;
}

function json(value: unknown, status = 200): Response {
  return text(status, JSON.stringify(value), { "Content-Type": "application/json" });
}

function text(status: number, body: string, headers: Record<string, string> = {}): Response {
  return new Response(body, {
    status,
    headers: { "Content-Type": "text/plain; charset=utf-8", ...headers },
  });
}
