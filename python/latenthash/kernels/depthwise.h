/* Gradients of depthwise convolutions, for one LEVEL of processors. */

/* Adds to `sums` (taps, channels) what `count` outputs of a row tell of `taps` values of a kernel
 * that are neighbours in a row of it. What lies `ahead` of both is asked for meanwhile. */
INLINE void NAME(taps)(int type, int taps, int regs, const depthwise_input *in,
                       const char *image, const char *gradient, int64_t count,
                       const int64_t *ahead, float *sums) {
  const int line = WIDE * NAME(bytes)(type);
  const int64_t pixel = in->channels * NAME(bytes)(type), step = in->stride[1] * pixel;
  floats own[5][2 * LINE];
  for (int t = 0; t < taps; t++)
    for (int r = 0; r < regs; r++)
      own[t][r] = NAME(load)(sums + t * in->channels + r * WIDE);
  for (int64_t i = 0; i < count; i++, image += step, gradient += pixel) {
    __builtin_prefetch(image + ahead[0]);
    __builtin_prefetch(gradient + ahead[1]);
    for (int r = 0; r < regs; r++) {
      floats g = NAME(get)(type, gradient + r * line);
      for (int t = 0; t < taps; t++)
        own[t][r] = NAME(fused)(g, NAME(get)(type, image + t * pixel + r * line), own[t][r]);
    }
  }
  for (int t = 0; t < taps; t++)
    for (int r = 0; r < regs; r++)
      memcpy(sums + t * in->channels + r * WIDE, &own[t][r], sizeof own[t][r]);
}

/* The outputs from which value `t` of a kernel's row looks into the image, in `range`. */
INLINE void NAME(seeing)(int64_t t, int64_t size, int64_t outputs, int64_t stride, int64_t pad,
                         int64_t *range) {
  int64_t before = pad - t, behind = size - 1 + pad - t;
  range[0] = before > 0 ? (before + stride - 1) / stride : 0;
  range[1] = behind < 0 ? 0 : smaller(outputs, behind / stride + 1);
}

/* One row of outputs and one row of the image: all values of the kernel's row where all of
 * them see the image, one by one at its borders. */
INLINE void NAME(kernel_row)(int type, int width, int regs, const depthwise_input *in,
                             const char *image, const char *gradient, const int64_t *ahead,
                             float *sums) {
  const int64_t pixel = in->channels * NAME(bytes)(type), step = in->stride[1] * pixel;
  int64_t first[2], last[2], own[2];
  NAME(seeing)(0, in->size[1], in->outputs[1], in->stride[1], in->pad[1], first);
  NAME(seeing)(in->kernel[1] - 1, in->size[1], in->outputs[1], in->stride[1], in->pad[1], last);
  int64_t low = first[0], high = last[1];
  if (low >= high || !width) low = high = 0;
  for (int64_t t = 0; t < in->kernel[1]; t++) {
    NAME(seeing)(t, in->size[1], in->outputs[1], in->stride[1], in->pad[1], own);
    int64_t parts[2][2] = {{own[0], smaller(low, own[1])}, {high > own[0] ? high : own[0], own[1]}};
    for (int p = 0; p < 2; p++)
      if (parts[p][0] < parts[p][1])
        NAME(taps)(type, 1, regs, in, image + parts[p][0] * step + (t - in->pad[1]) * pixel,
                   gradient + parts[p][0] * pixel, parts[p][1] - parts[p][0], ahead,
                   sums + t * in->channels);
  }
  if (low < high)
    NAME(taps)(type, width, regs, in, image + low * step - in->pad[1] * pixel,
               gradient + low * pixel, high - low, ahead, sums);
}

/* What one row of outputs of 16 or 32 channels tells of their kernels, added to `sums` (values
 * of a kernel, channels). The rows that come next are asked for meanwhile. */
INLINE void NAME(kernel_lines)(int type, int width, int regs, const depthwise_input *in,
                               int64_t row, const char *image, const char *gradient,
                               float *sums) {
  const int64_t pixel = in->channels * NAME(bytes)(type);
  const int64_t line = in->size[1] * pixel, outputs = in->outputs[1] * pixel;
  for (int64_t t = 0; t < in->kernel[0]; t++) {
    int64_t y = row * in->stride[0] - in->pad[0] + t, fresh = in->kernel[0] - t <= in->stride[0];
    int64_t ahead[2] = {fresh ? in->stride[0] * line : 0, t ? 0 : outputs};
    if (y >= 0 && y < in->size[0])
      NAME(kernel_row)(type, width, regs, in, image + y * line, gradient + row * outputs, ahead,
                       sums + t * in->kernel[1] * in->channels);
  }
}

/* Adds what the outputs of a row give to the values of the image below the kernel's row, in
 * `room`, which begins with the padding. */
