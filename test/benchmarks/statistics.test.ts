import test from 'ava'
import { percentiles } from '../../benchmarks/statistics.ts'

test('percentiles are measured values, by nearest rank', (t) => {
  const hundred = Array.from({ length: 100 }, (_, i) => 100 - i)
  t.deepEqual(percentiles(hundred), { p50: 50, p90: 90, p99: 99 })
  t.deepEqual(percentiles([7]), { p50: 7, p90: 7, p99: 7 })
  t.deepEqual(percentiles([10, 9]), { p50: 9, p90: 10, p99: 10 })
  t.throws(() => percentiles([]), { instanceOf: RangeError })
})
