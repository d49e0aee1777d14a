import { ALL_BYTES, ask, assertProblem, base64, type ContractCase, newSession, run } from './service.ts'

export const fileCases: ContractCase[] = [
  {
    name: 'a file of any bytes is written, with its parents, and read exactly; writing again replaces it',
    run: async (t, service) => {
      const files = `/sessions/${await newSession(t, service)}/files`
      const path = '/tmp/new/deep er/é.bin'
      for (const content of [ALL_BYTES, Buffer.alloc(0), Buffer.from('short')]) {
        const written = await ask(service, 'POST', `${files}/write`, { path, content: base64(content) })
        t.is(written.status, 200, written.text)
        t.deepEqual(written.json, { success: true })
        const read = await ask(service, 'GET', `${files}/read?path=${encodeURIComponent(path)}`)
        t.deepEqual(read.json, { content: base64(content) })
      }
    },
  },
  {
    name: 'a file of 5 MB is exact',
    run: async (t, service) => {
      const files = `/sessions/${await newSession(t, service)}/files`
      const content = base64(Buffer.alloc(5_000_000, ALL_BYTES))
      t.is((await ask(service, 'POST', `${files}/write`, { path: '/tmp/large', content })).status, 200)
      t.true((await ask(service, 'GET', `${files}/read?path=/tmp/large`)).json.content === content)
    },
  },
  {
    name: 'a directory is listed by name, with kinds and sizes',
    run: async (t, service) => {
      const files = `/sessions/${await newSession(t, service)}/files`
      for (const [path, content] of [
        ['/tmp/d/b', 'bb'],
        ['/tmp/d/a', ''],
        ['/tmp/d/C', 'c'],
        ['/tmp/d/sub/x', 'x'],
      ]) {
        await ask(service, 'POST', `${files}/write`, { path, content: base64(content ?? '') })
      }
      const listed = await ask(service, 'GET', `${files}/list?path=/tmp/d`)
      t.is(listed.status, 200)
      t.deepEqual(listed.json.files.slice(0, 3), [
        { name: 'C', path: '/tmp/d/C', is_directory: false, size: 1 },
        { name: 'a', path: '/tmp/d/a', is_directory: false, size: 0 },
        { name: 'b', path: '/tmp/d/b', is_directory: false, size: 2 },
      ])
      t.is(listed.json.files.length, 4)
      t.like(listed.json.files[3], { name: 'sub', path: '/tmp/d/sub', is_directory: true })
    },
  },
  {
    name: 'files that are not there, or no files',
    run: async (t, service) => {
      const files = `/sessions/${await newSession(t, service)}/files`
      await ask(service, 'POST', `${files}/write`, { path: '/tmp/d/file', content: '' })
      for (const [query, status, code] of [
        ['read?path=/tmp/none', 404, 'path_not_found'],
        ['list?path=/tmp/none', 404, 'path_not_found'],
        ['read?path=/tmp/d', 400, 'not_a_file'],
        ['list?path=/tmp/d/file', 400, 'not_a_directory'],
      ] as const) {
        assertProblem(t, await ask(service, 'GET', `${files}/${query}`), status, { code })
      }
      for (const query of ['read', 'list', 'read?path=tmp', 'list?path=']) {
        const answer = await ask(service, 'GET', `${files}/${query}`)
        assertProblem(t, answer, 400, { code: 'invalid_argument', field: 'path' })
      }
      const bad = await ask(service, 'POST', `${files}/write`, { path: '/tmp/x', content: 'no base64' })
      assertProblem(t, bad, 400, { code: 'invalid_argument', field: 'content' })
    },
  },
  {
    name: 'a bulk write writes what it can and says what it could not',
    run: async (t, service) => {
      const files = `/sessions/${await newSession(t, service)}/files`
      const all = [
        { path: '/tmp/bulk/1', content: base64(ALL_BYTES) },
        { path: 'relative', content: base64('x') },
        { path: '/tmp/bulk/2', content: base64('two') },
      ]
      const answer = await ask(service, 'POST', `${files}/write-bulk`, { files: all })
      t.is(answer.status, 200, answer.text)
      t.false(answer.json.success)
      t.deepEqual(
        answer.json.errors.map(({ path }: { path: string }) => path),
        ['relative'],
      )
      t.is((await ask(service, 'GET', `${files}/read?path=/tmp/bulk/1`)).json.content, base64(ALL_BYTES))
      t.is((await ask(service, 'GET', `${files}/read?path=/tmp/bulk/2`)).json.content, base64('two'))
      const good = await ask(service, 'POST', `${files}/write-bulk`, { files: all.slice(2) })
      t.deepEqual(good.json, { success: true, errors: [] })
    },
  },
  {
    name: 'files and commands of a session see the same files, mode 0644, and no other session does',
    needsSandbox: true,
    run: async (t, service) => {
      const id = await newSession(t, service)
      const other = await newSession(t, service)
      const files = `/sessions/${id}/files`
      await ask(service, 'POST', `${files}/write`, { path: '/tmp/seen', content: base64('by both') })
      t.is((await run(t, service, { command: ['cat', '/tmp/seen'] }, id)).stdout, 'by both')
      t.is((await run(t, service, { command: ['stat', '-c', '%a', '/tmp/seen'] }, id)).stdout, '644\n')
      t.is((await run(t, service, { command: ['cat', '/tmp/seen'] }, other)).exit_code, 1)
      await run(t, service, { command: ['/bin/sh', '-c', 'printf back > /tmp/made'] }, id)
      t.is((await ask(service, 'GET', `${files}/read?path=/tmp/made`)).json.content, base64('back'))
    },
  },
]
