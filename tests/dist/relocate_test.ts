import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { relocate } from "../../lib/dist/relocate.ts";

Deno.test("relocate() gives a module's address back when the bundle stands elsewhere", () => {
  const { code } = relocate("// lib/ffi/library.ts\nconst here = import.meta.url;\n", "app.js");
  assertStringIncludes(code, 'const here = new URL("./lib/ffi/library.ts", import.meta.url).href;');
});

Deno.test("relocate() climbs out of the folder when the bundle is a worker's", () => {
  const bundle = "// lib/ffi/library.ts\nconst here = import.meta.url;\n";
  const { code } = relocate(bundle, "lib/training/worker.js");
  assertStringIncludes(code, 'new URL("../ffi/library.ts", import.meta.url).href');
});

Deno.test("relocate() names workers and starts them as JavaScript", () => {
  const bundle =
    '// lib/training/run.ts\nnew Worker(new URL(\n  "./worker.ts",\n  import.meta.url\n));\n';
  const { code, workers } = relocate(bundle, "titanbit.js");
  assertEquals(workers, ["lib/training/worker.ts"]);
  assertStringIncludes(code, 'new Worker(new URL("./lib/training/worker.js", import.meta.url));');
});

Deno.test("relocate() tells two workers of one name apart when their modules differ", () => {
  const bundle = ["a", "b"].map((room) =>
    `// lib/${room}/run.ts\nnew Worker(new URL("./worker.ts", import.meta.url));\n`
  ).join("");
  const { workers } = relocate(bundle, "titanbit.js");
  assertEquals(workers, ["lib/a/worker.ts", "lib/b/worker.ts"]);
});

Deno.test("relocate() names npm packages and leaves no path of the machine", () => {
  const bundle = "// ../../home/x/.cache/deno/npm/registry/@scope/name/1.2.3/a/b.js\nvar x = 1;\n";
  const { code, packages } = relocate(bundle, "titanbit.js");
  assertEquals([...packages], [[
    "../../home/x/.cache/deno/npm/registry/@scope/name/1.2.3",
    "@scope/name@1.2.3",
  ]]);
  assertEquals(code, "// npm:@scope/name@1.2.3/a/b.js\nvar x = 1;\n");
});

Deno.test("relocate() leaves code without addresses as it is", () => {
  const bundle = "// lib/a.ts\nvar a = 1;\n\n// lib/b.ts\nvar b = 2;\n";
  assertEquals(relocate(bundle, "titanbit.js").code, bundle);
});

Deno.test("relocate() throws when a package outside the tree asks for its address", () => {
  const bundle = "// ../npm/x/name/1.0.0/a.js\nvar here = import.meta.url;\n";
  assertThrows(() => relocate(bundle, "titanbit.js"), Error, "outside the source tree");
});

Deno.test("relocate() throws when a module asks for its folder", () => {
  const bundle = "// lib/a.ts\nvar here = import.meta.dirname;\n";
  assertThrows(() => relocate(bundle, "titanbit.js"), Error, "import.meta.dirname");
});
