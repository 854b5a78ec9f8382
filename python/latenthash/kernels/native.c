/* The inner loops of search and of training. `level.h` is compiled once for each level of
 * x86 processors and the best one is chosen when the library is loaded, so one binary runs
 * everywhere. No Python here: the caller has let go of the interpreter's lock and checked
 * every argument. Its threads share work through the counter `next`, from which each
 * takes the next block: one that is late or slow holds up nothing. */
#include <stddef.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* Changed together with the arguments below; a stale library is not used. */
#define VERSION 8

enum { L2, CHI2, COSINE, L1, LINF };
enum { F32, F16, I8, BF16 };

enum {
  TILE = 4096,   /* codes that stay in the cache while all queries look at them */
  BLOCK = 16,    /* tiles that a thread takes at a time */
  PARTS = 4,     /* counts of one tile, so that equal distances in a row need not wait */
  RINGS = 64 * 16 + 1, /* distances between codes of at most 1024 bits */
  GROUP = 32,    /* distances that are skipped together when none is small enough */
  ROWS = 32,     /* rows of features that a thread takes at a time */
  TOGETHER = 16, /* rows added in turn, a SPAN of each: */
  SPAN = 1024,   /* this piece of the query stays in the first cache */
  PIECES = 64,   /* of a blob, for any number of threads, so the results are the same */
  SOME = 256,    /* rows whose sums are floats before they are added to doubles */
  LANES = 64,    /* sums of one row; the same on every level, so the results are the same */
};

typedef struct {
  const uint64_t *codes; /* (count, words) */
  int64_t count, words;
  const uint64_t *queries; /* (query_count, words) */
  int64_t query_count;
} scan_input;

typedef struct {
  const int32_t *sizes;  /* (count,) or null: then no rings */
  const int64_t *limits; /* (query_count,) largest distance wanted */
  int64_t parts;         /* of the codes */
  int64_t *places;       /* (parts, 3): log, start and end of what is found in each */
} select_input;

typedef struct {
  int64_t number, room, used; /* what there is no room for is only counted */
  int64_t *indices;
  uint16_t *distances, *queries;
} select_log;

typedef struct {
  const void *features; /* (_, dim) of `type` */
  int64_t type, dim, metric;
  const float *scale, *query; /* padded with zeros to whole LANES */
  const int64_t *rows;        /* (count,) */
  int64_t count, k; /* only the k nearest matter */
} fine_input;

typedef struct {
  int64_t next;  /* row to be taken */
  int64_t check; /* row at which the limit is to be looked at again */
  float limit;   /* farther rows may be given as infinity */
  float *room;   /* (count,) */
} fine_state;

typedef struct {
  const void *images;   /* (count, *size, channels) of `type`, F32 or BF16 */
  const void *gradient; /* (count, *outputs, channels) of the outputs */
  const float *kernels; /* (values of a kernel, channels) */
  int64_t type, count, channels; /* a multiple of 16 channels */
  int64_t size[2], outputs[2], kernel[2], stride[2], pad[2]; /* height, width */
  int64_t room; /* width of the padded image, and all that kernels reach */
} depthwise_input;

typedef struct {
  const void *blob, *gradient; /* (rows, channels) of `type`, F32 or BF16 */
  int64_t type, rows, channels; /* a multiple of 16 channels */
  const float *values[5]; /* (channels,): factor, shift, and three that depend on the task */
  float low, high;
} normalise_input;

/* One of the functions below that take blobs, and its arguments. */
typedef struct {
  void (*work)(const void *, void *, int64_t *);
  const void *in;
  void *out;
  int64_t next;
} task;

typedef struct {
  void (*scan)(const scan_input *, const int32_t *, uint16_t *, int64_t *, int64_t *);
  void (*rank)(const scan_input *, int64_t, uint16_t *, int32_t *, int32_t *);
  void (*select)(const scan_input *, const select_input *, select_log *, int64_t *, int64_t *);
  int64_t (*within)(const uint16_t *, int64_t, int64_t, int64_t, int64_t, int64_t *);
  void (*fine)(const fine_input *, float *, fine_state *);
  void (*kernel_gradients)(const depthwise_input *, float *, int64_t *);
  void (*image_gradients)(const depthwise_input *, char *, int64_t *);
  void (*moments)(const normalise_input *, double *, int64_t *);
  void (*normalise)(const normalise_input *, char *, int64_t *);
  void (*normalise_sums)(const normalise_input *, double *, int64_t *);
  void (*normalise_back)(const normalise_input *, char *, int64_t *);
} kernel_set;

