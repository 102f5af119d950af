/**
 * Writes a resolved run as YAML or JSON that {@linkcode ./load.ts} reads again to the same run.
 *
 * @module
 */

import type { ResolvedDefault, RunConfig } from "./run_config.ts";

/** Values that YAML and JSON share. */
export type PlainValue = string | number | boolean | null | readonly PlainValue[] | PlainMapping;
/** A mapping of {@linkcode PlainValue}s. */
export interface PlainMapping {
  readonly [key: string]: PlainValue;
}

/** Fields that follow from others: shown as comments, not as keys. */
const DERIVED = new Set(["model.headDim", "training.accumulationSteps", "training.tokensPerStep"]);

/** The run as plain data with YAML's keys, in the order of the sections; `JSON.stringify` takes it as it is. */
export function runConfigToJson(config: RunConfig): PlainMapping {
  return toPlain(config as unknown as Record<string, unknown>, "");
}

/**
 * The run as YAML. With `defaults`, each key that the user left open carries the reason of its value as a
 * comment.
 */
export function runConfigToYaml(
  config: RunConfig,
  options: { defaults?: readonly ResolvedDefault[] } = {},
): string {
  const reasons = new Map((options.defaults ?? []).map(({ key, reason }) => [key, reason]));
  const { training } = config;
  reasons.set(
    "training.batch_sequences",
    `${training.tokensPerStep} tokens a step, in ${training.accumulationSteps} micro-batches`,
  );
  const lines: string[] = [];
  emit(runConfigToJson(config), { prefix: "", indent: "", lines, reasons });
  return lines.join("\n") + "\n";
}

function toPlain(value: Record<string, unknown>, prefix: string): PlainMapping {
  const plain: Record<string, PlainValue> = {};
  for (const [field, inner] of Object.entries(value)) {
    const path = prefix === "" ? field : `${prefix}.${field}`;
    if (inner === undefined || DERIVED.has(path)) continue;
    const key = field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    plain[key] = typeof inner === "object" && inner !== null && !Array.isArray(inner)
      ? toPlain(inner as Record<string, unknown>, path)
      : inner as PlainValue;
  }
  return plain;
}

function emit(
  mapping: PlainMapping,
  state: { prefix: string; indent: string; lines: string[]; reasons: ReadonlyMap<string, string> },
): void {
  const { prefix, indent, lines, reasons } = state;
  for (const [key, value] of Object.entries(mapping)) {
    const path = prefix === "" ? key : `${prefix}.${key}`;
    if (typeof value === "object" && value !== null && !Array.isArray(value)) {
      lines.push(Object.keys(value).length === 0 ? `${indent}${key}: {}` : `${indent}${key}:`);
      emit(value as PlainMapping, { ...state, prefix: path, indent: `${indent}  ` });
      continue;
    }
    const reason = reasons.get(path);
    const line = `${indent}${key}: ${scalar(value)}`;
    lines.push(reason === undefined ? line : `${line}  # ${reason}`);
  }
}

function scalar(value: PlainValue): string {
  if (Array.isArray(value)) return `[${value.map(scalar).join(", ")}]`;
  if (typeof value !== "string") return String(value);
  const plain = /^[A-Za-z_./][A-Za-z0-9_./-]*$/.test(value) &&
    !/^(true|false|null|yes|no|on|off|y|n|\.inf|\.nan|\.+|\.\d.*)$/i.test(value);
  return plain ? value : JSON.stringify(value); // a JSON string is a YAML string
}
