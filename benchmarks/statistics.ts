export interface Percentiles {
  p50: number
  p90: number
  p99: number
}

/** Nearest-rank percentiles: each is a value that was measured. */
export function percentiles(values: readonly number[]): Percentiles {
  if (values.length === 0) throw new RangeError('no values')
  const sorted = [...values].sort((a, b) => a - b)
  const rank = (fraction: number) =>
    sorted[Math.max(Math.ceil(fraction * sorted.length) - 1, 0)] ?? Number.NaN
  return { p50: rank(0.5), p90: rank(0.9), p99: rank(0.99) }
}
