#include "highgui.hpp"
