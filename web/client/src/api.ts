/** The service, one function an endpoint. Failures are `ApiError`s. */

import { askForToken, token } from './state/token'
import type {
  Answer,
  Explanation,
  Hit,
  Label,
  Page,
  Picture,
  SearchBody,
  Stats,
  Upload,
  Verdict,
} from './types'

export class ApiError extends Error {
  /** `status` is 0 where no answer came. `message` is the service's own words. */
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message)
    this.name = 'ApiError'
  }
}

type Options = { method?: string; body?: BodyInit; json?: unknown; signal?: AbortSignal }

async function send(address: string, options: Options): Promise<Response> {
  const headers = new Headers({ Accept: 'application/json' })
  if (token.value) headers.set('Authorization', `Bearer ${token.value}`)
  const init: RequestInit = { method: options.method ?? 'GET', headers }
  if (options.signal) init.signal = options.signal
  if (options.json !== undefined) {
    headers.set('Content-Type', 'application/json')
    init.body = JSON.stringify(options.json)
  } else if (options.body !== undefined) {
    init.body = options.body
  }
  try {
    return await fetch(address, init)
  } catch (cause) {
    if (cause instanceof DOMException && cause.name === 'AbortError') throw cause
    throw new ApiError(0, 'unreachable', '')
  }
}

async function failure(response: Response): Promise<ApiError> {
  const text = await response.text()
  try {
    const { error } = JSON.parse(text) as { error: { code: string; message: string } }
    return new ApiError(response.status, error.code, error.message)
  } catch {
    return new ApiError(response.status, 'unknown', '') // a proxy's page, say
  }
}

/** A refused token is asked for anew until it is right or the reader gives up. */
async function answered(address: string, options: Options): Promise<Response> {
  for (;;) {
    const response = await send(address, options)
    if (response.ok) return response
    const problem = await failure(response)
    if (problem.code !== 'token_needed' || !(await askForToken())) throw problem
    // Pictures are fetched without our headers: a cookie opens them.
    await send('/api/v1/session', { method: 'POST', json: { token: token.value } })
  }
}

async function call<T>(path: string, options: Options = {}): Promise<T> {
  const response = await answered(`/api/v1${path}`, options)
  return (response.status === 204 ? undefined : await response.json()) as T
}

const post = <T>(path: string, json: unknown, signal?: AbortSignal) =>
  call<T>(path, { method: 'POST', json, ...(signal && { signal }) })

function form(file: Blob, fields: Record<string, string> = {}): FormData {
  const data = new FormData()
  data.append('file', file, 'picture')
  for (const [name, value] of Object.entries(fields)) data.append(name, value)
  return data
}

export interface PageQuery {
  page: number
  size: number
  seed?: number
  label?: number
}

function query(fields: object): string {
  const given = Object.entries(fields).filter(([, value]) => value !== undefined)
  return new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString()
}

export const api = {
  stats: () => call<Stats>('/stats'),
  labels: async () => (await call<{ items: Label[] }>('/labels')).items,
  images: (page: PageQuery, signal?: AbortSignal) =>
    call<Page>(`/images?${query(page)}`, signal ? { signal } : {}),
  random: () => call<Picture>('/images/random'),
  image: (id: number) => call<Picture>(`/images/${id}`),
  search: (body: SearchBody, signal?: AbortSignal) => post<Answer>('/search', body, signal),
  /** What was folded into a hit. */
  copies: async (body: SearchBody & { hit: number }) =>
    (await post<{ hits: Hit[] }>('/copies', body)).hits,
  explain: (body: SearchBody & { hit: number }) => post<Explanation>('/explain', body),
  feedback: (query: { id?: number; upload?: string }, hit: number, verdict: Verdict) =>
    post<void>('/feedback', { query, hit, verdict }),
  /** A picture of this site, as a file. */
  file: async (address: string) => (await answered(address, {})).blob(),
  upload: (file: Blob) => call<Upload>('/uploads', { method: 'POST', body: form(file) }),
  add: (file: Blob, label?: number) =>
    call<Picture>('/images', {
      method: 'POST',
      body: form(file, label === undefined ? {} : { label: String(label) }),
    }),
}
