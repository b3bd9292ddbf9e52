"""Frames of videos by their numbers, and only those that are needed."""

import av
import numpy as np
import pytest

from data_modules.episodes import archive, decoding
from data_modules.episodes.form import Form
from data_modules.episodes.recording import open_recording

TOTAL = 40
KINDS = {
    "every second whole": {"g": "2"},
    "from both sides": {"g": "20"},
    "open groups": {"g": "8", "x264-params": "open-gop=1:bframes=3:scenecut=0"},
}


def encode(file, frames, options, times=None):
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=10, options=options)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = number if times is None else times[number]
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file


def draw_numbered():
    """Frames that say their number: its tens in one half, the rest in the other."""
    frames = np.zeros((TOTAL, 64, 64, 3), np.uint8)
    for number, frame in enumerate(frames):
        frame[:, :32], frame[:, 32:] = 25 * (number % 10), 60 * (number // 10)
    return frames


def read_numbers(frames):
    return [round(int(frame[32, 8, 0]) / 25) + 10 * round(int(frame[32, 56, 0]) / 60) for frame in frames]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_frames_are_those_of_their_numbers_in_any_order_however_they_are_coded(tmp_path, kind, ending):
    file = encode(tmp_path / f"a.{ending}", draw_numbered(), KINDS[kind])
    assert decoding.count_frames(file) == TOTAL
    assert read_numbers(decoding.decode_all(file, "a")) == list(range(TOTAL))
    draws = np.random.default_rng(0)
    for size in (1, 3, 12):
        places = draws.integers(0, TOTAL, size).tolist()
        assert read_numbers(decoding.decode_frames(file, places)) == places
    with pytest.raises(ValueError, match="has 40 frames, not frame 40"):
        decoding.decode_frames(file, [40])


def test_frames_at_uneven_times_are_counted_too(tmp_path):
    times = np.cumsum([1, 2, 1, 5] * (TOTAL // 4))
    file = encode(tmp_path / "a.mp4", draw_numbered(), {"g": "4"}, times)
    assert decoding.count_frames(file) == TOTAL
    assert read_numbers(decoding.decode_frames(file, [33, 2, 17])) == [33, 2, 17]


def test_a_frame_is_decoded_from_the_key_frame_before_it(tmp_path, monkeypatch):
    file, decoded = encode(tmp_path / "a.mp4", draw_numbered(), {"g": "10", "bf": "0", "sc_threshold": "0"}), []
    opened = decoding.opened

    class Counting:
        def __init__(self, container):
            self.container, self.streams, self.seek = container, container.streams, container.seek

        def decode(self, stream):
            for frame in self.container.decode(stream):
                decoded.append(frame.pts)
                yield frame

    decoding.index_video(file)
    monkeypatch.setattr(decoding, "opened", lambda *content: wrap(opened(*content), Counting))
    assert read_numbers(decoding.decode_frames(file, [36, 12, 13])) == [36, 12, 13]
    assert len(decoded) == 3 + 1 + 7


class wrap:
    def __init__(self, manager, kind):
        self.manager, self.kind = manager, kind

    def __enter__(self):
        return self.kind(self.manager.__enter__())

    def __exit__(self, *error):
        return self.manager.__exit__(*error)


def test_an_array_of_an_npz_is_decompressed_once_for_clips_that_follow_each_other(tmp_path, monkeypatch):
    np.savez(tmp_path / "a.npz", frames=np.zeros((9, 8, 8, 3), np.uint8), actions=np.zeros((8, 2)))
    loads, load = [], np.load
    monkeypatch.setattr(archive.np, "load", lambda *args, **options: loads.append(args) or load(*args, **options))
    for place in (0, 3, 5):
        with open_recording(tmp_path / "a.npz", Form({"frames": "frames", "actions": "actions"})) as recording:
            recording.frames([place])
            recording.actions()
    assert len(loads) == 2
    np.savez(tmp_path / "a.npz", frames=np.ones((4, 8, 8, 3), np.uint8))
    with open_recording(tmp_path / "a.npz", Form({"frames": "frames"})) as recording:
        assert recording.frames([0])[0].max() == 1
