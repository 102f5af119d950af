/** What arrives at a collector, of a process that Deno exports from. */

import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";

const PROCESS = fromFileUrl(new URL("./telemetry_process.ts", import.meta.url));

// deno-lint-ignore no-explicit-any
type Json = any;

/** Runs the process with `env` beside a collector; what the collector got, by path. */
async function collect(env: Record<string, string>): Promise<Map<string, Json[]>> {
  const got = new Map<string, Json[]>();
  await using server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    async (request) => {
      const { pathname } = new URL(request.url);
      got.set(pathname, [...got.get(pathname) ?? [], await request.json()]);
      return Response.json({});
    },
  );
  const { success, stderr } = await new Deno.Command("deno", {
    args: ["run", "--no-prompt", "--no-check", "--cached-only", PROCESS],
    env: {
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${server.addr.port}`,
      OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
      ...env,
    },
  }).output();
  assert(success, new TextDecoder().decode(stderr));
  return got;
}

Deno.test("TelemetrySink's gauges, counters and spans arrive at a collector under OTEL_DENO=true", async () => {
  const got = await collect({ OTEL_DENO: "true", OTEL_SERVICE_NAME: "titanbit" });
  const metrics: Json[] = got.get("/v1/metrics")!.flatMap((body) => body.resourceMetrics)
    .flatMap((resource) => resource.scopeMetrics).flatMap((scope) => scope.metrics);
  const metric = (name: string) => metrics.findLast((one) => one.name === `titanbit.${name}`);
  const value = (name: string) => metric(name)?.gauge.dataPoints[0].asDouble;
  assertEquals([value("loss"), metric("loss").unit], [4.25, "{nat}"]);
  assertAlmostEquals(value("step.time"), 0.1);
  assertEquals([value("tokens.rate"), metric("tokens.rate").unit], [2560, "{token}/s"]);
  assertEquals([value("gpu_power"), metric("gpu_power").unit], [251.5, "W"]);
  assertEquals([value("gpu_sm_clock"), metric("gpu_sm_clock").unit], [1.98e9, "Hz"]);
  assertEquals(metric("mfu_bf16"), undefined, "a number that isn't known");
  assertEquals(value("metrics.layers.0.norm"), 0.75);
  assertEquals(metric("metrics.broken"), undefined, "a metric that is not finite");
  assertEquals(metric("loss").gauge.dataPoints[0].attributes, [
    { key: "titanbit.run", value: { stringValue: "tiny" } },
  ]);
  assertEquals(Number(metric("step.duration").histogram.dataPoints[0].count), 1);
  assertEquals(metric("rollbacks").sum.dataPoints[0].asDouble, 1);

  const spans: Json[] = got.get("/v1/traces")!.flatMap((body) => body.resourceSpans)
    .flatMap((resource) => resource.scopeSpans).flatMap((scope) => scope.spans);
  assertEquals(spans.map(({ name }) => name), ["validation", "checkpoint", "checkpoint"]);
  const ms = (span: Json) => (Number(span.endTimeUnixNano) - Number(span.startTimeUnixNano)) / 1e6;
  assertAlmostEquals(ms(spans[0]), 250, 0.01);
  assertAlmostEquals(ms(spans[1]), 40, 0.01);
  assertEquals(spans[2].status, { code: 2, message: "the disk is full" });
});

Deno.test("TelemetrySink sends nothing without OTEL_DENO", async () => {
  assertEquals((await collect({})).size, 0);
});
