/** The gallery's pictures, by pages, fetched as they come into view. */

import { computed, ref, shallowReactive, watch } from 'vue'
import { api } from '../api'
import type { Picture } from '../types'
import { isSearch, route } from './route'

const SIZE = 100
const KEPT = 60 // pages; those farthest from the view are forgotten

/** An order that mixes the classes, the same for everyone. */
export const SEED = 1

const pages = shallowReactive(new Map<number, Picture[]>())
const asked = new Set<number>()
let aborter = new AbortController()

export const total = ref<number | null>(null)
export const failure = ref<unknown>(null)

const seed = computed(() => route.value.seed ?? SEED)
const label = computed(() => route.value.labels?.[0])

export const pictureAt = (index: number): Picture | undefined =>
  pages.get(Math.floor(index / SIZE))?.[index % SIZE]

async function load(page: number): Promise<void> {
  if (asked.has(page)) return
  asked.add(page)
  const { signal } = aborter
  try {
    const wanted = { page: page + 1, size: SIZE, seed: seed.value }
    const found = await api.images(
      label.value === undefined ? wanted : { ...wanted, label: label.value },
      signal,
    )
    if (signal.aborted) return
    pages.set(page, found.items)
    total.value = found.total
  } catch (cause) {
    if (signal.aborted) return
    asked.delete(page)
    failure.value = cause
  }
}

function forget(middle: number): void {
  const far = [...pages.keys()].sort((a, b) => Math.abs(b - middle) - Math.abs(a - middle))
  for (const page of far.slice(0, Math.max(0, pages.size - KEPT))) {
    pages.delete(page)
    asked.delete(page)
  }
}

/** Sees that the pictures from `first` to `last` are there, or on their way. */
export function show(first: number, last: number): void {
  const [from, to] = [Math.floor(first / SIZE), Math.floor(last / SIZE)]
  for (let page = from; page <= to; page++) void load(page)
  forget(from)
}

export function reload(): void {
  aborter.abort()
  aborter = new AbortController()
  pages.clear()
  asked.clear()
  total.value = null
  failure.value = null
  show(0, 0)
}

/** What the pages hold; `null` while something is searched for. */
const wanted = computed(() => (isSearch(route.value) ? null : `${seed.value} ${label.value ?? ''}`))
let held: string | null = null

/** The library has changed: the next look at the gallery asks anew. */
export function forgetPages(): void {
  held = null
}

watch(
  wanted,
  (now) => {
    if (now === null || now === held) return
    held = now
    reload()
  },
  { immediate: true },
)
