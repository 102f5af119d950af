/**
 * Who may read the dashboard.
 *
 * @module
 */

import { createHash, timingSafeEqual } from "node:crypto";
import { isLoopback, judgeHost } from "../http/host_name.ts";

/** Name of the cookie that holds the token, since an event stream can't send another header. */
const COOKIE = "titanbit_token";

/** A token that can't be guessed: 128 bits. */
export function newToken(): string {
  return crypto.randomUUID().replaceAll("-", "");
}

/** What a request's access comes to. */
export type Access = "granted" | "bad_host" | "no_token";

/** Judges requests. */
export class AccessRules {
  readonly #host: string;
  readonly #token: string | null;

  /** @param token `null` asks for none: for a loopback address alone. */
  constructor(host: string, token: string | null) {
    if (token === null && !isLoopback(host)) {
      throw new Error(
        `Cannot serve on ${host} without a token as other machines reach it: give one, or serve on 127.0.0.1`,
      );
    }
    this.#host = host;
    this.#token = token;
  }

  /** Whether the request names this server as its address and has the token. */
  judge(request: Request): Access {
    if (judgeHost(request.headers.get("host"), this.#host) !== "ours") return "bad_host";
    if (this.#token === null) return "granted";
    const given = bearer(request) ?? cookie(request);
    return given !== null && equalsInConstantTime(given, this.#token) ? "granted" : "no_token";
  }

  /** The cookie to set where the address holds the token, `null` where it doesn't. */
  cookieFor(url: URL): string | null {
    const given = url.searchParams.get("token");
    if (this.#token === null || given === null) return null;
    if (!equalsInConstantTime(given, this.#token)) return null;
    return `${COOKIE}=${encodeURIComponent(given)}; HttpOnly; SameSite=Strict; Path=/`;
  }
}

/** Compares digests of the texts, so that neither content nor length shows in the time. */
function equalsInConstantTime(a: string, b: string): boolean {
  return timingSafeEqual(digest(a), digest(b));
}

function digest(text: string): Uint8Array {
  return createHash("sha256").update(text).digest();
}

function bearer(request: Request): string | null {
  return /^Bearer (.+)$/.exec(request.headers.get("authorization") ?? "")?.[1] ?? null;
}

function cookie(request: Request): string | null {
  for (const part of (request.headers.get("cookie") ?? "").split(";")) {
    const [name, value] = part.trim().split("=", 2);
    if (name !== COOKIE || value === undefined) continue;
    try {
      return decodeURIComponent(value);
    } catch {
      return null;
    }
  }
  return null;
}
