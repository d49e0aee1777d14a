/** The host's programs work inside, those that it has. */
import { existsSync } from 'node:fs'
import { ending, fileRig, sh, success, test, text } from './rig.ts'

const rig = fileRig()
const SPACIOUS = { time: 60_000, nofile: 1_024, fsize: 200_000 }

const TOOLCHAINS: [name: string, program: string, script: string, stdout: string][] = [
  ['python', '/usr/bin/python3', `python3 -c 'import json, ssl, sqlite3; print(json.dumps([1]))'`, '[1]\n'],
  [
    'git',
    '/usr/bin/git',
    `git init -q . && echo x > f && git add f &&
     git -c user.name=a -c user.email=a@b commit -qm first && git log --format=%s`,
    'first\n',
  ],
  [
    'gcc',
    '/usr/bin/gcc',
    `printf '#include <stdio.h>\\nint main(void) { puts("compiled"); }' > a.c && gcc a.c -o a && ./a`,
    'compiled\n',
  ],
  ['node', '/usr/bin/node', `node -e 'console.log([1, 2].map(x => x + 1).join())'`, '2,3\n'],
  [
    'go',
    '/usr/local/go/bin/go',
    `printf 'package main\\n\\nfunc main() { x }\\n' > m.go && gofmt -l m.go && go env GOROOT`,
    '/usr/local/go\n',
  ],
  [
    'java',
    '/usr/bin/java',
    `printf 'class A { public static void main(String[] a) { System.out.println("jvm"); } }' > A.java && java A.java`,
    'jvm\n',
  ],
  ['perl', '/usr/bin/perl', `perl -MPOSIX -e 'print floor(2.5), "\\n"'`, '2\n'],
  ['bash', '/bin/bash', `bash -c 'cat <(echo substitution) <<< here'`, 'substitution\n'],
  ['tar', '/usr/bin/tar', 'mkdir d && echo 1 > d/f && tar czf d.tgz d && tar tzf d.tgz', 'd/\nd/f\n'],
  ['time zone', '/bin/date', 'date -d @0 +%Y', '1970\n'],
]

for (const [name, program, script, stdout] of TOOLCHAINS) {
  const present = existsSync(program)
  const run = present ? test.serial : test.serial.skip
  run(`${name}${present ? '' : ` (no ${program} here)`}`, async (t) => {
    await rig().with(async (sandbox) => {
      const outcome = await sh(sandbox, `mkdir /work && cd /work && ${script}`, SPACIOUS)
      t.deepEqual({ ...ending(outcome), stderr: '' }, success(stdout), text(outcome.stderr))
    })
  })
}
