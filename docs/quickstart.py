"""Draws docs/quickstart.svg from a real run of the program.

    pip install rich
    python3 docs/quickstart.py            # runs bin/crayon demo in a terminal and draws what it prints

CRAYON_HOME must hold the model (bin/crayon pull). No line is changed; what is
left out (the middle of long lists, the second and third user) is marked "...".
"""

import os
import pty
import re
import subprocess
import sys

from rich.console import Console
from rich.text import Text

COMMAND = ["bin/crayon", "demo"]
WIDTH = 132
KEEP = 6  # lines of a long list


def run():
    """What the command writes to a terminal: its standard output, with colours."""
    ours, theirs = pty.openpty()
    env = dict(os.environ, TERM="xterm-256color", COLUMNS=str(WIDTH))
    env.pop("NO_COLOR", None)
    subprocess.run(["stty", "cols", str(WIDTH), "rows", "60"], stdin=theirs, check=True)
    child = subprocess.Popen(COMMAND, stdout=theirs, stderr=subprocess.DEVNULL, env=env)
    os.close(theirs)
    out = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # Linux says so when the other end is closed
            break
        if not piece:
            break
        out += piece
    if child.wait() != 0:
        sys.exit(f"{' '.join(COMMAND)} ended with status {child.returncode}")
    return out.decode().replace("\r\n", "\n")


def shorten(text):
    """Leaves out most of each list of questions, and the users after the first."""
    out, held, sections, skipping = [], [], 0, False

    def flush():
        out.extend(held[:KEEP])
        if len(held) > KEEP:
            out.append(f"  ... and {len(held) - KEEP} more")
        held.clear()

    for line in text.split("\n"):
        plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", line)
        if head := re.match(r"== ([a-z -]+) =", plain):
            sections += 1
            skipping = sections > 1 and "-" in head[1]
            if skipping:
                flush()
                out.append(f"... {head[1]} likewise")
        if skipping:
            continue
        if re.match(r"  [✓✗] ", plain):
            held.append(line)
            continue
        flush()
        out.append(line)
    flush()
    return "\n".join(out).strip("\n")


def main():
    console = Console(record=True, width=WIDTH, file=open(os.devnull, "w"), force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi("$ " + " ".join(COMMAND) + "\n" + shorten(run())), soft_wrap=True)
    svg = console.export_svg(title="crayon demo")
    # The viewer's own fixed-width font, so that the picture fetches nothing.
    svg = re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.S)
    svg = svg.replace("Fira Code", "Menlo, Consolas, DejaVu Sans Mono")
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.S)
    with open("docs/quickstart.svg", "w", encoding="utf-8") as f:
        f.write(svg)


if __name__ == "__main__":
    main()
