/**
 * A run's numbers by OpenTelemetry: Deno exports them by OTLP where the process runs with `OTEL_DENO=true`, else the calls
 * do nothing.
 *
 * @module
 */

import {
  type Attributes,
  type Counter,
  type Gauge,
  type Histogram,
  type Meter,
  metrics,
  SpanStatusCode,
  trace,
  type Tracer,
} from "@opentelemetry/api";
import type { MetricsRecord } from "./records.ts";
import { type Series, seriesOf } from "./series.ts";
import type { MetricsSink } from "./sinks.ts";

/** Hands records to OpenTelemetry: gauges for the numbers, a histogram of step times, counters, and a span for what takes long. */
export class TelemetrySink implements MetricsSink {
  readonly #meter: Meter;
  readonly #tracer: Tracer;
  readonly #gauges = new Map<string, Gauge>();
  readonly #stepTimes: Histogram;
  readonly #spikes: Counter;
  readonly #rollbacks: Counter;
  readonly #attributes: Attributes;

  /** @param run Its name, an attribute of everything; `version` is TitanBit's. */
  constructor(run: string, version: string) {
    this.#attributes = { "titanbit.run": run };
    this.#tracer = trace.getTracer("titanbit", version);
    this.#meter = metrics.getMeter("titanbit", version);
    this.#stepTimes = this.#meter.createHistogram("titanbit.step.duration", {
      description: "Time of optimizer steps: of each record, the mean of the last steps.",
      unit: "s",
    });
    this.#spikes = this.#meter.createCounter("titanbit.spikes", {
      description: "Steps whose numbers were wrong.",
    });
    this.#rollbacks = this.#meter.createCounter("titanbit.rollbacks", {
      description: "Times the run went back to a snapshot.",
    });
  }

  write(record: MetricsRecord): void {
    for (const { series, value } of seriesOf(record)) {
      if (value === null || !Number.isFinite(value)) continue;
      this.#gauge(series).record(value * series.unit.factor, this.#attributes);
    }
    const { step } = record;
    if (record.type === "step") {
      this.#stepTimes.record(record.step_ms / 1000, this.#attributes);
    } else if (record.type === "validation") {
      const { loss } = record;
      this.#span("validation", record.validation_ms, { "titanbit.loss": loss, step });
    } else if (record.type === "checkpoint") {
      const size = { "titanbit.size_bytes": record.size_bytes, step };
      this.#span("checkpoint", record.write_ms, size, record.error);
    } else if (record.type === "stability") {
      this.#noteStability(record);
    }
  }

  [Symbol.dispose](): void {} // Deno exports what is left when the process ends

  #noteStability(record: Extract<MetricsRecord, { type: "stability" }>): void {
    if (record.event === "spike") {
      const { detector, answer } = record;
      this.#spikes.add(1, {
        ...this.#attributes,
        "titanbit.detector": detector,
        "titanbit.answer": answer,
      });
    } else if (record.event === "rollback") {
      this.#rollbacks.add(1, this.#attributes);
    }
  }

  #gauge(series: Series): Gauge {
    const name = otlpName(series);
    let gauge = this.#gauges.get(name);
    if (gauge === undefined) {
      gauge = this.#meter.createGauge(name, {
        description: series.help,
        unit: series.unit.ucum,
      });
      this.#gauges.set(name, gauge);
    }
    return gauge;
  }

  /** A span that ends now and took `ms`. */
  #span(
    name: string,
    ms: number,
    facts: { step: number } & Attributes,
    error: string | null = null,
  ): void {
    const { step, ...attributes } = facts;
    const end = Date.now();
    const span = this.#tracer.startSpan(name, {
      startTime: end - ms,
      attributes: { ...this.#attributes, ...attributes, "titanbit.step": step },
    });
    if (error !== null) span.setStatus({ code: SpanStatusCode.ERROR, message: error });
    span.end(end);
  }
}

/** What a series is called by OpenTelemetry. Names have no unit there, so what Prometheus tells apart by it needs a word. */
export function otlpName({ name, unit }: Series): string {
  const word = { seconds: ".time", per_second: ".rate" }[unit.suffix] ?? "";
  return `titanbit.${name}${word}`;
}
