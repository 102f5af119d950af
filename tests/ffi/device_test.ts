import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { Device } from "../../lib/ffi/device.ts";
import { openLibrary } from "../../lib/ffi/library.ts";

const CORES = openLibrary({ device: "cpu" }).description.devices[0]!.cores;

Deno.test("Device.open() refuses more threads than cores when they are a user's setting", () => {
  const open = (threads: number) =>
    Device.open({ kind: "cpu", threads, threadsSetting: "--threads" });
  assertThrows(
    () => open(CORES + 1),
    RangeError,
    `as --threads must be at most its ${CORES} cores: current value is ${CORES + 1}; leave it out`,
  );
  using device = open(CORES);
  assertEquals(device.threads, CORES);
  using _many = Device.open({ kind: "cpu", threads: CORES + 1 });
});

/** Expects an error of a TITANBIT_THREADS. */
function assertRefusesThreads(threads: string, message: string): void {
  const before = Deno.env.get("TITANBIT_THREADS");
  Deno.env.set("TITANBIT_THREADS", threads);
  try {
    assertThrows(() => Device.open({ kind: "cpu" }), RangeError, message);
  } finally {
    if (before === undefined) Deno.env.delete("TITANBIT_THREADS");
    else Deno.env.set("TITANBIT_THREADS", before);
  }
}

Deno.test("Device.open() names TITANBIT_THREADS when that is more than the cores", () => {
  assertRefusesThreads(String(CORES + 1), `TITANBIT_THREADS must be at most its ${CORES} cores`);
});

Deno.test("Device.open() refuses a TITANBIT_THREADS that is no decimal number", () => {
  for (const threads of ["0x1", "1e0", "1.0", "-1"]) {
    assertRefusesThreads(threads, `must be a whole number from 0: current value is ${threads}`);
  }
});

/** The error of a program that opens the CPU with some permissions. */
async function errorWith(...permissions: string[]): Promise<string> {
  const device = new URL("../../lib/ffi/device.ts", import.meta.url).href;
  const config = fromFileUrl(new URL("../../deno.json", import.meta.url));
  const code = `import { Device } from ${JSON.stringify(device)};
    try { Device.open({ kind: "cpu" }); } catch (error) { console.log(error.name, error.message); }`;
  const path = await Deno.makeTempFile({ suffix: ".ts" });
  try {
    await Deno.writeTextFile(path, code);
    const { stdout } = await new Deno.Command("deno", {
      args: ["run", "--no-prompt", "--no-check", `--config=${config}`, ...permissions, path],
      env: { NO_COLOR: "1" },
    }).output();
    return new TextDecoder().decode(stdout).trim();
  } finally {
    await Deno.remove(path);
  }
}

const LACKING: [string, string[], RegExp][] = [
  ["the environment", [], /env access to "TITANBIT_LIB"/],
  ["files", ["--allow-env=TITANBIT_LIB"], /read access/],
  ["native code", ["--allow-env=TITANBIT_LIB", "--allow-read"], /ffi access/],
  [
    "the threads",
    ["--allow-env=TITANBIT_LIB", "--allow-read", "--allow-ffi"],
    /env access to "TITANBIT_THREADS"/,
  ],
];
for (const [what, permissions, access] of LACKING) {
  Deno.test(`Device.open() names the flags when the program may not have ${what}`, async () => {
    const error = await errorWith(...permissions);
    assertMatch(error, /^NativeError Cannot open the native library as the program may not have /);
    assertMatch(error, access);
    assertMatch(
      error,
      /: run it with `deno run --allow-read --allow-ffi --allow-env=TITANBIT_LIB,TITANBIT_THREADS`$/,
    );
  });
}
