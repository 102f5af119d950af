import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { NativeError } from "../../lib/ffi/errors.ts";
import { ABI_VERSION, buildPath, openLibrary } from "../../lib/ffi/library.ts";
import { compileLibrary } from "../support/compile_library.ts";

/** Runs `body` with an environment variable set, and puts the old value back. */
function withEnvironment(name: string, value: string, body: () => void): void {
  const before = Deno.env.get(name);
  Deno.env.set(name, value);
  try {
    body();
  } finally {
    if (before === undefined) Deno.env.delete(name);
    else Deno.env.set(name, before);
  }
}

Deno.test("openLibrary() opens the CPU build and says what it found", () => {
  const library = openLibrary({ device: "cpu" });
  assertEquals(library.backend, "cpu");
  assertEquals(library.path, buildPath("cpu"));
  assertEquals(library.description.devices.length, 1);
});

Deno.test("openLibrary() gives one and the same library when it is opened twice", () => {
  assertEquals(openLibrary({ device: "cpu" }) === openLibrary({ device: "cpu" }), true);
});

Deno.test("openLibrary() names the path and `make` when the library is missing", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = join(folder, "libtitanbit_cpu.so");
    const error = assertThrows(() => openLibrary({ path }), NativeError, path);
    assertStringIncludes(error.message, "is missing: run `make`");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("openLibrary() says that the CUDA build is made by `make cuda` when it is missing", () => {
  const error = assertThrows(
    () => openLibrary({ path: "/nowhere/libtitanbit.so", device: "cuda" }),
    NativeError,
  );
  assertStringIncludes(error.message, "run `make cuda`");
});

Deno.test("openLibrary() follows TITANBIT_LIB and names its file when that is wrong", () => {
  withEnvironment("TITANBIT_LIB", "/nowhere/else.so", () => {
    const error = assertThrows(() => openLibrary({ device: "cpu" }), NativeError);
    assertStringIncludes(error.message, "/nowhere/else.so");
    assertStringIncludes(error.message, "run `make`");
  });
});

Deno.test("openLibrary() names both versions and `make` when the ABI is another", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const other = ABI_VERSION + 41;
    const path = await compileLibrary(folder, `int tb_abi_version(void) { return ${other}; }`);
    const error = assertThrows(() => openLibrary({ path }), NativeError, path);
    assertStringIncludes(
      error.message,
      `must be ${ABI_VERSION}: current value is ${other}, run \`make\``,
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("openLibrary() says `make` when a library of this ABI lacks functions", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const code = `int tb_abi_version(void) { return ${ABI_VERSION}; }`;
    const path = await compileLibrary(folder, code);
    const error = assertThrows(() => openLibrary({ path }), NativeError, path);
    assertStringIncludes(error.message, "run `make`");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("openLibrary() says `make` when the file is no library", async () => {
  const path = await Deno.makeTempFile({ suffix: ".so" });
  try {
    await Deno.writeTextFile(path, "not a library");
    const error = assertThrows(() => openLibrary({ path }), NativeError, path);
    assertStringIncludes(error.message, "run `make`");
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("openLibrary() refuses a library of the other build when a device is asked for", () => {
  const error = assertThrows(
    () => openLibrary({ path: buildPath("cpu"), device: "cuda" }),
    NativeError,
    "as it is the cpu build",
  );
  assertStringIncludes(error.message, "--device cpu");
});
