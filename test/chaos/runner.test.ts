/** What a program has done, as reports tell it. */
import { createRandomSource } from '@quire/testing'
import { expect, it } from 'vitest'
import { Runner } from './src/client/runner.js'

it('a report has the calls of each step and the time of the last one, and a step that does nothing counts for nothing', async () => {
  const steps = [2, 1, 0]
  let end = (): void => {}
  const ended = new Promise<void>((resolve) => (end = resolve))
  let nothingAt = 0
  const program = {
    step: async (): Promise<number> => {
      const calls = steps.shift()
      if (calls === undefined) {
        end()
        // The step that is under way when the report is made.
        await new Promise((resolve) => setImmediate(resolve))
      }
      if (calls === 0) nothingAt = Number(process.hrtime.bigint())
      return calls ?? 0
    },
    forget: () => {},
    settle: () => Promise.resolve()
  }
  const problems: unknown[] = []
  const notice = (problem: unknown): void => void problems.push(problem)
  const beginNs = Number(process.hrtime.bigint())
  const random = createRandomSource(1)
  const runner = new Runner({ pauseMs: 1, program, random, maxStepMs: 1_000, rejected: notice, wrong: notice })
  await ended
  const { latencies, endNs } = runner.take()
  expect(latencies).toHaveLength(3)
  expect(endNs).toBeGreaterThan(beginNs)
  expect(endNs).toBeLessThan(nothingAt)
  expect(runner.take()).toEqual({ latencies: [] })
  await runner.stop()
  expect(problems).toEqual([])
})
