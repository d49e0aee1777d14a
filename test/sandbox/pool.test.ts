import { setTimeout as delay } from 'node:timers/promises'
import test from 'ava'
import { Pool, type Pooled } from '../../src/sandbox/pool.ts'

class Item implements Pooled {
  isLost = false
  destroyed = 0
  readonly number: number

  constructor(number: number) {
    this.number = number
  }

  async destroy(): Promise<void> {
    this.destroyed += 1
  }
}

/** A pool whose makes take `makeMs` and fail while `broken` says so. */
function itemPool(size: number, options: { makeMs?: number; broken?: () => boolean } = {}) {
  const { makeMs = 1, broken = () => false } = options
  const made: Item[] = []
  const errors: string[] = []
  const counts = { atOnce: 0, atOnceMax: 0, attempts: 0 }
  const make = async () => {
    counts.attempts += 1
    const attempt = counts.attempts
    counts.atOnce += 1
    counts.atOnceMax = Math.max(counts.atOnceMax, counts.atOnce)
    await delay(makeMs)
    counts.atOnce -= 1
    if (broken()) throw new Error(`make ${attempt} failed`)
    const item = new Item(made.length + 1)
    made.push(item)
    return item
  }
  const pool = new Pool<Item>({ size, make, onError: (error) => errors.push((error as Error).message) })
  return { pool, made, errors, counts }
}

async function until(condition: () => boolean): Promise<void> {
  for (const deadline = Date.now() + 5_000; !condition(); ) {
    if (Date.now() > deadline) throw new Error('waited in vain')
    await delay(2)
  }
}

test('start fills the pool to its size, with few makes at once', async (t) => {
  const { pool, counts } = itemPool(7)
  await pool.start()
  t.is(pool.readyCount, 7)
  t.is(counts.atOnceMax, 2)
  await pool.stop()
})

test('every sandbox is handed out once', async (t) => {
  const { pool, made } = itemPool(4)
  await pool.start()
  const taken = await Promise.all(Array.from({ length: 20 }, () => pool.acquire()))
  t.is(new Set(taken).size, 20)
  t.true(taken.every((item) => item.destroyed === 0))
  await pool.stop()
  t.true(made.every((item) => item.destroyed === (taken.includes(item) ? 0 : 1)))
})

test('a pool of size 0 makes on demand only', async (t) => {
  const { pool, counts } = itemPool(0)
  await pool.start()
  t.is(counts.attempts, 0)
  t.is((await pool.acquire()).number, 1)
  await delay(20)
  t.is(counts.attempts, 1)
  await pool.stop()
})

test('what is taken above the reserve is made again only when demand pauses', async (t) => {
  const { pool, counts } = itemPool(6)
  await pool.start()
  await pool.acquire()
  await pool.acquire()
  await pool.acquire()
  t.is(counts.attempts, 6)
  await until(() => pool.readyCount === 6)
  t.is(counts.attempts, 9)
  await pool.stop()
})

test('below the reserve it refills at once, up to the reserve', async (t) => {
  const { pool, counts } = itemPool(4)
  await pool.start()
  await pool.acquire()
  await pool.acquire()
  t.is(counts.attempts, 4)
  await pool.acquire()
  t.is(counts.attempts, 5)
  await pool.stop()
})

test('one that ended by itself is discarded, not handed out', async (t) => {
  const { pool, made } = itemPool(2)
  await pool.start()
  const dead = made[0] as Item
  dead.isLost = true
  t.is((await pool.acquire()).number, 2)
  await until(() => dead.destroyed === 1)
  await pool.stop()
})

test('a failed make rejects the caller that waits for it', async (t) => {
  let isBroken = true
  const { pool, errors } = itemPool(0, { broken: () => isBroken })
  await t.throwsAsync(pool.acquire(), { message: 'make 1 failed' })
  isBroken = false
  t.is((await pool.acquire()).number, 1)
  t.deepEqual(errors, [])
  await pool.stop()
})

test('failures ahead of need are reported and retried ever more rarely, not in a loop', async (t) => {
  let isBroken = true
  const { pool, errors, counts } = itemPool(2, { broken: () => isBroken })
  await pool.start()
  await delay(50)
  t.true(counts.attempts <= 2, `${counts.attempts} attempts in 50 ms`)
  t.is(errors[0], 'make 1 failed')
  isBroken = false
  await until(() => pool.readyCount === 2)
  await pool.stop()
})

test('stop waits for makes under way and destroys what nobody got', async (t) => {
  const { pool, made } = itemPool(3, { makeMs: 20 })
  void pool.start()
  const waiting = t.throwsAsync(Promise.all(Array.from({ length: 5 }, () => pool.acquire())), {
    message: 'the pool has stopped',
  })
  await pool.stop()
  await waiting
  t.is(made.length, 2)
  t.true(made.every((item) => item.destroyed === 1))
  await t.throwsAsync(pool.acquire(), { message: 'the pool has stopped' })
})
