import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { HistoryFormatError, parseHistory, type HistoryEvent } from './src/history.js'
import { judge } from './src/judge.js'

const PAGE = 8
let clock = 0

function event(fields: Partial<HistoryEvent> & Pick<HistoryEvent, 'op'>): HistoryEvent {
  const call = clock++
  const length = fields.value === undefined ? 0 : fields.value.length / 2
  const base = {
    client: 'a',
    process: 'a1',
    file: '1',
    offset: 0,
    length,
    status: 'ok' as const,
    call,
    return: clock++
  }
  return { ...base, ...fields }
}

function findings(...history: HistoryEvent[]): string[] {
  return judge(history, { pageSize: PAGE, initialSize: () => 100 }).findings.map(
    ({ page, result }) => `${page} ${result}`
  )
}

describe('pages', () => {
  it('each page is judged by itself, even if an operation spans several pages', () => {
    const whole = event({ op: 'write', offset: 6, value: '11223344' })
    expect(findings(whole, event({ op: 'read', offset: 6, value: '11223344' }))).toEqual([])
    expect(findings(whole, event({ op: 'read', offset: 6, value: '11223300' }))).toEqual(['1 violation'])
    expect(findings(whole, event({ op: 'read', offset: 6, value: '00223344' }))).toEqual(['0 violation'])
  })

  it('each page of a pin is judged by its bytes before and after the pin', () => {
    const pin = event({ op: 'exchange', offset: 6, length: 4, from: '00000000', to: '11223344' })
    expect(findings(pin, event({ op: 'read', offset: 6, value: '11223344' }))).toEqual([])
    expect(findings(pin, event({ op: 'read', offset: 8, value: '1122' }))).toEqual(['1 violation'])
    const before = event({ op: 'write', offset: 8, value: '55', call: -2, return: -1 })
    expect(findings(before, pin)).toEqual(['1 violation'])
  })

  it('a write that failed may have taken effect, but cannot be undone afterwards', () => {
    const write = event({ op: 'write', value: '11', status: 'info' })
    expect(findings(write, event({ op: 'read', value: '11' }))).toEqual([])
    expect(findings(write, event({ op: 'read', value: '00' }))).toEqual([])
    expect(findings(write, event({ op: 'read', value: '00' }), event({ op: 'read', value: '11' }))).toEqual([
      '0 violation'
    ])
  })

  it('two files with the same page numbers are judged separately', () => {
    expect(findings(event({ op: 'write', value: '11' }), event({ op: 'read', file: '2', value: '00' }))).toEqual([])
  })

  it('bytes read as zeros after a truncation and in a hole', () => {
    const written = event({ op: 'write', offset: 4, value: '1122334455667788' })
    const cut = event({ op: 'truncate', offset: 6 })
    const grown = event({ op: 'truncate', offset: 100 })
    expect(findings(written, cut, grown, event({ op: 'read', offset: 4, value: '1122000000000000' }))).toEqual([])
    expect(findings(written, cut, grown, event({ op: 'read', offset: 4, value: '1122330000000000' }))).toEqual([
      '0 violation'
    ])
    expect(findings(written, cut, grown, event({ op: 'read', offset: 8, value: '55' }))).toEqual(['1 violation'])
    const hole = event({ op: 'punch', offset: 5, length: 4 })
    expect(findings(written, hole, event({ op: 'read', offset: 4, value: '1100000000667788' }))).toEqual([])
    expect(findings(written, hole, event({ op: 'read', offset: 4, value: '1122000000667788' }))).toEqual([
      '0 violation'
    ])
  })

  it('operations that certainly did not happen, and failed reads, change no verdict', () => {
    const history = [
      event({ op: 'write', value: '11', status: 'fail' }),
      event({ op: 'read', value: '77', status: 'info' }),
      event({ op: 'read', value: '00' })
    ]
    expect(findings(...history)).toEqual([])
  })

  it('an atomic operation changes a page as its answer says', () => {
    const before = event({ op: 'write', value: 'ff000000' })
    const add = event({ op: 'add', length: 4, value: '01000000', from: 'ff000000', to: '00010000' })
    expect(findings(before, add, event({ op: 'read', value: '00010000' }))).toEqual([])
    const set = event({ op: 'write', value: '01000000' })
    const cas = event({ op: 'cas', length: 4, value: '05000000', from: '01000000', to: '05000000', ok: false })
    expect(findings(set, cas, event({ op: 'read', value: '01000000' }))).toEqual([])
  })

  it('an atomic operation without an answer may have changed a page once', () => {
    const add = event({ op: 'add', length: 4, value: '01000000', status: 'info' })
    expect(findings(add, event({ op: 'read', value: '01000000' }))).toEqual([])
    expect(findings(add, event({ op: 'read', value: '00000000' }))).toEqual([])
    expect(findings(add, event({ op: 'read', value: '02000000' }))).toEqual(['0 violation'])
  })
})

