/* The kernels for one LEVEL of processors; included by native.c, once for each. */
#include "vectors.h"
#include "codes.h"
#include "features.h"
#include "blobs.h"
#include "depthwise.h"
#include "normalise.h"

static const kernel_set NAME(kernels) = {
  NAME(scan), NAME(rank), NAME(select), NAME(within), NAME(fine),
  NAME(kernel_gradients), NAME(image_gradients), NAME(moments), NAME(normalise),
  NAME(normalise_sums), NAME(normalise_back),
};

#undef floats
#undef ints
#undef uints
#undef INLINE
#undef VECTOR
#undef WIDE
#undef SIDE
#undef LINE
#undef CASE
#undef CASES
#undef LEVEL
#undef NAME
#undef TARGET
