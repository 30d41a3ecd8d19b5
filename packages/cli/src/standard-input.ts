/** Standard input as a stream that never ends early without saying so. */
import { constants, createReadStream, fstatSync, readFileSync, ReadStream, type Stats } from 'node:fs'
import { Socket } from 'node:net'
import type { Readable } from 'node:stream'

const NAME = 'standard input'

/**
 * Throws where standard input has no bytes to read: a folder, or no file at all. Node stands in for both with an input
 * that is empty, which would be stored as an empty file.
 */
export function standardInput(): Readable {
  const stdin: Readable = process.stdin
  // Pipes, terminals and sockets. They are not looked at any further: Node's import resolves wrong paths after an
  // `fstatSync` of one.
  if (stdin instanceof Socket) return stdin
  const found = fstatSync(0)
  // Files and character devices.
  if (stdin instanceof ReadStream && !isStandIn(found)) return stdin
  // Anything else Node takes for empty.
  if (found.isBlockDevice()) return createReadStream('', { fd: 0 })
  throw cannotRead(NAME, { code: found.isDirectory() ? 'EISDIR' : 'EBADF' })
}

/**
 * Where a process is started without standard input (`<&-`), Node opens /dev/null in its place, for reading and
 * writing; `< /dev/null` opens it for reading. Few parents open it as Node does, and an empty file that one of them
 * asks for is refused rather than one that nobody asks for stored. Only Linux tells.
 */
function isStandIn(found: Stats): boolean {
  if (process.platform !== 'linux' || !found.isCharacterDevice() || found.rdev !== DEV_NULL) return false
  const flags = /^flags:\s*([0-7]+)$/m.exec(readFileSync('/proc/self/fdinfo/0', 'utf8'))
  return flags !== null && (Number.parseInt(flags[1]!, 8) & ACCESS_MODE) === constants.O_RDWR
}

/** Device 1:3. */
const DEV_NULL = 0x103
const ACCESS_MODE = 3

/** A local file, or standard input, could not be read. */
export function cannotRead(name: string, error: unknown): Error {
  const { code, message } = error as NodeJS.ErrnoException
  return new Error(`${name}: cannot be read (${code ?? message})`, { cause: error })
}
