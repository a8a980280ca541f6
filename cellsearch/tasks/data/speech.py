"""Spoken digits from their recordings: 13 mel-frequency cepstral coefficients a frame.

Windows of 25 ms every 10 ms (Hamming, pre-emphasis 0.97), 26 triangular filters evenly spaced in
mel up to half the sampling rate, logarithm, orthonormal cosine transform: Davis & Mermelstein 1980
(IEEE TASSP 28), with the constants of HTK.
"""

from __future__ import annotations

import io
import re
import wave
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellsearch.errors import InputFileError
from cellsearch.tasks.data.archives import DAMAGE, of_tar

__all__ = ["mfcc", "spoken_digits"]

RATE = 8000
COEFFICIENTS = 13
_WINDOW, _HOP, _FFT, _FILTERS = 200, 80, 256, 26
_MEMBERS = r"[^/]+/recordings/(\d_[a-z]+_\d+)\.wav"
_RECORDING, _ALL = 1 << 17, 1 << 26
"""Bytes that a recording, and the unpacked archive, may have; the largest has 36,568."""


def spoken_digits(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a release (tar.gz) of the Free Spoken Digit Dataset: ``feat [frames, 13]``,
    ``lens``, ``digit``, ``speaker``, ``index``, each ``[recordings]``, by name; ``speakers``.

    Raises :class:`InputFileError` for an archive without recordings, or with damaged ones.
    """
    recordings = of_tar(path, _MEMBERS, _RECORDING, _ALL)
    if not recordings:
        raise InputFileError("there are no recordings in it", where=str(path))
    features, keys = [], []
    for name in sorted(recordings, key=lambda name: f"{name}.wav"):
        features.append(mfcc(_samples(recordings[name], f"{path}: {name}.wav")))
        digit, speaker, index = re.split("_", name)
        keys.append((int(digit), speaker, int(index)))
    speakers = sorted({speaker for _, speaker, _ in keys})
    return {
        "feat": np.concatenate(features).astype(np.float16),
        "lens": np.array([len(part) for part in features], dtype=np.int16),
        "digit": np.array([digit for digit, _, _ in keys], dtype=np.uint8),
        "speaker": np.array([speakers.index(name) for _, name, _ in keys], dtype=np.uint8),
        "index": np.array([index for _, _, index in keys], dtype=np.uint8),
        "speakers": np.array(speakers),
    }


def _samples(data: bytes, where: str) -> NDArray[np.float64]:
    """The samples of a WAV file between -1 and 1."""
    try:
        with wave.open(io.BytesIO(data)) as file:
            form = (file.getnchannels(), file.getsampwidth(), file.getframerate())
            if form != (1, 2, RATE):
                raise ValueError(f"(channels, bytes, rate) = {form}, not (1, 2, {RATE})")
            samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
            if len(samples) < _WINDOW:
                raise ValueError(f"{len(samples)} samples are too few")
    except (wave.Error, *DAMAGE) as error:
        raise InputFileError(f"not a recording that can be read: {error}", where=where) from error
    return samples / 32768.0


def mfcc(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """``[frames, 13]`` from at least 200 samples at 8 kHz; frames = 1 + (samples - 200) // 80."""
    emphasised = np.append(samples[0], samples[1:] - 0.97 * samples[:-1])
    windows = np.lib.stride_tricks.sliding_window_view(emphasised, _WINDOW)[::_HOP]
    power = np.abs(np.fft.rfft(windows * np.hamming(_WINDOW), _FFT)) ** 2 / _FFT
    energy = np.log(np.maximum(power @ _filters(), 1e-10))
    turn = np.pi / _FILTERS * np.outer(np.arange(_FILTERS) + 0.5, np.arange(COEFFICIENTS))
    scale = np.where(np.arange(COEFFICIENTS) == 0, np.sqrt(1 / _FILTERS), np.sqrt(2 / _FILTERS))
    cepstrum: NDArray[np.float64] = energy @ (np.cos(turn) * scale)
    return cepstrum


def _filters() -> NDArray[np.float64]:
    """``[129, 26]``: triangles over the frequencies of the transform."""
    highest = 2595 * np.log10(1 + RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, highest, _FILTERS + 2) / 2595) - 1)
    frequency = np.arange(_FFT // 2 + 1)[:, None] * RATE / _FFT
    rising = (frequency - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequency) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling))
