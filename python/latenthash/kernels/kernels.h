/* The kernels for one LEVEL of processors; included by native.c, once for each. */

#define INLINE static inline __attribute__((always_inline)) TARGET
#define VECTOR (LEVEL == 2 ? 64 : LEVEL == 1 ? 32 : 16)
#define WIDE (VECTOR / 4) /* floats in a register */
#define SIDE (LEVEL == 2 ? 4 : 1) /* rows whose sums fit into the registers */

typedef float NAME(floats) __attribute__((vector_size(VECTOR)));
typedef int32_t NAME(ints) __attribute__((vector_size(VECTOR)));
#define floats NAME(floats)
#define ints NAME(ints)

/* ---- codes ---- */

INLINE void NAME(hamming)(const uint64_t *restrict codes, const uint64_t *restrict query,
                          int64_t words, int64_t count, uint16_t *restrict out) {
  for (int64_t i = 0; i < count; i++) {
    int64_t distance = 0;
    for (int64_t w = 0; w < words; w++)
      distance += __builtin_popcountll(codes[i * words + w] ^ query[w]);
    out[i] = (uint16_t)distance;
  }
}

#if LEVEL == 2
/* Codes of two words, eight at a time. */
INLINE void NAME(hamming_pairs)(const uint64_t *restrict codes, const uint64_t *restrict query,
                                int64_t count, uint16_t *restrict out) {
  __m512i asked = _mm512_broadcast_i64x2(_mm_loadu_si128((const __m128i *)query));
  __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    __m512i a = _mm512_loadu_si512(codes + 2 * i), b = _mm512_loadu_si512(codes + 2 * i + 8);
    a = _mm512_popcnt_epi64(_mm512_xor_si512(a, asked));
    b = _mm512_popcnt_epi64(_mm512_xor_si512(b, asked));
    /* the codes 0 4 1 5 2 6 3 7 */
    __m512i sum = _mm512_add_epi64(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
    _mm_storeu_si128((__m128i *)(out + i),
                     _mm512_cvtepi64_epi16(_mm512_permutexvar_epi64(order, sum)));
  }
  NAME(hamming)(codes + 2 * i, query, 2, count - i, out + i);
}
#else
INLINE void NAME(hamming_pairs)(const uint64_t *restrict codes, const uint64_t *restrict query,
                                int64_t count, uint16_t *restrict out) {
  NAME(hamming)(codes, query, 2, count, out);
}
#endif

/* The usual widths are compiled with `words` known: their loops unroll. */
TARGET static void NAME(distances)(const uint64_t *codes, const uint64_t *query, int64_t words,
                                   int64_t count, uint16_t *out) {
  switch (words) {
    case 1: NAME(hamming)(codes, query, 1, count, out); break;
    case 2: NAME(hamming_pairs)(codes, query, count, out); break;
    case 4: NAME(hamming)(codes, query, 4, count, out); break;
    case 8: NAME(hamming)(codes, query, 8, count, out); break;
    default: NAME(hamming)(codes, query, words, count, out);
  }
}

/* Adds sizes to rings by distance. `coming` is asked for meanwhile: counting waits for
 * itself, not for the memory. */
TARGET static void NAME(count_rings)(const uint16_t *distances, const int32_t *sizes,
                                     int64_t count, int64_t *rings, int64_t ring_count,
                                     const char *coming, int64_t code_bytes) {
  int64_t parts[PARTS][RINGS];
  for (int p = 0; p < PARTS; p++) memset(parts[p], 0, (size_t)ring_count * sizeof **parts);
  int64_t i = 0;
  for (; i + PARTS <= count; i += PARTS) {
    for (int64_t b = 0; b < PARTS * code_bytes; b += 64)
      __builtin_prefetch(coming + i * code_bytes + b);
    for (int p = 0; p < PARTS; p++) parts[p][distances[i + p]] += sizes[i + p];
  }
  for (; i < count; i++) parts[0][distances[i]] += sizes[i];
  for (int p = 0; p < PARTS; p++)
    for (int64_t r = 0; r < ring_count; r++) rings[r] += parts[p][r];
}

