"""Recordings of single words for speech_recognition.py, and the cepstra that speech is recognised by.

A recording is (word, speaker, take, sound, rate). They come from a folder in the layout of the Free Spoken Digit
Dataset, or, without any download, from a source-filter synthesiser: synthetic sounds, made for this example.
"""

import re
import sys
import time
from typing import NamedTuple

import librosa
import numpy as np
import soundfile
from scipy.signal import lfilter

# Mean fundamental and formant frequencies (Hz) of the vowels of American English, for men, women and children:
# Peterson & Barney (1952), "Control methods used in a study of the vowels", J. Acoust. Soc. Am. 24(2), table II.
VOWELS = {
    "heed": ((136, 270, 2290, 3010), (235, 310, 2790, 3310), (272, 370, 3200, 3730)),
    "hid": ((135, 390, 1990, 2550), (232, 430, 2480, 3070), (269, 530, 2730, 3600)),
    "head": ((130, 530, 1840, 2480), (223, 610, 2330, 2990), (260, 690, 2610, 3570)),
    "had": ((127, 660, 1720, 2410), (210, 860, 2050, 2850), (251, 1010, 2320, 3320)),
    "hod": ((124, 730, 1090, 2440), (212, 850, 1220, 2810), (256, 1030, 1370, 3170)),
    "hawed": ((129, 570, 840, 2410), (216, 590, 920, 2710), (263, 680, 1060, 3180)),
    "hood": ((137, 440, 1020, 2240), (232, 470, 1160, 2680), (276, 560, 1410, 3310)),
    "who'd": ((141, 300, 870, 2240), (231, 370, 950, 2670), (274, 430, 1170, 3260)),
    "hud": ((130, 640, 1190, 2390), (221, 760, 1400, 2780), (261, 850, 1590, 3360)),
    "heard": ((133, 490, 1350, 1690), (218, 500, 1640, 1960), (261, 560, 1820, 2160)),
}
BANDWIDTHS = 60, 90, 150  # Hz, of the three formants
VOICES = ("man 1", "woman 1", "child 1", "man 2", "woman 2", "child 2")
RATE = 8000  # samples per second, as in the Free Spoken Digit Dataset
NAME = re.compile(r"(\d)_([^_]+)_(\d+)\.wav")


class Recording(NamedTuple):
    """One word, spoken once."""

    word: str
    speaker: str
    take: int
    sound: np.ndarray
    rate: int


def read_folder(folder):
    """The recordings of a folder of files named {digit}_{speaker}_{index}.wav."""
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}")
    files = sorted(folder.glob("*.wav"))
    if not files:
        raise ValueError(f"no .wav files in {folder}; the dataset keeps them in its folder recordings/")
    wrong = [file.name for file in files if not NAME.fullmatch(file.name)]
    if wrong:
        raise ValueError(f"{len(wrong)} files of {folder} are not named DIGIT_SPEAKER_INDEX.wav, such as {wrong[0]}")
    return [_read(file) for file in files]


