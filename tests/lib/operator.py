"""An operator on the admin socket who hears every answer of a question: items, and the end."""
import json

import zmq

from .waiting import WaitFailed, patient


class Question:
    """One question under way.  Used with `with`; the socket is closed behind it."""

    def __init__(self, instance, *words):
        self.instance, self.words = instance, words
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.connect(instance.admin)
        self.socket.send_multipart([b"spendctl/1", *(word.encode() for word in words)])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.destroy(linger=0)

    def next(self, deadline_s=20):
        """(code, value) of the next answer, word of waiting included."""
        if not self.socket.poll(patient(deadline_s) * 1000):
            raise WaitFailed(f"no answer to {self.words} within {deadline_s} s\n{self.instance.tail()}")
        frames = self.socket.recv_multipart()
        return int(frames[0]), json.loads(frames[1])

    def item(self, match=lambda value: True, deadline_s=20):
        """The next item that is news and matches; the end of the stream is a failure."""
        while True:
            code, value = self.next(deadline_s)
            assert code == 102, (code, value)
            if "progress" not in value and match(value):
                return value

    def answer(self, deadline_s=20):
        """The final answer; items before it are skipped."""
        while True:
            code, value = self.next(deadline_s)
            if code != 102:
                return code, value


def order(instance, *words, deadline_s=20):
    with Question(instance, *words) as question:
        return question.answer(deadline_s)