TARGET static void NAME(scan)(const scan_input *in, const int32_t *sizes, uint16_t *out,
                              int64_t *rings, int64_t *next) {
  int64_t ring_count = 64 * in->words + 1, code_bytes = 8 * in->words;
  uint16_t buffer[TILE];
  for (int64_t block; (block = take(next, BLOCK * TILE)) < in->count;) {
    int64_t stop = smaller(block + BLOCK * TILE, in->count);
    for (int64_t start = block; start < stop; start += TILE) {
      int64_t count = smaller(TILE, stop - start);
      const uint64_t *codes = in->codes + start * in->words;
      uint16_t *tile = out ? out + start : buffer;
      for (int64_t q = 0; q < in->query_count; q++) {
        NAME(distances)(codes, in->queries + q * in->words, in->words, count, tile);
        if (sizes)
          NAME(count_rings)(tile, sizes + start, count, rings + q * ring_count, ring_count,
                            (const char *)(codes + count * in->words), code_bytes);
      }
    }
  }
}

/* The k codes nearest to each query, sorted by counting; equal distances keep their order. */
TARGET static void NAME(rank)(const scan_input *in, int64_t k, uint16_t *room, int32_t *order,
                              int32_t *rings) {
  int64_t ring_count = 64 * in->words + 1;
  for (int64_t q = 0; q < in->query_count; q++, order += k, rings += ring_count) {
    int64_t places[RINGS], start = 0;
    NAME(distances)(in->codes, in->queries + q * in->words, in->words, in->count, room);
    for (int64_t i = 0; i < in->count; i++) rings[room[i]]++;
    for (int64_t r = 0; r < ring_count; r++) places[r] = start, start += rings[r];
    for (int64_t i = 0; i < in->count; i++) {
      int64_t place = places[room[i]]++;
      if (place < k) order[place] = (int32_t)i;
    }
  }
}

/* Bit i is set where distances[i] <= most, of a GROUP. */
INLINE uint32_t NAME(small)(const uint16_t *distances, uint16_t most) {
#if LEVEL == 2
  return _mm512_cmple_epu16_mask(_mm512_loadu_si512(distances), _mm512_set1_epi16((short)most));
#elif LEVEL == 1
  __m256i limit = _mm256_set1_epi16((short)most), half[2];
  for (int h = 0; h < 2; h++) {
    __m256i x = _mm256_loadu_si256((const __m256i *)(distances + 16 * h));
    half[h] = _mm256_cmpeq_epi16(_mm256_min_epu16(x, limit), x);
  }
  __m256i bytes = _mm256_packs_epi16(half[0], half[1]); /* in the order 0 2 1 3 of quarters */
  return (uint32_t)_mm256_movemask_epi8(_mm256_permute4x64_epi64(bytes, 0xd8));
#else
  uint32_t mask = 0;
  for (int i = 0; i < GROUP; i++) mask |= (uint32_t)(distances[i] <= most) << i;
  return mask;
#endif
}

/* The places of a tile where distances <= limit. They are rare: most groups are left after
 * one look at all of them. `sizes` may be null; else they are asked for where needed. */
TARGET static int64_t NAME(near)(const uint16_t *distances, int64_t count, int64_t limit,
                                 const int32_t *sizes, uint16_t *places) {
  int64_t found = 0;
  if (limit < 0) return 0;
  uint16_t most = (uint16_t)smaller(limit, 64 * 16); /* no code is farther */
  for (int64_t start = 0; start < count; start += GROUP) {
    uint16_t rest[GROUP];
    const uint16_t *group = distances + start;
    if (start + GROUP > count) { /* the last group is filled up with what is never near */
      memset(rest, 0xff, sizeof rest);
      group = memcpy(rest, group, (size_t)(count - start) * sizeof *rest);
    }
    for (uint32_t mask = NAME(small)(group, most); mask; mask &= mask - 1) {
      places[found] = (uint16_t)(start + __builtin_ctz(mask));
      if (sizes) __builtin_prefetch(sizes + places[found]);
      found++;
    }
  }
  return found;
}