type Step = 'read' | 'write' | 'flush' | 'read of another' | 'write of another'

/** A session that is lost in the end and another one take steps in turn. Lists the reads whose result is known. */
function played(steps: readonly Step[]): { readonly history: HistoryEvent[]; readonly counting: HistoryEvent[] } {
  const another = { client: 'b', process: 'b1' } as const
  const history: HistoryEvent[] = []
  const counting: HistoryEvent[] = []
  let durable = '00'
  /** What the session has written and not made durable, and its reads since. */
  let dirty: string | undefined
  let reads: HistoryEvent[] = []
  const add = (fields: Parameters<typeof event>[0]): HistoryEvent => {
    const made = event(fields)
    history.push(made)
    return made
  }
  const flush = (): void => {
    if (dirty === undefined) return
    add({ op: 'writeback', length: PAGE })
    counting.push(...reads)
    durable = dirty
    dirty = undefined
    reads = []
  }
  for (const [i, step] of steps.entries()) {
    const value = (i + 1).toString(16).padStart(2, '0')
    if (step === 'read') {
      const read = add({ op: 'read', value: dirty ?? durable })
      if (dirty === undefined) counting.push(read)
      else reads.push(read)
    } else if (step === 'write') {
      add({ op: 'write', value })
      dirty = value
    } else {
      // Others get the page only when its bytes are durable.
      flush()
      if (step === 'read of another') counting.push(add({ op: 'read', ...another, value: durable }))
      if (step === 'write of another') add({ op: 'write', ...another, value: (durable = value) })
    }
  }
  add({ op: 'lost', length: PAGE })
  return { history, counting }
}

