/** The group server of one test, which the hooks make and close. */
import { afterEach, beforeEach, expect } from 'vitest'
import type { ServerLimits } from '../../src/server/index.js'
import { createStubGroup, type StubGroup } from './stub-group.js'

export let group: StubGroup

/** Registers hooks that make a founded group before each test and close it afterwards. */
export function useGroup(): void {
  beforeEach(() => {
    group = createStubGroup()
    group.found()
  })

  afterEach(closeGroup)
}

function closeGroup(): void {
  expect(group.fatal).toEqual([])
  group.server.close()
  group.sessionServer.close()
  expect(group.clock.pending).toBe(0)
}

/** Puts a group with other limits in the place of the test's group. */
export function limitGroup(limits: Partial<ServerLimits>): void {
  closeGroup()
  group = createStubGroup(limits)
  group.found()
}
