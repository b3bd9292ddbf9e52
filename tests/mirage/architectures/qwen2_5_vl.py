"""A tiny Qwen2.5-VL: the skeleton of ``model=tiny``."""

from mirage_pl.mirage.tiny import write_skeleton

write_folder = write_skeleton