static int64_t take(int64_t *next, int64_t step) {
  return __atomic_fetch_add(next, step, __ATOMIC_RELAXED);
}

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* The value of a half-precision number, for processors that cannot convert it. */
static inline float from_half(uint16_t half) {
  uint32_t bits = (uint32_t)(half & 0x7fff) << 13;
  if (bits >= 0x0f800000) bits += 0x70000000; /* infinite or not a number */
  float value;
  memcpy(&value, &bits, sizeof value);
  if (bits < 0x0f800000) value *= 0x1p112f; /* rebias the exponent, subnormals too */
  return half & 0x8000 ? -value : value;
}

/* The k-th smallest of `count` values, k from 0; their order is lost. */
static float kth(float *values, int64_t count, int64_t k) {
  int64_t low = 0, high = count - 1;
  while (low < high) {
    float pivot = values[(low + high) / 2];
    int64_t i = low, j = high;
    while (i <= j) {
      while (values[i] < pivot) i++;
      while (pivot < values[j]) j--;
      if (i > j) break;
      float swapped = values[i];
      values[i++] = values[j], values[j--] = swapped;
    }
    if (k <= j) high = j;
    else if (k >= i) low = i;
    else break;
  }
  return values[k];
}

static float limit_of(const fine_state *state) {
  float limit;
  __atomic_load(&state->limit, &limit, __ATOMIC_RELAXED);
  return limit;
}

/* Takes rows to compare. At every doubling of the rows done, one thread brings the limit
 * down; a row that is not done yet counts as infinitely far, so the limit is never too low. */
static int64_t take_rows(const fine_input *in, float *out, fine_state *state, int64_t step) {
  int64_t start = take(&state->next, step);
  int64_t check = __atomic_load_n(&state->check, __ATOMIC_RELAXED);
  if (start < check || start >= in->count ||
      !__atomic_compare_exchange_n(&state->check, &check, 2 * start, 0, __ATOMIC_ACQUIRE,
                                   __ATOMIC_RELAXED))
    return start;
  float limit = limit_of(state);
  int64_t near = 0;
  for (int64_t row = 0; row < start; row++) {
    float value;
    __atomic_load(out + row, &value, __ATOMIC_RELAXED);
    if (value < limit) state->room[near++] = value;
  }
  if (near >= in->k) {
    limit = kth(state->room, near, in->k - 1);
    __atomic_store(&state->limit, &limit, __ATOMIC_RELAXED);
  }
  return start;
}

/* x * y + z, rounded once, for processors that cannot do so. The product is exact; what the
 * sum loses makes its last bit odd, so that rounding it again is right. */
static inline float fused(float x, float y, float z) {
#ifdef __FP_FAST_FMAF
  return __builtin_fmaf(x, y, z);
#else
  double product = (double)x * y, sum = product + z;
  double back = sum - product, lost = (product - (sum - back)) + (z - back);
  if (lost != 0) {
    int64_t whole;
    memcpy(&whole, &sum, sizeof whole);
    if (!(whole & 1)) whole += (lost > 0) == (sum > 0) ? 1 : -1;
    memcpy(&sum, &whole, sizeof sum);
  }
  return (float)sum;
#endif
}

#define LEVEL 0
#define NAME(name) name##_plain
#define TARGET
#include "level.h"

#if defined(__x86_64__)
#define LEVEL 1
#define NAME(name) name##_avx2
#define TARGET __attribute__((target("avx2,fma,f16c,popcnt,bmi,bmi2,lzcnt")))
#include "level.h"

#define LEVEL 2
#define NAME(name) name##_avx512
#define TARGET                                                                        \
  __attribute__((target("avx2,fma,f16c,popcnt,bmi,bmi2,lzcnt,avx512f,avx512bw,avx512dq," \
                        "avx512vl,avx512vpopcntdq,prefer-vector-width=512")))
#include "level.h"
#endif

static const kernel_set *const LEVELS[] = {
  &kernels_plain,
#if defined(__x86_64__)
  &kernels_avx2,
  &kernels_avx512,
#endif
};

static int best_level(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vpopcntdq"))
    return 2;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") &&
      __builtin_cpu_supports("fma"))
    return 1;
