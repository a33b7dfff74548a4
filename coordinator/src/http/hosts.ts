/**
 * Which Host headers a server on this machine alone answers to. A page elsewhere whose name is made to resolve to 127.0.0.1
 * (DNS rebinding) sends its own name, and must never be answered.
 */

/** Whether what is bound to `host` can be reached from this machine only. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127(\.\d{1,3}){3}$/.test(host);
}

/** Whether a Host header ("name", "name:port", "[::1]:port") names this machine by a loopback name. */
export function namesLoopback(header: string | undefined): boolean {
  const named = /^(\[[0-9a-f:]+\]|[^:[\]]+)(?::\d{1,5})?$/i.exec(header ?? "")?.[1];
  return named !== undefined && isLoopback(named.toLowerCase().replace(/^\[(.*)\]$/, "$1"));
}

/** The address to open in a browser on this machine for what is bound to `host`. */
export function browserUrl(host: string, port: number): string {
  const name = host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "::1" : host;
  return `http://${name.includes(":") ? `[${name}]` : name}:${port}`;
}
