import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { PrometheusSink, PrometheusText } from "../../lib/metrics/prometheus.ts";
import type { MetricsRecord, SpikeEvent } from "../../lib/metrics/records.ts";
import { CHECKPOINT, MACHINE, ROLLBACK, RUN, STEP, VALIDATION } from "./support.ts";

const ALL = [RUN, STEP, VALIDATION, CHECKPOINT, ROLLBACK, MACHINE];
const SPIKE: SpikeEvent & { type: "stability" } = {
  ...{ type: "stability", event: "spike", step: 15, detector: "loss_ema", answer: "rollback" },
  ...{ loss: 9, grad_norm: 1, reference: 1, score: 9, threshold: 5, consecutive_skips: 0 },
};

/** Samples by name and labels, read by the grammar of the format's description; every line must be of it. */
function parse(text: string): Map<string, number> {
  const samples = new Map<string, number>();
  const typed = new Map<string, string>();
  const helped = new Set<string>();
  assert(text.endsWith("\n"), "the last line must end");
  for (const line of text.slice(0, -1).split("\n")) {
    const help = /^# HELP ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$/.exec(line);
    const type = /^# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (gauge|counter)$/.exec(line);
    const sample =
      /^([a-zA-Z_:][a-zA-Z0-9_:]*)\{((?:[a-zA-Z_]\w*="(?:[^"\\]|\\[\\"n])*",?)*)\} (NaN|[+-]Inf|[-+.\de]+)$/
        .exec(line);
    if (help !== null) {
      assert(!helped.has(help[1]!), `two HELP lines of ${help[1]}`);
      helped.add(help[1]!);
    } else if (type !== null) {
      assert(!typed.has(type[1]!), `two TYPE lines of ${type[1]}`);
      typed.set(type[1]!, type[2]!);
    } else {
      assert(sample !== null, `no line of the format: ${line}`);
      const [, name, labels, value] = sample;
      assert(helped.has(name!) && typed.has(name!), `${name} comes before its HELP and TYPE`);
      assertEquals(typed.get(name!) === "counter", name!.endsWith("_total"), name);
      assert(!samples.has(`${name}{${labels}}`), `${name}{${labels}} comes twice`);
      samples.set(`${name}{${labels}}`, Number(value!.replace("Inf", "Infinity")));
    }
  }
  return samples;
}

function scrape(...records: MetricsRecord[]): Map<string, number> {
  const text = new PrometheusText("tiny");
  for (const record of records) text.write(record, 1000);
  return parse(text.toString());
}

Deno.test("PrometheusText writes every number of every record, in base units, once", () => {
  const samples = scrape(...ALL);
  const values = Object.fromEntries(
    [...samples].map(([name, value]) =>
      [name.replace('{run="tiny"}', "").replace("titanbit_", ""), value] as const
    ),
  );
  assertEquals(values, {
    checkpoints_total: 1,
    checkpoint_failures_total: 0,
    rollbacks_total: 1,
    undone_steps_total: 4,
    parameters: 1000,
    target_steps: 20,
    step_tokens: 256,
    snapshot_limit_bytes: 0,
    last_record_timestamp_seconds: 1000,
    'info{run="tiny",version="0.1.0",device="a card",backend="cuda"}': 1,
    step: 7,
    tokens: 1792,
    loss_nats: 4.25,
    learning_rate: 0.001,
    weight_decay: 0.1,
    gradient_norm: 0.5,
    step_seconds: 0.1,
    forward_seconds: 0.03,
    backward_seconds: 0.06,
    optimizer_seconds: 0.008,
    data_seconds: 0.002,
    tokens_per_second: 2560,
    mfu_bf16_ratio: 0.25,
    mfu_mixed_ratio: 0.125,
    skipped_steps: 1,
    validation_loss_nats: 3.5,
    validation_perplexity: 33.1,
    validation_bits_per_byte: 1.5,
    validation_seconds: 0.25,
    checkpoint_step: 10,
    checkpoint_write_seconds: 0.04,
    checkpoint_size_bytes: 4096,
    learning_rate_factor_ratio: 0.5,
    host_memory_total_bytes: 1000,
    host_memory_used_bytes: 400,
    host_memory_available_bytes: 600,
    disk_available_bytes: 5000,
    process_resident_memory_bytes: 300,
    gpu_power_watts: 251.5,
    gpu_temperature_celsius: 61,
    gpu_sm_clock_hertz: 1.98e9,
    gpu_memory_clock_hertz: 2.619e9,
    gpu_utilisation_ratio: 0.97,
    gpu_memory_used_bytes: 700,
    gpu_memory_total_bytes: 800,
    gpu_ecc_corrected_errors_total: 3,
    gpu_ecc_uncorrected_errors_total: 0,
    'gpu_throttled{run="tiny",reason="sw_power_cap"}': 1,
  });
});

Deno.test("PrometheusText has no sample of a number that is not known now", () => {
  const samples = scrape(STEP, { ...STEP, mfu_bf16: null });
  assertEquals(samples.has('titanbit_mfu_bf16_ratio{run="tiny"}'), false);
  assertEquals(samples.has('titanbit_mfu_mixed_ratio{run="tiny"}'), true);
});

