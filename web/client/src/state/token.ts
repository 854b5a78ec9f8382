/** The access token, kept until the tab is closed and sent to this site only. */

import { ref, watch } from 'vue'
import { recall, remember } from './storage'

export const token = ref(recall('token', 'session') ?? '')

watch(token, (value) => remember('token', value || null, 'session'))

let waiting: Promise<boolean> | null = null
let settle: (given: boolean) => void = () => undefined

/** Whether the reader is being asked for a token. */
export const asking = ref(false)

/** Whether the token that was there was refused. */
export const refused = ref(false)

/** Several requests refused at once ask once. Resolves to whether a token was given. */
export function askForToken(): Promise<boolean> {
  waiting ??= new Promise((resolve) => {
    asking.value = true
    refused.value = token.value !== ''
    settle = resolve
  })
  return waiting
}

export function answerToken(value: string | null): void {
  if (value) token.value = value
  asking.value = false
  waiting = null
  settle(Boolean(value))
}
