/**
 * The latest numbers of a run in Prometheus's text format, version 0.0.4, at `/metrics`.
 *
 * @module
 */

import { judgeHost, refuseHost } from "../http/host_name.ts";
import { ObserverServer, type ObserverServerOptions } from "../http/observer_server.ts";
import type { MetricsRecord, ThrottleReason } from "./records.ts";
import { type Series, seriesOf } from "./series.ts";
import type { MetricsSink } from "./sinks.ts";

/** A metric with its samples by their labels, written as in the format. */
interface Family {
  readonly type: "gauge" | "counter";
  readonly help: string;
  readonly samples: Map<string, number>;
}

type Labels = Readonly<Record<string, string>>;

const CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

const COUNTERS = {
  spikes_total: "Steps whose numbers were wrong, since this start.",
  rollbacks_total: "Times the run went back to a snapshot, since this start.",
  undone_steps_total: "Steps undone by rollbacks, since this start.",
  checkpoints_total: "Checkpoints written, since this start.",
  checkpoint_failures_total: "Checkpoints that could not be written, since this start.",
} as const;

/** What of `PrometheusText` grows with records. */
type Counter = keyof typeof COUNTERS;

/** Turns records into the text of a scrape. */
export class PrometheusText {
  readonly #families = new Map<string, Family>();
  readonly #run: string;

  /** @param run Name of the run, the label `run` of every sample. */
  constructor(run: string) {
    this.#run = run;
    for (const name of Object.keys(COUNTERS)) {
      if (name !== "spikes_total") this.#count(name as Counter, 0);
    }
  }

  /** Notes a record. `now` is the time in seconds since 1970. */
  write(record: MetricsRecord, now: number = Date.now() / 1000): void {
    for (const { series, value } of seriesOf(record)) {
      this.#set(plainName(series), {
        type: series.unit.suffix.endsWith("_total") ? "counter" : "gauge",
        help: series.help,
        value: value === null ? null : value * series.unit.factor,
      });
    }
    if (record.type !== "machine") {
      this.#gauge("last_record_timestamp_seconds", "When training was last heard of.", now);
    }
    this.#noteEvents(record);
  }

  /** What a scrape gets. */
  toString(): string {
    let text = "";
    for (const [name, { type, help, samples }] of this.#families) {
      if (samples.size === 0) continue;
      text += `# HELP titanbit_${name} ${escape(help)}\n# TYPE titanbit_${name} ${type}\n`;
      for (const [labels, value] of samples) {
        text += `titanbit_${name}{${labels}} ${numberText(value)}\n`;
      }
    }
    return text;
  }

  #noteEvents(record: MetricsRecord): void {
    if (record.type === "run") {
      const { version, device, backend } = record;
      this.#gauge("info", "What the run is, as labels.", 1, { version, device, backend });
    } else if (record.type === "checkpoint") {
      this.#count(record.error === null ? "checkpoints_total" : "checkpoint_failures_total", 1);
    } else if (record.type === "machine") {
      this.#noteThrottling(record.gpu_throttle_reasons);
    } else if (record.type === "stability") {
      const help = "Learning rate over the schedule's, by the last rollback.";
      if (record.event === "spike") {
        this.#count("spikes_total", 1, { detector: record.detector, answer: record.answer });
      } else if (record.event === "rollback") {
        this.#count("rollbacks_total", 1);
        this.#count("undone_steps_total", record.undone_steps);
        this.#gauge("learning_rate_factor_ratio", help, record.lr_factor);
      } else if (record.event === "recovered") {
        this.#gauge("learning_rate_factor_ratio", help, 1);
      }
    }
  }

  /** A reason that was seen once stays, as 0 while it does not hold. */
  #noteThrottling(reasons: readonly ThrottleReason[] | null): void {
    const name = "gpu_throttled";
    const known = this.#families.get(name)?.samples;
    for (const labels of known?.keys() ?? []) {
      if (reasons === null) known!.delete(labels);
      else known!.set(labels, 0);
    }
    for (const reason of reasons ?? []) {
      this.#gauge(name, "1 while the card's clocks are low for this reason.", 1, { reason });
    }
  }

  #gauge(name: string, help: string, value: number, labels: Labels = {}): void {
    this.#set(name, { type: "gauge", help, value }, labels);
  }

  #count(name: Counter, by: number, labels: Labels = {}): void {
    const before = this.#families.get(name)?.samples.get(this.#labels(labels)) ?? 0;
    this.#set(name, { type: "counter", help: COUNTERS[name], value: before + by }, labels);
  }

  /** A value that is null is not known now: its sample goes. */
  #set(
    name: string,
    metric: Omit<Family, "samples"> & { readonly value: number | null },
    labels: Labels = {},
  ): void {
    const { type, help, value } = metric;
    let family = this.#families.get(name);
    if (family === undefined) {
      family = { type, help, samples: new Map() };
      this.#families.set(name, family);
    }
    if (value === null) family.samples.delete(this.#labels(labels));
    else family.samples.set(this.#labels(labels), value);
  }

  #labels(labels: Labels): string {
    return Object.entries({ run: this.#run, ...labels })
      .map(([name, value]) => `${name}="${escape(value).replaceAll('"', '\\"')}"`).join(",");
  }
}

/** Serves the latest numbers. Requests are answered by the event loop of the thread that opened it. */
export class PrometheusSink implements MetricsSink {
  /** Where it listens, with the real port: `http://127.0.0.1:9464/metrics`. */
  readonly url: string;
  /** Settled once no connection is left after disposal. */
  readonly finished: Promise<void>;
  readonly #text: PrometheusText;
  readonly #server: ObserverServer;

  private constructor(address: string, run: string, warn: (message: string) => void) {
    const text = new PrometheusText(run);
    const colon = address.lastIndexOf(":");
    const hostname = address.slice(0, colon);
    this.#text = text;
    this.#server = listen(address, {
      hostname,
      port: Number(address.slice(colon + 1)),
      answer: (request) => answer(request, text, hostname),
      warn,
    });
    this.finished = this.#server.finished;
    this.url = `http://${hostname}:${this.#server.address.port}/metrics`;
  }

  /**
   * Listens at `HOST:PORT`, port 0 for any that is free; `warn` is told once of connections that can't be taken. Throws
   * `Deno.errors.AddrInUse` where the port is taken.
   */
  static open(
    address: string,
    run: string,
    warn: (message: string) => void = () => {},
  ): PrometheusSink {
    return new PrometheusSink(address, run, warn);
  }

  write(record: MetricsRecord): void {
    this.#text.write(record);
  }

  [Symbol.dispose](): void {
    this.#server.close(); // whoever is still reading is not waited for
  }
}

