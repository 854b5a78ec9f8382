/** Light or dark: the system's choice until the reader makes one. */

import { ref } from 'vue'
import { remember } from './storage'

export type Theme = 'light' | 'dark'

const system = matchMedia('(prefers-color-scheme: dark)')
const root = document.documentElement
const current = (): Theme => {
  const chosen = root.dataset['theme']
  if (chosen === 'light' || chosen === 'dark') return chosen
  return system.matches ? 'dark' : 'light'
}

export const theme = ref<Theme>(current())

system.addEventListener('change', () => (theme.value = current()))

export function toggleTheme(): void {
  root.dataset['theme'] = theme.value === 'dark' ? 'light' : 'dark'
  theme.value = current()
  remember('theme', theme.value)
}
