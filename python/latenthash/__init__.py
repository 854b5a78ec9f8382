"""Image retrieval with binary codes learned by a latent layer of a Caffe network.

Method: Lin, Yang, Hsiao, Chen, "Deep Learning of Binary Hash Codes for Fast Image
Retrieval", CVPR Workshops 2015.
"""

__version__ = "0.1.0"
