import { expect, it, vi } from 'vitest'
import { cleanup, collect, createEcho, createNode, dialEcho, frame, pattern } from './helpers.js'

it('a connection makes no error where Noise waits for the next packet', async () => {
  const [server, client] = await Promise.all([createEcho(), createNode({ listen: [] })])
  const stream = await dialEcho(client, server)
  const echoed = collect(stream)
  stream.send(frame(pattern(100, 1)))
  await echoed.count(1)
  const made = vi.fn()
  const counted = new Proxy(RangeError, {
    // Noise calls it without `new`.
    apply: (target, _, [message]: string[]) => {
      made(message)
      return new target(message)
    }
  })
  vi.stubGlobal('RangeError', counted)
  cleanup(() => vi.unstubAllGlobals())
  for (let round = 2; round <= 21; round++) {
    stream.send(frame(pattern(200_000, round)))
    await echoed.count(round)
  }
  expect(made).not.toHaveBeenCalled()
})