describe('a lost session', () => {
  const lost = (): HistoryEvent => event({ op: 'lost', length: PAGE })
  const writeback = (status: 'ok' | 'info' = 'ok'): HistoryEvent => event({ op: 'writeback', length: PAGE, status })
  const other = (value: string): HistoryEvent => event({ op: 'read', client: 'b', process: 'b1', value })

  it('a lost session undoes its writes that were not durable, even those that it has read back', () => {
    const history = [event({ op: 'write', value: '11' }), event({ op: 'read', value: '11' }), lost(), other('00')]
    expect(findings(...history)).toEqual([])
  })

  it('a lost session undoes no durable write', () => {
    expect(findings(event({ op: 'write', value: '11' }), writeback(), lost(), other('00'))).toEqual(['0 violation'])
    expect(findings(event({ op: 'write', value: '11' }), writeback(), lost(), other('11'))).toEqual([])
  })

  it('a lost session may have made the bytes durable that it had sent', () => {
    const history = [event({ op: 'write', value: '11' }), writeback('info'), lost()]
    expect(findings(...history, other('11'))).toEqual([])
    expect(findings(...history, other('00'))).toEqual([])
    expect(findings(...history, other('22'))).toEqual(['0 violation'])
  })

  it('a lost session undoes only writes after its last durable version', () => {
    const history = [event({ op: 'write', value: '11' }), writeback(), event({ op: 'write', value: '22' }), lost()]
    expect(findings(...history, other('11'))).toEqual([])
    expect(findings(...history, other('22'))).toEqual(['0 violation'])
  })

  it('a lost session undoes nothing on other pages or of other sessions', () => {
    const there = event({ op: 'write', offset: PAGE, value: '11' })
    expect(findings(there, lost(), event({ op: 'read', process: 'b1', offset: PAGE, value: '00' }))).toEqual([
      '1 violation'
    ])
    const mine = event({ op: 'write', process: 'b1', value: '11' })
    expect(findings(mine, lost(), other('00'))).toEqual(['0 violation'])
  })

  it('a lost session can have made durable only writes from before the bytes left, and they then stay visible', () => {
    const history = [
      event({ op: 'write', value: '11' }),
      writeback('info'),
      event({ op: 'write', value: '22' }),
      lost()
    ]
    expect(findings(...history, other('22'))).toEqual(['0 violation'])
    expect(findings(...history, other('00'), other('11'))).toEqual(['0 violation'])
  })

  it('a lost session undoes nothing that it had flushed', () => {
    const after = (sync: Partial<HistoryEvent>): string[] =>
      findings(event({ op: 'write', value: '11' }), event({ op: 'sync', ...sync }), lost(), other('00'))
    expect(after({})).toEqual(['0 violation'])
    expect(after({ length: PAGE })).toEqual(['0 violation'])
    expect(after({ offset: PAGE, length: PAGE })).toEqual([])
    expect(after({ status: 'fail' })).toEqual([])
  })

  it('a lost session may have made the writes under a pin durable, if no other session came between', () => {
    const pin = event({ op: 'exchange', length: 1, from: '00', to: '11' })
    const under = event({ op: 'writeback', length: PAGE, status: 'info', call: pin.call })
    const history = [pin, under, lost()]
    expect(findings(...history, other('11'))).toEqual([])
    expect(findings(...history, other('00'))).toEqual([])
    const between = event({ op: 'write', client: 'b', process: 'b1', value: '22', call: -2, return: -1 })
    expect(findings(between, ...history, other('11'))).toEqual(['0 violation'])
  })

  it('before the first write that it lost, a lost session read only what all sessions could read', () => {
    const read = (value: string): HistoryEvent => event({ op: 'read', value })
    const [seen, unseen] = ['11', '22'].map((value) => [
      event({ op: 'write', client: 'b', process: 'b1', value: '11' }),
      read(value),
      event({ op: 'write', value: '33' }),
      lost()
    ]) as [HistoryEvent[], HistoryEvent[]]
    expect(findings(...seen)).toEqual([])
    expect(findings(...unseen)).toEqual(['0 violation'])
    // Also after a version that is durable, and where it wrote nothing at all.
    expect(findings(event({ op: 'write', value: '11' }), writeback(), read('22'), lost())).toEqual(['0 violation'])
    expect(findings(read('22'), lost())).toEqual(['0 violation'])
  })

  it('from the call of its first lost write on, a lost session may have read anything, even if that write failed', () => {
    const during = (status: 'ok' | 'info'): HistoryEvent[] => {
      const write = event({ op: 'write', value: '33', status })
      return [write, event({ op: 'read', value: '33', call: write.call, return: write.return }), lost()]
    }
    expect(findings(...during('ok'), other('00'))).toEqual([])
    expect(findings(...during('info'), other('00'))).toEqual([])
    const refused = event({ op: 'write', value: '33', status: 'fail' })
    expect(findings(refused, event({ op: 'read', value: '33' }), lost())).toEqual(['0 violation'])
  })

  it('in every order of reads, writes and writebacks, a lost session is judged by what others could see', () => {
    const step = fc.constantFrom('read', 'write', 'flush', 'read of another', 'write of another')
    fc.assert(
      fc.property(fc.array(step, { maxLength: 12 }), fc.nat(), (steps, pick) => {
        const { history, counting } = played(steps)
        expect(findings(...history)).toEqual([])
        if (counting.length === 0) return
        // No operation has written this.
        const wrong = counting[pick % counting.length]
        expect(findings(...history.map((each) => (each === wrong ? { ...each, value: 'ff' } : each)))).toEqual([
          '0 violation'
        ])
      })
    )
  })

  it('a lost session must not have read back bytes of its own if another session has seen different ones', () => {
    // Its early reads count once the bytes that they saw are durable.
    const history = [event({ op: 'write', value: '11' }), event({ op: 'read', value: '22' }), writeback(), lost()]
    expect(findings(...history)).toEqual(['0 violation'])
  })
})

