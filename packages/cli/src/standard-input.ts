/** Standard input as a stream that reports every premature end. */
import { constants, createReadStream, fstatSync, readFileSync, ReadStream, type Stats } from 'node:fs'
import { Socket } from 'node:net'
import type { Readable } from 'node:stream'

const NAME = 'standard input'

/**
 * Throws if standard input is a folder or closed. Node replaces both by an empty input, which would be stored as an
 * empty file.
 */
export function standardInput(): Readable {
  const stdin: Readable = process.stdin
  // A pipe, a terminal or a socket. It must not reach the `fstatSync` below: Node's `import` resolves wrong paths after
  // one of these.
  if (stdin instanceof Socket) return stdin
  const found = fstatSync(0)
  // A file or a character device.
  if (stdin instanceof ReadStream && !isStandIn(found)) return stdin
  // Node reads a block device as empty.
  if (found.isBlockDevice()) return createReadStream('', { fd: 0 })
  throw cannotRead(NAME, { code: found.isDirectory() ? 'EISDIR' : 'EBADF' })
}

/**
 * Whether Node opened /dev/null in place of a closed standard input (`<&-`). Node opens it for reading and writing, and
 * `< /dev/null` for reading only. A parent may open it as Node does, which is rare: to refuse its empty input is better
 * than to store an empty file that nobody asked for. Only Linux shows the difference.
 */
function isStandIn(found: Stats): boolean {
  if (process.platform !== 'linux' || !found.isCharacterDevice() || found.rdev !== DEV_NULL) return false
  const flags = /^flags:\s*([0-7]+)$/m.exec(readFileSync('/proc/self/fdinfo/0', 'utf8'))
  return flags !== null && (Number.parseInt(flags[1]!, 8) & ACCESS_MODE) === constants.O_RDWR
}

/** Device 1:3, which is /dev/null. */
const DEV_NULL = 0x103
const ACCESS_MODE = 3

/** The error for a local file, or standard input, that cannot be read. */
export function cannotRead(name: string, error: unknown): Error {
  const { code, message } = error as NodeJS.ErrnoException
  return new Error(`${name}: cannot be read (${code ?? message})`, { cause: error })
}