function listen(address: string, options: ObserverServerOptions): ObserverServer {
  try {
    return ObserverServer.listen(options);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotCapable)) throw error;
    throw new Error(
      `the program may listen on ${address} only where it is started with --allow-net=${address}; ` +
        "deno task train may on localhost, 127.0.0.1, [::1], 0.0.0.0 and [::]",
    );
  }
}

function answer(request: Request, text: PrometheusText, hostname: string): Response {
  const response = answerTo(request, text, hostname);
  response.headers.set("x-content-type-options", "nosniff");
  return response;
}

function answerTo(request: Request, text: PrometheusText, hostname: string): Response {
  const host = request.headers.get("host");
  if (judgeHost(host, hostname) !== "ours") return refuseHost(host, hostname);
  if (new URL(request.url).pathname !== "/metrics") {
    return new Response("the metrics are at /metrics\n", { status: 404 });
  }
  if (request.method !== "GET" && request.method !== "HEAD") {
    return new Response("the metrics can only be read\n", {
      status: 405,
      headers: { allow: "GET, HEAD" },
    });
  }
  return new Response(text.toString(), { headers: { "content-type": CONTENT_TYPE } });
}

/** What a series is called in a scrape. */
export function prometheusName(series: Series): string {
  return `titanbit_${plainName(series)}`;
}

function plainName({ name, unit }: Series): string {
  const plain = name.replaceAll(".", "_");
  return unit.suffix === "" ? plain : `${plain}_${unit.suffix}`;
}

function escape(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
}

function numberText(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "+Inf" : "-Inf";
  return String(value);
}
