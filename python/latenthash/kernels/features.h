/* From rows of features to distances, for one LEVEL of processors. */

#define SIDE (LEVEL == 2 ? 4 : 1) /* rows whose sums fit into the registers */

INLINE floats NAME(magnitude)(floats x) { return (floats)((ints)x & 0x7fffffff); }

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
