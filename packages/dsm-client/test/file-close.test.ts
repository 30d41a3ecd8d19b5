/** A file flushes when it closes, and frees the faults that it has at the leader. */
import { ClosedError, UnavailableError } from '@quire/protocol'
import { settle } from '@quire/testing'
import { describe, expect, it } from 'vitest'
import { failure, view } from './support/client.js'
import { byte, client, connected, useWorld, withFile, world } from './support/session.js'

useWorld()

describe('closing a file', () => {
  /** The leader allows one fault: the fault of `a` is in flight, and the fault of `b` waits. */
  const withTwoFiles = async () => {
    const connection = await connected((w) => (w.leader.maxFaults = 1))
    const { client, leader } = connection
    const a = await client.open('/a', { create: true, size: 4096 })
    const b = await client.open('/b', { create: true, size: 4096 })
    leader.holding.add('fault').add('close')
    const given = failure(a.read(0, 1))
    await settle()
    const reading = b.read(0, 1)
    return { ...connection, a, given, reading }
  }

  it('a queued fault waits until the leader has closed the file of the outstanding fault', async () => {
    const { leader, a, given, reading } = await withTwoFiles()
    const closing = a.close()
    expect(await given).toMatchObject({ name: 'ClosedError' })
    await settle()
    expect([leader.of('close').length, leader.of('fault').length]).toEqual([1, 1])
    leader.release('close')
    await closing
    await settle()
    expect(leader.of('fault').map(({ file }) => file)).toEqual([100, 101])
    leader.release('fault')
    expect(await world.until(reading)).toHaveLength(1)
  })

  it('a queued fault is sent after an aborted close once the leader has closed the file', async () => {
    const { leader, a, reading } = await withTwoFiles()
    const controller = new AbortController()
    const closing = failure(a.close({ signal: controller.signal }))
    await settle()
    controller.abort()
    await closing
    leader.release('close')
    await settle()
    expect(leader.of('fault')).toHaveLength(2)
    leader.release('fault')
    expect(await world.until(reading)).toHaveLength(1)
  })

  it('a close that fails to flush leaves the file open with all of its mappings', async () => {
    const { leader, file, mapping } = await withFile({ faultTimeoutMs: 3000 })
    const copy = await file.mmap({ flags: 'private' })
    await copy.write(0, byte(7))
    await mapping.write(4096, byte(3))
    leader.holding.add('writeback')
    await expect(world.until(file.close())).rejects.toBeInstanceOf(UnavailableError)
    expect(await mapping.read(4096, 1)).toEqual(byte(3))
    expect(await copy.read(0, 1)).toEqual(byte(7))
    expect(await file.read(4096, 1)).toEqual(byte(3))
    leader.release('writeback')
    await world.until(file.close())
    for (const dead of [mapping, copy]) await expect(dead.read(0, 1)).rejects.toBeInstanceOf(ClosedError)
    expect([...view(client).spaces]).toEqual([])
  })
})
