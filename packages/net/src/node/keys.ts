/**
 * Private keys: a libp2p identity is one Ed25519 key. A key file is one line of text, the key's libp2p protobuf in base64,
 * as other libp2p programs write it, with mode 0600.
 */
import '../portable/polyfill.js'
import { randomBytes } from 'node:crypto'
import { link, open, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { generateKeyPair, privateKeyFromProtobuf, privateKeyToProtobuf } from '@libp2p/crypto/keys'
import type { PrivateKey } from '@libp2p/interface'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import { InvalidArgumentError } from '@quire/protocol'
import { fromString } from 'uint8arrays/from-string'
import { toString } from 'uint8arrays/to-string'
import { KeyFileError } from './errors.js'

export type { PrivateKey } from '@libp2p/interface'

/** Key files larger than this are not read: a key of any kind is far smaller. */
const MAX_KEY_FILE_BYTES = 16_384

/** A fresh Ed25519 key. */
export function generatePrivateKey(): Promise<PrivateKey> {
  return generateKeyPair('Ed25519')
}

/** The PeerId of a key, as text. */
export function peerIdFromKey(key: PrivateKey): string {
  return peerIdFromPrivateKey(key).toString()
}

/** The key as one line of base64, without a line end. It is a secret. */
export function privateKeyToText(key: PrivateKey): string {
  return toString(privateKeyToProtobuf(key), 'base64pad')
}

/** Throws {@link KeyFileError} unless `text` is a private key; `where` names its origin in the message. The text itself is never shown. */
export function privateKeyFromText(text: string, where = 'private key'): PrivateKey {
  try {
    return privateKeyFromProtobuf(fromString(text.trim(), 'base64pad'))
  } catch (cause) {
    throw new KeyFileError(where, 'not a libp2p private key in base64', { cause })
  }
}

/** Reads a key file. {@link KeyFileError} when it is missing, unreadable or holds anything but a key. */
export async function loadPrivateKey(path: string): Promise<PrivateKey> {
  let text: string
  try {
    const bytes = await readAtMost(path, MAX_KEY_FILE_BYTES + 1)
    if (bytes.length > MAX_KEY_FILE_BYTES) {
      throw new KeyFileError(path, `more than ${MAX_KEY_FILE_BYTES} bytes are no key file`)
    }
    text = toString(bytes, 'utf8')
  } catch (cause) {
    throw cause instanceof KeyFileError ? cause : new KeyFileError(path, `cannot be read (${codeOf(cause)})`, { cause })
  }
  return privateKeyFromText(text, path)
}

/** A key may come from a pipe, so the size is not known before. A device may have no end. */
async function readAtMost(path: string, maxBytes: number): Promise<Uint8Array> {
  const file = await open(path, 'r')
  try {
    const buffer = new Uint8Array(maxBytes)
    for (let length = 0; length < maxBytes;) {
      const { bytesRead } = await file.read(buffer, length, maxBytes - length, null)
      if (bytesRead === 0) return buffer.subarray(0, length)
      length += bytesRead
    }
    return buffer
  } finally {
    await file.close()
  }
}

/**
 * Writes a key file with mode 0600 and flushes it. {@link KeyFileError} when the file exists: a lost key is a lost identity,
 * so none is ever overwritten. The file appears whole or not at all.
 */
export async function savePrivateKey(path: string, key: PrivateKey): Promise<void> {
  // What is taken for a path is shown in errors: it must not be the key.
  if (typeof path !== 'string') throw new InvalidArgumentError('path', typeof path, 'a string')
  // Random and short: process ids repeat, and the name of `path` may be as long as names can be.
  const temporary = join(dirname(path), `.quire-${randomBytes(8).toString('hex')}.part`)
  try {
    const file = await open(temporary, 'wx', 0o600)
    try {
      await file.writeFile(privateKeyToText(key) + '\n')
      await file.sync()
    } finally {
      await file.close()
    }
    // link, unlike rename, refuses to replace an existing file.
    await link(temporary, path)
  } catch (cause) {
    const reason =
      codeOf(cause) === 'EEXIST' ? 'the file exists and is not overwritten' : `cannot be written (${codeOf(cause)})`
    throw new KeyFileError(path, reason, { cause })
  } finally {
    await unlink(temporary).catch(() => {})
  }
}

/** Reads the key file, or generates a key and writes it when there is none. */
export async function loadOrCreatePrivateKey(path: string): Promise<PrivateKey> {
  try {
    return await loadPrivateKey(path)
  } catch (error) {
    if (codeOf((error as Error).cause) !== 'ENOENT') throw error
  }
  const key = await generatePrivateKey()
  await savePrivateKey(path, key)
  return key
}

function codeOf(error: unknown): string {
  const code = (error as { code?: unknown } | undefined)?.code
  return typeof code === 'string' ? code : String((error as Error | undefined)?.message ?? error)
}
