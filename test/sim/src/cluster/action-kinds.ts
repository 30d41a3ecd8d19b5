/** The actions of programs, and how often a program takes each, relative to the others. */
export const ACTION_WEIGHTS = {
  write: 5,
  writeAcross: 0.7,
  writeFile: 1,
  writeZeros: 0.3,
  extend: 0.5,
  read: 5,
  readAcross: 1,
  readPage: 0.3,
  readEnd: 0.5,
  scan: 0.2,
  advise: 0.3,
  pin: 3,
  pinAcross: 0.7,
  pinTwo: 0.1,
  pinToRead: 0.7,
  tryRead: 1,
  tryWrite: 1,
  burst: 0.5,
  sync: 0.7,
  msync: 0.5,
  truncate: 0.5,
  punch: 0.4,
  sizes: 0.4,
  reopen: 0.3,
  unlink: 0.12,
  rename: 0.12,
  openAnew: 0.12,
  list: 0.2,
  unmapRange: 0.4,
  writeRange: 0.3,
  evictRange: 0.4,
  writePrivately: 0.8,
  readPrivately: 1.2,
  tryWritePrivately: 0.3,
  pinPrivately: 0.3,
  unmapPrivately: 0.1
} as const

/** Only in mixes that name them. */
const MIXED_IN = ['readEach', 'writeEach', 'rewrite', 'extendAcross'] as const

export type Action = keyof typeof ACTION_WEIGHTS | (typeof MIXED_IN)[number]
export const ACTIONS: readonly Action[] = [
  ...(Object.keys(ACTION_WEIGHTS) as (keyof typeof ACTION_WEIGHTS)[]),
  ...MIXED_IN
]
