import sys

from mirage_pl.engine.training import allocator


def test_glibc_takes_the_settings_and_other_systems_are_left_alone(monkeypatch):
    if sys.platform.startswith("linux"):
        assert allocator.keep_freed_memory() == allocator.keep_freed_memory(keep=False)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert allocator.keep_freed_memory() is False
