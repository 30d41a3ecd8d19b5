// A vitest reporter. It sends the counts of a finished run to the process that has started vitest (scripts/run.mjs).
export default class CountReporter {
  onTestRunEnd(testModules, unhandledErrors) {
    const counts = { passed: 0, failed: unhandledErrors.length, skipped: 0 }
    for (const testModule of testModules) {
      // A file that does not load, or a hook that throws, counts as a failure although no test has failed.
      const broken = [testModule, ...testModule.children.allSuites()].filter((part) => part.errors().length > 0)
      counts.failed += broken.length
      for (const test of testModule.children.allTests()) {
        const { state } = test.result()
        counts[state === 'passed' || state === 'failed' ? state : 'skipped']++
      }
    }
    process.send?.({ quireCounts: counts })
  }
}