/* Codes start..stop, a part of them. */
INLINE void NAME(select_part)(const scan_input *in, const select_input *wanted, int64_t start,
                              int64_t stop, select_log *log, int64_t *rings) {
  int64_t ring_count = 64 * in->words + 1;
  uint16_t tile[TILE], places[TILE];
  for (; start < stop; start += TILE) {
    int64_t count = smaller(TILE, stop - start);
    const int32_t *some = wanted->sizes ? wanted->sizes + start : NULL;
    for (int64_t q = 0; q < in->query_count; q++) {
      NAME(distances)(in->codes + start * in->words, in->queries + q * in->words, in->words,
                      count, tile);
      int64_t found = NAME(near)(tile, count, wanted->limits[q], some, places);
      for (int64_t n = 0; n < found; n++) {
        uint16_t place = places[n];
        if (some && !some[place]) continue;
        if (some) rings[q * ring_count + tile[place]] += some[place];
        if (log->used < log->room) {
          log->indices[log->used] = start + place;
          log->distances[log->used] = tile[place];
          log->queries[log->used] = (uint16_t)q;
        }
        log->used++;
      }
    }
  }
}

TARGET static void NAME(select)(const scan_input *in, const select_input *wanted,
                                select_log *log, int64_t *rings, int64_t *next) {
  for (int64_t part; (part = take(next, 1)) < wanted->parts;) {
    int64_t *place = wanted->places + 3 * part;
    place[0] = log->number, place[1] = log->used;
    NAME(select_part)(in, wanted, in->count * part / wanted->parts,
                      in->count * (part + 1) / wanted->parts, log, rings);
    place[2] = log->used;
  }
}

TARGET static int64_t NAME(within)(const uint16_t *distances, int64_t start, int64_t stop,
                                   int64_t limit, int64_t room, int64_t *indices) {
  int64_t count = 0;
  uint16_t places[TILE];
  for (; start < stop; start += TILE) {
    int64_t found =
        NAME(near)(distances + start, smaller(TILE, stop - start), limit, NULL, places);
    for (int64_t n = 0; n < found && count + n < room; n++)
      indices[count + n] = start + places[n];
    count += found;
  }
  return count;
}

/* ---- features ---- */

INLINE floats NAME(load)(const void *from) {
  floats value;
  memcpy(&value, from, sizeof value);
  return value;
}

/* A register of stored values at `from`, times their `scale` if they are int8. */
INLINE floats NAME(values)(int type, const void *from, const float *scale) {
  if (type == F32) return NAME(load)(from);
#if LEVEL == 2
  if (type == F16) return _mm512_cvtph_ps(_mm256_loadu_si256(from));
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from))) * NAME(load)(scale);
#elif LEVEL == 1
  if (type == F16) return _mm256_cvtph_ps(_mm_loadu_si128(from));
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from))) * NAME(load)(scale);
#else
  floats value;
  if (type == F16)
    for (int i = 0; i < WIDE; i++) value[i] = from_half(((const uint16_t *)from)[i]);
  else
    for (int i = 0; i < WIDE; i++) value[i] = ((const int8_t *)from)[i] * scale[i];
  return value;
#endif
}

INLINE floats NAME(magnitude)(floats x) { return (floats)((ints)x & 0x7fffffff); }

/* x * y + z, rounded once. */
INLINE floats NAME(fused)(floats x, floats y, floats z) {
#if LEVEL == 2
  return _mm512_fmadd_ps(x, y, z);
#elif LEVEL == 1
  return _mm256_fmadd_ps(x, y, z);
#else
  floats value;
  for (int i = 0; i < WIDE; i++) value[i] = fused(x[i], y[i], z[i]);
  return value;
#endif
}

/* What x and y add to the sum of a metric. */
INLINE floats NAME(step)(int metric, floats sum, floats x, floats y) {
  floats difference = y - x;
  if (metric == L2) return NAME(fused)(difference, difference, sum);
  if (metric == COSINE) return NAME(fused)(x, y, sum);
  if (metric == L1) return sum + NAME(magnitude)(difference);
  if (metric == LINF) {
    floats size = NAME(magnitude)(difference);
    ints larger = size > sum;
    return (floats)(((ints)size & larger) | ((ints)sum & ~larger));
  }
  floats total = y + x; /* chi-square; 0 / 0 counts 0 */
  return NAME(fused)((floats)((ints)(difference / total) & (total != 0)), difference, sum);
}

typedef floats NAME(lanes)[LANES / WIDE];

