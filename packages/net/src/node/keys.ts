/**
 * Private keys and their files. A libp2p identity is one Ed25519 key. A key file is one line of text with mode 0600:
 * the key's libp2p protobuf in base64, as other libp2p programs write it.
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

/** Larger files are not key files: a key of any kind is far smaller. */
const MAX_KEY_FILE_BYTES = 16_384

/** Generates an Ed25519 key. */
export function generatePrivateKey(): Promise<PrivateKey> {
  return generateKeyPair('Ed25519')
}

/** Returns the PeerId of a key as text. */
export function peerIdFromKey(key: PrivateKey): string {
  return peerIdFromPrivateKey(key).toString()
}

/** Returns the key as base64 without a line end. The result is a secret. */
export function privateKeyToText(key: PrivateKey): string {
  return toString(privateKeyToProtobuf(key), 'base64pad')
}

/**
 * Parses a private key. Throws {@link KeyFileError} if `text` is not one; the message names its origin, `where`, and
 * never shows the text itself.
 */
export function privateKeyFromText(text: string, where = 'private key'): PrivateKey {
  try {
    return privateKeyFromProtobuf(fromString(text.trim(), 'base64pad'))
  } catch (cause) {
    throw new KeyFileError(where, 'not a libp2p private key in base64', { cause })
  }
}

/** Reads a key file. Rejects with {@link KeyFileError} if it is missing, unreadable or not a key. */
export async function loadPrivateKey(path: string): Promise<PrivateKey> {
  let text: string
  try {
    const bytes = await readAtMost(path, MAX_KEY_FILE_BYTES + 1)
    if (bytes.length > MAX_KEY_FILE_BYTES) {
      throw new KeyFileError(path, `larger than a key file can be (${MAX_KEY_FILE_BYTES} bytes)`)
    }
    text = toString(bytes, 'utf8')
  } catch (cause) {
    throw cause instanceof KeyFileError ? cause : new KeyFileError(path, `cannot be read (${codeOf(cause)})`, { cause })
  }
  return privateKeyFromText(text, path)
}

/** Reads up to `maxBytes`. The size is unknown beforehand, because a pipe has none and a device may be endless. */
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
 * Writes a key file with mode 0600 and flushes it. The file appears whole or not at all. Rejects with {@link
 * KeyFileError} if the file exists: a lost key is a lost identity, so no key file is ever overwritten.
 */
export async function savePrivateKey(path: string, key: PrivateKey): Promise<void> {
  // Errors show the path. If a caller swaps the arguments, they must not show the key.
  if (typeof path !== 'string') throw new InvalidArgumentError('path', typeof path, 'a string')
  // Random, because process ids repeat. Short, because the name of `path` may already have the maximum length.
  const temporary = join(dirname(path), `.quire-${randomBytes(8).toString('hex')}.part`)
  try {
    const file = await open(temporary, 'wx', 0o600)
    try {
      await file.writeFile(privateKeyToText(key) + '\n')
      await file.sync()
    } finally {
      await file.close()
    }
    // Unlike rename, link fails if the file exists.
    await link(temporary, path)
  } catch (cause) {
    const reason =
      codeOf(cause) === 'EEXIST' ? 'the file exists and is not overwritten' : `cannot be written (${codeOf(cause)})`
    throw new KeyFileError(path, reason, { cause })
  } finally {
    await unlink(temporary).catch(() => {})
  }
}

/** Reads the key file. If there is none, generates a key and writes it. */
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