#endif
  return 0;
}

static int level = 0;

int64_t lh_version(void) { return VERSION; }

/* Chooses the best level up to `most` (negative: the best); returns it. */
int64_t lh_use_level(int64_t most) {
  int best = best_level();
  level = most < 0 || most > best ? best : (int)most;
  return level;
}

/* Distances of all codes to the queries. `sizes` (count,) may be null, else images are
 * added to `rings` (query_count, 64 * words + 1) by distance. `out` may be null, else it
 * gets the distances (count,) to the only query. */
void lh_scan(const scan_input *in, const int32_t *sizes, uint16_t *out, int64_t *rings,
             int64_t *next) {
  LEVELS[level]->scan(in, sizes, out, rings, next);
}

/* The k <= count codes nearest to each query, by (distance, place), into `order`
 * (query_count, k). Codes are counted by distance in `rings` (query_count, 64 * words + 1),
 * zeros before. `room` is for count distances. */
void lh_rank(const scan_input *in, int64_t k, uint16_t *room, int32_t *order, int32_t *rings) {
  LEVELS[level]->rank(in, k, room, order, rings);
}

/* Codes within limits of the queries, without those of no images, into the thread's own log.
 * The images of all of them are added to `rings`, as in lh_scan; `next` counts parts. */
void lh_select(const scan_input *in, const select_input *wanted, select_log *log,
               int64_t *rings, int64_t *next) {
  LEVELS[level]->select(in, wanted, log, rings, next);
}

/* Writes the start <= i < stop with distances[i] <= limit, as many as there is room for;
 * returns the count of all. */
int64_t lh_within(const uint16_t *distances, int64_t start, int64_t stop, int64_t limit,
                  int64_t room, int64_t *indices) {
  return LEVELS[level]->within(distances, start, stop, limit, room, indices);
}

/* Distances of rows of features to a query, into `out` (count,), which is filled with
 * infinity before. Where the sum of a row can only grow, it is given up once it is beyond
 * the limit, which comes down to the k-th nearest of the rows before. */
void lh_fine(const fine_input *in, float *out, fine_state *state) {
  LEVELS[level]->fine(in, out, state);
}

/* What each image tells of the kernels of a depthwise convolution, added to `sums` (count,
 * values of a kernel, channels). */
void lh_kernel_gradients(const void *in, void *sums, int64_t *next) {
  LEVELS[level]->kernel_gradients(in, sums, next);
}

/* The gradient of the images of a depthwise convolution, into `images`. */
void lh_image_gradients(const void *in, void *images, int64_t *next) {
  LEVELS[level]->image_gradients(in, images, next);
}

/* Sums of the blob less values[2] and of its square, added to `sums` (PIECES, 2, channels). */
void lh_moments(const void *in, void *sums, int64_t *next) {
  LEVELS[level]->moments(in, sums, next);
}

/* values[0] * blob + values[1] within the limits, into `out`. */
void lh_normalise(const void *in, void *out, int64_t *next) {
  LEVELS[level]->normalise(in, out, next);
}

/* Sums, as in lh_moments, of the gradient where the limits let it pass and of its product with
 * the blob less values[2]. */
void lh_normalise_sums(const void *in, void *sums, int64_t *next) {
  LEVELS[level]->normalise_sums(in, sums, next);
}

/* values[2] * gradient, where the limits let it pass, + values[3] * blob + values[4]. */
void lh_normalise_back(const void *in, void *out, int64_t *next) {
  LEVELS[level]->normalise_back(in, out, next);
}

/* What each thread of a team does, with OpenMP's or our own. */
void lh_share(task *shared) { shared->work(shared->in, shared->out, &shared->next); }

/* Reads `bytes` from memory as fast as a core can: what the kernels are measured by. */
uint64_t lh_read(const uint64_t *words, int64_t count, int64_t *next) {
  enum { STEP = 1 << 15 };
  uint64_t total = 0;
  for (int64_t start; (start = take(next, STEP)) < count;) {
    uint64_t sums[16] = {0};
    int64_t stop = smaller(start + STEP, count);
    for (int64_t i = start; i + 16 <= stop; i += 16)
      for (int j = 0; j < 16; j++) sums[j] ^= words[i + j];
    for (int j = 0; j < 16; j++) total ^= sums[j];
  }
  return total;
}
