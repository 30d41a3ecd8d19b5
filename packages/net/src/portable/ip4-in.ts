/** The IPv4 address that an IPv6 address maps (RFC 4291, 2.5.5.2), or undefined. `host` is in its shortest form. */
export function ip4In(host: string): string | undefined {
  const mapped = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/i.exec(host)
  if (mapped === null) return undefined
  const [high, low] = [parseInt(mapped[1]!, 16), parseInt(mapped[2]!, 16)]
  return [high >> 8, high & 255, low >> 8, low & 255].join('.')
}
