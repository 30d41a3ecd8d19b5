/** The cryptographic primitives that Noise gets on each runtime. */
import '../portable/polyfill.js'
import type { noise as createNoise } from '@chainsafe/libp2p-noise'
import { createCipheriv } from 'node:crypto'

export type NoiseCrypto = NonNullable<NonNullable<Parameters<typeof createNoise>[0]>['crypto']>

/**
 * Noise encrypts packets of 1,200 bytes or more with the ChaCha20-Poly1305 of `node:crypto`, which is faster for them
 * than WebAssembly. Bun's `node:crypto` does not have that cipher, so there the first page would end its connection.
 * Undefined where Noise's default works.
 */
export async function cryptoOfRuntime(): Promise<NoiseCrypto | undefined> {
  return hasCipher() ? undefined : webAssemblyCrypto()
}

/** Encrypts packets of all sizes with WebAssembly. */
export async function webAssemblyCrypto(): Promise<NoiseCrypto> {
  const { asCrypto, defaultCrypto } = await import('@chainsafe/libp2p-noise/crypto')
  const { chaCha20Poly1305Encrypt, chaCha20Poly1305Decrypt } = asCrypto
  return { ...defaultCrypto, chaCha20Poly1305Encrypt, chaCha20Poly1305Decrypt }
}

function hasCipher(): boolean {
  try {
    createCipheriv('chacha20-poly1305', new Uint8Array(32), new Uint8Array(12), { authTagLength: 16 })
    return true
  } catch {
    return false
  }
}
