"""Programs that the tests of ``exec:`` write: shell scripts, and one in C."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

# Bytes of frames of 40x48 that are bright, as a mask: of every frame another.
BRIGHT = r"""
export LC_ALL=C
for frame in "$1"/frames/*.ppm; do
    mask=$(basename "$frame" .ppm)
    { printf 'P5\n48 40\n255\n'; tail -c 1920 "$frame" | tr '\000-\177' '\000' | tr '\200-\377' '\377'; } \
        > "$1/masks/$mask.pgm"
done
"""

# Pixels that are redder than green, by what request.json says; frames are PPM and masks PGM.
RED_C = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void name(char *path, const char *folder, const char *text, const char *key, int index) {
    char pattern[512];
    const char *from = strchr(strstr(text, key) + strlen(key), '"') + 1;
    snprintf(pattern, sizeof pattern, "%.*s", (int)(strchr(from, '"') - from), from);
    int n = sprintf(path, "%s/", folder);
    sprintf(path + n, pattern, index);
}

int main(int argc, char **argv) {
    char path[2048], text[65536] = {0};
    const char *folder = argv[argc - 1];
    snprintf(path, sizeof path, "%s/request.json", folder);
    FILE *file = fopen(path, "rb");
    if (!file || !fread(text, 1, sizeof text - 1, file)) return 3;
    fclose(file);
    int count = atoi(strstr(text, "\"count\":") + 8);
    for (int index = 0; index < count; index++) {
        int width, height, top;
        name(path, folder, text, "\"frames\":", index);
        if (!(file = fopen(path, "rb")) || fscanf(file, "P6 %d %d %d", &width, &height, &top) != 3) return 4;
        fgetc(file);
        unsigned char *pixels = malloc(3 * width * height);
        if (fread(pixels, 3, width * height, file) != (size_t)(width * height)) return 5;
        fclose(file);
        name(path, folder, text, "\"masks\":", index);
        strcpy(strrchr(path, '.'), ".pgm");
        if (!(file = fopen(path, "wb"))) return 6;
        fprintf(file, "P5\n%d %d\n255\n", width, height);
        for (int at = 0; at < width * height; at++)
            fputc(pixels[3 * at] > pixels[3 * at + 1] + 20 ? 255 : 0, file);
        fclose(file);
        free(pixels);
    }
    return 0;
}
"""


def write_program(folder: Path, text: str, name: str = "run.sh") -> Path:
    """Write a shell script that can be run, and return its path."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}")
    path.chmod(0o755)
    return path


def compile_program(folder: Path) -> Path:
    """Compile ``RED_C`` to a program, and return its path; skip the test where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler: apt-get install gcc")
    (folder / "red.c").write_text(RED_C)
    subprocess.run([compiler, "-O1", "-Wall", "-Werror", "-o", folder / "red", folder / "red.c"], check=True)
    return folder / "red"
