/**
 * Reads the functions of `cuda/include/titanbit.h`.
 *
 * @module
 */

/** One parameter of a C function. */
export interface CParameter {
  /** Type with single spaces and the stars at its end, such as `const float*`. */
  readonly type: string;
  readonly name: string;
  /** Whether the header marks it `[null]`. */
  readonly nullable: boolean;
}

/** One function that the header declares. */
export interface CFunction {
  readonly name: string;
  readonly result: string;
  readonly parameters: readonly CParameter[];
}

const DECLARATION = /\bTB_API\s+(\w+)\s+(\w+)\s*\(([^()]*)\)\s*;/g;
const PARAMETER = /^(.*?[\s*])(\w+)$/s;

/**
 * Every function declared with `TB_API`, in the header's order.
 *
 * Throws `SyntaxError` where a `TB_API` is no declaration that this reader understands, so that none is passed over.
 */
export function parseHeader(text: string): CFunction[] {
  const code = text.replaceAll("/*[null]*/", " __null").replace(/\/\*.*?\*\//gs, " ")
    .replace(/^\s*#.*$/gm, "");
  const functions = [...code.matchAll(DECLARATION)].map((match) => ({
    name: match[2]!,
    result: match[1]!,
    parameters: parseParameters(match[3]!, match[2]!),
  }));
  const declared = code.match(/\bTB_API\b/g)?.length ?? 0;
  if (declared !== functions.length) {
    throw new SyntaxError(
      `Cannot read the header as ${declared} functions are declared and ${functions.length} understood`,
    );
  }
  return functions;
}

function parseParameters(text: string, owner: string): CParameter[] {
  if (/^\s*(void)?\s*$/.test(text)) return [];
  return text.split(",").map((part) => {
    const nullable = part.includes("__null");
    const match = PARAMETER.exec(part.replace("__null", "").trim());
    if (match === null) {
      throw new SyntaxError(`Cannot read a parameter of ${owner}: ${part.trim()}`);
    }
    const type = match[1]!.replace(/\s+/g, " ").replace(/\s*(\*+)\s*$/, "$1").trim();
    return { type, name: match[2]!, nullable };
  });
}
