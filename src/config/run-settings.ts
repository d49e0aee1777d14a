/** Settings of one command that is run without a service: the limits of the contract, in its units. */
import {
  CPU_TIME_MS,
  FILE_SIZE_KB,
  MEMORY_KB,
  OPEN_FILES,
  OUTPUT_BYTES,
  PROCESSES,
  WALL_TIME_MS,
} from '../../proto/limits.ts'
import { choice, list, text } from './setting.ts'

export const RUN_SETTINGS = {
  time: {
    kind: 'integer',
    flag: 'time',
    ...CPU_TIME_MS,
    description: 'CPU time of all its processes together (ms)',
    commands: ['run'],
  },
  wall: {
    kind: 'integer',
    flag: 'wall',
    default: null,
    defaultText: `twice --time, at least ${WALL_TIME_MS.defaultMin}`,
    min: WALL_TIME_MS.min,
    max: WALL_TIME_MS.max,
    description: 'Wall time (ms)',
    commands: ['run'],
  },
  mem: {
    kind: 'integer',
    flag: 'mem',
    ...MEMORY_KB,
    description: 'Memory of all its processes together (KB)',
    commands: ['run'],
  },
  fsize: {
    kind: 'integer',
    flag: 'fsize',
    ...FILE_SIZE_KB,
    description: 'Largest file that it may write (KB)',
    commands: ['run'],
  },
  nofile: {
    kind: 'integer',
    flag: 'nofile',
    ...OPEN_FILES,
    description: 'Open files of one process',
    commands: ['run'],
  },
  pids: {
    kind: 'integer',
    flag: 'pids',
    ...PROCESSES,
    description: 'Processes and threads at a time',
    commands: ['run'],
  },
  outputLimit: {
    kind: 'integer',
    flag: 'output-limit',
    ...OUTPUT_BYTES,
    description: 'Kept bytes of each output stream',
    commands: ['run'],
  },
  cwd: text({
    flag: 'cwd',
    default: '/',
    placeholder: 'DIR',
    check: (value) => (value.startsWith('/') ? undefined : 'is not an absolute path'),
    description: 'Working directory inside the sandbox',
    commands: ['run'],
  }),
  env: list({
    flag: 'env',
    placeholder: 'NAME=VALUE',
    check: (value) => (/^[^=]+=/.test(value) ? undefined : 'is not NAME=VALUE'),
    description: 'Environment variable of the command; repeatable',
    commands: ['run'],
  }),
  network: choice({
    flag: 'network',
    default: 'none',
    choices: ['none', 'host'],
    description: "None but a loopback of its own, or the host's",
    commands: ['run'],
  }),
} as const
