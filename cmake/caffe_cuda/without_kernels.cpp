// Layers of the brocolli-caffe sources that declare Forward_gpu and Backward_gpu but have no
// kernels: they compute on the CPU, which is what Caffe's Layer does for one that declares none.
// A source tree without such a layer has no such header.
#include <vector>

#include "caffe/common.hpp"
#include "caffe/layer.hpp"

#define ON_THE_CPU(classname) \
  template <typename Dtype> \
  void classname<Dtype>::Forward_gpu(const vector<Blob<Dtype>*>& bottom, \
      const vector<Blob<Dtype>*>& top) { \
    this->Forward_cpu(bottom, top); \
  } \
  template <typename Dtype> \
  void classname<Dtype>::Backward_gpu(const vector<Blob<Dtype>*>& top, \
      const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom) { \
    this->Backward_cpu(top, propagate_down, bottom); \
  } \
  INSTANTIATE_LAYER_GPU_FUNCS(classname)

#if __has_include("caffe/layers/hardsigmoid_layer.hpp")
#include "caffe/layers/hardsigmoid_layer.hpp"
namespace caffe { ON_THE_CPU(HardSigmoidLayer); }
#endif
#if __has_include("caffe/layers/hardswish_layer.hpp")
#include "caffe/layers/hardswish_layer.hpp"
namespace caffe { ON_THE_CPU(HardSwishLayer); }
#endif
#if __has_include("caffe/layers/maxunpool_layer.hpp")
#include "caffe/layers/maxunpool_layer.hpp"
namespace caffe { ON_THE_CPU(MaxUnPoolLayer); }
#endif
#if __has_include("caffe/layers/pixelshuffle_layer.hpp")
#include "caffe/layers/pixelshuffle_layer.hpp"
namespace caffe { ON_THE_CPU(PixelShuffleLayer); }
#endif
#if __has_include("caffe/layers/relu6_layer.hpp")
#include "caffe/layers/relu6_layer.hpp"
namespace caffe { ON_THE_CPU(ReLU6Layer); }
#endif
#if __has_include("caffe/layers/upsample_layer.hpp")
#include "caffe/layers/upsample_layer.hpp"
namespace caffe { ON_THE_CPU(UpsampleLayer); }
#endif
