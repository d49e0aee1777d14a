import test from 'ava'
import fc from 'fast-check'
import { Deadlines } from '../../src/worker/deadlines.ts'

const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** The machine may be busy: what must come is waited for, what must not come has a moment to. */
async function arrivals(due: unknown[], count: number): Promise<void> {
  for (const start = Date.now(); due.length < count && Date.now() - start < 10_000; ) await wait(5)
  await wait(20)
}

function collect() {
  const due: string[] = []
  const deadlines = new Deadlines({ now: Date.now, onDue: (key) => due.push(key) })
  return { due, deadlines }
}

test('deadlines come in order of time, each once', async (t) => {
  const { due, deadlines } = collect()
  const now = Date.now()
  deadlines.set('c', now + 60)
  deadlines.set('a', now + 20)
  deadlines.set('b', now + 40)
  await arrivals(due, 3)
  t.deepEqual(due, ['a', 'b', 'c'])
  t.is(deadlines.size, 0)
  deadlines.close()
})

test('one that is moved comes at its last time only, and one that is taken back never', async (t) => {
  const { due, deadlines } = collect()
  const now = Date.now()
  deadlines.set('later', now + 20)
  deadlines.set('later', now + 90)
  deadlines.set('sooner', now + 10_000)
  deadlines.set('sooner', now + 20)
  deadlines.set('never', now + 20)
  deadlines.set('never', null)
  await arrivals(due, 2)
  t.deepEqual(due, ['sooner', 'later'])
  t.true(Date.now() >= now + 90)
  deadlines.close()
})

test('one in the past comes at once, one in the far future does not', async (t) => {
  const { due, deadlines } = collect()
  deadlines.set('past', Date.now() - 1_000)
  deadlines.set('far', Date.now() + 2 ** 40)
  await arrivals(due, 1)
  t.deepEqual(due, ['past'])
  t.is(deadlines.size, 1)
  deadlines.close()
})

test('one may be set while others are told', async (t) => {
  const due: string[] = []
  const deadlines: Deadlines = new Deadlines({
    now: Date.now,
    onDue(key) {
      due.push(key)
      if (key === 'first') deadlines.set('second', Date.now())
    },
  })
  deadlines.set('first', Date.now())
  await arrivals(due, 2)
  t.deepEqual(due, ['first', 'second'])
  deadlines.close()
})

test('any number of sets leaves exactly the last wish of each key', async (t) => {
  const set = fc.record({
    key: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f'),
    at: fc.option(fc.nat(40), { nil: null }),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(set, { maxLength: 40 }), async (sets) => {
      const start = Date.now()
      const due: { key: string; at: number }[] = []
      const deadlines = new Deadlines({
        now: Date.now,
        onDue: (key) => due.push({ key, at: Date.now() - start }),
      })
      const wanted = new Map<string, number>()
      for (const { key, at } of sets) {
        deadlines.set(key, at === null ? null : start + at)
        if (at === null) wanted.delete(key)
        else wanted.set(key, at)
      }
      await arrivals(due, wanted.size)
      deadlines.close()
      t.deepEqual(due.map(({ key }) => key).sort(), [...wanted.keys()].sort())
      for (const { key, at } of due) t.true(at >= (wanted.get(key) ?? Number.POSITIVE_INFINITY))
    }),
    { numRuns: 25 },
  )
})
