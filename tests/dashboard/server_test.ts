import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { Dashboard } from "../../lib/dashboard/server.ts";
import { isLoopback } from "../../lib/http/host_name.ts";
import {
  lines,
  machineRecord,
  runFolder,
  runRecord,
  spikeRecord,
  stepLines,
  ternaryRecord,
} from "../history/support.ts";

const RUN = lines(runRecord()) + stepLines(1, 20) + lines(spikeRecord(21));

/** Asks a dashboard, as a browser of this machine does unless headers say otherwise. */
function ask(
  dashboard: Dashboard,
  path: string,
  options: { method?: string; headers?: Record<string, string> } = {},
): Promise<Response> {
  const { method = "GET", headers = {} } = options;
  return dashboard.handle(
    new Request(new URL(path, dashboard.url), {
      method,
      headers: { host: "localhost:8420", ...headers },
    }),
  );
}

/** Events of a stream: the next, with its id and what it says. */
function eventsOf(response: Response) {
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  return {
    async next(): Promise<{ id: string; runs: Record<string, Record<string, unknown>> }> {
      while (true) {
        const match = /id: (.*)\nevent: update\ndata: (.*)\n\n/.exec(text);
        if (match !== null) {
          text = text.slice(match.index + match[0].length);
          return { id: match[1]!, runs: JSON.parse(match[2]!).runs };
        }
        const { value, done } = await reader.read();
        if (done) throw new Error("the stream ended");
        text += value;
      }
    },
    [Symbol.asyncDispose]: () => reader.cancel(),
  };
}

Deno.test("Dashboard lists runs with their start, notes and columns", async () => {
  await using run = await runFolder(RUN);
  await using dashboard = Dashboard.serve({ runs: [{ path: run.folder }], port: 0 });
  const { runs, position } = await (await ask(dashboard, "/api/runs")).json();
  assertEquals([runs[0].name, runs[0].last_step, runs[0].rows], ["made-up", 20, 20]);
  assertEquals(runs[0].notes[1].kind, "spike");
  assert(!runs[0].columns.includes("mfu_mixed"));
  assertStringIncludes(position, ".20.0.2");
});

Deno.test("Dashboard gives the part of a series that is asked for, smoothed too", async () => {
  await using run = await runFolder(RUN);
  await using dashboard = Dashboard.serve({ runs: [{ path: run.file }], port: 0 });
  const series = async (query: string) =>
    await (await ask(dashboard, `/api/series?${query}`)).json();
  const part = await series("run=0&from=5&to=7&smooth=3");
  assertEquals(part.columns.step, [4, 5, 6, 7]);
  assertEquals(part.columns.loss_smooth.length, 4);
  assertEquals((await series("points=10")).columns.step.length, 10);
  assertEquals((await ask(dashboard, "/api/series?run=7")).status, 404);
  assertEquals((await ask(dashboard, "/api/series?points=many")).status, 400);
});

Deno.test("Dashboard gives statistics of ternary weights, and says which there are", async () => {
  const records = [10, 20].map((step) => ternaryRecord(step));
  await using run = await runFolder(RUN + lines(...records));
  await using dashboard = Dashboard.serve({ runs: [{ path: run.folder }], port: 0 });
  const map = await (await ask(dashboard, "/api/ternary?statistic=near&from=11")).json();
  assertEquals([map.steps, map.values.length, map.values[0]], [[20], 21, 0.12]);
  const wrong = await ask(dashboard, "/api/ternary?statistic=mood");
  assertEquals(wrong.status, 400);
  assertStringIncludes((await wrong.json()).error, "zero, flipped, beta, near");
  assertEquals((await ask(dashboard, "/api/ternary?run=3")).status, 404);
  assertEquals((await ask(dashboard, "/api/ternary?columns=x")).status, 400);
});

Deno.test("Dashboard gives the machine's figures beside the steps, all rows of the last step too", async () => {
  const records = [5, 7, 7, 9].map((step) => machineRecord(step));
  await using run = await runFolder(RUN + lines(...records));
  await using dashboard = Dashboard.serve({ runs: [{ path: run.folder }], port: 0 });
  const part = await (await ask(dashboard, "/api/series?from=6&to=7")).json();
  assertEquals(part.machine.step, [5, 7, 7]);
  assertEquals(part.position.machine, 4);
});