INLINE void NAME(image_row)(int type, int width, int regs, const depthwise_input *in,
                            const char *gradient, const float *kernels, floats *room) {
  const int64_t pixel = in->channels * NAME(bytes)(type), taps = width ? width : in->kernel[1];
  const int line = WIDE * NAME(bytes)(type);
  for (int64_t i = 0; i < in->outputs[1]; i++, gradient += pixel)
    for (int r = 0; r < regs; r++) {
      floats g = NAME(get)(type, gradient + r * line);
      floats *at = room + i * in->stride[1] * regs + r;
      for (int64_t t = 0; t < taps; t++)
        at[t * regs] = NAME(fused)(g, NAME(load)(kernels + t * in->channels + r * WIDE),
                                   at[t * regs]);
    }
}

/* One row of the gradient of 16 or 32 channels of an image. */
INLINE void NAME(image_lines)(int type, int width, int regs, const depthwise_input *in,
                              int64_t y, const char *gradient, const float *kernels,
                              floats *room, char *image) {
  const int64_t pixel = in->channels * NAME(bytes)(type);
  const int line = WIDE * NAME(bytes)(type);
  memset(room, 0, (size_t)(in->room * regs) * sizeof *room);
  for (int64_t t = 0; t < in->kernel[0]; t++) {
    int64_t above = y + in->pad[0] - t, row = above / in->stride[0];
    if (above >= 0 && above % in->stride[0] == 0 && row < in->outputs[0])
      NAME(image_row)(type, width, regs, in, gradient + row * in->outputs[1] * pixel,
                      kernels + t * in->kernel[1] * in->channels, room);
  }
  for (int64_t x = 0; x < in->size[1]; x++)
    for (int r = 0; r < regs; r++)
      NAME(put)(type, room[(x + in->pad[1]) * regs + r],
                image + (y * in->size[1] + x) * pixel + r * line);
}

#define LINES(what, type, regs, ...)                                   \
  switch (in->kernel[1]) {                                             \
    case 3: NAME(what)(type, 3, regs, in, __VA_ARGS__); break;         \
    case 5: NAME(what)(type, 5, regs, in, __VA_ARGS__); break;         \
    default: NAME(what)(type, 0, regs, in, __VA_ARGS__);               \
  }
#define CHANNELS(what, ...)                                            \
  if (in->type == F32 && lines == 1) { LINES(what, F32, LINE, __VA_ARGS__) } \
  else if (in->type == F32) { LINES(what, F32, 2 * LINE, __VA_ARGS__) }     \
  else if (lines == 1) { LINES(what, BF16, LINE, __VA_ARGS__) }              \
  else { LINES(what, BF16, 2 * LINE, __VA_ARGS__) }

/* `sums` (count, values of a kernel, channels), zeros before: what each image tells of the
 * kernels. Rows of all channels one after the other: so the memory is read in order. */
TARGET static void NAME(kernel_gradients)(const depthwise_input *in, float *sums,
                                          int64_t *next) {
  const int64_t bytes = in->type == F32 ? 4 : 2, values = in->kernel[0] * in->kernel[1];
  const int64_t image = in->size[0] * in->size[1] * in->channels;
  const int64_t output = in->outputs[0] * in->outputs[1] * in->channels;
  for (int64_t n; (n = take(next, 1)) < in->count;)
    for (int64_t row = 0; row < in->outputs[0]; row++)
      for (int64_t c = 0, lines; c < in->channels; c += 16 * lines) {
        const char *from = (const char *)in->images + (n * image + c) * bytes;
        const char *gradient = (const char *)in->gradient + (n * output + c) * bytes;
        float *out = sums + n * values * in->channels + c;
        lines = in->channels - c < 32 ? 1 : 2;
        CHANNELS(kernel_lines, row, from, gradient, out)
      }
}

/* `images` gets the gradient of the images. */
TARGET static void NAME(image_gradients)(const depthwise_input *in, char *images,
                                         int64_t *next) {
  floats room[in->room * 2 * LINE];
  const int64_t bytes = in->type == F32 ? 4 : 2;
  const int64_t image = in->size[0] * in->size[1] * in->channels;
  const int64_t output = in->outputs[0] * in->outputs[1] * in->channels;
  for (int64_t n; (n = take(next, 1)) < in->count;)
    for (int64_t y = 0; y < in->size[0]; y++)
      for (int64_t c = 0, lines; c < in->channels; c += 16 * lines) {
        const char *gradient = (const char *)in->gradient + (n * output + c) * bytes;
        char *to = images + (n * image + c) * bytes;
        lines = in->channels - c < 32 ? 1 : 2;
        CHANNELS(image_lines, y, gradient, in->kernels + c, room, to)
      }
}

#undef LINES
#undef CHANNELS
