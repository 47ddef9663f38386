"""The speech example on synthetic words and on a folder of recordings: what it prints, draws and refuses."""

import importlib.util
import re

import numpy as np
import pytest
import soundfile
from helpers import EXAMPLES, raises, run_example
from matplotlib import image

SPEC = importlib.util.spec_from_file_location("speech_data", EXAMPLES / "speech_data.py")
speech_data = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(speech_data)

SMALL = ("--components", 2, "--background", 4)


@pytest.fixture(scope="module")
def words():
    return speech_data.synthesise(7)


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    """What the example prints of synthetic words, and its picture."""
    folder = tmp_path_factory.mktemp("synthetic")
    picture = folder / "new folder" / "picture.png"
    options = {"cwd": folder, "own_options": True}
    return run_example("speech_recognition", *SMALL, "--takes", 7, "--out", picture, **options), picture


def numbers(printed, name):
    """The numbers of the row that begins with ``name``."""
    (row,) = re.findall(rf"^{re.escape(name)}\s+(.*)$", printed, flags=re.MULTILINE)
    return [float(number) for number in row.split()]


@pytest.mark.slow
def test_synthetic_words_are_recognised_as_well_as_by_scikit_learn(synthetic):
    printed, _ = synthetic
    assert "420 SYNTHETIC words, 10 words, 6 speakers" in printed
    ours, theirs = numbers(printed, "jgmm"), numbers(printed, "scikit-learn")
    assert len(ours) == len(theirs) == 5 + 6 + 2  # k, own split, speakers left out; each of them; seconds
    for column, chance, worse in ((1, 0.7, 0.04), (3, 0.5, 0.04)):
        assert ours[column] > max(chance, theirs[column] - worse)
        assert ours[column + 1] > theirs[column + 1] - 0.3
    assert np.mean(ours[5:11]) == pytest.approx(ours[3], abs=1e-3)


def speakers_are_told_apart(printed, chance):
    for means in ("means taken off", "means left in"):
        for model in ("a mixture of its own", "background, means adapted", "background, all adapted"):
            accuracy, log_prob = numbers(printed, f"{means:17}{model}")
            assert accuracy > chance
            assert np.isfinite(log_prob)


def confusions_are_drawn(picture):
    pixels = image.imread(picture)
    assert picture.stat().st_size < 300_000
    assert pixels.shape[1] <= 1200
    drawn = (pixels[..., :3] < 0.95).any(-1)
    assert 0.02 < drawn.mean() < 0.5
    assert not drawn[[0, -1]].any()  # nothing is cut off
    assert not drawn[:, [0, -1]].any()


@pytest.mark.slow
def test_synthetic_speakers_are_told_apart(synthetic):
    speakers_are_told_apart(synthetic[0], 2 / 6)


@pytest.mark.slow
def test_the_confusions_of_synthetic_words_are_drawn(synthetic):
    confusions_are_drawn(synthetic[1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory, words):
    """A folder in the layout of the Free Spoken Digit Dataset: two words of two voices."""
    folder = tmp_path_factory.mktemp("recordings")
    for recording in words:
        if recording.speaker in ("man 1", "woman 1") and recording.word in ("heed", "hod"):
            digit, speaker = int(recording.word == "hod"), recording.speaker.split()[0]
            soundfile.write(folder / f"{digit}_{speaker}_{recording.take}.wav", recording.sound, recording.rate)
    return folder


def test_a_folder_of_recordings_is_read(folder, tmp_path):
    picture = tmp_path / "picture.png"
    printed = run_example("speech_recognition", *SMALL, "--data", folder, "--seeds", 2, "--out", picture, cwd=tmp_path)
    assert "28 recordings, 2 words, 2 speakers" in printed
    assert "SYNTHETIC" not in printed
    assert numbers(printed, "jgmm")[1] == 1
    errors = numbers(printed.replace("of the difference", ""), "standard error")  # over the seeds
    assert len(errors) == 4 + 2
    assert errors[0] == 0
    assert min(errors) >= 0
    assert errors[1] + errors[3] > 0
    speakers_are_told_apart(printed, 1 / 2)
    confusions_are_drawn(picture)


def test_names_of_files_say_what_was_said_and_by_whom(folder):
    recordings = speech_data.read_folder(folder)
    assert {recording[:2] for recording in recordings} == {(w, s) for w in "01" for s in ("man", "woman")}
    assert {recording.take for recording in recordings} == set(range(7))


def test_a_wrong_folder_ends_with_a_message_and_no_traceback(tmp_path):
    printed = run_example("speech_recognition", "--data", tmp_path / "none", cwd=tmp_path, code=2)
    assert "error: argument --data: there is no folder" in printed
    assert "Traceback" not in printed


def test_bad_folders_are_refused(tmp_path):
    raises(ValueError, ["no .wav files in", "recordings/"], speech_data.read_folder, tmp_path)
    (tmp_path / "0_me_0.wav").write_text("no sound")
    raises(ValueError, ["0_me_0.wav is no recording"], speech_data.read_folder, tmp_path)
    soundfile.write(tmp_path / "0_me_0.wav", np.zeros(10), 8000)
    raises(ValueError, ["0_me_0.wav is shorter than one window"], speech_data.read_folder, tmp_path)
    (tmp_path / "hello.wav").touch()
    raises(ValueError, ["1 files", "DIGIT_SPEAKER_INDEX.wav", "hello.wav"], speech_data.read_folder, tmp_path)


def test_a_vowel_has_its_formants(words):
    """Of the men's /i/ and /u/, which differ in F2 (2290 and 870 Hz), each is louder near its own."""

    def level(word, frequency):
        sound = next(r.sound for r in words if (r.word, r.speaker) == (word, "man 1"))
        power = np.abs(np.fft.rfft(sound)) ** 2
        hertz = np.fft.rfftfreq(len(sound), 1 / speech_data.RATE)
        return power[np.abs(hertz - frequency) < 250].sum() / power.sum()

    assert level("heed", 2290) > 3 * level("who'd", 2290)
    assert level("who'd", 870) > 3 * level("heed", 870)


def test_a_batch_holds_each_frame_to_train_on_once_with_weight():
    length, label = np.array([3, 1, 2, 4]), np.array([0, 1, 1, 0])
    frames = np.arange(10.0)[:, None]
    X, weight = speech_data.batch(frames, length, label, np.array([True, True, True, False]))
    assert X.shape == (2, 7, 1)
    assert [sorted(x[w > 0, 0]) for x, w in zip(X, weight, strict=True)] == [[0, 1, 2], [3, 4, 5]]
    centred = speech_data.take_means_off(frames, length)
    np.testing.assert_allclose(centred[:, 0], [-1, 0, 1, 0, -0.5, 0.5, -1.5, -0.5, 0.5, 1.5])
