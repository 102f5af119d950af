import { assert, assertEquals, assertMatch } from "@std/assert";
import { MOST_CONNECTIONS } from "../../lib/http/connection_budget.ts";
import { ObserverServer } from "../../lib/http/observer_server.ts";

function listen(answer: (request: Request) => Response, warn?: (message: string) => void) {
  const server = ObserverServer.listen({
    ...{ hostname: "127.0.0.1", port: 0, answer },
    ...(warn !== undefined && { warn }),
  });
  const { port } = server.address;
  return {
    url: `http://127.0.0.1:${port}/`,
    connect: () => Deno.connect({ hostname: "127.0.0.1", port }),
    async [Symbol.asyncDispose]() {
      server.close();
      await server.finished;
    },
  };
}

/** What comes until the other side closes. */
async function readAll(connection: Deno.Conn): Promise<string> {
  let text = "";
  const buffer = new Uint8Array(1024);
  try {
    for (let count; (count = await connection.read(buffer)) !== null;) {
      text += new TextDecoder().decode(buffer.subarray(0, count));
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.ConnectionReset)) throw error;
  }
  connection.close();
  return text;
}

async function raw(connection: Deno.Conn, request: string): Promise<string> {
  await connection.write(new TextEncoder().encode(request));
  return await readAll(connection);
}

Deno.test("ObserverServer closes connections beyond its limit at once and answers when some are gone", async () => {
  await using server = listen(() => new Response("here\n"));
  const stalled = await Promise.all(Array.from({ length: MOST_CONNECTIONS }, server.connect));
  // Those that wait for their turn are taken in order.
  assertEquals(await readAll(await server.connect()), "");
  for (const one of stalled) one.close();
  await new Promise((resolve) => setTimeout(resolve, 100));
  assertEquals(await (await fetch(server.url)).text(), "here\n");
});

Deno.test("ObserverServer closes a connection that says nothing, half a request, or takes no answer", async () => {
  const large = new Uint8Array(32 << 20);
  await using server = listen(() => new Response(large));
  const silent = await server.connect();
  const half = await server.connect();
  await half.write(new TextEncoder().encode("GET / HTTP/1.1\r\nHost: loc"));
  const deaf = await server.connect();
  await deaf.write(new TextEncoder().encode("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  const idle = await server.connect();
  await idle.write(new TextEncoder().encode("HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  assertEquals(await readAll(silent), "");
  assertEquals(await readAll(half), "");
  assertMatch(await readAll(idle), /^HTTP\/1.1 200 /);
  await new Promise((resolve) => setTimeout(resolve, 8000));
  const got = await readAll(deaf);
  assert(got.length < large.length, `${got.length} bytes were sent`);
});

Deno.test("ObserverServer answers 400 to what is no HTTP, goes on, and warns of nothing", async () => {
  const warnings: string[] = [];
  await using server = listen(
    (request) => new Response(new URL(request.url).pathname),
    (message) => void warnings.push(message),
  );
  assertMatch(await raw(await server.connect(), "\x16\x03\x01 no HTTP\r\n\r\n"), /^HTTP\/1.1 400 /);
  for (const target of ["a:b", "http://[", "//[x"]) {
    const request = `GET ${target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`;
    assertMatch(await raw(await server.connect(), request), /^HTTP\/1.1 [24]0\d /);
  }
  for (const method of ["CONNECT", "TRACE"]) {
    const request = `${method} / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`;
    assert(!/^HTTP\/1.1 200 /.test(await raw(await server.connect(), request)), method);
  }
  assertEquals(await (await fetch(`${server.url}path`)).text(), "/path");
  assertEquals(warnings, []);
});

Deno.test("ObserverServer answers 500 and warns once when an answer can't be made", async () => {
  const warnings: string[] = [];
  await using server = listen(
    () => {
      throw new Error("the disk is gone");
    },
    (message) => void warnings.push(message),
  );
  for (let i = 0; i < 2; i++) {
    const response = await fetch(server.url);
    assertEquals([response.status, await response.text()], [500, "This could not be answered.\n"]);
  }
  assertEquals(warnings.length, 1);
  assertMatch(warnings[0]!, /^Cannot answer a request at 127\.0\.0\.1:\d+: the disk is gone$/);
});

Deno.test("ObserverServer.close() lets an answer that has begun end", async () => {
  let go = (): void => {};
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      controller.enqueue(new TextEncoder().encode("begun, "));
      go = () => {
        controller.enqueue(new TextEncoder().encode("ended"));
        controller.close();
      };
    },
  });
  const server = listen(() => new Response(body));
  const response = await fetch(server.url);
  const closed = server[Symbol.asyncDispose]();
  go();
  assertEquals(await response.text(), "begun, ended");
  await closed;
});
