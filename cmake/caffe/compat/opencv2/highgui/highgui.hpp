// Stands in for OpenCV's highgui. Caffe includes it for decoding images and for
// the C constants of OpenCV 1; it draws no windows. Decoding has lived in
// imgcodecs since OpenCV 3, so the GTK, Qt and video packages that highgui pulls
// in are not needed.
#ifndef LATENTHASH_COMPAT_HIGHGUI_HPP_
#define LATENTHASH_COMPAT_HIGHGUI_HPP_

#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgcodecs/legacy/constants_c.h>
#include <opencv2/imgproc.hpp>
#include <opencv2/imgproc/types_c.h>

namespace cv {
class VideoWriter;  // named in a declaration only; its users are built without OpenCV
}

#endif  // LATENTHASH_COMPAT_HIGHGUI_HPP_