Deno.test("Dashboard serves its page and scripts under a policy that lets nothing else in", async () => {
  await using run = await runFolder(RUN);
  await using dashboard = Dashboard.serve({ runs: [{ path: run.folder }], port: 0 });
  const page = await ask(dashboard, "/");
  const html = await page.text();
  for (const [, path] of html.matchAll(/(?:src|href)="([^"]+)"/g)) {
    const { status } = await ask(dashboard, path!);
    assertEquals([path, status], [path, 200]);
  }
  const policy = page.headers.get("content-security-policy")!;
  assertStringIncludes(policy, "default-src 'none'; script-src 'self'");
  assert(!policy.includes("unsafe"), policy);
  assert(!/<script(?![^>]*src=)|\son\w+=|style=/.test(html), "inline code in the page");
});

Deno.test("Dashboard answers GET and HEAD alone", async () => {
  await using run = await runFolder(RUN);
  await using dashboard = Dashboard.serve({ runs: [{ path: run.folder }], port: 0 });
  for (const method of ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"]) {
    assertEquals((await ask(dashboard, "/api/runs", { method })).status, 405);
  }
  for (const path of ["/", "/api/runs", "/api/events"]) {
    const head = await ask(dashboard, path, { method: "HEAD" });
    assertEquals([head.status, head.body], [200, null]);
  }
  assertEquals((await ask(dashboard, "/../deno.json")).status, 404);
});

Deno.test("Dashboard refuses names that were made to point at it", async () => {
  await using run = await runFolder(RUN);
  await using dashboard = Dashboard.serve({ runs: [{ path: run.folder }], port: 0 });
  const status = async (host: string) =>
    (await ask(dashboard, "/api/runs", { headers: { host } })).status;
  for (const host of ["localhost:1", "127.0.0.1", "[::1]:8420", "LOCALHOST"]) {
    assertEquals([host, await status(host)], [host, 200]);
  }
  for (const host of ["evil.example", "127.0.0.1.evil.example", "10.0.0.5:8420", ""]) {
    assertEquals([host, await status(host)], [host, 421]);
  }
  for (const host of ["localhost:abc", "localhost:99999", "localhost/", "user@localhost"]) {
    assertEquals([host, await status(host)], [host, 400]);
  }
});

Deno.test("Dashboard wants its token by header or cookie where it has one", async () => {
  await using run = await runFolder(RUN);
  const options = { runs: [{ path: run.folder }], port: 0, token: "secret token" };
  await using dashboard = Dashboard.serve(options);
  const status = async (headers: Record<string, string>) =>
    (await ask(dashboard, "/api/runs", { headers })).status;
  assertEquals(await status({}), 401);
  assertEquals(await status({ authorization: "Bearer secret" }), 401);
  assertEquals(await status({ authorization: "Bearer secret token" }), 200);
  assertEquals((await ask(dashboard, "/")).status, 401);
  assertEquals((await ask(dashboard, "/?token=wrong")).status, 401);
  const entered = await ask(dashboard, new URL(dashboard.url).search);
  const cookie = entered.headers.get("set-cookie")!;
  assertEquals([entered.status, entered.headers.get("location")], [303, "/"]);
  assertStringIncludes(cookie, "HttpOnly; SameSite=Strict");
  assertEquals(await status({ cookie: `other=1; ${cookie.split(";")[0]}` }), 200);
  assertEquals(await status({ cookie: "titanbit_token=%E0" }), 401);
});

Deno.test("AccessRules want a token on every address that other machines reach", async () => {
  const { AccessRules } = await import("../../lib/dashboard/access.ts");
  await assertRejects(async () => await new AccessRules("0.0.0.0", null), Error, "without a token");
  assertEquals(["127.0.0.1", "::1", "localhost"].map(isLoopback), [true, true, true]);
  assertEquals(["0.0.0.0", "::", "10.0.0.1", "127.evil"].map(isLoopback), new Array(4).fill(false));
  const judge = (host: string) =>
    new AccessRules("0.0.0.0", "secret token").judge(
      new Request("http://a/", { headers: { host, authorization: "Bearer secret token" } }),
    );
  assertEquals(["10.0.0.5:8420", "evil.example"].map(judge), ["granted", "bad_host"]);
});

