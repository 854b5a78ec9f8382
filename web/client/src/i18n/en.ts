/** The page's words. Other languages have the same keys, which the compiler checks. */

const plural = (n: number, one: string, many: string) => (n === 1 ? one : many)

export const en = {
  tag: 'en',
  other: '中文',
  otherHint: '用中文显示',
  skip: 'Skip to the pictures',
  home: 'LatentHash: to the gallery',
  tagline: 'Find similar pictures by learned codes',

  search: {
    label: 'Search with a picture',
    placeholder: 'Paste a picture or its address, or drop one anywhere',
    upload: 'Upload a picture',
    camera: 'Take a picture',
    random: 'Random picture',
    drop: 'Drop the picture to search with it',
    badAddress: 'This is no address of a picture. It begins with https:// or http://.',
    noImage: 'This is not a picture.',
    sending: 'Sending the picture …',
  },

  theme: { toDark: 'Dark theme', toLight: 'Light theme' },
  close: 'Close',
  cancel: 'Cancel',
  retry: 'Try again',

  gallery: {
    title: 'Gallery',
    summary: (images: string, bits: number, n: number) =>
      `${images} ${plural(n, 'picture', 'pictures')} · ${bits}-bit codes`,
    shuffle: 'Shuffle',
    empty: 'No pictures here.',
    emptyLabel: 'No pictures have this label.',
    hint: 'Choose any picture to find what looks like it.',
  },

  results: {
    title: 'Results',
    by: (name: string) => `Pictures like ${name}`,
    searching: 'Searching …',
    found: (n: number, count: string, ms: string) =>
      `${count} ${plural(n, 'picture', 'pictures')} found in ${ms}`,
    none: 'Nothing was found.',
    noneHint: 'Widen the radius, allow a larger distance, or remove the label filter.',
    back: 'Back to the gallery',
    crop: 'Search with a part',
    cropped: 'a part of it',
    whole: 'Search with all of it',
    reset: 'Forget the ratings',
    refined: 'Refined by your ratings',
    withdraw: 'Withdraw this rating',
    upload: 'Your picture',
    byUpload: 'Pictures like yours',
    full: 'The picture in full size, in a new tab',
    codeHint: (bits: number, ones: number) => `Code of ${bits} bits, ${ones} of them 1`,
  },

  facts: {
    radius: 'Radius',
    radiusUnit: (n: number) => plural(n, 'bit', 'bits'),
    buckets: 'Buckets',
    candidates: 'Candidates',
    of: (all: string) => `of ${all}`,
    time: 'Time',
    exactProven: 'The same as comparing with every picture',
    leftOut: (count: string) => `${count} farther pictures were not compared`,
    saved: (exact: string, times: string, share: string) =>
      `Exact search: ${exact}, ${times} times as long. ${share} of its results are among these.`,
    savedLess: (exact: string, share: string) =>
      `Exact search: ${exact}, no slower here. ${share} of its results are among these.`,
    stage: {
      lookup: 'look up',
      decode: 'decode',
      encode: 'network',
      coarse: 'buckets',
      fine: 'distances',
      rank: 'rank',
      fold: 'fold',
      names: 'names',
      total: 'total',
    } as Record<string, string>,
  },

  controls: {
    title: 'Settings',
    mode: 'Search',
    hashed: 'Hashed',
    exact: 'Exact',
    compare: 'Compare',
    metric: 'Distance',
    radius: 'Radius',
    auto: 'auto',
    candidates: 'Candidates',
    maxDistance: 'Largest distance',
    any: 'any',
    top: 'Results',
    labels: 'Labels',
    allLabels: 'All labels',
    chosen: (n: number) => `${n} ${plural(n, 'label', 'labels')}`,
    find: 'Find a label',
    noLabel: 'No label is called that.',
    clear: 'Show all',
    more: (count: string) => `${count} more: type to find them`,
    fold: 'Fold near-copies',
    reset: 'Reset',
    invalid: (low: string, high: string) => `Between ${low} and ${high}`,
  },

  metric: {
    l2: 'Euclidean',
    cosine: 'Cosine',
    chi2: 'Chi-square',
    l1: 'Manhattan',
    linf: 'Chebyshev',
  } as Record<string, string>,

  hit: {
    open: (rank: number, label: string, bits: number, distance: string) =>
      `Rank ${rank}: ${label}, ${bits} ${plural(bits, 'bit differs', 'bits differ')}, distance ${distance}`,
    picture: (name: string, label: string) => (label ? `${label}, ${name}` : name),
    bits: (n: number) => `${n} ${plural(n, 'bit', 'bits')}`,
    unlabelled: 'no label',
    like: 'More like this',
    dislike: 'Less like this',
    why: 'Why this match',
    copies: (n: number) => `${n} near-${plural(n, 'copy', 'copies')}`,
    copyOf: (rank: number) => `near-copy of ${rank}`,
    thanks: 'Stored. The order now follows your ratings.',
  },

  why: {
    title: 'Why this match',
    query: 'Query',
    hit: 'Match',
    bits: 'The codes, bit by bit',
    differ: (n: number, all: number) =>
      n === 0
        ? `All ${all} bits agree.`
        : `${n} of ${all} ${plural(n, 'bits differs', 'bits differ')}; they are marked.`,
    weights: 'Height shows what a bit weighs after your ratings.',
    ranks: 'Rank',
    rankText: (coarse: string, fine: string) =>
      `${coarse} by code alone, ${fine} after features were compared`,
    noCandidate: 'Its code is too far away: it is not among the candidates.',
    noResult: (coarse: string) => `${coarse} by code alone; not among the results`,
    hamming: 'Hamming distance',
    distances: 'Distances between the features',
    used: 'ranks the results',
    bitRow: (which: string) => `${which}: bits`,
  },

  crop: {
    title: 'Choose what to search with',
    hint: 'Drag over the part that matters, or leave all of it. Arrow keys move, with Shift they resize.',
    area: (x: number, y: number, w: number, h: number) =>
      `Selected part: ${w} % by ${h} % of the picture, ${x} % from the left, ${y} % from the top`,
    all: 'Search with all of it',
    part: 'Search with this part',
    unreadable: 'This picture cannot be shown.',
  },

  camera: {
    title: 'Take a picture',
    shoot: 'Take the picture',
    denied: 'The camera may not be used. Allow it in the browser, or upload a picture.',
    none: 'No camera was found. Upload a picture instead.',
  },

  add: {
    button: 'Add to the library',
    title: 'Add to the library',
    text: 'The picture joins the library and is found from then on.',
    label: 'Label',
    noLabel: 'no label',
    done: 'The picture is in the library.',
  },

  token: {
    title: 'Access token',
    text: 'This server asks for a token. It is kept until you close this tab.',
    refused: 'This token is not accepted. Try another one.',
    label: 'Token',
    save: 'Continue',
  },

  error: {
    title: 'That did not work',
    byStatus: {
      0: 'The server does not answer. See that it runs, then try again.',
      400: 'The server did not understand the request.',
      401: 'A valid access token is needed.',
      403: 'This is not allowed here.',
      404: 'It is not there, or no longer there.',
      413: 'The picture is too large.',
      415: 'The file is not a picture that can be read.',
      422: 'A value is outside of what is possible.',
      429: 'Too many requests. Wait a moment, then try again.',
      503: 'The server is not ready. Try again in a moment.',
    } as Record<number, string>,
    other: 'Something failed on the server. Try again in a moment.',
    tooLarge: (size: string, limit: string) =>
      `The picture has ${size}; at most ${limit} are taken.`,
    expired: 'Uploaded pictures are kept for an hour. Upload it again.',
  },

  about: {
    button: 'About',
    title: 'How it works',
    lead: 'A network that has learned to tell classes apart also writes a short code for each picture. Pictures that look alike get the same or nearly the same code, so most of the library need not be looked at.',
    steps: [
      [
        'Learn',
        'A hidden layer of sigmoid units, one a bit, sits between the features and the classifier. Training for classes also trains the codes.',
      ],
      [
        'Encode',
        'Units at or above one half are 1, the others 0. Pictures with the same code share a bucket.',
      ],
      [
        'Coarse',
        'A query looks into the buckets whose codes differ in few bits: the Hamming radius. What lies in them are the candidates.',
      ],
      [
        'Fine',
        'The distance between the long feature vectors ranks the candidates. The best are shown.',
      ],
    ] as [string, string][],
    source:
      'After Lin, Yang, Hsiao and Chen, Deep Learning of Binary Hash Codes for Fast Image Retrieval, CVPR Workshops 2015.',
    library: 'This library',
    network: 'Network',
    pictures: 'Pictures',
    classes: 'Classes',
    bits: 'Bits of a code',
    dim: 'Values of a feature',
    keys: 'Keys',
    keyList: [
      ['/', 'to the search field'],
      ['← ↑ → ↓', 'from picture to picture'],
      ['Enter', 'search with the picture'],
      ['L · D · W', 'more like it, less like it, why it matched'],
      ['R', 'random picture'],
      ['Esc', 'close, or back to the gallery'],
    ] as [string, string][],
    links: 'For programs',
    api: 'API description',
    export: 'Ratings as a training list',
  },
}

export type Messages = typeof en
