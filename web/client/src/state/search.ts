/** The search that the address asks for, its answer, and the reader's ratings. */

import { computed, ref, shallowRef, watch } from 'vue'
import { api } from '../api'
import { t } from '../i18n'
import type { Answer, Verdict } from '../types'
import { notify, notifyFailure } from './notices'
import { change, isSearch, route, searchBody } from './route'

const KEPT = 30 // answers, so that back and forward are at once

const answers = new Map<string, Answer>()
let aborter = new AbortController()

export const answer = shallowRef<Answer | null>(null)
export const searching = ref(false)
export const failure = ref<unknown>(null)

const key = computed(() => (isSearch(route.value) ? JSON.stringify(searchBody(route.value)) : ''))

function keep(at: string, found: Answer): void {
  answers.set(at, found)
  const oldest = answers.keys().next().value
  if (answers.size > KEPT && oldest !== undefined) answers.delete(oldest)
}

/** Of searches that overtake each other only the last one counts. */
export async function search(): Promise<void> {
  aborter.abort()
  const { signal } = (aborter = new AbortController())
  const at = key.value
  failure.value = null
  searching.value = false
  if (!at) return void (answer.value = null)
  const known = answers.get(at)
  if (known) return void (answer.value = known)
  searching.value = true
  try {
    const found = await api.search(searchBody(route.value), signal)
    if (signal.aborted) return
    keep(at, found)
    answer.value = found
  } catch (cause) {
    if (signal.aborted) return
    failure.value = cause
    answer.value = null
  }
  searching.value = false
}

watch(key, search, { immediate: true })

/** The library has changed: what was found before may not be all there is. */
export function forgetAnswers(): void {
  answers.clear()
}

export function verdictOn(id: number): Verdict {
  if (route.value.liked?.includes(id)) return 1
  return route.value.disliked?.includes(id) ? -1 : 0
}

const without = (ids: number[] | undefined, id: number) => (ids ?? []).filter((i) => i !== id)

/** Stores a rating and ranks anew at once; the same rating again withdraws it. */
export async function rate(id: number, wanted: 1 | -1): Promise<void> {
  const verdict: Verdict = verdictOn(id) === wanted ? 0 : wanted
  const liked = without(route.value.liked, id)
  const disliked = without(route.value.disliked, id)
  if (verdict === 1) liked.push(id)
  if (verdict === -1) disliked.push(id)
  const query = ratedQuery()
  change({
    liked: liked.length ? liked : undefined,
    disliked: disliked.length ? disliked : undefined,
  })
  if (!query) return
  try {
    await api.feedback(query, id, verdict)
    if (verdict) notify(t.value.hit.thanks)
  } catch (cause) {
    notifyFailure(cause)
  }
}

/** What a rating is stored with; a picture fetched from an address has an upload's token. */
function ratedQuery(): { id?: number; upload?: string } | null {
  if (route.value.id !== undefined) return { id: route.value.id }
  const upload = route.value.upload ?? answer.value?.query.upload
  return upload ? { upload } : null
}
