/** What the library is: its figures and labels, asked for once. */

import { ref, shallowRef } from 'vue'
import { api } from '../api'
import { t } from '../i18n'
import type { Label, Stats } from '../types'

export const stats = shallowRef<Stats | null>(null)
export const labels = shallowRef<Label[]>([])
export const failure = ref<unknown>(null)

export async function loadLibrary(): Promise<void> {
  failure.value = null
  try {
    ;[stats.value, labels.value] = await Promise.all([api.stats(), api.labels()])
  } catch (cause) {
    failure.value = cause
  }
}

export const labelName = (label: number): string =>
  labels.value.find((item) => item.label === label)?.name ||
  (label < 0 ? t.value.hit.unlabelled : String(label))
