// @ts-check
/** Which lines hold a secret. It is here, and not beside the commands, because the page loads those later. */

/** A line that is a command with a password or another secret. A test compares it with the commands. */
export const SECRET = /^\s*\/(register|identify|password|unregister|op)\b/i;
