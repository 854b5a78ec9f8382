/** What the service's API sends and takes; snake_case as on the wire, times in milliseconds. */

export interface Picture {
  id: number
  name: string
  label: number | null
  label_name: string
  width: number | null
  height: number | null
  thumbnail: string
  url: string
  in_library: boolean
}

export interface Hit extends Picture {
  rank: number
  hamming: number
  distance: number
  /** Rank by Hamming distance alone, before features were compared. */
  coarse_rank: number | null
  near_copies: number
  code: string
}

export interface Stats {
  images: number
  classes: number
  bits: number
  feature_dim: number
  metric: string
  metrics: string[]
  radius: number | null
  candidates: number | null
  top: number
  max_top: number
  network: string
  feature_dtype: string
  generation: number
  uploads: { max_bytes: number; max_pixels: number }
  /** New pictures are taken from whoever holds the token. */
  writable: boolean
  reads_need_token: boolean
  fetches_urls: boolean
}

export interface Label {
  /** -1 holds the pictures whose class is unknown; their name is "". */
  label: number
  name: string
  count: number
}

export interface Page {
  total: number
  page: number
  size: number
  items: Picture[]
}

/** A rectangle in fractions of the picture's width and height. */
export interface Crop {
  x: number
  y: number
  width: number
  height: number
}

export interface SearchBody {
  id?: number
  upload?: string
  url?: string
  crop?: Crop
  top?: number
  metric?: string
  radius?: number
  candidates?: number
  max_distance?: number
  labels?: number[]
  exact?: boolean
  compare?: boolean
  fold?: boolean
  liked?: number[]
  disliked?: number[]
}

export interface Answer {
  query: {
    kind: 'id' | 'upload' | 'url'
    id?: number | null
    upload?: string | null
    name: string
    thumbnail: string
    code: string
  }
  hits: Hit[]
  certificate: {
    radius: number | null
    buckets: number
    candidates: number
    left_out: number
    exact: boolean
    ways: string[]
  }
  timings_ms: Record<string, number>
  exact_ms?: number | null
  overlap_with_exact?: number | null
  warnings: string[]
  refined: boolean
}

export interface Explanation {
  query_code: string
  hit_code: string
  hamming: number
  distances: Record<string, number>
  coarse_rank: number | null
  rank: number | null
  bits_weight?: number[] | null
}

export interface Upload {
  upload: string
  thumbnail: string
  width: number
  height: number
  sha256: string
  expires_in: number
}

export type Verdict = 1 | -1 | 0
