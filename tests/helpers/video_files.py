"""Video files that tests write, and their frames by one pass of OpenCV."""

from __future__ import annotations

import cv2
from tiny import SIZE, scene


def write_video(path, count=20, code="MJPG", fps=25.0):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), fps, (SIZE[1], SIZE[0]))
    for index in range(count):
        writer.write(cv2.cvtColor(scene(0, index % 9, SIZE)[0], cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def decode(path):
    capture, frames = cv2.VideoCapture(str(path)), []
    while True:
        good, frame = capture.read()
        if not good:
            return frames
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
