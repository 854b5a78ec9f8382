"""Writes a set that comes as arrays (MNIST, CIFAR-10, a CSV) as PNG files in class folders.

    _to_class_folders.py SOURCE FOLDER

A set that has a split of its own lands in FOLDER/train and FOLDER/test.
"""

import sys
from dataclasses import replace
from pathlib import Path

from latenthash.sources import open_source, write_class_folders

source, folder = open_source(Path(sys.argv[1])), Path(sys.argv[2])
if source.has_split:
    for split, name in (("train", "train"), ("val", "test")):
        part = [sample for sample in source.samples if sample.split == split]
        write_class_folders(replace(source, samples=part), folder / name)
else:
    write_class_folders(source, folder)