def _read(file):
    word, speaker, take = NAME.fullmatch(file.name).groups()
    try:
        sound, rate = soundfile.read(file, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{file} is no recording: {error}") from None
    if len(sound) < 0.025 * rate:
        raise ValueError(f"{file} is shorter than one window of 25 ms")
    return Recording(word, speaker, int(take), sound.mean(1), rate)


def synthesise(takes, seed=0):
    """Synthetic words: ``takes`` of each vowel, in an /h_d/ frame, by each voice."""
    rng = np.random.default_rng(seed)
    recordings = []
    for number, speaker in enumerate(VOICES):
        group, size = number % 3, rng.normal(1, 0.03)  # of the vocal tract: all formants move together
        habit = rng.normal(1, 0.04, (len(VOWELS), 3))  # how this speaker says each vowel
        tilt = rng.uniform(0.85, 0.95)  # of the glottal spectrum
        for take in range(takes):
            for vowel, own in zip(VOWELS, habit, strict=True):
                pitch, *formants = VOWELS[vowel][group]
                formants = size * own * rng.normal(1, 0.03, 3) * formants
                recordings.append(
                    Recording(vowel, speaker, take, _utter(rng, pitch * rng.normal(size, 0.08), formants, tilt), RATE)
                )
    return recordings


def _utter(rng, pitch, formants, tilt):
    """A source (breath, then voice) through a cascade of formant resonators (Klatt 1980), between pauses."""
    breath, voiced = (int(RATE * seconds) for seconds in (0.05, rng.uniform(0.12, 0.22)))
    glide = np.linspace(1.1, 0.85, voiced) * (1 + 0.01 * lfilter([0.1], [1, -0.9], rng.normal(size=voiced)))
    pulses = np.diff(np.floor(np.cumsum(pitch * glide / RATE)), prepend=0)
    voice = lfilter([1], [1, -tilt], pulses - pulses.mean())  # the lips radiate, which undoes a second such pole
    voice *= np.minimum(1, np.linspace(0, 5, voiced)) * np.minimum(1, np.linspace(5, 0, voiced))
    sound = np.concatenate([0.1 * rng.normal(size=breath), voice / voice.std()])
    for formant, bandwidth in zip(np.minimum(formants, 0.48 * RATE), BANDWIDTHS, strict=True):
        radius, angle = np.exp(-np.pi * bandwidth / RATE), 2 * np.pi * formant / RATE
        poles = np.array([1, -2 * radius * np.cos(angle), radius**2])
        sound = lfilter([poles.sum()], poles, sound)
    pause, burst = np.zeros(int(0.05 * RATE)), rng.normal(size=int(0.01 * RATE))
    sound = np.concatenate([pause, sound / sound.std(), 0.2 * pause, 0.3 * burst, pause])
    return 0.1 * (sound + rng.normal(0, 10 ** rng.uniform(-2, -1.5), len(sound))).astype("float32")


def progress(items, what):
    """The items, with a line on the terminal that says how far they are."""
    shown = 0
    for number, item in enumerate(items, 1):
        yield item
        if time.perf_counter() - shown > 0.5 or number == len(items):
            shown = time.perf_counter()
            print(f"\r{what}: {number} of {len(items)}", end="\n" if number == len(items) else "", file=sys.stderr)


def timed(call, *arguments):
    """What the call returns, and the seconds that it took."""
    started = time.perf_counter()
    return call(*arguments), time.perf_counter() - started


def _cepstra(recording):
    window, hop = int(0.025 * recording.rate), int(0.01 * recording.rate)
    options = {"n_mfcc": 13, "n_mels": 26, "n_fft": window, "hop_length": hop}
    static = librosa.feature.mfcc(y=recording.sound, sr=recording.rate, **options)
    return np.concatenate([static, librosa.feature.delta(static, mode="nearest")]).T


def cepstra(recordings):
    """13 mel-frequency cepstra and their slopes (frames, 26), of 25 ms every 10 ms, and each recording's frames."""
    parts = [_cepstra(recording) for recording in progress(recordings, "cepstra")]
    return np.concatenate(parts).astype(np.float32), np.array([len(part) for part in parts])


def take_means_off(frames, length):
    """The frames less the mean of their recording: what the microphone and the voice add to all of them alike."""
    sums = np.add.reduceat(frames, np.cumsum(length) - length)
    return frames - np.repeat(sums / length[:, None], length, axis=0).astype(np.float32)


def batch(frames, length, label, train):
    """The frames of each label (g, most, 26), padded to one length, and weights (g, most): zero for the padding
    and for the recordings that are not to be trained on."""
    owner = np.repeat(np.arange(len(length)), length)
    rows = [np.flatnonzero(label[owner] == value) for value in range(label.max() + 1)]
    most = max(map(len, rows))
    present = np.array([np.arange(most) < len(r) for r in rows])
    rows = np.array([np.resize(r, most) for r in rows])
    return frames[rows], (present & train[owner[rows]]).astype(np.float32)
