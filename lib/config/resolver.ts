/**
 * The notebook of a run's completion: reasons of open keys, and rules between keys that are broken.
 *
 * @module
 */

import { describeValue } from "./errors.ts";
import type { ResolvedDefault } from "./run_config.ts";

/** A rule between keys that a run breaks; the loader adds file and line. */
export interface Conflict {
  readonly key: string;
  readonly expected: string;
  readonly got: string;
  readonly hint?: string;
}

/** Collects the reasons of open keys and the rules that are broken. */
export class Resolver {
  readonly defaults: ResolvedDefault[] = [];
  readonly conflicts: Conflict[] = [];

  /** The given value, or the fallback with its reason noted. */
  pick<T>(key: string, given: T | undefined, fallback: T, reason = "default"): T {
    if (given !== undefined) return given;
    this.defaults.push({ key, value: fallback, reason });
    return fallback;
  }

  /** Notes a broken rule unless `holds`. */
  require(
    holds: boolean,
    conflict: { key: string; expected: string; got: unknown; hint?: string },
  ): void {
    if (holds) return;
    const got = typeof conflict.got === "string" ? conflict.got : describeValue(conflict.got);
    this.conflicts.push({ ...conflict, got });
  }
}
