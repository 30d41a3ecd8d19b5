/** Sizes, discards and ranges of files against a scripted leader. Each call that waits comes to an end. */
import { settle } from '@quire/testing'
import { describe, expect, it } from 'vitest'
import { failure, outcome, view } from './support/client.js'
import { TTL, client, connect, useWorld, world } from './support/session.js'

useWorld()

const PAGE = 4096
const FILE = 100
const END = Number.MAX_SAFE_INTEGER

async function withFile() {
  await connect(world.create({ sessionTtlMs: TTL, faultTimeoutMs: 3000 }))
  const { leader, clock, cluster } = world
  const file = await client.open('/f', { create: true, size: 16 * PAGE })
  const mapping = await file.mmap()
  const discard = (first = 8): void =>
    leader.send({
      type: 'discard',
      term: leader.term,
      op: 9,
      file: FILE,
      first,
      end: END,
      size: first * PAGE,
      discards: 1
    })
  return { leader, clock, cluster, file, mapping, discard }
}

describe('a truncate or punchHole that a pin delays', () => {
  it('a truncate or punchHole that a pin delays rejects with BusyError while the leader has a majority', async () => {
    const { file } = await withFile()
    // This leader never answers truncate or punch.
    const truncating = failure(world.until(file.truncate(8 * PAGE)))
    expect(await truncating).toMatchObject({ name: 'BusyError', path: '/f', offset: 8 * PAGE })
    const punching = failure(world.until(file.punchHole(2 * PAGE, PAGE)))
    expect(await punching).toMatchObject({ name: 'BusyError', path: '/f', offset: 2 * PAGE })
  })

  it('an open closes the file again if its truncation fails with BusyError', async () => {
    const { file, leader, clock } = await withFile()
    await file.close()
    const opening = failure(world.until(client.open('/f', { truncate: true })))
    expect(await opening).toMatchObject({ name: 'BusyError' })
    await clock.advance(1)
    expect(leader.of('open')).toHaveLength(2)
    expect(leader.of('close')).toHaveLength(2)
  })
})

describe('a write that a truncation overtakes', () => {
  it('a write that a truncation overtakes repeats only the pages not yet written, because others may have changed the written ones (cluster seed 550)', async () => {
    const { file, leader, cluster } = await withFile()
    leader.holding.add('fault')
    const writing = file.write(0, new Uint8Array(2 * PAGE).fill(1))
    await settle()
    leader.releaseNext('fault')
    await settle()
    expect(leader.of('fault').map(({ page }) => page)).toEqual([0, 1])
    // Another session gets page 0 with the bytes written so far, and shortens the file to that page.
    leader.send({ type: 'revoke', term: leader.term, op: 8, file: FILE, page: 0, count: 1, after: 1 })
    const range = { first: 1, end: END, size: PAGE, discards: 1 }
    leader.send({ type: 'discard', term: leader.term, op: 9, file: FILE, ...range })
    cluster.files.set('/f', { ...cluster.files.get('/f')!, size: PAGE, discards: 1 })
    leader.send({ type: 'discarded', term: leader.term, op: 9, file: FILE, committed: true })
    await settle()
    expect(leader.last('ownerAckDirty').pages[0]!.page).toBe(0)
    leader.release('fault')
    await world.until(writing)
    expect(leader.last('extend')).toMatchObject({ file: FILE, size: 2 * PAGE })
    expect(leader.of('fault').map(({ page }) => page)).toEqual([0, 1, 1])
  })
})

describe('a file that a client is opening', () => {
  it('a file that a client is opening is also shortened by a discard that arrives right after the answer, even if the leader changes', async () => {
    const { leader, cluster, file, discard } = await withFile()
    await file.close()
    leader.holding.add('open')
    const opening = client.open('/f')
    await settle()
    leader.release('open')
    // The discard arrives in the same turn, before the program continues.
    discard(1)
    await opening
    expect([...view(client).spaces].map(({ size }) => size)).toEqual([PAGE])
    expect(leader.of('discardAck')).toHaveLength(1)
    cluster.files.set('/f', { ...cluster.files.get('/f')!, size: PAGE, discards: 1 })
    world.elect(world.peers[1]!, 2)
    leader.redirect(world.peers[1]!.id)
    await world.clock.advance(1000)
    const again = await client.open('/f')
    expect(await world.until(again.read(0, 2 * PAGE))).toHaveLength(PAGE)
  })
})

