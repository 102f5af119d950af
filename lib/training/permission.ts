/**
 * What this process may do.
 *
 * @module
 */

/** Whether a permission is there. Never asks: a question on the terminal would stop the run. */
export function isGranted(permission: Deno.PermissionDescriptor): boolean {
  return Deno.permissions.querySync(permission).state === "granted";
}
