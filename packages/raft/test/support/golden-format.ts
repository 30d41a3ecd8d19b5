/** The format in which golden scripts show what nodes say and store. `5/2` is the entry at index 5, of term 2. */
import { decode, raftConfiguration, type RaftMessage } from '@quire/protocol'
import { toString } from 'uint8arrays/to-string'
import type { Configuration, Entry, HardState, SnapshotMeta, StorageWrite } from '../../src/core/index.js'

export function formatMessage(message: RaftMessage): string {
  return `${message.type} t${message.term}${formatFields(message)}`
}

function formatFields(message: RaftMessage): string {
  switch (message.type) {
    case 'requestVote':
      return ` last=${message.lastIndex}/${message.lastTerm}${message.transfer ? ' transfer' : ''}`
    case 'requestPreVote':
      return ` last=${message.lastIndex}/${message.lastTerm}`
    case 'voteReply':
    case 'preVoteReply':
      return message.granted ? ' granted' : ' refused'
    case 'append':
      return ` prev=${message.prevIndex}/${message.prevTerm} commit=${message.commit} ${formatEntries(message.entries)}`
    case 'appendReply':
      if (!message.rejected) return ` ok ${message.index}`
      return ` rejected ${message.index} hint=${message.hintIndex}/${message.hintTerm}`
    case 'heartbeat':
      return ` commit=${message.commit} round=${message.round}`
    case 'heartbeatReply':
      return ` round=${message.round}${message.room === 'enough' ? '' : ` room=${message.room}`}`
    case 'snapshot': {
      const { snapshot, offset, data, done } = message
      return ` ${formatSnapshot(snapshot)} at ${offset} "${toString(data)}"${done ? ' done' : ''}`
    }
    case 'snapshotReply':
      return ` ${message.index} ${message.refused ? 'refused' : `wants ${message.offset}`}`
    case 'timeoutNow':
      return ''
  }
}

export function formatEntries(entries: readonly Entry[]): string {
  return `[${entries.map(formatEntry).join(', ')}]`
}

export function formatEntry(entry: Entry): string {
  return `${entry.index}/${entry.term} ${contentOf(entry)}`
}

function contentOf({ kind, data }: Entry): string {
  if (kind === 'noop') return 'noop'
  return kind === 'config' ? formatConfiguration(decode(raftConfiguration, data)) : toString(data)
}

export function formatConfiguration({ voters, outgoing, learners, learnersNext }: Configuration): string {
  const parts = [voters.join(' ') || 'nobody']
  if (outgoing.length > 0) parts.push(`outgoing ${outgoing.join(' ')}`)
  if (learners.length > 0) parts.push(`learners ${learners.join(' ')}`)
  if (learnersNext.length > 0) parts.push(`next learners ${learnersNext.join(' ')}`)
  return `(${parts.join(', ')})`
}

export function formatSnapshot({ index, term }: SnapshotMeta): string {
  return `${index}/${term}`
}

export function formatWrite({ hardState, reset, entries }: StorageWrite): string {
  const parts: string[] = []
  if (hardState !== undefined) parts.push(formatHardState(hardState))
  if (reset !== undefined) parts.push(`reset ${formatSnapshot(reset)}`)
  if (entries.length > 0) parts.push(formatEntries(entries))
  return parts.join(' ')
}

function formatHardState({ term, vote, commit }: HardState): string {
  return `t${term} vote=${vote ?? '-'} commit=${commit}`
}
