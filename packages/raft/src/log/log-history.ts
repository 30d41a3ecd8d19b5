import type { Entry } from '../core/types.js'
import { lastWhere } from './last-where.js'
import type { SegmentBase, SegmentSummary, TermStart } from './segment-base.js'

/** What the base of a segment says of the log's terms and configurations. */
type Summarized = Pick<SegmentSummary, 'terms' | 'configurations'>

/**
 * Tracks the terms and the configurations of a log, from the entry before the first one on.
 *
 * They are in memory, because Raft asks for them at any time, and an answer must not depend on the disk.
 */
export class LogHistory {
  /** Where each term begins. The first one may have begun before the log. */
  private terms: TermStart[] = [{ index: 0, term: 0 }]
  /** The configuration in force before the first entry, if there is one, and every later one. */
  private configs: Entry[] = []

  get configurations(): readonly Entry[] {
    return this.configs.slice()
  }

  /** Starts anew, empty, after the base. */
  restart({ prevIndex, prevTerm, configuration }: SegmentBase): void {
    this.terms = [{ index: prevIndex, term: prevTerm }]
    this.configs = configuration === undefined ? [] : [copyOf(configuration)]
  }

  /** Term of an entry of the log, or of the one before it. */
  term(index: number): number {
    return this.terms[lastWhere(this.terms, (start) => start.index <= index)]!.term
  }

  /** The newest configuration at or before `index`. */
  configurationAt(index: number): Entry | undefined {
    return this.configs[lastWhere(this.configs, (config) => config.index <= index)]
  }

  push(entry: Entry): void {
    if (this.terms.at(-1)!.term !== entry.term) this.terms.push({ index: entry.index, term: entry.term })
    if (entry.kind === 'config') this.configs.push(copyOf(entry))
  }

  /** The terms and configurations that begin after `prevIndex`, up to `lastIndex`. */
  between(prevIndex: number, lastIndex: number): Summarized {
    const isBetween = ({ index }: { readonly index: number }): boolean => index > prevIndex && index <= lastIndex
    return { terms: this.terms.filter(isBetween), configurations: this.configs.filter(isBetween) }
  }

  /** Replaces everything after `prevIndex`. */
  replaceAfter(prevIndex: number, { terms, configurations }: Summarized): void {
    this.truncate(prevIndex + 1)
    this.terms.push(...terms)
    this.configs.push(...configurations.map(copyOf))
  }

  /** Forgets everything from `index` on. */
  truncate(index: number): void {
    while (this.terms.at(-1)!.index >= index) this.terms.pop()
    while ((this.configs.at(-1)?.index ?? 0) >= index) this.configs.pop()
  }

  /** Forgets what is not needed to answer for entry `prevIndex` and later ones. */
  dropBefore(prevIndex: number): void {
    const isBefore = ({ index }: { readonly index: number }): boolean => index <= prevIndex
    this.terms.splice(0, lastWhere(this.terms, isBefore))
    this.configs.splice(0, Math.max(0, lastWhere(this.configs, isBefore)))
  }
}

/** Copies the data: a view would keep a whole segment's bytes in memory for as long as the configuration lives. */
export function copyOf(entry: Entry): Entry {
  return { ...entry, data: entry.data.slice() }
}
