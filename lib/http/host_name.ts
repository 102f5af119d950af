/**
 * Which server a request is for, by the name that its client knows it under.
 *
 * @module
 */

const LOOPBACK = /^(localhost|127(\.\d+){3}|\[::1\])$/;
const ADDRESS = /^(\d+(\.\d+){3}|\[[0-9a-f:.]+\])$/;
/** A name or address in small letters, then a port. */
const HOST = /^([\w.-]+|\[[0-9a-f:.]+\])(?::(\d{1,5}))?$/;

/** A server's hostname as it stands in an address: IPv6 in brackets. */
export function bracketed(hostname: string): string {
  const name = hostname.toLowerCase();
  return name.includes(":") && !name.startsWith("[") ? `[${name}]` : name;
}

/** Whether only this machine reaches an address. */
export function isLoopback(hostname: string): boolean {
  return LOOPBACK.test(bracketed(hostname));
}

/** What a request's header `Host` comes to. */
export type HostJudgement = "ours" | "malformed" | "another";

/**
 * Judges the header `Host` of a request to the server at `hostname`.
 *
 * A page of another site whose name was made to point here still sends its own name. Numbers can't be made to point
 * elsewhere; the port may be a tunnel's.
 */
export function judgeHost(header: string | null, hostname: string): HostJudgement {
  if (header === null || header === "") return "another";
  const [, name, port = "0"] = HOST.exec(header.toLowerCase()) ?? [];
  if (name === undefined || Number(port) > 65535) return "malformed";
  if (LOOPBACK.test(name)) return "ours";
  const own = bracketed(hostname);
  return !isLoopback(own) && (ADDRESS.test(name) || name === own) ? "ours" : "another";
}

/** The answer to a request whose `Host` isn't {@linkcode judgeHost "ours"}. */
export function refuseHost(header: string | null, hostname: string): Response {
  return judgeHost(header, hostname) === "malformed"
    ? new Response("The header Host must be a name and a port.\n", { status: 400 })
    : new Response("This server is asked for by its address or as localhost.\n", { status: 421 });
}