Deno.test("Dashboard says what is wrong with a run, a token and a port", async () => {
  await using run = await runFolder(RUN);
  const runs = [{ path: run.folder }];
  const serve = (options: object) => Dashboard.serve({ runs, port: 0, ...options });
  await assertRejects(
    async () => await serve({ runs: [{ path: "/nowhere" }] }),
    Error,
    "Cannot show /nowhere",
  );
  await assertRejects(async () => await serve({ token: "short" }), Error, "must have 8 characters");
  await using first = await serve({});
  const port = Number(new URL(first.url).port);
  await assertRejects(async () => await serve({ port }), Error, "another program does");
});

Deno.test("Dashboard sends new records as they come, batched, and only those", async () => {
  await using run = await runFolder(RUN);
  await using dashboard = Dashboard.serve({ runs: [{ path: run.folder }], port: 0 });
  const { position } = await (await ask(dashboard, "/api/runs")).json();
  const response = await ask(dashboard, `/api/events?since=${position}`);
  assertEquals(response.headers.get("content-type"), "text/event-stream");
  await using events = eventsOf(response);
  run.append(stepLines(22, 121));
  const steps: number[] = [];
  let count = 0;
  while (steps.length < 100) {
    const { runs } = await events.next();
    steps.push(...(runs["0"]!.columns as { step: number[] }).step);
    count++;
  }
  assertEquals(steps, Array.from({ length: 100 }, (_, index) => 22 + index));
  assert(count <= 2, `${count} events`);
});

Deno.test("Dashboard lets a client catch up by Last-Event-ID", async () => {
  await using run = await runFolder(RUN);
  await using dashboard = Dashboard.serve({ runs: [{ path: run.folder }], port: 0 });
  const { position } = await (await ask(dashboard, "/api/runs")).json();
  run.append(stepLines(22, 23));
  let id: string;
  {
    await using events = eventsOf(await ask(dashboard, `/api/events?since=${position}`));
    id = (await events.next()).id;
  }
  run.append(stepLines(24, 26));
  await using events = eventsOf(
    await ask(dashboard, `/api/events?since=${position}`, { headers: { "last-event-id": id } }),
  );
  const { runs } = await events.next();
  assertEquals((runs["0"]!.columns as { step: number[] }).step, [24, 25, 26]);
});

Deno.test("Dashboard tells a client to read anew after a cut, and one that another server told of", async () => {
  await using run = await runFolder(RUN);
  await using dashboard = Dashboard.serve({ runs: [{ path: run.folder }], port: 0 });
  const { position } = await (await ask(dashboard, "/api/runs")).json();
  await using events = eventsOf(await ask(dashboard, `/api/events?since=${position}`));
  run.append(stepLines(15, 15));
  assertEquals((await events.next()).runs["0"], { reset: true });
  for (const since of ["0=other-0.3.0.0", "nonsense", ""]) {
    await using other = eventsOf(await ask(dashboard, `/api/events?since=${since}`));
    assertEquals((await other.next()).runs["0"], { reset: true });
  }
});

Deno.test("Dashboard shows what follows a record of unknown shape, and says what it left out", async () => {
  await using run = await runFolder(RUN);
  await using dashboard = Dashboard.serve({ runs: [{ path: run.folder }], port: 0 });
  const { position } = await (await ask(dashboard, "/api/runs")).json();
  await using events = eventsOf(await ask(dashboard, `/api/events?since=${position}`));
  const odd = '{"type":"ternary","step":22,"layers":1e300,"matrices":null,"inputs":7}\n';
  run.append(odd + stepLines(23, 24));
  const { runs } = await events.next();
  assertEquals((runs["0"]!.columns as { step: number[] }).step, [23, 24]);
  assertStringIncludes((runs["0"]!.problems as string[])[0]!, "1 line is no record");
  const listed = await (await ask(dashboard, "/api/runs")).json();
  assertEquals(listed.runs[0].problems.length, 1);
});
