/**
 * Detects that no file descriptor is left for a connection. The system then closes each new connection before this
 * process sees it, so no other part of the peer can notice.
 */
import { closeSync, openSync } from 'node:fs'
import type { Clock } from '@quire/protocol'

const CHECK_MS = 2_000
/** This many checks in a row must fail. One moment without a descriptor is no reason to hand leadership over. */
const LACKS_BEFORE = 2

export interface DescriptorWatchInit {
  readonly clock: Pick<Clock, 'schedule'>
  /** The system's error code if no file can be opened now. */
  readonly lack: () => string | undefined
  /** Called at each change: with the code if no connection can be accepted, with undefined if they can be again. */
  readonly onChange: (code: string | undefined) => void
}

/** Checks every two seconds until it is stopped. */
export function watchDescriptors({ clock, lack, onChange }: DescriptorWatchInit): { stop(): void } {
  let lacks = 0
  let cancel = (): void => {}
  const check = (): void => {
    const code = lack()
    const before = lacks
    lacks = code === undefined ? 0 : Math.min(lacks + 1, LACKS_BEFORE)
    cancel = clock.schedule(CHECK_MS, check)
    if (lacks === LACKS_BEFORE && before < LACKS_BEFORE) onChange(code)
    if (lacks === 0 && before === LACKS_BEFORE) onChange(undefined)
  }
  cancel = clock.schedule(CHECK_MS, check)
  return { stop: () => cancel() }
}

/** EMFILE or ENFILE if this process can open no file now; otherwise undefined. */
export function lackOfDescriptors(): string | undefined {
  try {
    closeSync(openSync('/dev/null', 'r'))
    return undefined
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    return code === 'EMFILE' || code === 'ENFILE' ? code : undefined
  }
}
