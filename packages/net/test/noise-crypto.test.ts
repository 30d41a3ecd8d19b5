import { getCiphers } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { cryptoOfRuntime, webAssemblyCrypto } from '../src/node/noise-crypto.js'
import { collect, createEcho, createNode, dialEcho, frame, pattern } from './helpers.js'

describe("Noise's cryptographic primitives", () => {
  it("Noise's cryptographic primitives are Noise's defaults on a runtime whose node:crypto has ChaCha20-Poly1305", async () => {
    expect(getCiphers()).toContain('chacha20-poly1305')
    expect(await cryptoOfRuntime()).toBeUndefined()
  })

  it("Noise's cryptographic primitives let a node without ChaCha20-Poly1305 exchange packets of every size with a node that has it", async () => {
    const noiseCrypto = await webAssemblyCrypto()
    const [server, client] = await Promise.all([createEcho(), createNode({ listen: [], noiseCrypto })])
    const stream = await dialEcho(client, server)
    const echoed = collect(stream)
    // Around the 1,200 bytes from which Noise uses node:crypto, and a frame of several packets.
    const sent = [1, 1150, 1199, 1200, 1250, 200_000].map((size) => pattern(size, size))
    for (const [index, bytes] of sent.entries()) {
      stream.send(frame(bytes))
      await echoed.count(index + 1) // frames that are queued together leave as one packet
    }
    expect(echoed.frames.map((bytes, index) => Buffer.compare(bytes, sent[index]!))).toEqual(sent.map(() => 0))
  })
})