describe('a call that waits for a size', () => {
  it('a call that waits for a size asks the leader after the end of the discard', async () => {
    const { file, leader, clock, discard } = await withFile()
    discard()
    await clock.advance(1)
    const asked = leader.of('statFile').length
    const stat = file.stat()
    expect(await outcome(stat)).toBe('waiting')
    expect(leader.of('statFile')).toHaveLength(asked)
    leader.send({ type: 'discarded', term: leader.term, op: 9, file: FILE, committed: false })
    expect(await outcome(stat)).toBe('resolved')
  })

  it('a call that waits for a size leaves nothing behind if it is aborted', async () => {
    const { file, clock, discard } = await withFile()
    discard()
    await clock.advance(1)
    const controller = new AbortController()
    const stat = file.stat({ signal: controller.signal })
    controller.abort(new Error('changed my mind'))
    expect(await outcome(stat)).toMatchObject({ message: 'changed my mind' })
  })

  it('a call that waits for a size rejects when the file closes, and when the session ends', async () => {
    const { file, clock, discard, leader } = await withFile()
    discard()
    await clock.advance(1)
    const closed = file.stat()
    await file.close()
    expect(await outcome(closed)).toMatchObject({ name: 'ClosedError' })
    const again = await client.open('/f')
    discard()
    await clock.advance(1)
    const lost = again.stat()
    leader.send({ type: 'expired', session: leader.session })
    expect(await outcome(lost)).toMatchObject({ name: 'SessionExpiredError' })
  })
})

describe('a discard without a known outcome', () => {
  it('a discard without a known outcome makes the client ask until it has an answer, and delays faults in its range until then', async () => {
    const { leader, clock, discard, mapping } = await withFile()
    discard(0)
    await clock.advance(1)
    leader.holding.add('statFile')
    leader.cut()
    await clock.advance(5000)
    leader.holding.clear()
    expect(leader.of('fault')).toHaveLength(0)
    const reading = mapping.read(0, 1)
    await world.until(reading)
    expect(leader.of('fault')).toHaveLength(1)
  })
})

describe('calls on ranges', () => {
  it('writeMappingRange resolves once all pages have left, possibly at once', async () => {
    const { file, leader, mapping } = await withFile()
    await mapping.write(0, new Uint8Array(3 * PAGE).fill(1))
    leader.holding.add('writeback')
    expect(await outcome(file.addressSpace.writeMappingRange(0, 3 * PAGE))).toBe('resolved')
    leader.release('writeback')
  })

  /** A call that waits for credit for its second page, and an eviction that waits for a pin. */
  async function waiting() {
    const setup = await withFile()
    const { leader, mapping, file, clock } = setup
    leader.creditBytes = PAGE
    leader.cut()
    await clock.advance(100)
    await mapping.write(0, new Uint8Array([1]))
    await mapping.write(PAGE, new Uint8Array([1]))
    leader.holding.add('writeback')
    // The leader gives credit for one page. The other one waits.
    const started = file.addressSpace.writeMappingRange(0, 2 * PAGE)
    const pin = await mapping.pin(4 * PAGE, 1, 'read')
    const evicted = file.addressSpace.evictMappingRange(4 * PAGE, PAGE)
    expect([await outcome(started), await outcome(evicted)]).toEqual(['waiting', 'waiting'])
    return { ...setup, started, evicted, pin }
  }

  it('calls on ranges reject when the session ends', async () => {
    const { leader, started, evicted, pin } = await waiting()
    leader.send({ type: 'expired', session: leader.session })
    expect(await outcome(started)).toMatchObject({ name: 'SessionExpiredError' })
    expect(await outcome(evicted)).toMatchObject({ name: 'SessionExpiredError' })
    pin.release()
  })

  it('calls on ranges reject or resolve when the file closes', async () => {
    const { leader, started, evicted, pin } = await waiting()
    const closing = client.close()
    leader.holding.clear()
    for (const writeback of leader.of('writeback')) leader.acknowledge(writeback)
    expect(await outcome(evicted)).toMatchObject({ name: 'ClosedError' })
    await world.until(closing)
    expect(await outcome(started)).toBe('resolved')
    pin.release()
  })
})
