/* Normalisation by channel, then limits, and its gradient, for one LEVEL of processors. */

/* Adds two registers' floats to doubles. */
INLINE void NAME(keep)(const floats *sums, int64_t channels, double *out) {
  for (int s = 0; s < 2; s++)
    for (int i = 0; i < WIDE; i++) out[s * channels + i] += sums[s][i];
}

INLINE int64_t NAME(edge)(const normalise_input *in, int64_t piece) {
  return in->rows * piece / PIECES;
}

/* x, factor * x + shift and the gradient where that is within the limits, else 0. */
INLINE void NAME(seen)(int type, const normalise_input *in, int64_t at, int64_t c, floats *x,
                       floats *gradient) {
  const int bytes = NAME(bytes)(type);
  *x = NAME(get)(type, (const char *)in->blob + at * bytes);
  floats y = NAME(fused)(*x, NAME(load)(in->values[0] + c), NAME(load)(in->values[1] + c));
  ints inside = (y > in->low) & (y < in->high);
  floats g = NAME(get)(type, (const char *)in->gradient + at * bytes);
  *gradient = (floats)((ints)g & inside);
}

/* Sums over SOME rows at most: of x and its square, or of the gradient and its product with x;
 * x about a centre, values[2]. */
INLINE void NAME(some_sums)(int type, int back, int regs, const normalise_input *in,
                            int64_t start, int64_t stop, int64_t c, double *out) {
  floats sums[8][2], centre[8];
  for (int r = 0; r < regs; r++) {
    sums[r][0] = sums[r][1] = (floats){0};
    centre[r] = NAME(load)(in->values[2] + c + r * WIDE);
  }
  for (int64_t row = start; row < stop; row++)
    for (int r = 0; r < regs; r++) {
      int64_t at = row * in->channels + c + r * WIDE;
      floats x, other;
      if (back)
        NAME(seen)(type, in, at, c + r * WIDE, &x, &other);
      else
        x = NAME(get)(type, (const char *)in->blob + at * NAME(bytes)(type));
      x -= centre[r];
      sums[r][0] += back ? other : x;
      sums[r][1] = NAME(fused)(x, back ? other : x, sums[r][1]);
    }
  for (int r = 0; r < regs; r++) NAME(keep)(sums[r], in->channels, out + c + r * WIDE);
}

INLINE void NAME(sums)(int type, int back, const normalise_input *in, double *out,
                       int64_t *next) {
  for (int64_t piece; (piece = take(next, 1)) < PIECES;) {
    int64_t stop = NAME(edge)(in, piece + 1);
    double *own = out + piece * 2 * in->channels;
    for (int64_t row = NAME(edge)(in, piece); row < stop; row += SOME)
      for (int64_t c = 0, lines; c < in->channels; c += 16 * lines) {
        lines = in->channels - c < 32 ? 1 : 2;
        if (lines == 1)
          NAME(some_sums)(type, back, LINE, in, row, smaller(row + SOME, stop), c, own);
        else
          NAME(some_sums)(type, back, 2 * LINE, in, row, smaller(row + SOME, stop), c, own);
      }
  }
}

/* Sums of x and its square. */
TARGET static void NAME(moments)(const normalise_input *in, double *sums, int64_t *next) {
  if (in->type == F32) NAME(sums)(F32, 0, in, sums, next);
  else NAME(sums)(BF16, 0, in, sums, next);
}

/* Sums of the gradient and of its product with x. */
TARGET static void NAME(normalise_sums)(const normalise_input *in, double *sums, int64_t *next) {
  if (in->type == F32) NAME(sums)(F32, 1, in, sums, next);
  else NAME(sums)(BF16, 1, in, sums, next);
}

INLINE void NAME(limited)(int type, const normalise_input *in, char *out, int64_t *next) {
  const int bytes = NAME(bytes)(type);
  const floats low = (floats){0} + in->low, high = (floats){0} + in->high;
  for (int64_t piece; (piece = take(next, 1)) < PIECES;)
    for (int64_t row = NAME(edge)(in, piece); row < NAME(edge)(in, piece + 1); row++)
      for (int64_t c = 0; c < in->channels; c += WIDE) {
        int64_t at = (row * in->channels + c) * bytes;
        floats y = NAME(fused)(NAME(get)(type, (const char *)in->blob + at),
                               NAME(load)(in->values[0] + c), NAME(load)(in->values[1] + c));
        ints below = y < low, above = y > high;
        y = (floats)(((ints)y & ~below & ~above) | ((ints)low & below) | ((ints)high & above));
        NAME(put)(type, y, out + at);
      }
}

/* factor * x + shift within the limits. */
TARGET static void NAME(normalise)(const normalise_input *in, char *out, int64_t *next) {
  if (in->type == F32) NAME(limited)(F32, in, out, next);
  else NAME(limited)(BF16, in, out, next);
}

INLINE void NAME(back)(int type, const normalise_input *in, char *out, int64_t *next) {
  for (int64_t piece; (piece = take(next, 1)) < PIECES;)
    for (int64_t row = NAME(edge)(in, piece); row < NAME(edge)(in, piece + 1); row++)
      for (int64_t c = 0; c < in->channels; c += WIDE) {
        int64_t at = row * in->channels + c;
        floats x, g;
        NAME(seen)(type, in, at, c, &x, &g);
        floats sum = NAME(fused)(x, NAME(load)(in->values[3] + c), NAME(load)(in->values[4] + c));
        NAME(put)(type, NAME(fused)(g, NAME(load)(in->values[2] + c), sum),
                  out + at * NAME(bytes)(type));
      }
}

/* The gradient of x: values[2] * gradient + values[3] * x + values[4]. */
TARGET static void NAME(normalise_back)(const normalise_input *in, char *out, int64_t *next) {
  if (in->type == F32) NAME(back)(F32, in, out, next);
  else NAME(back)(BF16, in, out, next);
}
