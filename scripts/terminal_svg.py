#!/usr/bin/env python3
"""A picture of what commands print: terminal_svg.py COLUMNS 'COMMAND' ['COMMAND' ...] > picture.svg

Each runs in a terminal of that many columns; the picture holds the prompt, the command and all that it printed.
"""
import fcntl
import html
import os
import pty
import struct
import subprocess
import sys
import termios

CHAR, LINE, PAD = 7.25, 16, 12  # pixels


def output_of(command):
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, int(sys.argv[1]), 0, 0))
    child = subprocess.Popen(command, shell=True, stdin=subprocess.DEVNULL, stdout=its, stderr=its)
    os.close(its)
    text = b""
    try:
        while data := os.read(ours, 65536):
            text += data
    except OSError:  # the child has closed its end
        pass
    if child.wait() != 0:
        sys.exit(f"{command}: exit status {child.returncode}\n{text.decode()}")
    return text.decode().replace("\r", "").rstrip("\n").split("\n")


def main():
    if len(sys.argv) < 3 or not sys.argv[1].isdigit():
        sys.exit(__doc__)
    lines = []
    for command in sys.argv[2:]:
        lines += [("#8ab4f8", "$ " + command)] + [("#e8eaed", line) for line in output_of(command)] + [("", "")]
    lines.pop()
    width, height = int(sys.argv[1]) * CHAR + 2 * PAD, len(lines) * LINE + 2 * PAD
    print(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" '
          f'font-family="ui-monospace,Menlo,Consolas,DejaVu Sans Mono,monospace" font-size="12">')
    print(f'<rect width="{width:.0f}" height="{height}" rx="8" fill="#202124"/>')
    for i, (colour, line) in enumerate(lines):
        if line:
            print(f'<text x="{PAD}" y="{PAD + LINE * i + 12}" fill="{colour}" textLength="{len(line) * CHAR:.1f}" '
                  f'xml:space="preserve">{html.escape(line)}</text>')
    print("</svg>")


main()
