import { generateKeyPair } from '@libp2p/crypto/keys'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import { pino } from 'pino'
import { describe, expect, it } from 'vitest'
import { DialError, shortId, shortenIds, withShortIds } from '../src/index.js'

const ID = '12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X'

function record(options: pino.LoggerOptions = {}) {
  const lines: string[] = []
  const logger = withShortIds(pino({ base: null, level: 'trace', ...options }, { write: (line) => lines.push(line) }))
  return { lines, logger }
}

describe('PeerIds in log lines', () => {
  it('PeerIds in log lines are shortened in every field that may contain one, in addresses and in errors', () => {
    const { lines, logger } = record()
    const address = `/ip4/127.0.0.1/tcp/1/p2p/${ID}`
    const cause = new DialError(ID, [address], `${ID} closed`)
    const err = new DialError(ID, [address], 'it has gone', { cause })
    logger
      .child({ component: 'net' })
      .warn({ peer: ID, client: ID, leader: ID, reason: err.message, address, err }, 'x')
    logger.warn({ addresses: [address], by: ID, change: `${ID}/1d joins as a learner` }, 'y')
    expect(lines.join()).not.toContain(ID)
    expect(JSON.parse(lines[0]!)).toMatchObject({
      component: 'net',
      peer: '…ft9HyQ6X',
      reason: 'cannot reach …ft9HyQ6X at /ip4/127.0.0.1/tcp/1/p2p/…ft9HyQ6X: it has gone',
      err: { type: 'DialError', remote: '…ft9HyQ6X', addresses: ['/ip4/127.0.0.1/tcp/1/p2p/…ft9HyQ6X'] }
    })
    expect(JSON.parse(lines[1]!)).toMatchObject({ by: '…ft9HyQ6X', change: '…ft9HyQ6X/1d joins as a learner' })
  })

  it('PeerIds in log lines stay whole in the field id, which introduces a node', () => {
    const { lines, logger } = record()
    logger.info({ id: ID }, 'started')
    expect(JSON.parse(lines[0]!)).toMatchObject({ id: ID })
  })

  it("PeerIds in log lines are shortened in the output of the logger's own error serializer", () => {
    const { lines, logger } = record({ serializers: { err: (error: Error) => `own: ${error.message}` } })
    logger.warn({ err: new Error(`not ${ID}`) })
    expect(JSON.parse(lines[0]!)).toMatchObject({ err: 'own: not …ft9HyQ6X' })
  })

  it('PeerIds in log lines are recognized for every kind of key, and other text stays as it is', async () => {
    for (const type of ['Ed25519', 'secp256k1', 'RSA'] as const) {
      const key = type === 'RSA' ? await generateKeyPair(type, 2048) : await generateKeyPair(type)
      const id = peerIdFromPrivateKey(key).toString()
      expect(shortenIds(`<${id}>`)).toBe(`<…${id.slice(-8)}>`)
    }
    for (const text of ['12D3Koo…', 'a'.repeat(52), `${ID}x`, '']) expect(shortenIds(text)).toBe(text)
    expect([shortId('short'), shortId(ID, 10)]).toEqual(['short', '…Nft9HyQ6X'.slice(0, 1) + ID.slice(-10)])
  })
})
