import pickle

from clipbench.errors import BadImage, ClipbenchError, DataError


def test_a_message_is_one_line_of_bounded_length_whatever_it_names() -> None:
    assert (
        str(DataError("a caption 'one\ntwo\r\nthree\u2028four' is wrong")) == "a caption 'one two three four' is wrong"
    )
    text = str(ClipbenchError(f"begins {'x' * 100_000} ends"))
    assert len(text) < 2_100 and text.startswith("begins xxx") and text.endswith("xxx ends")
    assert str(ClipbenchError()) == ""


def test_a_bad_image_travels_between_processes() -> None:
    error = pickle.loads(pickle.dumps(BadImage("a\nb.png", "truncated")))
    assert str(error).startswith("cannot read image a b.png: truncated") and error.name == "a\nb.png"
