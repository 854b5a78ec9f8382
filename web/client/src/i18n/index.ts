/** The language in force, its words, and how it writes numbers. */

import { computed, ref, watchEffect } from 'vue'
import { recall, remember } from '../state/storage'
import { en, type Messages } from './en'
import { zh } from './zh'

const languages: Record<string, Messages> = { en, zh }

function preferred(): string {
  const wanted = [recall('language') ?? '', ...navigator.languages]
  return wanted.map((tag) => tag.slice(0, 2)).find((tag) => tag in languages) ?? 'en'
}

const language = ref(preferred())

export const t = computed<Messages>(() => languages[language.value] ?? en)

watchEffect(() => {
  document.documentElement.lang = t.value.tag
})

export function switchLanguage(): void {
  language.value = language.value === 'zh' ? 'en' : 'zh'
  remember('language', language.value)
}

const format = (value: number, options: Intl.NumberFormatOptions) =>
  new Intl.NumberFormat(t.value.tag, options).format(value)

export const count = (value: number) => format(value, {})

export const percent = (share: number) => format(share, { style: 'percent' })

/** Three significant digits, and never an exponent. */
export const decimal = (value: number) =>
  format(value, { maximumSignificantDigits: 3, minimumSignificantDigits: value ? 3 : 1 })

export const milliseconds = (ms: number) =>
  ms >= 1000
    ? `${format(ms / 1000, { maximumFractionDigits: 1 })} s`
    : `${format(ms, { maximumSignificantDigits: ms < 10 ? 2 : 3 })} ms`

export const megabytes = (bytes: number) => `${format(bytes / 2 ** 20, { maximumFractionDigits: 1 })} MiB`
