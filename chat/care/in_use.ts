/** Whether a chat uses the database. It trusts the rows: no heartbeat is waited for. */
import { HEARTBEAT_PREFIX } from "../kv/keys.ts";
import { heartbeatFrom } from "../kv/values.ts";

/**
 * Returns whether an instance runs, or has crashed and was not cleaned up. One that ended and left
 * sessions to be resumed does not count.
 */
export async function isInUse(kv: Deno.Kv): Promise<boolean> {
  for await (const { value } of kv.list<unknown>({ prefix: HEARTBEAT_PREFIX })) {
    if (!heartbeatFrom(value).isRetired) return true;
  }
  return false;
}
