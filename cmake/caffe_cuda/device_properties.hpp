// Gives cudaDeviceProp back the fields that Caffe's DeviceQuery prints and CUDA 13 dropped.
// CUDA's headers come first, so that the new name is seen by Caffe's sources only.
#pragma once
#include <cuda.h>
#include <cuda_runtime.h>
#include <cublas_v2.h>
#include <curand.h>

#if CUDART_VERSION >= 13000

struct DeviceProperties : cudaDeviceProp {
  int clockRate;  // kHz
  int deviceOverlap;
  int kernelExecTimeoutEnabled;
};

inline cudaError_t cudaGetDeviceProperties(DeviceProperties* properties, int device) {
  cudaDeviceProp* known = properties;
  cudaError_t status = cudaGetDeviceProperties(known, device);
  if (status == cudaSuccess) {
    status = cudaDeviceGetAttribute(&properties->clockRate, cudaDevAttrClockRate, device);
  }
  if (status == cudaSuccess) {
    status = cudaDeviceGetAttribute(&properties->deviceOverlap, cudaDevAttrGpuOverlap, device);
  }
  if (status == cudaSuccess) {
    status = cudaDeviceGetAttribute(&properties->kernelExecTimeoutEnabled,
                                    cudaDevAttrKernelExecTimeout, device);
  }
  return status;
}

#define cudaDeviceProp DeviceProperties

#endif
