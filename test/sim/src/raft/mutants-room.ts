/** Mutants of full disks: what a full node guarantees, and which node leads (docs/raft.md, Room). */
import type { Mutant } from '../mutants/mutant.js'

export const ROOM: readonly Mutant[] = [
  {
    name: 'entries that were given back are acknowledged',
    rule: '§5.3, Room',
    file: 'core/ready-queue.js',
    find: 'if (!this.takesEntries)\n            this.capAcknowledgements();',
    replace: ''
  },
  {
    name: 'acknowledgements wait for a write that was given back',
    rule: '§5.3, Room',
    file: 'node.js',
    find: "({ message }) => message.type !== 'appendReply' || message.rejected || message.index <= stored",
    replace: '() => true'
  },
  {
    name: 'entries that were given back are not handed in again',
    rule: 'Room',
    file: 'core/log-view.js',
    find: 'this.unwritten = this.durable + 1;\n        return advanced;',
    replace: 'return advanced;'
  },
  {
    name: 'a hard state is not kept when the disk is full',
    rule: 'Figure 2, Room',
    file: 'log/segmented-log.js',
    find: 'await this.reserve.write(now);',
    replace: ''
  },
  {
    name: 'the reserve is not read',
    rule: 'Figure 2, Room',
    file: 'log/segmented-log.js',
    find: 'hardState: newerState(logged, file.found)',
    replace: 'hardState: logged'
  },
  {
    name: 'a segment starts from what only the reserve has',
    rule: 'The log on disk',
    file: 'log/segmented-log.js',
    find: 'const { index, loggedState: hardState } = this;',
    replace: 'const { index, durableState: hardState } = this;'
  },
  {
    name: 'a full leader stays',
    rule: 'Room',
    file: 'core/leadership.js',
    find: "if (state.role === 'leader')\n            checkRoom(state);",
    replace: ''
  },
  {
    name: 'leadership goes to one without room',
    rule: 'Room',
    file: 'core/room.js',
    find: 'rank(other) > own && match(other) >= commit',
    replace: 'match(other) >= commit'
  },
  {
    name: 'room that is back is not told',
    rule: 'Room',
    file: 'core/core.js',
    find: 'this.state.isFull = false;',
    replace: ''
  }
]
