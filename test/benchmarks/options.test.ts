import test from 'ava'
import { parseOptions } from '../../benchmarks/options.ts'

test('options and their defaults', (t) => {
  t.deepEqual(parseOptions([], ['a', 'b']), { rows: [], samples: 300, sessions: 1_000, json: false })
  t.deepEqual(parseOptions(['--rows', 'a,b', '--samples', '5', '--sessions', '9', '--json'], ['a', 'b']), {
    rows: ['a', 'b'],
    samples: 5,
    sessions: 9,
    json: true,
  })
})

test('a wrong option is named', (t) => {
  t.throws(() => parseOptions(['--rows', 'c'], ['a', 'b']), { message: '--rows: no row c; there are a, b' })
  t.throws(() => parseOptions(['--samples', '0'], []), {
    message: /^--samples: expected a positive integer, got 0/,
  })
  t.throws(() => parseOptions(['--sampels', '5'], []), { message: /--sampels/ })
})
