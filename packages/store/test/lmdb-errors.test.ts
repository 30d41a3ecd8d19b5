/** Errors that lmdb prints. */
import { describe, expect, it, vi } from 'vitest'
import { silenceCommits } from '../src/pages/lmdb-errors.js'

describe('silenceCommits', () => {
  it('silenceCommits keeps lmdb from printing the error of a failed commit, and prints other errors', () => {
    const printed: unknown[] = []
    const print = vi.spyOn(console, 'error').mockImplementation((...what: unknown[]) => printed.push(...what))
    try {
      const env = {
        startWriting: (address: number, done: (status: number) => unknown) => done(address)
      }
      silenceCommits({ env })
      // Like lmdb, which prints the error and then rejects with it.
      const rejected: number[] = []
      env.startWriting(28, (status) => {
        console.error(new Error('No space left on device'))
        rejected.push(status)
      })
      expect({ printed, rejected }).toEqual({ printed: [], rejected: [28] })
      console.error('heard')
      expect(printed).toEqual(['heard'])
    } finally {
      print.mockRestore()
    }
  })
})