describe('sizes', () => {
  const size = (offset: number): HistoryEvent => event({ op: 'size', offset })

  it('zeros written up to the end do not change the size', () => {
    expect(findings(event({ op: 'write', offset: 98, length: 4, value: '0000' }), size(100))).toEqual([])
  })

  it('a file is not larger than the offset at which a read found nothing', () => {
    expect(findings(size(100), event({ op: 'read', offset: 100, length: 4, value: '' }))).toEqual([])
    expect(findings(size(100), event({ op: 'read', offset: 99, length: 4, value: '' }))).toEqual([
      'undefined violation'
    ])
  })

  it('a file grows again by a write that a truncation overtook', () => {
    const write = { op: 'write', offset: 100, value: '11' } as const
    const sizes = [
      event({ op: 'size', offset: 101, call: 1000, return: 1001 }),
      event({ op: 'truncate', offset: 50, call: 1002, return: 1003 }),
      event({ op: 'size', offset: 50, call: 1004, return: 1005 }),
      event({ op: 'size', offset: 101, call: 1006, return: 1007 })
    ]
    expect(findings(event({ ...write, call: 999, return: 1010 }), ...sizes)).toEqual([])
    expect(findings(event({ ...write, call: 999, return: 1000 }), ...sizes)).toEqual(['undefined violation'])
  })

  it('the size follows truncations and writes beyond the end', () => {
    const before = size(100)
    const grown = event({ op: 'write', offset: 100, value: '11' })
    expect(findings(before, grown, size(101))).toEqual([])
    expect(findings(before, grown, size(100))).toEqual(['undefined violation'])
    expect(findings(event({ op: 'truncate', offset: 7 }), size(7))).toEqual([])
    expect(findings(event({ op: 'truncate', offset: 7 }), size(100))).toEqual(['undefined violation'])
  })

  it('a read returns as many bytes as the size of the file allows', () => {
    const cut = event({ op: 'truncate', offset: 3 })
    expect(findings(cut, event({ op: 'read', offset: 0, length: 8, value: '000000' }))).toEqual([])
    expect(findings(cut, event({ op: 'read', offset: 0, length: 8, value: '0000' }))).toEqual(['undefined violation'])
    expect(findings(cut, event({ op: 'read', offset: 0, value: '00000000' }))).toEqual(['undefined violation'])
  })
})

describe('undecided histories', () => {
  it('a history that cannot be decided within the limit of steps is reported as a finding', () => {
    const history = Array.from({ length: 12 }, (_, i) => `0${i.toString(16)}`).flatMap((value) => [
      event({ op: 'write', value, call: 0, return: 100 }),
      event({ op: 'read', value, call: 0, return: 100 })
    ])
    history.push(event({ op: 'read', value: 'ff', call: 101, return: 102 }))
    const { findings: found } = judge(history, { pageSize: PAGE, maxSteps: 100 })
    expect(found).toContainEqual(expect.objectContaining({ page: 0, result: 'undecided' }))
  })
})

describe('the file format', () => {
  it('a history file has one event per line', () => {
    const history = [event({ op: 'write', value: '11' }), event({ op: 'sync' })]
    expect(parseHistory(history.map((each) => `${JSON.stringify(each)}\n`).join('\n'))).toEqual(history)
  })

  it.each([
    ['{', 'line 2: '],
    ['7', 'line 2: not an object'],
    [JSON.stringify({ ...event({ op: 'read' }), op: 'jump' }), 'line 2: op is "jump"'],
    [JSON.stringify({ ...event({ op: 'read' }), offset: -1 }), 'line 2: offset is -1'],
    [JSON.stringify({ ...event({ op: 'read' }), value: 'xyz' }), 'line 2: value is "xyz"']
  ])('a history file with the line %s is refused, and the error names the line', (line, message) => {
    expect(() => parseHistory(`\n${line}`)).toThrow(HistoryFormatError)
    expect(() => parseHistory(`\n${line}`)).toThrow(message)
  })
})
