/** The forms of HTTP responses that several files use: one line of text, and "come back later". */

/** Returns a response of one line. */
export function textResponse(
  status: number,
  line: string,
  headers: Record<string, string> = {},
): Response {
  return new Response(`${line}\n`, {
    status,
    headers: {
      "content-type": "text/plain; charset=utf-8",
      "x-content-type-options": "nosniff",
      ...headers,
    },
  });
}

/** Returns the response of a server that takes no new connections, because it ends or starts again. */
export function closedResponse(): Response {
  return textResponse(503, "The server is restarting. Try again in a moment.", {
    "retry-after": "1",
  });
}
