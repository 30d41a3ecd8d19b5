/** Copies the bytes alone: to send a view to another thread would send all the memory behind it. */
export function copyOf(bytes: Uint8Array): Uint8Array {
  // Other values are refused where the call arrives.
  return bytes instanceof Uint8Array ? Uint8Array.from(bytes) : bytes
}
