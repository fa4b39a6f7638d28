/**
 * Answers health checks: `/healthz` says that the process lives, `/readyz` that it can serve clients.
 *
 * A supervisor restarts a server that is not alive; a load balancer passes by one that is not ready.
 */
import { closedResponse, textResponse } from "./responses.ts";

/** The paths of the health checks. */
export const HEALTH_PATHS: ReadonlySet<string> = new Set(["/healthz", "/readyz"]);

/** What the health checks need from the chat. */
export interface HealthContext {
  /** Returns whether the server takes new connections. */
  isOpen(): boolean;
  /** Returns whether the database answers. It is asked at most once a second. */
  databaseAnswers(): Promise<boolean>;
}

/** Answers a health check of one of {@linkcode HEALTH_PATHS}. */
export async function checkHealth(pathname: string, context: HealthContext): Promise<Response> {
  if (pathname === "/healthz") return textResponse(200, "ok");
  if (!context.isOpen()) return closedResponse();
  if (await context.databaseAnswers()) return textResponse(200, "ok");
  return textResponse(503, "The database does not answer.", { "retry-after": "1" });
}

/** Answers requests that come before the chat has started: it lives, and is not ready. */
export function answerWhileStarting(request: Request): Response {
  if (URL.parse(request.url)?.pathname === "/healthz") return textResponse(200, "ok");
  return textResponse(503, "The server is starting. Try again in a moment.", {
    "retry-after": "1",
  });
}
