/** Tells a leader when to propose the next comparison. Pure: the caller gives the times. */
export class CompareSchedule {
  private dueMs: number

  /** `intervalMs` is the time between two comparisons, and from `nowMs` to the first one. */
  constructor(
    private readonly intervalMs: number,
    nowMs: number
  ) {
    this.dueMs = nowMs + intervalMs
  }

  isDue(nowMs: number): boolean {
    return nowMs >= this.dueMs
  }

  /** A compare entry was applied, or proposed by this peer. An entry that is lost is made up for after the interval. */
  compared(nowMs: number): void {
    this.dueMs = nowMs + this.intervalMs
  }
}
