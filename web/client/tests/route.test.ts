// @vitest-environment node
import { beforeAll, describe, expect, it, vi } from 'vitest'
import type * as RouteModule from '../src/state/route'

let route: typeof RouteModule

beforeAll(async () => {
  vi.stubGlobal('location', { search: '', pathname: '/' })
  route = await import('../src/state/route')
})

const full = {
  url: 'https://example.org/a b?c=1&d=ü',
  crop: { x: 0.1, y: 0.25, width: 0.5, height: 0.3333 },
  top: 20,
  metric: 'chi2',
  radius: 0,
  candidates: 50,
  max_distance: 1.5,
  labels: [-1, 3],
  mode: 'compare' as const,
  fold: false as const,
  liked: [4, 0],
  disliked: [9],
  why: 0,
}

describe('the address', () => {
  it('says everything and is read back', () => {
    expect(route.parse(route.format(full).slice(1))).toEqual(full)
  })

  it('is short without settings', () => {
    expect(route.format({ id: 0 })).toBe('/?id=0')
    expect(route.format({ liked: [] })).toBe('/')
  })

  it.each([
    'id=-1',
    'id=1e3',
    'id=',
    'id=9999999999999999',
    'top=0',
    'radius=x',
    'max_distance=-1',
    'max_distance=Infinity',
    'labels=a,-2',
    'mode=other',
    'fold=1',
    'crop=0,0,1',
    'crop=0.5,0,0.6,1',
    'crop=0,0,0,1',
    'crop=a,0,1,1',
  ])('leaves out what is not understood: %s', (search) => {
    expect(route.parse(`?${search}`)).toEqual({})
  })

  it('names each picture once', () => {
    expect(route.parse('?liked=3,3,4')).toEqual({ liked: [3, 4] })
  })
})

describe('the request', () => {
  it('holds what the service knows, and no more', () => {
    const { mode: _mode, why: _why, ...sent } = full
    expect(route.searchBody(full)).toEqual({ ...sent, compare: true })
    expect(route.searchBody({ id: 5, mode: 'exact', seed: 3 })).toEqual({ id: 5, exact: true })
  })

  it('has one query, the first of them', () => {
    expect(route.searchBody({ id: 0, upload: 'x', url: 'http://y', crop: full.crop })).toEqual({
      id: 0,
    })
    expect(route.searchBody({ upload: 'x', url: 'http://y' })).toEqual({ upload: 'x' })
  })
})