/* Adds LANES values, from `at` bytes on, to the sums of each of `rows`, and their squares
 * to `squares` for the cosine. What the query holds is loaded once for all rows. */
INLINE void NAME(add)(int metric, int type, int rows, const char *const *row, int64_t at,
                      const float *scale, const float *query, NAME(lanes) *sums,
                      NAME(lanes) *squares) {
  const int bytes = type == F32 ? 4 : type == F16 ? 2 : 1;
  for (int p = 0; p < LANES / WIDE; p++) {
    floats x = NAME(load)(query + p * WIDE);
    for (int r = 0; r < rows; r++) {
      floats y = NAME(values)(type, row[r] + at + p * WIDE * bytes, scale + p * WIDE);
      sums[r][p] = NAME(step)(metric, sums[r][p], x, y);
      if (metric == COSINE) squares[r][p] = NAME(fused)(y, y, squares[r][p]);
    }
  }
}

INLINE float NAME(joined)(int metric, float x, float y) {
  return metric != LINF ? x + y : x > y ? x : y;
}

/* One value from the sums, halving: the order is the same on every level. */
INLINE float NAME(whole)(int metric, const float *sum) {
  float lane[LANES / 2];
  for (int i = 0; i < LANES / 2; i++) lane[i] = NAME(joined)(metric, sum[i], sum[i + LANES / 2]);
  for (int half = LANES / 4; half; half /= 2)
    for (int i = 0; i < half; i++) lane[i] = NAME(joined)(metric, lane[i], lane[i + half]);
  return lane[0];
}

INLINE float NAME(result)(int metric, float sum, float squares, float query_squares) {
  if (metric == L2) return sqrtf(sum);
  if (metric != COSINE) return sum;
  /* doubles: the root of a square is exact, so equal features are at distance 0 */
  double norms = sqrt((double)squares * query_squares);
  double distance = norms > 0 ? 1 - sum / norms : 1;
  return (float)(distance < 0 ? 0 : distance > 2 ? 2 : distance);
}

/* Adds the values first..stop of `rows`. As many at `coming` are asked for meanwhile. */
INLINE void NAME(span)(int metric, int type, const fine_input *in, int rows,
                       const char *const *row, const char *const *coming, int64_t first,
                       int64_t stop, float *const *sum, float *const *square) {
  const int bytes = type == F32 ? 4 : type == F16 ? 2 : 1;
  NAME(lanes) sums[SIDE], squares[SIDE];
  for (int r = 0; r < rows; r++) {
    memcpy(sums[r], sum[r], sizeof *sums);
    if (metric == COSINE) memcpy(squares[r], square[r], sizeof *squares);
  }
  int64_t i = first;
  for (; i + LANES <= stop; i += LANES) {
    for (int r = 0; r < rows; r++)
      for (int b = 0; b < LANES * bytes; b += 64)
        __builtin_prefetch(coming[r] + (i - first) * bytes + b, 0, 2);
    NAME(add)(metric, type, rows, row, i * bytes, in->scale + i, in->query + i, sums, squares);
  }
  if (i < stop) { /* the end of rows whose length is no multiple of LANES */
    char rest[SIDE][LANES * 4] = {0};
    const char *from[SIDE];
    for (int r = 0; r < rows; r++)
      from[r] = memcpy(rest[r], row[r] + i * bytes, (size_t)((stop - i) * bytes));
    NAME(add)(metric, type, rows, from, 0, in->scale + i, in->query + i, sums, squares);
  }
  for (int r = 0; r < rows; r++) {
    memcpy(sum[r], sums[r], sizeof *sums);
    if (metric == COSINE) memcpy(square[r], squares[r], sizeof *squares);
  }
}

/* Up to TOGETHER rows, a span of each in turn. One whose sum so far is beyond the limit is
 * given up: no value can make its distance smaller. While one group of rows is added, others
 * are asked for: the next span of those that are left, else the first of the rows to come. */
