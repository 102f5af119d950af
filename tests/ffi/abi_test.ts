import { assertEquals, assertThrows } from "@std/assert";
import { buildPath } from "../../lib/ffi/library.ts";
import { SYMBOLS } from "../../lib/ffi/symbols.ts";
import { type CFunction, type CParameter, parseHeader } from "../../lib/layers/c_header.ts";
import { exportedSymbols } from "./exported_symbols.ts";

const HEADER = new URL("../../cuda/include/titanbit.h", import.meta.url);
const TABLES = new URL("../../lib/ffi/symbols/", import.meta.url);

const SCALARS: Record<string, string> = {
  int32_t: "i32",
  int64_t: "i64",
  uint64_t: "u64",
  float: "f32",
  double: "f64",
  tb_status: "i32",
  tb_dtype: "i32",
  tb_state_dtype: "i32",
  tb_activation_quant: "i32",
  tb_hidden_act: "i32",
  tb_peer_kind: "i32",
};

/** Owned by the library; TypeScript keeps their address as a number. */
const HANDLES = ["tb_context*", "tb_tokenizer*", "tb_tokenizer_trainer*"];

/**
 * Pointers to host memory of functions that take a context: everything else that points is a device address there.
 * A function without a context runs on the host, and every pointer of it is host memory.
 */
const HOST_POINTERS: Record<string, readonly string[]> = {
  tb_context_create: ["context", "error"],
  tb_last_error: ["text"],
  tb_alloc: ["address"],
  tb_copy_to_device: ["from"],
  tb_copy_to_host: ["to"],
  tb_memory: ["free_bytes", "total_bytes"],
  tb_graph_end: ["graph"],
  tb_event_create: ["event"],
  tb_event_elapsed: ["milliseconds"],
  tb_peer_algorithms: ["count"],
};

function header(): CFunction[] {
  return parseHeader(Deno.readTextFileSync(HEADER));
}

function ffiType(parameter: CParameter, owner: CFunction): string {
  if (!parameter.type.endsWith("*")) return SCALARS[parameter.type] ?? `unknown ${parameter.type}`;
  if (HANDLES.includes(parameter.type)) return "u64";
  const onDevice = owner.parameters.some(({ type }) => type === "tb_context*");
  if (!onDevice) return "buffer";
  return HOST_POINTERS[owner.name]?.includes(parameter.name) ? "buffer" : "u64";
}

/** The comments of the tables: function name to `C type and name` of each parameter. */
function commentedParameters(): Map<string, string> {
  const found = new Map<string, string>();
  for (const { name } of Deno.readDirSync(TABLES)) {
    const text = Deno.readTextFileSync(new URL(name, TABLES));
    for (
      const [, symbol, body] of text.matchAll(
        /^ {2}(tb_\w+): \{\s*parameters: \[\n(.*?)\n {4}\]/gms,
      )
    ) {
      const lines = body!.split("\n").filter((line) => line.trim() !== "");
      found.set(
        symbol!,
        lines.map((line) => line.split("//")[1]?.replace("[null]", "").trim()).join(", "),
      );
    }
  }
  return found;
}

Deno.test("SYMBOLS holds the functions of titanbit.h and no other", () => {
  assertEquals(Object.keys(SYMBOLS).sort(), header().map(({ name }) => name).sort());
});

/** Lines of `name: wanted …, got …` where two descriptions of the functions differ. */
function differences(wanted: Map<string, string>, got: Map<string, string>): string[] {
  return [...wanted].filter(([name, text]) => got.get(name) !== text)
    .map(([name, text]) => `${name}: wanted ${text}, got ${got.get(name)}`);
}

Deno.test("SYMBOLS gives every parameter and result the type of titanbit.h", () => {
  const got = Object.entries(SYMBOLS).map(([name, { parameters, result }]) =>
    [name, `(${parameters.join(", ")}) -> ${result}`] as const
  );
  const wanted = header().map((owner) => {
    const types = owner.parameters.map((parameter) => ffiType(parameter, owner));
    return [owner.name, `(${types.join(", ")}) -> ${SCALARS[owner.result]}`] as const;
  });
  assertEquals(differences(new Map(wanted), new Map(got)), []);
});

Deno.test("SYMBOLS comments every parameter with its C type and name", () => {
  const wanted = header().filter(({ parameters }) => parameters.length > 0)
    .map(({ name, parameters }) => {
      const texts = parameters.map((parameter) => `${parameter.type} ${parameter.name}`);
      return [name, texts.join(", ")] as const;
    });
  assertEquals(differences(new Map(wanted), commentedParameters()), []);
});

for (const build of ["cpu", "cuda"] as const) {
  const built = build === "cpu" || isBuilt(build);
  Deno.test({
    name: `the ${build} library exports the functions of titanbit.h and no other` +
      (built ? "" : ": not built, skipped"),
    ignore: !built,
    fn: () => {
      const exported = exportedSymbols(Deno.readFileSync(buildPath(build)));
      assertEquals(
        exported.filter((name) => name.startsWith("tb_")),
        header().map(({ name }) => name).sort(),
      );
    },
  });
}

function isBuilt(build: "cpu" | "cuda"): boolean {
  try {
    return Deno.statSync(buildPath(build)).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

Deno.test("parseHeader() reads types, names, null marks and functions without parameters", () => {
  const text = `
    /* TB_API tb_status tb_commented(void); */
    TB_API int32_t tb_version(void);
    TB_API tb_status tb_op(tb_context* context, const float *x /*[null]*/,
                           int64_t N, tb_context** out);`;
  assertEquals(parseHeader(text), [
    { name: "tb_version", result: "int32_t", parameters: [] },
    {
      name: "tb_op",
      result: "tb_status",
      parameters: [
        { type: "tb_context*", name: "context", nullable: false },
        { type: "const float*", name: "x", nullable: true },
        { type: "int64_t", name: "N", nullable: false },
        { type: "tb_context**", name: "out", nullable: false },
      ],
    },
  ]);
});

Deno.test("parseHeader() throws when a declaration is none it understands", () => {
  assertThrows(() => parseHeader("TB_API tb_status (*tb_callback)(void);"), SyntaxError, "1 func");
});
