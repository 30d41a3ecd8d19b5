/** Creates a file without a path, writes to it, and names it or gives it up. */
import type { ActingProgram, Handle } from './action-base.js'
import type { Action } from './action-kinds.js'
import { act } from './actions.js'

/** Actions on a file that no other program has. */
const BEFORE: readonly Action[] = [
  ...(['write', 'write', 'writeAcross', 'writeFile', 'extend', 'pin', 'tryWrite', 'read'] as const),
  ...(['punch', 'truncate', 'sync', 'evictRange', 'writePrivately'] as const)
]
const AFTER: readonly Action[] = ['write', 'read', 'readPage', 'sync']

export async function makeFile(program: ActingProgram): Promise<void> {
  const { random, coverage } = program.init
  const path = random.pick(program.paths)
  const handle = await program.create(path.startsWith('/whole'))
  try {
    for (let i = random.int(0, 4); i > 0; i--) await act(random.pick(BEFORE), program, handle)
    if (random.is(0.3)) await program.sleep(random.exponential(100))
    if (random.is(0.8)) {
      await name(program, handle, path)
      for (let i = random.int(0, 2); i > 0; i--) await act(random.pick(AFTER), program, handle)
    } else coverage.add('unnamed files that were given up')
  } catch (error) {
    // A file that cannot be closed now is closed in the end.
    await program.close(handle, {}).catch(() => {})
    throw error
  }
  await program.close(handle, {})
}

async function name(program: ActingProgram, handle: Handle, path: string): Promise<void> {
  const { client, unnamed } = program.init
  let isDone = false
  unnamed.asking(client, handle.id)
  try {
    await handle.file.link(path, program.options())
    isDone = true
  } finally {
    unnamed.answered(handle.id, isDone)
  }
}