INLINE void NAME(rows_together)(int metric, int type, const fine_input *in, int64_t start,
                                int64_t count, float limit, float query_squares, float *out) {
  const int side = metric == COSINE ? (SIDE + 1) / 2 : SIDE; /* as registers suffice for */
  const int limited = (metric == L2 || metric == L1 || metric == LINF) && limit < INFINITY;
  const int bytes = type == F32 ? 4 : type == F16 ? 2 : 1;
  const int64_t row_bytes = in->dim * bytes, later = start + count;
  const char *features = in->features;
  float sums[TOGETHER][LANES] = {0}, squares[TOGETHER][LANES] = {0};
  const char *rows[TOGETHER], *row[SIDE], *coming[SIDE], *wanted[2 * TOGETHER];
  float *sum[SIDE], *square[SIDE];
  int alive[TOGETHER], asked = 0, noted = 0, ahead = 0;
  int64_t left = count;
  for (int r = 0; r < count; r++) {
    rows[r] = features + in->rows[start + r] * row_bytes;
    alive[r] = r;
  }
  for (int64_t first = 0; first < in->dim && left; first += SPAN) {
    int64_t stop = smaller(first + SPAN, in->dim), kept = 0;
    for (int64_t group = 0, size; group < left; group += size) {
      size = left - group < side ? 1 : side;
      for (int j = 0; j < size; j++) {
        int r = alive[group + j];
        row[j] = rows[r], sum[j] = sums[r], square[j] = squares[r];
        if (asked < noted)
          coming[j] = wanted[asked++ % (2 * TOGETHER)];
        else if (ahead < TOGETHER && later + ahead < in->count)
          coming[j] = features + in->rows[later + ahead++] * row_bytes;
        else
          coming[j] = row[j] + first * bytes;
      }
      if (size == side)
        NAME(span)(metric, type, in, side, row, coming, first, stop, sum, square);
      else
        NAME(span)(metric, type, in, 1, row, coming, first, stop, sum, square);
      for (int j = 0; j < size; j++) {
        int r = alive[group + j];
        if (limited && NAME(result)(metric, NAME(whole)(metric, sums[r]), 0, 0) > limit) continue;
        alive[kept++] = r;
        if (stop < in->dim) wanted[noted++ % (2 * TOGETHER)] = rows[r] + stop * bytes;
      }
    }
    left = kept;
  }
  for (int64_t n = 0; n < left; n++) {
    int r = alive[n];
    out[start + r] = NAME(result)(metric, NAME(whole)(metric, sums[r]),
                                  NAME(whole)(metric, squares[r]), query_squares);
  }
}

INLINE float NAME(squares)(const fine_input *in) {
  NAME(lanes) sums[1];
  const char *query = (const char *)in->query;
  memset(sums, 0, sizeof sums);
  for (int64_t i = 0; i < in->dim; i += LANES)
    NAME(add)(L2, F32, 1, &query, i * 4, NULL, (const float[LANES]){0}, sums, NULL);
  float sum[LANES];
  memcpy(sum, sums, sizeof sum);
  return NAME(whole)(L2, sum);
}

INLINE void NAME(rows)(int metric, int type, const fine_input *in, float *out,
                       fine_state *state) {
  float query_squares = metric == COSINE ? NAME(squares)(in) : 0;
  for (int64_t start; (start = take_rows(in, out, state, ROWS)) < in->count;) {
    int64_t stop = smaller(start + ROWS, in->count);
    float limit = limit_of(state);
    for (int64_t i = start; i < stop; i += TOGETHER)
      NAME(rows_together)(metric, type, in, i, smaller(TOGETHER, stop - i), limit, query_squares,
                          out);
  }
}

#define CASE(metric, type) \
  case metric * 3 + type: NAME(rows)(metric, type, in, out, state); break;
#define CASES(metric) CASE(metric, F32) CASE(metric, F16) CASE(metric, I8)

TARGET static void NAME(fine)(const fine_input *in, float *out, fine_state *state) {
  switch (in->metric * 3 + in->type) {
    CASES(L2) CASES(CHI2) CASES(COSINE) CASES(L1) CASES(LINF)
  }
}

static const kernel_set NAME(kernels) = {
  NAME(scan), NAME(rank), NAME(select), NAME(within), NAME(fine),
};

#undef floats
#undef ints
#undef INLINE
#undef VECTOR
#undef WIDE
#undef SIDE
#undef CASE
#undef CASES
#undef LEVEL
#undef NAME
#undef TARGET
