/** Loaded into every process that a profiled benchmark starts. Writes the CPU profile of its process when that ends. */
import { writeFileSync } from 'node:fs'
import { Session, type Profiler } from 'node:inspector'
import { basename, join } from 'node:path'

const INTERVAL_US = 500

const folder = process.env['QUIRE_BENCH_PROFILES']
if (folder !== undefined) begin(folder)

function begin(into: string): void {
  const session = new Session()
  session.connect()
  session.post('Profiler.enable')
  session.post('Profiler.setSamplingInterval', { interval: INTERVAL_US })
  session.post('Profiler.start')
  const [, script = '', command = ''] = process.argv
  const name = script.endsWith('quire.js') ? command : basename(script, '.js')
  let isWritten = false
  const write = (): void => {
    if (isWritten) return
    isWritten = true
    // The answer comes before `post` returns.
    session.post('Profiler.stop', (_error: Error | null, { profile }: Profiler.StopReturnType) => {
      writeFileSync(join(into, `${name}-${process.pid}.cpuprofile`), JSON.stringify(profile))
    })
  }
  process.on('exit', write)
  process.on('SIGTERM', () => {
    write()
    if (process.listenerCount('SIGTERM') === 1) process.exit(143)
  })
}
