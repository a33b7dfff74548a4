/**
 * The coordinator's face on HTTP: reads of a view, metrics, events and the page. Every route is a GET; nothing here may change a job.
 * Answers are cut to their schemas and carry headers under which the page runs its own scripts and styles and nothing else.
 */
import { existsSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import fastifyStatic from "@fastify/static";
import fastify, { type FastifyInstance } from "fastify";
import type { Registry } from "prom-client";
import * as z from "zod";
import { createEventHub } from "./events.ts";
import { browserUrl, isLoopback, namesLoopback } from "./hosts.ts";
import { HTTP_LIMITS } from "./limits.ts";
import { healthSchema, jobSchema, stepsPageSchema, workersSchema } from "./schemas.ts";
import type { View } from "./view.ts";

export interface HttpOptions {
  view: View;
  registry: Registry;
  /** Where to listen: an address of this machine, and a port (0: any free one). */
  host: string;
  port: number;
  /** The built page (dashboard/dist). Where it is not built, everything else works and "/" says how to build it. */
  dashboardDir: string;
  /** Hears of faults while answering: bugs, for the log. */
  onFault?: (error: Error) => void;
}

export type HttpStart =
  | { ok: true; url: string; port: number; close(): Promise<void> }
  | { ok: false; code: "port-in-use" | "port-forbidden" | "no-such-address" | "listen-failed"; message: string };

export const SECURITY_HEADERS = {
  "content-security-policy":
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
  "referrer-policy": "no-referrer",
  "cross-origin-resource-policy": "same-origin",
} as const;

const stepsQuery = z.object({ from: z.coerce.number().int().min(-1).max(0xffffffff).default(-1) });

/** The routes without a socket, for tests and for `startHttp`. */
export function createHttp(options: Omit<HttpOptions, "port">): FastifyInstance {
  const { view, registry, host, dashboardDir, onFault = () => {} } = options;
  const app = fastify({
    forceCloseConnections: true,
    requestTimeout: HTTP_LIMITS.requestTimeoutMs,
    bodyLimit: HTTP_LIMITS.requestBytesMax,
  });
  app.server.maxConnections = HTTP_LIMITS.connectionsMax;
  app.setValidatorCompiler<z.ZodType>(({ schema }) => (value) => {
    const parsed = schema.safeParse(value);
    return parsed.success ? { value: parsed.data } : { error: new Error(z.prettifyError(parsed.error)) };
  });
  app.setSerializerCompiler<z.ZodType>(
    ({ schema }) =>
      (value) =>
        JSON.stringify(schema.parse(value)),
  );

  guard(app, isLoopback(host));
  describeFaults(app, onFault);
  readRoutes(app, view, registry);
  eventRoute(app, view, onFault);
  pageRoute(app, dashboardDir);
  return app;
}

function guard(app: FastifyInstance, loopbackOnly: boolean): void {
  app.addHook("onRequest", async (request, reply) => {
    reply.headers({ ...SECURITY_HEADERS, "cache-control": "no-store" });
    if (loopbackOnly && !namesLoopback(request.headers.host)) {
      const message = `This page is for this machine alone: open it as http://127.0.0.1:${request.socket.localPort}, or bind the coordinator to another address.`;
      return reply.code(403).send({ code: "wrong-host", message });
    }
  });
}

function describeFaults(app: FastifyInstance, onFault: (error: Error) => void): void {
  app.setErrorHandler<Error & { statusCode?: number }>((error, _request, reply) => {
    const status = error.statusCode ?? 500;
    if (status >= 500) onFault(error);
    const refusal =
      status >= 500
        ? { code: "fault", message: "The coordinator could not answer this; its log says why." }
        : { code: "bad-request", message: error.message };
    reply.code(status).serializer(JSON.stringify).type("application/json; charset=utf-8").send(refusal);
  });
  app.setNotFoundHandler((request, reply) => {
    reply.code(404).send({ code: "not-found", message: `There is nothing at ${request.method} ${request.url.slice(0, 200)}.` });
  });
}

function readRoutes(app: FastifyInstance, view: View, registry: Registry): void {
  app.get("/api/job", { schema: { response: { 200: jobSchema } } }, () => view.job());
  app.get("/api/workers", { schema: { response: { 200: workersSchema } } }, () => ({ workers: view.workers() }));
  app.get<{ Querystring: z.output<typeof stepsQuery> }>(
    "/api/steps",
    { schema: { querystring: stepsQuery, response: { 200: stepsPageSchema } } },
    (request) => view.steps(request.query.from, HTTP_LIMITS.stepsPerPageMax),
  );
  app.get("/healthz", { schema: { response: { 200: healthSchema, 503: healthSchema } } }, (_request, reply) => {
    const health = view.health();
    return reply.code(health.status === "ok" ? 200 : 503).send(health);
  });
  app.get("/metrics", async (_request, reply) => reply.type(registry.contentType).send(await registry.metrics()));
}

function eventRoute(app: FastifyInstance, view: View, onFault: (error: Error) => void): void {
  const hub = createEventHub(view, onFault);
  const timer = setInterval(() => hub.refresh(), HTTP_LIMITS.refreshMs);
  timer.unref();
  app.addHook("preClose", async () => {
    clearInterval(timer);
    hub.close();
  });
  app.get("/api/events", { exposeHeadRoute: false }, (_request, reply) => {
    if (!hub.add(reply.raw, SECURITY_HEADERS)) {
      const message = `${HTTP_LIMITS.eventClientsMax} pages watch this coordinator already; try again later.`;
      return reply.code(503).header("retry-after", "15").send({ code: "too-many-watchers", message });
    }
    reply.hijack();
  });
}

function pageRoute(app: FastifyInstance, dashboardDir: string): void {
  if (!existsSync(join(dashboardDir, "index.html"))) {
    const message = `The page is not built: no index.html in ${dashboardDir}. Build it with "npx vite build coordinator/dashboard". The data is at /api/job.\n`;
    app.get("/", (_request, reply) => reply.code(503).type("text/plain; charset=utf-8").send(message));
    return;
  }
  app.register(fastifyStatic, {
    root: dashboardDir,
    cacheControl: false,
    // Names under assets/ carry a hash of their content.
    setHeaders: (reply, path) =>
      reply.header("cache-control", path.includes("/assets/") ? "public, max-age=31536000, immutable" : "no-cache"),
  });
}

/** Listens. `close` ends watchers at once and resolves when the port is free again. */
export async function startHttp(options: HttpOptions): Promise<HttpStart> {
  const { host, port } = options;
  const app = createHttp(options);
  try {
    await app.listen({ host, port });
  } catch (error) {
    await app.close();
    return listenFailure(error as NodeJS.ErrnoException, host, port);
  }
  const bound = (app.server.address() as AddressInfo).port;
  return { ok: true, url: browserUrl(host, bound), port: bound, close: () => app.close() };
}

function listenFailure(error: NodeJS.ErrnoException, host: string, port: number): Extract<HttpStart, { ok: false }> {
  switch (error.code) {
    case "EADDRINUSE":
      return {
        ok: false,
        code: "port-in-use",
        message: `HTTP port ${port} on ${host} is taken by another program: choose another, or 0 for any free one.`,
      };
    case "EACCES":
      return {
        ok: false,
        code: "port-forbidden",
        message: `HTTP port ${port} on ${host} needs rights that this user lacks: choose one above 1023.`,
      };
    case "EADDRNOTAVAIL":
    case "ENOTFOUND":
      return {
        ok: false,
        code: "no-such-address",
        message: `HTTP address ${host} is not one of this machine's: use 127.0.0.1 (here only) or 0.0.0.0 (everywhere).`,
      };
    default:
      return { ok: false, code: "listen-failed", message: `HTTP could not listen on ${host}:${port}: ${error.message}` };
  }
}
