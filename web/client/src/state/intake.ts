/** Pictures that come from outside: chosen, dropped, pasted, photographed, or an address. */

import { ref, shallowRef } from 'vue'
import { api } from '../api'
import { megabytes, t } from '../i18n'
import type { Crop } from '../types'
import { stats } from './library'
import { notify, notifyFailure } from './notices'
import { change, go, route, withSettings } from './route'

/** What the crop dialog shows: a new picture, or the present query. */
export type Cropping = { file: Blob } | { query: string; crop: Crop | undefined }

export const cropping = shallowRef<Cropping | null>(null)
export const sending = ref(false)

/** Uploads of this page by token: what "add to the library" sends is what was chosen. */
const originals = new Map<string, Blob>()

export function takeFile(file: Blob): void {
  const limit = stats.value?.uploads.max_bytes ?? Infinity
  if (file.type && !file.type.startsWith('image/')) notify(t.value.search.noImage, true)
  else if (file.size > limit) {
    notify(t.value.error.tooLarge(megabytes(file.size), megabytes(limit)), true)
  } else cropping.value = { file }
}

/** Whether the text was an address. */
export function takeAddress(text: string): boolean {
  const address = text.trim()
  if (!/^https?:\/\/[^\s]+$/i.test(address)) return false
  go(withSettings({ url: address }))
  return true
}

/** From the clipboard or a drop; whether there was something for us. */
export function takeTransfer(data: DataTransfer): boolean {
  const [file] = data.files
  if (file) {
    takeFile(file)
    return true
  }
  const list = data.getData('text/uri-list') || data.getData('text/plain')
  return takeAddress(list.split('\n').find((line) => line && !line.startsWith('#')) ?? '')
}

async function upload(read: () => Promise<Blob>, crop: Crop | undefined): Promise<void> {
  sending.value = true
  try {
    const file = await read()
    const { upload } = await api.upload(file)
    originals.set(upload, file)
    go(withSettings(crop ? { upload, crop } : { upload }))
  } catch (cause) {
    notifyFailure(cause)
  } finally {
    sending.value = false
  }
}

/** The crop dialog's answer; without a part the whole picture is searched with. */
export async function searchWith(crop: Crop | undefined): Promise<void> {
  const chosen = cropping.value
  cropping.value = null
  if (!chosen) return
  if ('file' in chosen) await upload(() => Promise.resolve(chosen.file), crop)
  else if (route.value.id === undefined) change({ crop, liked: undefined, disliked: undefined })
  else if (crop) await upload(() => api.file(chosen.query), crop)
}

export const original = (token: string): Blob | undefined => originals.get(token)
