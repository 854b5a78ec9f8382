/* From codes to distances, for one LEVEL of processors. */

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
