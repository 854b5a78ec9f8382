/**
 * The page's state is its address: what is searched for, how, and what is open.
 * `parse` and `format` are inverse to each other but for defaults, which are left out.
 */

import { ref } from 'vue'
import type { Crop, SearchBody } from '../types'

export interface Route {
  id?: number
  upload?: string
  url?: string
  crop?: Crop
  top?: number
  metric?: string
  radius?: number
  candidates?: number
  max_distance?: number
  /** In the gallery at most one. */
  labels?: number[]
  mode?: 'exact' | 'compare'
  fold?: false
  liked?: number[]
  disliked?: number[]
  /** The hit whose explanation is open. */
  why?: number
  /** Order of the gallery. */
  seed?: number
}

const natural = (text: string | null): number | undefined =>
  text !== null && /^\d{1,15}$/.test(text) ? Number(text) : undefined

const positive = (text: string | null): number | undefined => {
  const value = text ? Number(text) : NaN
  return Number.isFinite(value) && value >= 0 ? value : undefined
}

/** -1 is the label of pictures whose class is unknown. */
const numbers = (text: string | null): number[] | undefined => {
  const parts = (text ?? '').split(',')
  const found = parts.map((part) => (part === '-1' ? -1 : natural(part))).filter((n) => n !== undefined)
  return found.length ? [...new Set(found)] : undefined
}

function parseCrop(text: string | null): Crop | undefined {
  const [x, y, width, height, ...rest] = (text ?? '').split(',').map(positive)
  if (x === undefined || y === undefined || !width || !height || rest.length) return undefined
  return x + width <= 1.001 && y + height <= 1.001 ? { x, y, width, height } : undefined
}

/** Values left out or not understood are absent: a mistyped address still opens. */
export function parse(search: string): Route {
  const given = new URLSearchParams(search)
  const mode = given.get('mode')
  const fields: { [Key in keyof Route]: Route[Key] | undefined } = {
    id: natural(given.get('id')),
    upload: given.get('upload') || undefined,
    url: given.get('url') || undefined,
    crop: parseCrop(given.get('crop')),
    top: natural(given.get('top')) || undefined,
    metric: given.get('metric') || undefined,
    radius: natural(given.get('radius')),
    candidates: natural(given.get('candidates')) || undefined,
    max_distance: positive(given.get('max_distance')),
    labels: numbers(given.get('labels')),
    mode: mode === 'exact' || mode === 'compare' ? mode : undefined,
    fold: given.get('fold') === '0' ? false : undefined,
    liked: numbers(given.get('liked')),
    disliked: numbers(given.get('disliked')),
    why: natural(given.get('why')),
    seed: natural(given.get('seed')),
  }
  return compact(fields)
}

function compact(fields: object): Route {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined))
}

const fraction = (value: number) => String(Math.round(value * 1e4) / 1e4)

function text(name: string, value: unknown): string {
  if (name === 'fold') return '0'
  if (name === 'crop') {
    const { x, y, width, height } = value as Crop
    return [x, y, width, height].map(fraction).join(',')
  }
  return Array.isArray(value) ? value.join(',') : String(value)
}

/** The address of a route, from "/". */
export function format(route: Route): string {
  const pairs = Object.entries(route)
    .filter(([, value]) => value !== undefined && !(Array.isArray(value) && !value.length))
    .map(([name, value]) => `${name}=${encodeURIComponent(text(name, value))}`)
  return pairs.length ? `/?${pairs.join('&').replaceAll('%2C', ',')}` : '/'
}

export const isSearch = (route: Route): boolean =>
  route.id !== undefined || route.upload !== undefined || route.url !== undefined

/** What the service is asked for. Of several queries in one address the first counts. */
export function searchBody(route: Route): SearchBody {
  const { id, upload, url, crop, mode, why: _why, seed: _seed, ...rest } = route
  const body: SearchBody = { ...rest }
  if (id !== undefined) body.id = id
  else if (upload !== undefined) body.upload = upload
  else if (url !== undefined) body.url = url
  if (crop && id === undefined) body.crop = crop
  if (mode === 'exact') body.exact = true
  if (mode === 'compare') body.compare = true
  return body
}

export const route = ref<Route>(parse(location.search))

/** Where the page was scrolled to, kept with the history's entry. */
const keepScroll = () => history.replaceState({ ...history.state, scroll: scrollY }, '')

/** A change of the settings keeps the place on the page; a new query starts at the top. */
export function go(next: Route, options: { replace?: boolean; keepPlace?: boolean } = {}): void {
  const address = format(next)
  if (address === location.pathname + location.search) return
  if (options.replace) {
    history.replaceState(history.state, '', address)
  } else {
    keepScroll()
    history.pushState({}, '', address)
  }
  route.value = parse(address.slice(1))
  if (!options.keepPlace) scrollTo({ top: 0 })
}

/** `undefined` takes a setting back. */
export type Patch = { [Key in keyof Route]?: Route[Key] | undefined }

export function change(patch: Patch, options: { replace?: boolean } = {}): void {
  go(compact({ ...route.value, ...patch }), { ...options, keepPlace: true })
}

/** The address of a search for another picture with the settings that are in force. */
export function withSettings(query: Pick<Route, 'id' | 'upload' | 'url' | 'crop'>): Route {
  const { top, metric, radius, candidates, max_distance, mode, fold } = route.value
  return compact({ ...query, top, metric, radius, candidates, max_distance, mode, fold })
}

/** Opens what closes by going back. */
export function open(patch: Patch): void {
  change(patch)
  history.replaceState({ ...history.state, opened: true }, '')
}

/** Where the page was entered by an address with something open, `patch` closes that. */
export function close(patch: Patch): void {
  if ((history.state as { opened?: boolean } | null)?.opened) history.back()
  else change(patch, { replace: true })
}

export function listen(onBack: (scroll: number) => void): void {
  history.scrollRestoration = 'manual'
  addEventListener('popstate', (event) => {
    route.value = parse(location.search)
    onBack((event.state as { scroll?: number } | null)?.scroll ?? 0)
  })
  addEventListener('pagehide', keepScroll)
}
