import { loadNative } from '../../src/sandbox/binding.ts'
import { test } from './rig.ts'

test('says how each limit is enforced', (t) => {
  const report = loadNative().inspectHost()
  t.deepEqual(Object.keys(report), ['cgroup', 'limits', 'problems'])
  t.true(['none', 'cgroup1', 'cgroup2'].includes(report.cgroup))
  const { cgroup } = report
  t.deepEqual(report.limits, {
    cpu: cgroup === 'none' ? 'rlimit' : cgroup,
    wall: 'timer',
    memory: cgroup,
    pids: cgroup,
    fsize: 'rlimit',
    nofile: 'rlimit',
    output: 'engine',
    disk: 'tmpfs',
  })
  for (const problem of report.problems) t.is(typeof problem, 'string')
})
