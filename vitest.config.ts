import { defineConfig } from 'vitest/config'

const long = process.env.QUIRE_LONG === '1'
const exclude = ['**/node_modules/**', '**/dist/**', 'test/lint/fixtures/**']
if (!long) exclude.push('**/*.long.test.ts')
const e2eTimeouts = { testTimeout: long ? 600_000 : 60_000, hookTimeout: 60_000 }
/** Real processes that wait most of the time: for a slow line, a far peer, or one that is stopped. */
const waiting = ['far', 'far-peers', 'patient', 'thin'].map((name) => `test/e2e/${name}.test.ts`)

export default defineConfig({
  test: {
    // Built packages are loaded by Node itself, as a user's program loads them; only ../src imports are transpiled.
    server: { deps: { external: [/\/packages\/[^/]+\/dist\//] } },
    testTimeout: long ? 600_000 : 10_000,
    hookTimeout: long ? 60_000 : 20_000,
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['packages/*/test/**/*.test.ts', 'test/**/*.test.ts'],
          exclude: [...exclude, 'test/e2e/**'],
          maxWorkers: '100%',
          sequence: { groupOrder: 0 }
        }
      },
      {
        // Real processes and sockets: one file at a time, after the others, so that timing is the test's own.
        extends: true,
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          exclude: [...exclude, ...waiting],
          fileParallelism: false,
          maxWorkers: 1,
          ...e2eTimeouts,
          sequence: { groupOrder: 1 }
        }
      },
      {
        // These leave the processor idle for each other.
        extends: true,
        test: {
          name: 'e2e-waiting',
          include: waiting,
          exclude,
          maxWorkers: waiting.length,
          ...e2eTimeouts,
          sequence: { groupOrder: 2 }
        }
      }
    ]
  }
})