Deno.test("PrometheusText writes numbers that aren't finite as the format does", () => {
  const samples = scrape({ ...STEP, loss: NaN, grad_norm: Infinity, lr: -Infinity });
  assertEquals(samples.get('titanbit_loss_nats{run="tiny"}'), NaN);
  assertEquals(samples.get('titanbit_gradient_norm{run="tiny"}'), Infinity);
  assertEquals(samples.get('titanbit_learning_rate{run="tiny"}'), -Infinity);
});

Deno.test("PrometheusText escapes what labels may not hold", () => {
  const text = new PrometheusText("tiny");
  text.write({ ...RUN, device: 'a "card"\\\nof two lines' });
  assertStringIncludes(text.toString(), 'device="a \\"card\\"\\\\\\nof two lines"');
  parse(text.toString());
});

Deno.test("PrometheusText counts spikes by detector and answer, and failed checkpoints", () => {
  const failed = { ...CHECKPOINT, error: "the disk is full" };
  const samples = scrape(SPIKE, SPIKE, { ...SPIKE, answer: "skip" }, CHECKPOINT, failed);
  const spikes = (answer: string) =>
    samples.get(`titanbit_spikes_total{run="tiny",detector="loss_ema",answer="${answer}"}`);
  assertEquals([spikes("rollback"), spikes("skip")], [2, 1]);
  assertEquals(samples.get('titanbit_checkpoint_failures_total{run="tiny"}'), 1);
  assertEquals(samples.get('titanbit_checkpoint_size_bytes{run="tiny"}'), 4096);
});

Deno.test("PrometheusText shows a reason for low clocks as 0 once it is over", () => {
  const samples = scrape(MACHINE, { ...MACHINE, gpu_throttle_reasons: [] });
  assertEquals(samples.get('titanbit_gpu_throttled{run="tiny",reason="sw_power_cap"}'), 0);
});

Deno.test("PrometheusText's time of the last record is training's, not the machine's", () => {
  const text = new PrometheusText("tiny");
  text.write(STEP, 1000);
  text.write(MACHINE, 1010);
  const samples = parse(text.toString());
  assertEquals(samples.get('titanbit_last_record_timestamp_seconds{run="tiny"}'), 1000);
});

Deno.test("PrometheusText has the learning rate's factor at 1 after a recovery", () => {
  const samples = scrape(ROLLBACK, {
    ...{ type: "stability", event: "recovered", step: 30, calm_steps: 20 },
  });
  assertEquals(samples.get('titanbit_learning_rate_factor_ratio{run="tiny"}'), 1);
});

Deno.test("PrometheusSink serves the latest numbers at /metrics and nothing else", async () => {
  const sink = PrometheusSink.open("127.0.0.1:0", "tiny");
  sink.write(STEP);
  sink.write({ ...STEP, loss: 3 });
  const found = await fetch(sink.url);
  assertEquals(found.headers.get("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  assertEquals(parse(await found.text()).get('titanbit_loss_nats{run="tiny"}'), 3);
  const head = await fetch(sink.url, { method: "HEAD" });
  assertEquals([head.status, await head.text()], [200, ""]);
  const other = await fetch(new URL("/", sink.url));
  assertEquals([other.status, await other.text()], [404, "the metrics are at /metrics\n"]);
  const written = await fetch(sink.url, { method: "POST", body: "x" });
  assertEquals([written.status, written.headers.get("allow")], [405, "GET, HEAD"]);
  await written.body?.cancel();
  sink[Symbol.dispose]();
  await sink.finished;
});

/** Status and `nosniff` of the metrics, asked for under a name. */
async function ask(sink: PrometheusSink, host: string): Promise<[status: number, sniff: boolean]> {
  const { hostname, port } = new URL(sink.url);
  using connection = await Deno.connect({ hostname, port: Number(port) });
  const request = `GET /metrics HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`;
  await connection.write(new TextEncoder().encode(request));
  const answer = await new Response(connection.readable).text();
  const status = Number(/^HTTP\/1.1 (\d+) /.exec(answer)?.[1]);
  return [status, !/^x-content-type-options: nosniff\r$/im.test(answer)];
}

Deno.test("PrometheusSink refuses names that were made to point at it, and lets nobody guess a type", async () => {
  const sink = PrometheusSink.open("127.0.0.1:0", "tiny");
  for (
    const [host, status] of [
      ["localhost", 200],
      ["127.0.0.1:1", 200],
      ["evil.example", 421],
      ["localhost:abc", 400],
      ["localhost:99999", 400],
      ["a b", 400],
    ] as const
  ) {
    assertEquals([host, await ask(sink, host)], [host, [status, false]]);
  }
  sink[Symbol.dispose]();
  await sink.finished;
});

Deno.test("PrometheusSink.open() throws where the port is taken", async () => {
  const first = PrometheusSink.open("127.0.0.1:0", "tiny");
  const { port } = new URL(first.url);
  assertThrows(() => PrometheusSink.open(`127.0.0.1:${port}`, "tiny"), Deno.errors.AddrInUse);
  first[Symbol.dispose]();
  await first.finished;
});
