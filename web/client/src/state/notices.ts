/** Short messages at the foot of the page, and failures in words. */

import { ref } from 'vue'
import { ApiError } from '../api'
import { t } from '../i18n'

export interface Notice {
  key: number
  text: string
  bad: boolean
}

const SHOWN_MS = 6000
let last = 0

export const notices = ref<Notice[]>([])

export function dismiss(key: number): void {
  notices.value = notices.value.filter((notice) => notice.key !== key)
}

export function notify(text: string, bad = false): void {
  const key = ++last
  const others = notices.value.filter((notice) => notice.text !== text)
  notices.value = [...others.slice(-2), { key, text, bad }]
  setTimeout(() => dismiss(key), bad ? 2 * SHOWN_MS : SHOWN_MS)
}

/** The reader's language first, then what the service said of this very case. */
export function inWords(failure: unknown): { text: string; detail: string } {
  if (!(failure instanceof ApiError)) throw failure
  const text = t.value.error.byStatus[failure.status] ?? t.value.error.other
  return { text, detail: failure.message }
}

export function notifyFailure(failure: unknown): void {
  const { text, detail } = inWords(failure)
  notify(detail ? `${text} (${detail})` : text, true)
}
